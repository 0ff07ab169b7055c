"""Holds answers that wait to be read: the short way from a successful call to the cells.

The thread of a call only appends the answer's bytes to what waits. They are read, priced and written many at a time,
outside of the call where possible. A plain answer of a kind that was seen before is written by its line, which knows
cells and prices; every other answer becomes a `Call` as on the general way. A line is made only from a call that the
general way wrote, and only if that call says nothing that the line does not write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from anthropic_exporter.call import SUCCESS, Call
from anthropic_exporter.metrics.writer import Line, Metrics, Slot
from anthropic_exporter.recording.calls import priced_call
from anthropic_exporter.recording.served_models import ServedModels
from anthropic_exporter.wire.headers import heading, names_rate_limits
from anthropic_exporter.wire.plain_answer import Counts, Kind, Plain, plain_of
from anthropic_exporter.wire.rate_limits import RateLimitHeaders

#: The most answers that wait: if nothing writes them regularly, and while a server's thread does.
MOST_WAITING, MOST_WAITING_FOR_A_SERVER = 32, 256
#: The largest body that waits unread, in bytes; a larger one is read at once.
MOST_BODY_BYTES = 4_096
_MOST_LINES = 5_000
_MOST_HEADERS = 200
_LONGEST_WORD = 128

#: Names and values of a response's headers.
RawHeaders = Iterable[tuple[bytes, bytes]]
_LineKey = tuple[Kind, str, str, str, bytes]
#: Turns what an attempt knew when it ended into a `Call`.
Read = Callable[..., "Call | None"]


class Writing(Protocol):
    """What answers need of the intake. Called with its lock held."""

    served: ServedModels
    #: Whether written calls are passed on.
    has_sinks: bool

    def pass_on(self, call: Call) -> None:
        """Pass a call that was written to the sinks."""

    def may_use(self, line: Line, at: float) -> bool:
        """Whether a request of `at` may be written by a line."""

    def line_of(self, call: Call, slot: Slot) -> Line | None:
        """The line of calls like this one; None if there is none."""

    def write_now(self, call: Call, now: float) -> Slot | None:
        """Write a call that ended at `now`."""


class Answers:
    """Writes waiting answers, and keeps the newest rate-limit headers until the next scrape.

    Args:
        intake: where calls are written. All methods but `note_limits` are called with its lock held.
        metrics: where lines are written.

    Attributes:
        most: how many answers may wait; 0 if each is to be written at once.
        limits_are_passed_on: each call carries its rate-limit headers, because a sink may want them.
    """

    def __init__(self, intake: Writing, metrics: Metrics) -> None:
        self._intake = intake
        self._metrics = metrics
        self.most = MOST_WAITING
        self.limits_are_passed_on = False
        self._lines: dict[_LineKey, Line] = {}
        self._headers: dict[tuple[str, str], tuple[float, RawHeaders]] = {}
        self._shown_as: dict[tuple[str, str], str] = {}

    # -- rate-limit headers

    def note_limits(self, label: str, feature: str, at: float, headers: list[tuple[bytes, bytes]]) -> bool:
        """Keep headers for the next scrape, if they are the newest. False if they are to be written with the answer."""
        if self.limits_are_passed_on:
            return False
        if not names_rate_limits(headers):
            return True
        place = (label, feature)
        kept = self._headers.get(place)
        if kept is None and (len(self._headers) >= _MOST_HEADERS or not self._metrics.rate_limits_at(label)):
            return False
        if kept is None or at >= kept[0]:
            self._headers[place] = (at, headers)
        return True

    def write_limits(self) -> None:
        """Show the headers that were kept, under the model that their answers were written to."""
        for place, kept in list(self._headers.items()):
            at, headers = kept
            shown = self._shown_as.get(place, place[0])
            self._metrics.keep_rate_limits(shown, at, heading(headers).rate_limit_headers)
            if self._headers.get(place) is kept:
                del self._headers[place]

    # -- answers

    def forget_lines(self) -> None:
        """Forget all lines, because the cells were replaced."""
        self._lines.clear()

    def write(
        self,
        read: Read,
        sent: Any,
        ended: float,
        now: float,
        body: bytes | Plain,
        path: bytes,
        asked: bool,
        limits: RateLimitHeaders,
    ) -> None:
        """Write one answer that ended at `now`; `ended` is the same moment of `time.perf_counter()`.

        Args:
            read: makes the call of an answer that is not plain.
            sent: the attempt.
            ended: when it ended.
            now: when it ended, in seconds since the epoch.
            body: the body of the answer, or what it says.
            path: the path that was asked.
            asked: whether it asked for caching.
            limits: the rate-limit headers to write with it.
        """
        intake, where = self._intake, sent.where
        plain = body if type(body) is tuple else plain_of(body)  # type: ignore[arg-type]
        key = None
        if plain is not None:
            kind, counts = plain
            key = (kind, sent.model, where.feature, where.user, path)
            line = self._line(key, sent.at, limits)
            if line is not None:
                if sent.known_label != kind[0]:
                    intake.served.learn(sent.model, kind[0])
                    intake.served.recognise(sent.model, kind[0])
                seconds = ended - sent.started
                self._metrics.write_plain(line, counts, now, seconds, asked=asked)
                if limits or intake.has_sinks:
                    self._pass_on(line, sent, counts, seconds, limits, asked=asked)
                return
        call = read(sent, ended, body, path, asked, limits)
        if call is not None:
            slot = intake.write_now(call, now)
            if slot is not None:
                self._note_label(call, slot)
                if key and plain:
                    self._learn(key, plain, call, slot, asked=asked)

    def _note_label(self, call: Call, slot: Slot) -> None:
        """Note under which model the rate limits of such calls are shown, if it is another one."""
        if slot.place.model != call.model and len(self._shown_as) < _MOST_LINES:
            self._shown_as[call.model, call.feature] = slot.place.model

    def _pass_on(
        self, line: Line, sent: Any, counts: Counts, seconds: float, limits: RateLimitHeaders, *, asked: bool
    ) -> None:
        """What the general way does with a call beside its numbers."""
        self._metrics.keep_rate_limits(line.slot.place.model, sent.at, limits)
        if self._intake.has_sinks:
            self._intake.pass_on(priced_call(line, sent, counts, seconds, limits, asked=asked))

    def _line(self, key: _LineKey, at: float, limits: RateLimitHeaders) -> Line | None:
        """The line of an answer to a request of `at`; None if the general way has to write it."""
        line = self._lines.get(key)
        if line is None or not self._intake.may_use(line, at):
            return None
        if limits and not self._metrics.rate_limits_at(line.slot.place.model):  # their series do not exist yet
            return None
        return line

    def _learn(self, key: _LineKey, plain: Plain, call: Call, slot: Slot, *, asked: bool) -> None:
        """Make the line for answers that differ from this one only in counts and times."""
        model, asked_model = key[0][0], key[1]
        line = self._intake.line_of(call, slot)
        if line is None or not _says_no_more(call, plain, asked=asked) or call.model != model:
            return
        if len(self._lines) >= _MOST_LINES:
            self._lines.clear()
        if max(map(len, (asked_model, key[4], *filter(None, key[0])))) <= _LONGEST_WORD:
            self._lines[key] = line
            self._intake.served.recognise(asked_model, model)


def _says_no_more(call: Call, plain: Plain, *, asked: bool) -> bool:
    """Whether a line writes everything that the call contains."""
    counts = plain[1]
    plainly = Call(
        call.model,
        SUCCESS,
        call.inferences,
        call.feature,
        call.user,
        call.tier,
        call.started_at,
        call.duration_seconds,
        stop_reason=plain[0][1],
        cache_asked=bool(asked or counts[1] or counts[2] or counts[3]),
        inference_geo=call.inference_geo,
        regional=call.regional,
        rate_limit_headers=call.rate_limit_headers,
        call_duration_seconds=call.duration_seconds,
        task=call.task,
    )
    one = call.inferences[0] if len(call.inferences) == 1 else None
    return call == plainly and one is not None and one == (call.model, counts, True, True, 0)
