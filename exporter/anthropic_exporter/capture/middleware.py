"""The SDK's middleware: sees every HTTP attempt, passes it on unchanged, and turns it into a `Call`.

Supported: anthropic 0.108 (the first with middleware) to 2.x, httpx and httpx2.
Source: platform.claude.com/docs, SDKs, middleware, read 2026-11-21.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Union

from anthropic import APIRequest, Middleware

from anthropic_exporter.attribution import current
from anthropic_exporter.capture.attempt import Attempt
from anthropic_exporter.capture.batches import BatchLookup, BatchResults, batch_of_results, is_about_batches
from anthropic_exporter.capture.sending import Sending, innermost, is_sent_by, under_way
from anthropic_exporter.capture.sent import Sent, is_inside, is_kept, sent_by_the_short_way
from anthropic_exporter.capture.tee import tee
from anthropic_exporter.errors import SpendLimitExceeded
from anthropic_exporter.recording.intake import Intake
from anthropic_exporter.wire.request import model_of

if TYPE_CHECKING:
    from anthropic._middleware import AsyncCallNext, CallNext

    from anthropic_exporter.capture.sessions import SessionReader

Watched = Union[Attempt, BatchResults, BatchLookup, "SessionReader"]

_MANAGED_AGENTS = re.compile(r"/v1/(?:sessions|dreams)(?:/|$)")
_NOTHING_SENT = Sending(None, None, 0, "")


class Capture(Middleware):
    """Middleware for any client class of the SDK, sync or async. Make it with `recorder.middleware()`, pass it last.

    Last is innermost: inside the retry loop and other middleware, where each billed attempt passes once.
    """

    def __init__(self, recorder: Intake) -> None:
        self.recorder = recorder

    def handle(self, request: APIRequest, call_next: CallNext) -> Any:
        """Pass a sync attempt through, unless a gate stops it."""
        recorder = self.recorder
        if recorder.gates:
            request = self._admitted(request)
        sent = sent_by_the_short_way(recorder, request, call_next)
        if sent is None:
            return self._handle(request, call_next)
        try:
            response = call_next(request)
        except BaseException as error:
            sent.raised(request, error)
            raise
        if not is_kept(sent, recorder, request, response):
            self._continue(sent, request, response)
        return response

    async def handle_async(self, request: APIRequest, call_next: AsyncCallNext) -> Any:
        """Pass an async attempt through, unless a gate stops it."""
        recorder = self.recorder
        if recorder.gates:
            request = self._admitted(request)
        sent = sent_by_the_short_way(recorder, request, call_next)
        if sent is None:
            return await self._handle_async(request, call_next)
        try:
            response = await call_next(request)
        except BaseException as error:
            sent.raised(request, error)
            raise
        if not is_kept(sent, recorder, request, response):
            self._continue(sent, request, response)
        return response

    def _handle(self, request: APIRequest, call_next: CallNext) -> Any:
        """The general way of a sync attempt."""
        watched, sending = self._begin(request, call_next)
        if watched is None:
            return call_next(request)
        try:
            response = call_next(request)
        except BaseException as error:
            watched.raised(error)
            raise
        finally:
            sending.has_ended = True
        self._responded(watched, response)
        return response

    async def _handle_async(self, request: APIRequest, call_next: AsyncCallNext) -> Any:
        """The general way of an async attempt."""
        watched, sending = self._begin(request, call_next)
        if watched is None:
            return await call_next(request)
        try:
            response = await call_next(request)
        except BaseException as error:
            watched.raised(error)
            raise
        finally:
            sending.has_ended = True
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

    def _begin(self, request: APIRequest, call_next: Any) -> tuple[Watched | None, Sending]:
        """Return the watcher of this request, None if nobody watches it, and what is now being sent from here."""
        recorder = self.recorder
        try:
            outer = innermost.get()
            if outer is not None:
                outer = under_way(outer)
                if outer is not None and is_sent_by(outer, recorder, request):
                    return None, outer
            if is_inside(recorder, request, call_next):
                return None, _NOTHING_SENT
            watched, options = _watched(recorder, request), request.options
            if watched is None:
                return None, _NOTHING_SENT
            sending = Sending(recorder, options.idempotency_key, request.retries_taken, options.url)
            sending.outer = outer
            innermost.set(sending)
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._failed("begin", error)
            return None, _NOTHING_SENT
        return watched, sending

    def _continue(self, sent: Sent, request: APIRequest, response: Any) -> None:
        """Read a response by the general way that turns out not to be one of the short way."""
        try:
            watched = sent.as_attempt(request)
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._failed("response", error, sent)
        else:
            self._responded(watched, response)

    def _responded(self, watched: Watched, response: Any) -> None:
        try:
            _read(watched, response)
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._failed("response", error, watched)

    def _failed(self, stage: str, error: Exception, watched: Watched | Sent | None = None) -> None:
        if watched is not None:
            watched.forget()
        self.recorder.failed(stage, error)
        self.recorder.drain()


def _read(watched: Watched, response: Any) -> None:
    """Read a response by the general way."""
    try:
        http = response.http_response
    except AttributeError:  # another middleware answered from memory: no HTTP attempt was made
        if isinstance(watched, Attempt):
            watched.expect()
        watched.forget()
        return
    buffered = http.is_closed
    watched.head(http.status_code, http.headers, _path_of(http), buffered=buffered)
    if buffered:
        watched.body(http.content)
    elif not isinstance(watched, BatchLookup):
        http.stream = tee(http.stream, watched, type(http).__module__.partition(".")[0])


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
