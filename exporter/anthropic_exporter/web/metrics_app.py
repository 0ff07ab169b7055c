"""`metrics_app()`: /metrics as an ASGI or WSGI application, to mount in an application that already has a port."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any

from anthropic_exporter.metrics.text import OPENMETRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE

if TYPE_CHECKING:
    from anthropic_exporter.recorder import Recorder

_ASGI_ARGUMENTS = 3


class MetricsApp:
    """Answers every request with the metrics of all workers; an ASGI 3 and a WSGI application at once.

    Args:
        recorder: what to show.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def __call__(self, *arguments: Any) -> Any:
        """ASGI calls with scope, receive and send; WSGI with the environment and `start_response`."""
        return self._asgi(*arguments) if len(arguments) == _ASGI_ARGUMENTS else self._wsgi(*arguments)

    async def _asgi(self, scope: Any, _: object, send: Callable[[Any], Awaitable[None]]) -> None:
        if scope["type"] != "http":
            raise ValueError("metrics_app answers HTTP requests only")
        accept = b",".join(value for name, value in scope["headers"] if name.lower() == b"accept").decode("latin-1")
        body, content_type = self._answer(accept)
        headers = [(b"content-type", content_type.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    def _wsgi(
        self, environment: Any, start_response: Callable[[str, list[tuple[str, str]]], object]
    ) -> Iterable[bytes]:
        body, content_type = self._answer(environment.get("HTTP_ACCEPT", ""))
        start_response("200 OK", [("Content-Type", content_type), ("Content-Length", str(len(body)))])
        return [b"" if environment.get("REQUEST_METHOD") == "HEAD" else body]

    def _answer(self, accept: str) -> tuple[bytes, str]:
        openmetrics = "application/openmetrics-text" in accept
        content_type = OPENMETRICS_CONTENT_TYPE if openmetrics else TEXT_CONTENT_TYPE
        return self._recorder.render(openmetrics=openmetrics), content_type


def metrics_app(recorder: Recorder) -> MetricsApp:
    """Return /metrics as an application: mount it at a path of an ASGI application, or in a WSGI dispatcher.

    It needs no separate port. In every worker, the page shows the sum over all workers of the service.
    """
    return MetricsApp(recorder)
