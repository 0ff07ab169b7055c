"""The SDK's middleware: sees every HTTP attempt, passes it on unchanged, and turns it into a `Call`.

Supported: anthropic 0.108 (the first with middleware) to 2.x, httpx and httpx2.
Source: platform.claude.com/docs, SDKs, middleware, read 2026-11-21.
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Union

from anthropic import APIRequest, Middleware

from anthropic_exporter.attribution import current
from anthropic_exporter.capture.attempt import Attempt
from anthropic_exporter.capture.batches import BatchLookup, BatchResults, batch_of_results, is_about_batches
from anthropic_exporter.capture.sent import Sent, sent_by_the_short_way
from anthropic_exporter.capture.tee import tee
from anthropic_exporter.errors import SpendLimitExceeded
from anthropic_exporter.recording.intake import Intake
from anthropic_exporter.wire.request import model_of

if TYPE_CHECKING:
    from anthropic._middleware import AsyncCallNext, CallNext

    from anthropic_exporter.capture.sessions import SessionReader

Watched = Union[Sent, Attempt, BatchResults, BatchLookup, "SessionReader"]

_MANAGED_AGENTS = re.compile(r"/v1/(?:sessions|dreams)(?:/|$)")
# The attempts that are being sent from here: a client may carry the middleware of one recorder twice. Each is a list of
# its name, None once it has ended, and of the attempt that it is sent inside of. So nothing has to be set back.
_Sending = list[Any]
_sending: ContextVar[_Sending | None] = ContextVar("anthropic_exporter_sending", default=None)


class Capture(Middleware):
    """Middleware for any client class of the SDK, sync or async. Make it with `recorder.middleware()`, pass it last.

    Last is innermost: inside the retry loop and other middleware, where each billed attempt passes once.
    """

    def __init__(self, recorder: Intake) -> None:
        self.recorder = recorder

    def handle(self, request: APIRequest, call_next: CallNext) -> Any:
        """Pass a sync attempt through, unless a gate stops it."""
        if self.recorder.gates:
            request = self._admitted(request)
        watched, sending = self._begin(request)
        if watched is None:
            return call_next(request)
        try:
            response = call_next(request)
        except BaseException as error:
            watched.raised(error)
            raise
        finally:
            sending[0] = None
        self._responded(watched, response)
        return response

    async def handle_async(self, request: APIRequest, call_next: AsyncCallNext) -> Any:
        """Pass an async attempt through, unless a gate stops it."""
        if self.recorder.gates:
            request = self._admitted(request)
        watched, sending = self._begin(request)
        if watched is None:
            return await call_next(request)
        try:
            response = await call_next(request)
        except BaseException as error:
            watched.raised(error)
            raise
        finally:
            sending[0] = None
        self._responded(watched, response)
        return response

    def _admitted(self, request: APIRequest) -> APIRequest:
        """Return the request that may be sent: the same one, or another in its place.

        Raises:
            SpendLimitExceeded: a gate stops it.
        """
        recorder = self.recorder
        try:
            recorder.drain()  # gates judge by all calls that have ended
            if _is_message_request(request):
                where = current()
                for gate in recorder.gates:
                    request = gate(request, where)
        except SpendLimitExceeded:
            recorder.blocked(model_of(request), where)
            raise
        except Exception as error:  # noqa: BLE001 - the error boundary
            recorder.failed("gate", error)
        return request

    def _begin(self, request: APIRequest) -> tuple[Watched | None, _Sending]:
        """Return the watcher of this request, and what is now being sent from here."""
        try:
            recorder, options = self.recorder, request.options
            name = (recorder, options.idempotency_key, request.retries_taken, options.url)
            outer = _sending.get()
            if outer is not None:
                outer = _not_ended(outer)
                if _is_among(name, outer):
                    return None, []
            watched = sent_by_the_short_way(recorder, request) or _watched(recorder, request)
            sending = [name, outer]
            _sending.set(sending)
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._failed("begin", error)
            return None, []
        return watched, sending

    def _responded(self, watched: Watched, response: Any) -> None:
        try:
            http = getattr(response, "http_response", None)
            if http is None:  # another middleware answered from memory: no HTTP attempt was made
                watched.forget()
                return
            if isinstance(watched, Sent):
                if watched.kept(http):
                    return
                watched = watched.as_attempt()
            buffered = http.is_closed
            watched.head(http.status_code, http.headers, _path_of(http), buffered=buffered)
            if buffered:
                watched.body(http.content)
            elif not isinstance(watched, BatchLookup):
                http.stream = tee(http.stream, watched, type(http).__module__.partition(".")[0])
        except Exception as error:  # noqa: BLE001 - the error boundary
            watched.forget()
            self._failed("response", error)

    def _failed(self, stage: str, error: Exception) -> None:
        self.recorder.failed(stage, error)
        self.recorder.drain()


def _not_ended(sending: _Sending | None) -> _Sending | None:
    """The innermost attempt that has not ended."""
    while sending is not None and sending[0] is None:
        sending = sending[1]
    return sending


def _is_among(name: tuple[Any, ...], sending: _Sending | None) -> bool:
    """Whether this attempt is being sent from here already, by the middleware of the same recorder."""
    while sending is not None:
        if sending[0] == name:
            return True
        sending = sending[1]
    return False


def _watched(recorder: Intake, request: APIRequest) -> Watched | None:
    """The watcher of this request: an attempt, a reader of batch results, or None if nothing is billed."""
    if _is_message_request(request):
        return Attempt(recorder, request.json, request.retries_taken, request.options.idempotency_key)
    path = request.url.partition("?")[0]
    if _MANAGED_AGENTS.search(path):
        from anthropic_exporter.capture.sessions import SessionReader  # noqa: PLC0415 - only those who use them load it

        return SessionReader(recorder, path)
    if not is_about_batches(path):
        return None
    batch = batch_of_results(path)
    return BatchResults(recorder, batch) if batch else BatchLookup(recorder)


def _path_of(http: Any) -> bytes:
    """The path as sent, percent-encoded; empty for a response made by another middleware."""
    try:
        path: bytes = http.request.url.raw_path
    except RuntimeError:
        return b""
    return path.partition(b"?")[0]


def _is_message_request(request: APIRequest) -> bool:
    """Whether this request is billed by the token; count_tokens, batches, files and models are not requests."""
    path = request.url.partition("?")[0]
    return path.endswith("/v1/messages") and request.method.lower() == "post"
