"""The SDK's middleware: sees every HTTP attempt, hands on exactly what came, and turns it into a `Call`.

The only module that imports the SDK. Supported: anthropic 0.108 (the first with middleware) to 2.x, httpx and httpx2.
Source: platform.claude.com/docs, SDKs, middleware, read 2026-11-21.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from anthropic import APIRequest, Middleware

from .attempt import Attempt
from .attribution import current
from .errors import SpendLimitExceeded
from .tee import tee

if TYPE_CHECKING:
    from anthropic._middleware import AsyncCallNext, CallNext

    from .recorder import Recorder


class Capture(Middleware):
    """Middleware for any client class of the SDK, sync or async. Make it with `recorder.middleware()`, give it last.

    Last is innermost: inside the retry loop and inside other middleware, where each billed attempt passes once.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def handle(self, request: APIRequest, call_next: CallNext) -> Any:
        """Pass a sync attempt through, unless a gate stops it."""
        if self.recorder.gates:
            request = self._admitted(request)
        attempt = self._begin(request)
        if attempt is None:
            return call_next(request)
        try:
            response = call_next(request)
        except BaseException as error:
            attempt.raised(error)
            raise
        self._responded(attempt, response)
        return response

    async def handle_async(self, request: APIRequest, call_next: AsyncCallNext) -> Any:
        """Pass an async attempt through, unless a gate stops it."""
        if self.recorder.gates:
            request = self._admitted(request)
        attempt = self._begin(request)
        if attempt is None:
            return await call_next(request)
        try:
            response = await call_next(request)
        except BaseException as error:
            attempt.raised(error)
            raise
        self._responded(attempt, response)
        return response

    def _admitted(self, request: APIRequest) -> APIRequest:
        """The request that may be sent: the same one, or another one in its place.

        Raises:
            SpendLimitExceeded: a gate stops it.
        """
        recorder = self.recorder
        try:
            if _is_message_request(request):
                where = current()
                for gate in recorder.gates:
                    request = gate(request, where)
        except SpendLimitExceeded:
            recorder.blocked(_model_of(request), where)
            raise
        except Exception as error:  # noqa: BLE001 - the error boundary
            recorder.failed("gate", error)
        return request

    def _begin(self, request: APIRequest) -> Attempt | None:
        try:
            if not _is_message_request(request):
                return None
            return Attempt(self.recorder, request.json, request.retries_taken, request.options.idempotency_key)
        except Exception as error:  # noqa: BLE001 - the error boundary
            self.recorder.failed("begin", error)
            return None

    def _responded(self, attempt: Attempt, response: Any) -> None:
        try:
            http = getattr(response, "http_response", None)
            if http is None:  # another middleware answered from memory: no HTTP attempt was made
                attempt.forget()
                return
            buffered = http.is_closed
            attempt.head(http.status_code, http.headers, buffered=buffered)
            if buffered:
                attempt.body(http.content)
            else:
                http.stream = tee(http.stream, attempt, type(http).__module__.partition(".")[0])
        except Exception as error:  # noqa: BLE001 - the error boundary
            attempt.forget()
            self.recorder.failed("response", error)


def instrument(recorder: Recorder) -> Callable[[], None]:
    """Record every client created from now on, without a change where clients are made.

    Wraps the two base classes that every client class of the SDK goes through. Clients that already carry the
    recorder's middleware are left alone; calling it twice changes nothing.

    Returns:
        A function that undoes it; clients created meanwhile keep recording.
    """
    from anthropic import _base_client  # noqa: PLC0415 - only those who call this depend on it

    undo = [_wrap_init(cls, recorder) for cls in (_base_client.SyncAPIClient, _base_client.AsyncAPIClient)]

    def uninstrument() -> None:
        for one in undo:
            one()

    return uninstrument


def _wrap_init(cls: type[Any], recorder: Recorder) -> Callable[[], None]:
    original = cls.__init__
    if getattr(original, "_anthropic_exporter_recorder", None) is recorder:
        return lambda: None

    def init(self: Any, *args: Any, middleware: Any = None, **kwargs: Any) -> None:
        chain = tuple(middleware or ())
        if not any(isinstance(one, Capture) and one.recorder is recorder for one in chain):
            chain = (*chain, Capture(recorder))
        original(self, *args, middleware=chain, **kwargs)

    init._anthropic_exporter_recorder = recorder  # type: ignore[attr-defined]  # noqa: SLF001 - our own mark

    def undo() -> None:
        if cls.__init__ is init:
            cls.__init__ = original

    cls.__init__ = init
    return undo


def _model_of(request: APIRequest) -> str:
    body = request.json
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) else ""


def _is_message_request(request: APIRequest) -> bool:
    """Whether this request is billed by the token; count_tokens, batches, files and models are not requests."""
    return request.url.partition("?")[0].endswith("/v1/messages") and request.method.lower() == "post"
