"""Serves /metrics, and what is mounted beside it, from the application's own process: standard library only."""

from __future__ import annotations

import contextlib
import errno
import gzip
import html
import socket
import sys
import threading
from collections.abc import Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from . import request_body
from .__about__ import __version__
from .errors import ConfigurationError
from .recorder import Recorder
from .render import OPENMETRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE
from .routes import TEXT, Answer, Request, Route, refusal

if TYPE_CHECKING:
    from typing_extensions import Self

    from .guard import Guard
    from .remedies import Remedies

# Level 1: 4 times faster than level 6 for 7 % more bytes on a loopback or a LAN.
_GZIP_LEVEL = 1
_MAX_PORT = 65_535
_IDLE_SECONDS = 30
# How soon `close()` is noticed.
_POLL_SECONDS = 0.05
_LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")


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


def serve(
    recorder: Recorder,
    *,
    port: int = 9464,
    host: str = "127.0.0.1",
    routes: Iterable[Route] = (),
    live: bool = False,
    guard: Guard | None = None,
    remedies: Remedies | None = None,
) -> Server:
    """Serve the recorder's metrics in a daemon thread.

    `/metrics` answers in Prometheus text or OpenMetrics by `Accept`, gzipped where accepted; `/-/healthy` says that the
    process lives; `/` is a landing page.

    Args:
        recorder: what to show.
        port: TCP port; 0 picks a free one.
        host: address to bind; only this machine can connect unless another is given.
        routes: what else to serve.
        live: serve `/live` too, a page that shows spend as it happens.
        guard: whose open alerts and breakers the page shows.
        remedies: take Alertmanager's webhook at `/alerts` for them; they need a token file for it.

    Raises:
        ConfigurationError: the port is taken or not allowed, the address is not one of this machine, or two routes
            want the same path.
    """
    owned = contextlib.ExitStack()
    try:
        mounted = [*routes, *(_live(recorder, guard, host, owned) if live else ())]
        mounted += remedies.routes() if remedies is not None else ()
        return Server(recorder, host, port, mounted, owned)
    except BaseException:
        owned.close()
        raise


def _live(recorder: Recorder, guard: Guard | None, host: str, owned: contextlib.ExitStack) -> tuple[Route, ...]:
    from .live import Live, watch  # noqa: PLC0415 - only those who ask for the page load it

    page = Live(recorder, None if guard is None else watch.of(guard), local=host in _LOOPBACK_HOSTS)
    owned.callback(page.close)
    return page.routes


_Table = dict[str, dict[str, Route]]


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    recorder: Recorder
    table: _Table

    def __init__(self, *arguments: Any) -> None:
        self._connections: set[Any] = set()
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember the connection: clients keep them open between requests."""
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget the connection, and close it."""
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Take no further request on open connections; an answer that is under way is sent."""
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RD)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away; everything else is a mistake of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Http6(_Http):
    address_family = socket.AF_INET6


def _bound(host: str, port: int) -> _Http:
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= _MAX_PORT:
        raise ConfigurationError(f"port {port!r} is no TCP port: give a number from 0 (any free one) to {_MAX_PORT}")
    try:
        return (_Http6 if ":" in host else _Http)((host, port), _Handler)
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


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = f"anthropic-exporter/{__version__}"
    timeout = _IDLE_SECONDS
    server: _Http

    def do_GET(self) -> None:
        """Answer; HEAD is the same without its body."""
        route, request = self._route("GET")
        self._send(route if isinstance(route, Answer) else self._ask(route, request))

    do_HEAD = do_GET  # noqa: N815 - the base class finds handlers by these names

    def do_POST(self) -> None:
        """Take a body, where somebody wants it."""
        route, request = self._route("POST")
        if isinstance(route, Answer):
            self._refuse(route)
            return
        body = request_body.read(self.rfile, self.connection, request.headers, route.max_body_bytes)
        if isinstance(body, Answer):
            self._refuse(body)
        else:
            self._send(self._ask(route, request._replace(body=body)))

    def _route(self, method: str) -> tuple[Route | Answer, Request]:
        """Who answers, or what refuses; and the request without its body."""
        path, _, query = self.path.partition("?")
        request = Request(path, query, {name.lower(): value for name, value in self.headers.items()})
        methods = self.server.table.get(path)
        if methods is None:
            return refusal(HTTPStatus.NOT_FOUND, "not found; try /metrics"), request
        route = methods.get(method)
        if route is None:
            allowed = ", ".join(methods)
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"use {allowed}", ("Allow", allowed)), request
        return self._refusal(route, request) or route, request

    def _refusal(self, route: Route, request: Request) -> Answer | None:
        try:
            return route.admit(request.headers) if route.admit else None
        except Exception as error:  # noqa: BLE001 - the error boundary
            return self._failed(error)

    def _ask(self, route: Route, request: Request) -> Answer:
        try:
            return route.handle(request)
        except Exception as error:  # noqa: BLE001 - the error boundary
            return self._failed(error)

    def _failed(self, error: Exception) -> Answer:
        self.server.recorder.failed("serve", error)
        return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "failed; the application's log says where")

    def _refuse(self, answer: Answer) -> None:
        """Answer without the body having been read: the connection cannot be used again."""
        self.close_connection = True
        self._send(answer._replace(headers=(*answer.headers, ("Connection", "close"))))
        request_body.discard(self.rfile, self.connection)

    def _send(self, answer: Answer) -> None:
        body, headers = answer.body, dict(answer.headers)
        if "Content-Encoding" not in headers and "gzip" in self.headers.get("Accept-Encoding", ""):
            body = gzip.compress(body, _GZIP_LEVEL)
            headers["Content-Encoding"] = "gzip"
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Vary", "Accept, Accept-Encoding")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: a scrape every 5 s is no news."""


def _own_routes(recorder: Recorder) -> tuple[Route, ...]:
    def metrics(request: Request) -> Answer:
        openmetrics = "application/openmetrics-text" in request.headers.get("accept", "")
        content_type = OPENMETRICS_CONTENT_TYPE if openmetrics else TEXT_CONTENT_TYPE
        return Answer(HTTPStatus.OK, content_type, recorder.render(openmetrics=openmetrics))

    def healthy(_: Request) -> Answer:
        return Answer(HTTPStatus.OK, TEXT, b"healthy\n")

    return Route("/metrics", metrics, title="for Prometheus"), Route("/-/healthy", healthy, title="for health checks")


def _table(routes: tuple[Route, ...]) -> _Table:
    """Routes by path and method, the landing page among them."""
    table: _Table = {}
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
