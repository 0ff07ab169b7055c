"""Serves /metrics, and what is mounted beside it, from the application's own process: standard library only."""

from __future__ import annotations

import contextlib
import errno
import html
import threading
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from anthropic_exporter.__about__ import __version__
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.metrics.text import OPENMETRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE
from anthropic_exporter.recorder import Recorder
from anthropic_exporter.web.handler import Handler, Table, ThreadedServer, ThreadedServer6
from anthropic_exporter.web.routes import TEXT, Answer, Request, Route

if TYPE_CHECKING:
    from typing_extensions import Self


_MAX_PORT = 65_535
# How soon `close()` is noticed.
_POLL_SECONDS = 0.05


class Server:
    """A running server; close it, or use it as a context manager.

    Attributes:
        host: the address it is bound to.
        port: the port it is bound to; the real one where 0 was asked for.
    """

    def __init__(
        self,
        recorder: Recorder,
        host: str,
        port: int,
        routes: Iterable[Route] = (),
        owned: contextlib.ExitStack | None = None,
    ) -> None:
        self._owned = owned or contextlib.ExitStack()
        table = _table((*_own_routes(recorder), *routes))
        self._http = _bound(host, port)
        self._http.recorder, self._http.table = recorder, table
        self.host, self.port = str(self._http.server_address[0]), int(self._http.server_address[1])
        self._thread = threading.Thread(
            target=self._http.serve_forever, args=(_POLL_SECONDS,), name="anthropic-exporter", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """The address of the landing page, without a trailing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    def close(self) -> None:
        """Stop serving and free the port. Idempotent."""
        self._http.shutdown()
        self._http.server_close()
        self._http.hang_up()
        self._thread.join()
        self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _bound(host: str, port: int) -> ThreadedServer:
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= _MAX_PORT:
        raise ConfigurationError(f"port {port!r} is no TCP port: give a number from 0 (any free one) to {_MAX_PORT}")
    try:
        return (ThreadedServer6 if ":" in host else ThreadedServer)((host, port), Handler)
    except (OSError, OverflowError, UnicodeError) as error:
        raise ConfigurationError(f"cannot listen on {host}:{port}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code == errno.EADDRINUSE:
        return "the port is in use by another process; stop it or choose another port (0 picks a free one)"
    if code == errno.EACCES:
        return "this user may not bind the port; choose one above 1023"
    if code == errno.EADDRNOTAVAIL:
        return "this machine has no such address; use 127.0.0.1, or 0.0.0.0 for all addresses"
    return "the address cannot be resolved; use 127.0.0.1, or 0.0.0.0 for all addresses"


def _own_routes(recorder: Recorder) -> tuple[Route, ...]:
    def metrics(request: Request) -> Answer:
        openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
        content_type = OPENMETRICS_CONTENT_TYPE if openmetrics else TEXT_CONTENT_TYPE
        return Answer(HTTPStatus.OK, content_type, recorder.render(openmetrics=openmetrics))

    def healthy(_: Request) -> Answer:
        return Answer(HTTPStatus.OK, TEXT, b"healthy\n")

    return Route("/metrics", metrics, title="for Prometheus"), Route("/-/healthy", healthy, title="for health checks")


def _table(routes: tuple[Route, ...]) -> Table:
    """Routes by path and method, the landing page among them."""
    table: Table = {}
    for route in (*routes, Route("/", lambda _: page)):
        if table.setdefault(route.path, {}).setdefault(route.method, route) is not route:
            raise ConfigurationError(f"two routes want {route.method} {route.path}; leave one of them out")
    page = Answer(HTTPStatus.OK, "text/html; charset=utf-8", _landing_page(routes).encode())
    return table


def _landing_page(routes: tuple[Route, ...]) -> str:
    lines = (
        f'<li><a href="{html.escape(one.path)}">{html.escape(one.path)}</a> {html.escape(one.title)}</li>'
        for one in routes
        if one.title
    )
    return _LANDING_PAGE.replace("LINES", "".join(lines))


_LANDING_PAGE = f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>anthropic-exporter</title>
<style>body {{ font: 16px/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 36rem; padding: 0 1rem }}</style>
</head>
<body>
<h1>anthropic-exporter</h1>
<p>What this process's Claude calls cost. Version {html.escape(__version__)}.</p>
<ul>LINES</ul>
</body>
</html>
"""
