"""The short way of an attempt: the first one of a request that is no stream, answered whole and with success.

Of such an answer the thread of the call only keeps the bytes and the times; `recording/answers.py` reads them later.
Anything else (an error, a stream, an exception, an answer of an unexpected model) continues as an `Attempt`.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from anthropic_exporter import threads
from anthropic_exporter.attribution import current
from anthropic_exporter.capture.attempt import Attempt, read_answer
from anthropic_exporter.kept_text import MOST_CHARS
from anthropic_exporter.recording.answers import MOST_BODY_BYTES
from anthropic_exporter.recording.inflight import Inflight
from anthropic_exporter.recording.intake import Intake
from anthropic_exporter.wire.headers import heading
from anthropic_exporter.wire.plain_answer import Plain, plain_of
from anthropic_exporter.wire.rate_limits import RateLimitHeaders
from anthropic_exporter.wire.usage import asks_for_caching

#: The paths of the SDK's own methods; `options.url` is one of them, regardless of the base URL.
_PATHS = frozenset({"/v1/messages", "/v1/messages?beta=true"})
_OK = 200
_NAMES_CACHE_CONTROL = b'"cache_control"'
#: A body names its model before its content.
_HEAD_BYTES = 512
_NO_LIMITS: RateLimitHeaders = {}
_NOTHING: dict[str, Any] = {}


class Sent:
    """An attempt on the short way.

    Attributes:
        recorder: where its call goes.
        model: the requested id.
        where: who it is for.
        at: when it was sent, in seconds since the epoch.
        started: the same by `time.perf_counter()`.
        inflight: the registry that it is in.
        known_label: the label of the model that the answer names, if that model served the id last: the answer waits,
            and teaches nothing when it is read. Else None.
    """

    __slots__ = ("_body", "_key", "at", "inflight", "known_label", "model", "recorder", "started", "where")

    def __init__(self, recorder: Intake, body: dict[str, Any], model: str, key: str) -> None:
        self.recorder, self._body, self.model, self._key = recorder, body, model, key
        where = self.where = current()
        served = recorder.served
        familiar = served.familiar.get(model)
        label = served.label(model) if familiar is None else familiar[0]
        self.known_label: str | None = None
        if (label, where.feature, where.user) not in recorder.expected:
            recorder.expect(label, where.feature, where.user)
        inflight: Inflight = recorder.inflight
        self.inflight = inflight
        self.at = recorder.clock()
        inflight.sending[key] = self
        self.started = perf_counter()

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
        now = recorder.clock()
        asked = may_ask and asks_for_caching(self._body)
        body: bytes | Plain | None = content if len(content) <= MOST_BODY_BYTES else plain_of(content)
        if body is None or not content.startswith(b"{"):
            return False
        familiar, answers = recorder.served.familiar.get(self.model), recorder.answers
        may_wait, limits, headers = False, _NO_LIMITS, http.headers.raw
        if familiar is not None and content.find(familiar[1], 0, _HEAD_BYTES) > 0:
            self.known_label = label = familiar[0]
            may_wait = answers.note_limits(label, self.where.feature, self.at, headers)
        if not may_wait:
            limits = heading(headers).rate_limit_headers
        path = request.url.raw_path.partition(b"?")[0]
        self._body = _NOTHING  # while the answer waits, the request's memory is used again
        pending = recorder.pending
        pending.append((answers.write, read_answer, self, ended, now, body, path, asked, limits))
        inflight.sending.pop(self._key, None)
        if len(pending) >= answers.most or not may_wait:
            recorder.drain()
        return True

    def as_attempt(self) -> Attempt:
        """Continue this attempt on the general way."""
        self.forget()
        return Attempt(self.recorder, self._body, 0, self._key, self)

    def raised(self, error: BaseException) -> None:
        """The attempt raised."""
        self.as_attempt().raised(error)

    def forget(self) -> None:
        """Forget an attempt that did not happen, or is over."""
        self.inflight.sending.pop(self._key, None)


def sent_by_the_short_way(recorder: Intake, request: Any) -> Sent | None:
    """Return a first attempt whose answer may come whole; None for any other request."""
    try:
        options = vars(request.options)  # each attribute of a pydantic model takes three times as long
        method, url, body, key = options["method"], options["url"], options["json_data"], options["idempotency_key"]
    except (TypeError, KeyError):  # another SDK keeps its options elsewhere
        return None
    if (
        url not in _PATHS
        or method != "post"
        or request.retries_taken
        or type(body) is not dict
        or type(key) is not str
        or key in recorder.inflight.sending  # hedged: another attempt of the same request is under way
        or recorder.advice is not None  # which is about the request
        or threads.waiting  # the general way tries again to start them
    ):
        return None
    model = body.get("model")
    if type(model) is not str or not 0 < len(model) <= MOST_CHARS:
        return None
    if body.get("stream") or body.get("max_tokens") == 0 or "thread" in body:
        return None
    return Sent(recorder, body, model, key)
