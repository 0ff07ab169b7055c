"""Holds answers that wait to be read: the short way from a successful call to the cells.

The thread of a call only appends the answer's bytes to what waits. They are read, priced and written many at a time,
outside of the call where possible. A plain answer of a kind that was seen before is written by its line, which knows
cells and prices; every other answer becomes a `Call` as on the general way. A line is made only from a call that the
general way wrote, and only if that call says nothing that the line does not write.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from anthropic_exporter.attribution import Attribution
from anthropic_exporter.call import SUCCESS, Call, Sight
from anthropic_exporter.metrics.label_sets import Slot
from anthropic_exporter.metrics.line import Line
from anthropic_exporter.metrics.writer import Metrics
from anthropic_exporter.recording.calls import Asked, priced_call
from anthropic_exporter.recording.inflight import Inflight
from anthropic_exporter.recording.lines import Lines
from anthropic_exporter.recording.served_models import ServedModels
from anthropic_exporter.wire.headers import RateLimitHeaders, RawHeaders, fields_of, first_rate_limit, heading
from anthropic_exporter.wire.plain_answer import Counts, Kind, Plain, plain_of

#: The most answers that wait: if nothing writes them regularly, and while a server's thread does.
MOST_WAITING, MOST_WAITING_FOR_A_SERVER = 128, 256
#: The largest body that waits unread, in bytes; a larger one is read at once.
MOST_BODY_BYTES = 4_096
#: Headers of the newest answer are kept for so many models and features that ask, and models that answer each.
_MOST_PLACES, _MOST_NAMES = 200, 8
#: A body names its model before its content.
_HEAD_BYTES = 512
#: What stands before it, in JSON with and without spaces. No text in a body contains this: its quotes are escaped. An
#: object inside of the message may, and begins with a brace.
_KEYS_OF_MODEL = (b'"model":', b'"model": ')
_NO_LIMITS: RateLimitHeaders = {}
NO_FIELDS: RawHeaders = ()

_LineKey = tuple[Kind, str, str, str, bytes]


class Writing(Protocol):
    """What answers need of the intake. Called with its lock held."""

    served: ServedModels
    lines: Lines
    inflight: Inflight
    pending: deque[Any]
    clock: Callable[[], float]
    #: Whether written calls are passed on.
    has_sinks: bool

    def advise(self, line: Line, sent: Asked, counts: Counts, prompt: Sight, *, asked: bool) -> None:
        """Count an answer that is written by a line for advice."""

    def pass_on(self, call: Call) -> None:
        """Pass a call that was written to the sinks."""

    def expect_now(self, model: str, where: Attribution) -> None:
        """Make the label set of a request for `model` exist."""

    def may_use(self, line: Line, at: float) -> bool:
        """Whether a request of `at` may be written by a line."""

    def line_of(self, call: Call, slot: Slot) -> Line | None:
        """The line of calls like this one; None if there is none."""

    def write_now(self, call: Call, now: float) -> Slot | None:
        """Write a call that ended at `now`."""


class Sent(Asked, Protocol):
    """An attempt that was answered; see `capture.sent`."""

    model: str
    started: float
    fields: RawHeaders

    def call(
        self,
        ended: float,
        body: bytes | Plain,
        path: bytes,
        rate_limit_headers: RateLimitHeaders,
        prompt: Sight | None,
        *,
        asked: bool,
    ) -> Call | None:
        """The call of its answer."""


class Newest:
    """The newest answer of one model to one feature, which keeps its headers.

    Attributes:
        name: the model that answers, in quotes.
        named: how the newest answer names it, key and name.
        at: where it does.
        asked_model: the model that was asked for.
        feature: the feature that asked.
        sent: the attempt that it answers; None before the first.
    """

    __slots__ = ("asked_model", "at", "feature", "name", "named", "sent")

    def __init__(self, name: bytes) -> None:
        self.name = self.named = name
        self.asked_model, self.feature, self.at = "", "", 0
        self.sent: Sent | None = None


class Answers:
    """Writes waiting answers, and keeps the newest rate-limit headers until the next scrape.

    A process has one for each recorder, and a forked child a new one.

    Args:
        intake: where calls are written. All methods but `note_limits` are called with its lock held.
        metrics: where lines are written.

    Attributes:
        intake: where calls are written.
        inflight: attempts that were sent and have not ended.
        sending: those of them on the short way, by the SDK's idempotency key.
        pending: what waits to be written, the oldest first.
        clock: the time, in seconds since the epoch.
        most: how many answers may wait; 0 if each is to be written at once.
        are_shared: other processes read the cells.
        limits_are_passed_on: each call carries its rate-limit headers, because a sink may want them.
    """

    __slots__ = (
        *("_first_limit", "_last", "_limits_from", "_lines", "_metrics", "_newest"),
        *("are_shared", "clock", "inflight", "intake", "limits_are_passed_on", "most", "pending", "sending"),
    )

    def __init__(self, intake: Writing, metrics: Metrics) -> None:
        self.intake = intake
        self.inflight, self.pending, self.clock = intake.inflight, intake.pending, intake.clock
        self.sending = intake.inflight.sending
        self._metrics = metrics
        self.most = MOST_WAITING
        self.are_shared = False
        self.limits_are_passed_on = False
        self._lines = intake.lines
        self._newest: dict[tuple[str, str], tuple[Newest, ...]] = {}
        self._last: Newest | None = None
        self._limits_from, self._first_limit = 0, b""

    # -- rate-limit headers

    def note_limits(self, sent: Sent, content: bytes, headers: Any) -> RateLimitHeaders:
        """Keep the headers of an answer, if they name rate limits. Returns what its call must carry, usually nothing.

        Of the answers of one model that wait, the headers of the newest are enough. Names and model are looked for
        where the answer before had them.
        """
        try:
            fields = headers._list  # noqa: SLF001 - see `fields_of`
            if fields[self._limits_from][0] != self._first_limit and not self._find_limits(fields):
                return _NO_LIMITS
        except (AttributeError, IndexError):
            fields = fields_of(headers)
            if not self._find_limits(fields):
                return _NO_LIMITS
        newest: Newest | None = self._last
        if (
            newest is None
            or newest.asked_model is not sent.model
            or newest.feature is not sent.where.feature
            or not content.startswith(newest.named, newest.at)
            or content.find(b"{", 1, newest.at) > 0
            or self.limits_are_passed_on
        ):
            newest = self._newest_of(sent, content)
            if newest is None:
                return heading(fields).rate_limit_headers
        last = newest.sent
        if last is None or sent.at >= last.at or sent.started > last.started:  # the clock was set back
            sent.fields, newest.sent = fields, sent
            if last is not None:
                last.fields = NO_FIELDS
        return _NO_LIMITS

    def _newest_of(self, sent: Sent, content: bytes) -> Newest | None:
        """The newest answer of the model that this one names; None if none is known, or headers are passed on."""
        if self.limits_are_passed_on:
            return None
        for newest in self._newest.get((sent.model, sent.where.feature), ()):
            for key in _KEYS_OF_MODEL:
                named = key + newest.name
                at = content.find(named, 0, _HEAD_BYTES)
                if at > 0 and content.find(b"{", 1, at) < 0:
                    newest.named, newest.at = named, at
                    newest.asked_model, newest.feature = sent.model, sent.where.feature
                    self._last = newest
                    return newest
        return None

    def _find_limits(self, fields: RawHeaders) -> bool:
        index = first_rate_limit(fields)
        if index < 0:
            return False
        self._limits_from, self._first_limit = index, fields[index][0]
        return True

    def _expect_limits(self, asked_model: str, feature: str, named: str) -> None:
        """Let the headers of the next answers wait that are of this model too."""
        place, name = (asked_model, feature), b'"%b"' % named.encode(errors="replace")
        known = self._newest.get(place, ())
        has_room = len(known) < _MOST_NAMES if known else len(self._newest) < _MOST_PLACES
        if has_room and name not in [one.name for one in known]:
            self._newest[place] = (Newest(name), *known)

    # -- answers

    def write(
        self,
        sent: Sent,
        ended: float,
        now: float,
        body: bytes | Plain,
        target: bytes,
        asked: bool,
        limits: RateLimitHeaders,
        prompt: Sight | None,
    ) -> None:
        """Write one answer that ended at `now`; `ended` is the same moment of `time.perf_counter()`.

        Args:
            sent: the attempt.
            ended: when it ended.
            now: when it ended, in seconds since the epoch.
            body: the body of the answer, or what it says.
            target: the path that was asked, and its query.
            asked: whether it asked for caching.
            limits: the rate-limit headers to write with it.
            prompt: what advice remembers of the request; None unless asked for.
        """
        intake, model, (feature, user, _) = self.intake, sent.model, sent.where
        plain = body if type(body) is tuple else plain_of(body)  # type: ignore[arg-type]
        path, key, kept = target.partition(b"?")[0], None, sent.fields
        if plain is not None:
            kind, counts = plain
            key = (kind, model, feature, user, path)
            line = self._lines.get(key)
            if line is not None and intake.may_use(line, sent.at):
                if not intake.served.is_last(model, kind[0]):
                    intake.expect_now(model, sent.where)
                    intake.served.learn(model, kind[0])
                    self._expect_limits(model, feature, kind[0])
                seconds = ended - sent.started
                touched_cache = counts[1] or counts[2] or counts[3]
                self._metrics.write_plain(line, counts, now, seconds, seconds, asked=bool(asked or touched_cache))
                if kept or limits:
                    self._metrics.keep_rate_limits(line.slot.place.model, sent.at, kept or limits)
                if prompt is not None:
                    intake.advise(line, sent, counts, prompt, asked=asked)
                if intake.has_sinks:
                    intake.pass_on(priced_call(line, sent, counts, seconds, limits, prompt, asked=asked))
                return
        intake.expect_now(model, sent.where)
        call = sent.call(ended, body, path, limits or heading(kept).rate_limit_headers, prompt, asked=asked)
        slot = None if call is None else intake.write_now(call, now)
        if call is not None and slot is not None and key and plain:
            self._learn(key, plain, call, slot, asked=asked)

    def _learn(self, key: _LineKey, plain: Plain, call: Call, slot: Slot, *, asked: bool) -> None:
        """Make the line for answers that differ from this one only in counts and times."""
        model, asked_model = key[0][0], key[1]
        line = self.intake.line_of(call, slot)
        if line is None or not says_no_more(call, plain, call.duration_seconds, asked=asked) or call.model != model:
            return
        if self._lines.add(key, line):
            self._expect_limits(asked_model, key[2], model)


def says_no_more(call: Call, plain: Plain, whole: float | None, *, asked: bool) -> bool:
    """Whether a line writes everything that the call contains, whose `call_duration_seconds` should be `whole`."""
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
        call_duration_seconds=whole,
        task=call.task,
        prompt=call.prompt,
    )
    one = call.inferences[0] if len(call.inferences) == 1 else None
    return call == plainly and one is not None and one == (call.model, counts, True, True, 0)
