"""One HTTP attempt from its start to its `Call`. Shared by sync and async; knows neither the SDK nor Prometheus.

An attempt ends once, whichever comes first: the end of its body, an exception, `close()`, or the garbage collector. The
last two may run while this thread holds a lock, so they only append.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

from anthropic_exporter.attribution import Attribution, current
from anthropic_exporter.call import (
    ABANDONED,
    CANCELLED,
    CONNECTION_ERROR,
    NO_USAGE,
    REFUSAL,
    SUCCESS,
    TIMEOUT,
    TRUNCATED,
    UNREADABLE,
    Call,
    Sight,
)
from anthropic_exporter.kept_text import kept
from anthropic_exporter.recording.answers import MOST_BODY_BYTES
from anthropic_exporter.recording.calls import call_of
from anthropic_exporter.recording.inflight import Heard, Inflight, Started
from anthropic_exporter.recording.intake import Intake
from anthropic_exporter.recording.retries import PATIENCE_SECONDS, Failed, may_be_retried
from anthropic_exporter.wire.decompress import inflater
from anthropic_exporter.wire.headers import NO_HEADING, RateLimitHeaders, fields_of, heading
from anthropic_exporter.wire.model_ids import served_label
from anthropic_exporter.wire.outcomes import error_type
from anthropic_exporter.wire.plain_answer import Plain, message_of
from anthropic_exporter.wire.regional import is_regional
from anthropic_exporter.wire.request import model_in
from anthropic_exporter.wire.stream import BodyFold, Unread
from anthropic_exporter.wire.usage import Reading, asks_for_caching, read_message, stop_reason_of

_OK, _FIRST_ERROR_STATUS = 200, 400
_TIMEOUTS = frozenset({"APITimeoutError", "TimeoutException", "TimeoutError"})
_ANSWERED = frozenset({SUCCESS, REFUSAL, TRUNCATED})
_CANCELLATIONS = frozenset({"CancelledError", "KeyboardInterrupt", "SystemExit", "GeneratorExit"})


class Begun(Protocol):
    """An attempt that began on the short way; see `Sent` for the attributes."""

    model: str
    where: Attribution
    at: float
    started: float

    @property
    def recorder(self) -> Intake:
        """Where its call goes."""

    @property
    def inflight(self) -> Inflight:
        """The registry that it is in."""


class Attempt:
    """An attempt in flight.

    Args:
        recorder: where its call goes.
        request: the request's JSON body.
        retries_taken: 0 on the first attempt of a logical call.
        key: the SDK's idempotency key, the same for all attempts of a logical call.
        sent: the same attempt, as it began on the short way.
    """

    __slots__ = (
        "__weakref__",
        "_at",
        "_began",
        "_done",
        "_fold",
        "_heading",
        "_heard_at",
        "_inflight",
        "_key",
        "_prompt",
        "_recorder",
        "_regional",
        "_request",
        "_retry_reason",
        "_started",
        "_status",
        "_ttft",
        "_where",
        "model",
    )

    def __init__(
        self, recorder: Intake, request: Any, retries_taken: int, key: str | None, sent: Begun | None = None
    ) -> None:
        if type(request) is not dict:
            request = dict(request) if isinstance(request, Mapping) else {}
        self.model = model_in(request)
        self._recorder = recorder
        self._request: dict[str, Any] = request
        self._key = key
        self._where = current() if sent is None else sent.where
        before = recorder.retries.before(key) if retries_taken else None
        self._retry_reason = ("unknown" if before is None else before.outcome) if retries_taken else ""
        self._status = 0
        self._heard_at = 0.0
        self._regional = False
        self._heading = NO_HEADING
        self._fold: BodyFold = _NO_BODY
        self._ttft: float | None = None
        self._prompt: Sight | None = None
        self._done = False
        if sent is None:
            self._inflight = recorder.inflight
            self._at = recorder.begin(id(self), self.model, self._where, self.heard)
            self._started = time.perf_counter()
        else:
            self._inflight, self._at, self._started = sent.inflight, sent.at, sent.started
            self._inflight.begin(id(self), Started(kept(self.model), *self._where[:2], self._at, self.heard))
        self._began = self._started if before is None else before.began

    def answered(
        self,
        sent: Begun,
        ended: float,
        body: bytes | Plain,
        path: bytes,
        rate_limit_headers: RateLimitHeaders,
        prompt: Sight | None,
        *,
        asked: bool,
    ) -> Call | None:
        """Begin and end an attempt that was answered with a whole body. Returns its call; None if that fails."""
        self._recorder, self.model, self._where = sent.recorder, sent.model, sent.where
        self._at, self._started, self._began = sent.at, sent.started, sent.started
        self._request, self._key, self._retry_reason, self._ttft = _ASKS if asked else {}, None, "", None
        self._status, self._regional, self._prompt = _OK, is_regional(path), prompt
        self._heading = NO_HEADING._replace(rate_limit_headers=rate_limit_headers)
        self._fold = BodyFold()
        try:
            if isinstance(body, bytes):
                self._fold.tail.append(body)
            else:
                self._fold.message = message_of(body)
                self._fold.stopped = self._fold.final_usage = True
            self._read_rest(whole=True)
            return self._call(self._outcome(TRUNCATED), ended, last=True)
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._recorder.failed("attempt", error)
            return None

    # -- what happens to it, in order

    def head(self, status: int, headers: Any, path: bytes, *, buffered: bool) -> None:
        """The response's status and headers came. `buffered`: its body was already read and decompressed."""
        self._status, self._heard_at = status, self._recorder.clock()
        self._regional = is_regional(path)
        self._heading = head = heading(fields_of(headers))
        try:
            self._body_begins(head.content_type, "" if buffered else head.content_encoding)
        except Exception as error:  # noqa: BLE001 - the error boundary; nothing here reads this encoding
            self._broken(error)

    def _body_begins(self, kind: str, encoding: str) -> None:
        expects_stream = self._request.get("stream") is True or "event-stream" in kind or "eventstream" in kind
        self._fold = BodyFold(inflater(encoding), expects_stream=expects_stream)

    def body(self, content: bytes) -> None:
        """The whole body was there at once, already decompressed."""
        self._fold.tail.append(content)
        self.ended()

    def feed(self, chunk: bytes) -> bool:
        """A chunk came. Returns True when the following chunks need not be read now: append them to `tail`."""
        self._heard_at = self._recorder.clock()
        try:
            if not self._fold.feed(chunk):
                return False
            if self._fold.is_stream and self._ttft is None:
                self._ttft = time.perf_counter() - self._started
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._broken(error)
        return True

    @property
    def tail(self) -> list[bytes]:
        """Chunks that are read later."""
        return self._fold.tail

    def compact(self) -> list[bytes]:
        """Read a tail that has grown to `COMPACT_CHUNKS`. Returns the list that takes the next chunks."""
        try:
            self._fold.compact()
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._broken(error)
        return self._fold.tail

    @property
    def label(self) -> str:
        """The model label of this attempt until a response names the serving model."""
        return self._recorder.served.label(self.model)

    def heard(self) -> Heard:
        """The progress of the response."""
        fold = self._fold
        kept = len(fold.tail)
        return Heard(bool(self._status) + fold.received + kept, None if kept else self._heard_at)

    # -- how it ends

    def ended(self) -> None:
        """The body ended by itself."""
        self._finish(TRUNCATED, later=False)

    def closed(self) -> None:
        """The response was closed, or garbage collected."""
        self._finish(ABANDONED, later=True)

    def raised(self, error: BaseException) -> None:
        """The attempt, or reading its body, raised."""
        self._finish(outcome_of(error), later=False)

    def forget(self) -> None:
        """Forget an attempt that did not happen, or cannot be read."""
        self._done = True
        self._inflight.end(id(self))

    def expect(self) -> None:
        """Make its label set exist."""
        self._recorder.expect(self.label, *self._where[:2])

    def _broken(self, error: BaseException) -> None:
        """Stop reading this body; what is known of it is recorded when it ends."""
        self._fold = Unread(self._fold)
        self._recorder.failed("stream", error)

    def _finish(self, unless_complete: str, *, later: bool) -> None:
        if self._done:
            return
        self._done = True
        ended = time.perf_counter()
        try:
            self._inflight.end(id(self))
            if self._inflight is not self._recorder.inflight:  # this process was forked since: the parent counts it
                return
            if self._recorder.advice is not None:
                self._prompt = self._recorder.advice.sight(self._request)
            self._read_rest(whole=unless_complete == TRUNCATED)
            outcome = self._outcome(unless_complete)
            if not later and self._may_wait(outcome):
                self._wait(ended)
            else:
                self._record(outcome, ended, later=later)
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._recorder.failed("attempt", error)

    def _record(self, outcome: str, ended: float, *, later: bool) -> None:
        recorder = self._recorder
        try:
            if not later:
                recorder.drain()  # what answers taught of this id
            self.expect()
            call = self._call(outcome, ended, last=not self._failed(outcome, ended))
            (recorder.record_later if later else recorder.record)(call)
        finally:
            self._request = {}

    def _may_wait(self, outcome: str) -> bool:
        """Whether this is an answer like most others, whose call nobody needs before the next scrape."""
        recorder, fold = self._recorder, self._fold
        return (
            outcome == SUCCESS
            and self._status == _OK
            and fold.final_usage
            and fold.folded_bytes <= MOST_BODY_BYTES
            and recorder.answers.most > 0
            and not self._prewarming
        )

    def _wait(self, ended: float) -> None:
        """Leave the call for later, and keep of the request only whether it asks for caching, and what advice needs."""
        self._request = _ASKS if self._asks_for_caching() else {}
        recorder = self._recorder
        recorder.pending.append((self._write, ended, recorder.clock()))
        if len(recorder.pending) >= recorder.answers.most:
            recorder.drain()

    def _write(self, ended: float, now: float) -> None:
        """Write the call that waited since `now`, with the recorder's lock held."""
        recorder = self._recorder
        try:
            recorder.expect_now(self.model, self._where)
            call = self._call(SUCCESS, ended, last=True)
        except Exception as error:  # noqa: BLE001 - the error boundary
            recorder.failed("attempt", error)
        else:
            recorder.write_now(call, now)

    def _read_rest(self, *, whole: bool) -> None:
        """Read what was only kept. A partial JSON body, or an error page of a proxy, is not our failure."""
        try:
            self._fold.close()
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._broken(error)
        if self._fold.malformed and self._status < _FIRST_ERROR_STATUS and (whole or self._fold.is_stream):
            self._recorder.failed("stream", ValueError("unreadable events in a response body"))

    def _outcome(self, unless_complete: str) -> str:
        fold = self._fold
        if self._status >= _FIRST_ERROR_STATUS:
            return error_type(fold.message, self._status)
        if fold.error:
            return fold.error
        if not fold.stopped and not (isinstance(fold, Unread) and unless_complete == TRUNCATED):
            return unless_complete  # an unreadable body that ended by itself counts as complete
        return REFUSAL if fold.message.get("stop_reason") == REFUSAL else SUCCESS

    def _failed(self, outcome: str, ended: float) -> bool:
        """Whether the SDK may retry. If it does, it finds here why and since when."""
        if not may_be_retried(self._status, self._heading.should_retry, outcome):
            return False
        deadline = float("inf") if self._prewarming else ended + PATIENCE_SECONDS
        failed = Failed(outcome, self.label, self._where.feature, self._began, ended, deadline)
        self._recorder.retries.failed(self._key, failed)
        return True

    @property
    def _prewarming(self) -> bool:
        """`max_tokens: 0` fills the prompt cache and answers nothing; its times say nothing about answers."""
        return self._request.get("max_tokens") == 0

    def _call(self, outcome: str, ended: float, *, last: bool) -> Call:
        """The call: with tokens if a message came, without them after an error or no response."""
        fold, timed = self._fold, not self._prewarming
        told, whole = fold.message.get("usage") is not None, fold.final_usage and fold.stopped
        reading = self._reading() if told else _without_usage(self.label, fold.message)
        return call_of(
            reading,
            self._where,
            self._at,
            outcome=outcome,
            duration_seconds=ended - self._started if timed else None,
            time_to_first_token_seconds=self._ttft if timed else None,
            cache_asked=told and (self._asks_for_caching() or reading.cached),
            regional=self._regional or reading.regional,
            retry_reason=self._retry_reason,
            estimated_output_tokens=fold.estimated_output_tokens if told and not whole else 0,
            rate_limit_headers=self._heading.rate_limit_headers,
            call_duration_seconds=ended - self._began if timed and last else None,
            unmetered=self._why_unmetered(outcome, reading),
            prompt=self._prompt,
        )

    def _reading(self) -> Reading:
        fold = self._fold
        reading = read_message(fold.message if fold.final_usage else _without_output(fold.message), self.model)
        if reading.malformed:
            self._recorder.malformed("usage", reading.malformed)
        if not reading.fell_back:
            self._recorder.served.learn(self.model, reading.model)
        return reading

    def _asks_for_caching(self) -> bool:
        """Whether the request asks for it, or an earlier one of the conversation that the server holds."""
        thread = self._request.get("thread")
        if not isinstance(thread, Mapping):
            return asks_for_caching(self._request)
        memory = self._recorder.cached_threads
        asked = asks_for_caching(self._request) or thread.get("previous_message_id") in memory
        if asked:
            memory.add(self._fold.message.get("id"))
        return asked

    def _why_unmetered(self, outcome: str, reading: Reading) -> str:
        """Why the tokens of a successful answer are not, or not all, known; empty if they are."""
        fold = self._fold
        if self._status >= _FIRST_ERROR_STATUS or fold.error or outcome not in _ANSWERED:
            return ""
        if outcome == TRUNCATED:
            return UNREADABLE if not fold.message and fold.received else ""
        if fold.final_usage:
            return reading.unmetered
        return UNREADABLE if isinstance(fold, Unread) or fold.malformed else NO_USAGE


_NO_BODY = BodyFold()
#: What of a request its whole answer is read by.
_ASKS: dict[str, Any] = {"cache_control": {"type": "ephemeral"}}


def outcome_of(error: BaseException) -> str:
    """The outcome of an attempt that raised: `timeout`, `cancelled` or `connection_error`."""
    names = {cls.__name__ for cls in type(error).__mro__}
    if names & _TIMEOUTS:
        return TIMEOUT
    return CANCELLED if names & _CANCELLATIONS else CONNECTION_ERROR


def _without_usage(label: str, message: dict[str, Any]) -> Reading:
    served = message.get("model")
    return Reading(
        served_label(served) if isinstance(served, str) and served else label,
        (),
        stop_reason=stop_reason_of(message),
        unmetered=NO_USAGE,
    )


def _without_output(message: dict[str, Any]) -> dict[str, Any]:
    """The message of an unfinished stream: the output count of `message_start` is a placeholder, not a count."""
    usage = message["usage"]
    return {**message, "usage": {**usage, "output_tokens": 0}} if isinstance(usage, Mapping) else message
