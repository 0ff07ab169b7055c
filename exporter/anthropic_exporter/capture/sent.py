"""The short way of an attempt: the first one of a request that is no stream, answered whole and with success.

Of such an answer the thread of the call only keeps the bytes and the times; `recording/answers.py` reads them later.
Anything else (an error, a stream, an exception, an answer of an unexpected model) continues as an `Attempt`.

Between two calls of the SDK none of this is in the processor's caches: each function, object and attribute counts. So
each of the two steps is one function, and what it needs of the recorder is in one object, its `Answers`.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from anthropic_exporter import threads
from anthropic_exporter.attribution import Attribution, current, entered_blocks
from anthropic_exporter.call import Call, Sight
from anthropic_exporter.capture.attempt import Attempt
from anthropic_exporter.capture.sending import innermost, under_way
from anthropic_exporter.kept_text import MOST_CHARS
from anthropic_exporter.recording.answers import MOST_BODY_BYTES, NO_FIELDS, Answers
from anthropic_exporter.recording.inflight import Inflight
from anthropic_exporter.recording.intake import Intake
from anthropic_exporter.wire.headers import RateLimitHeaders, RawHeaders
from anthropic_exporter.wire.plain_answer import Plain, plain_of
from anthropic_exporter.wire.usage import asks_for_caching

#: The paths of the SDK's own methods; `options.url` is one of them, regardless of the base URL.
_PATHS = frozenset({"/v1/messages", "/v1/messages?beta=true"})
#: What the SDK's own idempotency keys begin with. One of them belongs to one logical call, wherever it is sent from.
_KEYS = "stainless-python-retry-"
_OK = 200
_NAMES_CACHE_CONTROL = b'"cache_control"'
#: A body that ends otherwise is no JSON.
_LAST_BYTES = frozenset(b"}\r\n\t ")


class Sent:
    """An attempt on the short way.

    Attributes:
        answers: where its answer waits.
        key: the SDK's idempotency key.
        call_next: what sends it. The same request passes again with another one if a client carries the middleware of
            one recorder twice.
        fields: the headers of its answer, if it is the newest that names rate limits.
        model: the requested id.
        where: who it is for.
        at: when it was sent, in seconds since the epoch.
        started: the same by `time.perf_counter()`.
    """

    __slots__ = ("answers", "at", "call_next", "fields", "key", "model", "started", "where")

    answers: Answers
    at: float
    call_next: Any
    fields: RawHeaders
    key: str
    model: str
    started: float
    where: Attribution

    @property
    def recorder(self) -> Intake:
        """Where its call goes."""
        recorder: Intake = self.answers.intake  # type: ignore[assignment]  # whose `Answers` they are
        return recorder

    @property
    def inflight(self) -> Inflight:
        """The registry that it is in."""
        return self.answers.inflight

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
        """The call of an answer that waited since `ended`, by the code of the general way; None if that fails."""
        attempt = Attempt.__new__(Attempt)
        return attempt.answered(self, ended, body, path, rate_limit_headers, prompt, asked=asked)

    def as_attempt(self, request: Any) -> Attempt:
        """Continue this attempt on the general way."""
        self.forget()
        return Attempt(self.recorder, request.json, 0, self.key, self)

    def raised(self, request: Any, error: BaseException) -> None:
        """The attempt raised."""
        try:
            self.as_attempt(request).raised(error)
        except Exception as failure:  # noqa: BLE001 - the error boundary
            self.recorder.failed("attempt", failure)

    def forget(self) -> None:
        """Forget an attempt that goes on as another one, or that nobody can read."""
        self.answers.sending.pop(self.key, None)


def sent_by_the_short_way(recorder: Intake, request: Any, call_next: Any) -> Sent | None:
    """Return a first attempt whose answer may come whole; None for any other request, or inside of another attempt."""
    try:
        outer, answers = innermost.get(), recorder.answers
        if outer is not None and under_way(outer) is not None:
            return None
        options = vars(request.options)  # each attribute of a pydantic model takes three times as long
        url, body, key = options["url"], options["json_data"], options["idempotency_key"]
        model, sending = body["model"], answers.sending
        if (
            url not in _PATHS
            or options["method"] != "post"
            or request.retries_taken
            or type(body) is not dict
            or not key.startswith(_KEYS)
            or type(model) is not str
            or not 0 < len(model) <= MOST_CHARS
            or key in sending  # the same is under way: see `is_inside`
            or body.get("stream")
            or body.get("max_tokens") == 0
            or "thread" in body
            or threads.waiting  # the general way tries again to start them
        ):
            return None
        block = entered_blocks.get()[-1]
        sent = Sent.__new__(Sent)
        sent.answers, sent.key, sent.model, sent.call_next = answers, key, model, call_next
        sent.where = where = block.value if block.is_open else current()
        sent.at, sent.fields = answers.clock(), NO_FIELDS
        if answers.are_shared:
            recorder.begun(model, where)
        sending[key] = sent
        sent.started = perf_counter()
    except (TypeError, KeyError, AttributeError):  # another SDK keeps its options elsewhere
        return None
    except Exception as error:  # noqa: BLE001 - the error boundary
        recorder.failed("begin", error)
        return None
    return sent


def is_inside(recorder: Intake, request: Any, call_next: Any) -> bool:
    """Whether this request is being sent by an attempt on the short way that another middleware of a client watches.

    A request that is hedged by a middleware further out passes here twice too, but on to the same `call_next`.
    """
    sent = recorder.answers.sending.get(request.options.idempotency_key)
    return sent is not None and sent.call_next is not call_next


def is_kept(sent: Sent, recorder: Intake, request: Any, response: Any) -> bool:
    """Keep an answer to read it later. Returns False if it must take the general way."""
    ended, answers = perf_counter(), sent.answers
    try:
        try:
            http = response.http_response
        except AttributeError:  # another middleware answered from memory: no HTTP attempt was made
            return False
        if http.status_code != _OK or not http.is_closed or answers is not recorder.answers:
            return False
        try:
            content, asking = http.content, http.request
            may_ask = _NAMES_CACHE_CONTROL in asking.content
        except RuntimeError:  # another middleware made the response, or a body that cannot be read again
            return False
        body: bytes | Plain | None = content if len(content) <= MOST_BODY_BYTES else plain_of(content)
        if body is None or content[:1] != b"{" or content[-1] not in _LAST_BYTES:
            return False
        asked = may_ask and asks_for_caching(request.json)
        pending, now, advice = answers.pending, answers.clock(), recorder.advice
        limits = answers.note_limits(sent, content, http.headers)
        prompt = None if advice is None else advice.sight(request.json)
        pending.append((answers.write, sent, ended, now, body, asking.url.raw_path, asked, limits, prompt))
        answers.sending.pop(sent.key, None)
        if len(pending) >= answers.most:
            recorder.drain()
    except Exception as error:  # noqa: BLE001 - the error boundary
        sent.forget()
        recorder.failed("response", error)
        recorder.drain()
    return True
