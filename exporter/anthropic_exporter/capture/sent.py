"""The short way of an attempt: the first one of a request that is no stream, answered whole and with success.

Of such an answer the thread of the call only keeps the bytes and the times; `recording/answers.py` reads them later.
Anything else (an error, a stream, an exception, an answer of an unexpected model) continues as an `Attempt`.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from anthropic_exporter import threads
from anthropic_exporter.attribution import Attribution, current
from anthropic_exporter.call import Call, Sight
from anthropic_exporter.capture.attempt import Attempt
from anthropic_exporter.capture.sending import Sending
from anthropic_exporter.kept_text import MOST_CHARS
from anthropic_exporter.recording.answers import MOST_BODY_BYTES
from anthropic_exporter.recording.inflight import Inflight
from anthropic_exporter.recording.intake import Intake
from anthropic_exporter.wire.headers import RateLimitHeaders
from anthropic_exporter.wire.plain_answer import Plain, plain_of
from anthropic_exporter.wire.usage import asks_for_caching

#: The paths of the SDK's own methods; `options.url` is one of them, regardless of the base URL.
_PATHS = frozenset({"/v1/messages", "/v1/messages?beta=true"})
_OK = 200
_NAMES_CACHE_CONTROL = b'"cache_control"'
#: A body that ends otherwise is no JSON.
_LAST_BYTES = frozenset(b"}\r\n\t ")
_NOTHING: dict[str, Any] = {}


class Sent(Sending):
    """An attempt on the short way.

    Attributes:
        recorder: where its call goes.
        model: the requested id.
        where: who it is for.
        body: the JSON body of the request; empty once the answer waits.
        at: when it was sent, in seconds since the epoch.
        started: the same by `time.perf_counter()`.
        inflight: the registry that it is in.
    """

    __slots__ = ("at", "body", "inflight", "model", "started", "where")

    recorder: Intake
    at: float
    body: dict[str, Any]
    inflight: Inflight
    model: str
    started: float
    where: Attribution

    def kept(self, http: Any) -> bool:
        """Keep the answer to read it later. Returns False if it must take the general way."""
        ended = perf_counter()
        recorder, inflight = self.recorder, self.inflight
        if http.status_code != _OK or not http.is_closed or inflight is not recorder.inflight:
            return False
        try:
            content, request = http.content, http.request
            may_ask = _NAMES_CACHE_CONTROL in request.content
        except RuntimeError:  # another middleware made the response, or a body that cannot be read again
            return False
        body: bytes | Plain | None = content if len(content) <= MOST_BODY_BYTES else plain_of(content)
        if body is None or content[:1] != b"{" or content[-1] not in _LAST_BYTES:
            return False
        asked = may_ask and asks_for_caching(self.body)
        answers, pending, now, advice = recorder.answers, recorder.pending, recorder.clock(), recorder.advice
        limits = answers.note_limits(self, content, http.headers)
        prompt = None if advice is None else advice.sight(self.body)
        self.body = _NOTHING  # while the answer waits, the request's memory is used again
        pending.append((answers.write, self, ended, now, body, request.url, asked, limits, prompt))
        inflight.sending.pop(self.key, None)
        if len(pending) >= answers.most:
            recorder.drain()
        return True

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

    def as_attempt(self) -> Attempt:
        """Continue this attempt on the general way."""
        self.forget()
        body, self.body = self.body, _NOTHING
        return Attempt(self.recorder, body, 0, self.key, self)

    def raised(self, error: BaseException) -> None:
        """The attempt raised."""
        try:
            self.as_attempt().raised(error)
        except Exception as failure:  # noqa: BLE001 - the error boundary
            self.recorder.failed("attempt", failure)

    def forget(self) -> None:
        """Forget an attempt that goes on as another one, or that nobody can read."""
        self.inflight.sending.pop(self.key, None)


def sent_by_the_short_way(recorder: Intake, request: Any) -> Sent | None:
    """Return a first attempt whose answer may come whole; None for any other request."""
    try:
        options = vars(request.options)  # each attribute of a pydantic model takes three times as long
        url, body, key = options["url"], options["json_data"], options["idempotency_key"]
        if (
            url not in _PATHS
            or options["method"] != "post"
            or request.retries_taken
            or type(body) is not dict
            or type(key) is not str
            or threads.waiting  # the general way tries again to start them
        ):
            return None
    except (TypeError, KeyError):  # another SDK keeps its options elsewhere
        return None
    model, inflight = body.get("model"), recorder.inflight
    sending = inflight.sending
    if type(model) is not str or not 0 < len(model) <= MOST_CHARS or key in sending:  # hedged: the same is under way
        return None
    if body.get("stream") or body.get("max_tokens") == 0 or "thread" in body:
        return None
    sent = Sent.__new__(Sent)
    sent.recorder, sent.key, sent.retries, sent.url, sent.has_ended = recorder, key, 0, url, False
    sent.model, sent.where, sent.body, sent.inflight = model, current(), body, inflight
    sent.at = recorder.clock()
    if recorder.sharing is not None:
        recorder.begun(model, sent.where)
    sending[key] = sent
    sent.started = perf_counter()
    return sent
