"""Finds the route for a request, and is the error boundary around its handler. Does not use sockets."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Callable, Mapping
from http import HTTPStatus

from anthropic_exporter.__about__ import __version__
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.text import OPENMETRICS_CONTENT_TYPE, TEXT_CONTENT_TYPE
from anthropic_exporter.recorder import Recorder
from anthropic_exporter.web.admission import Admission
from anthropic_exporter.web.request_head import Head
from anthropic_exporter.web.routes import TEXT, Answer, Request, Route, refusal

#: Called for each request after the host check; may be slow, so handler threads call it.
Authenticate = Callable[[Mapping[str, str]], "Answer | None"]


class Site:
    """The routes of one server.

    Args:
        recorder: counts what fails and which limits are reached.
        routes: the routes besides /metrics, /-/healthy and the landing page.
        admission: who may ask.
        authenticate: checks a password or token; None admits everybody.

    Raises:
        ConfigurationError: two routes have the same method and path.
    """

    def __init__(
        self,
        recorder: Recorder,
        routes: tuple[Route, ...],
        admission: Admission,
        authenticate: Authenticate | None = None,
    ) -> None:
        self._recorder = recorder
        self._admission = admission
        self._authenticate = authenticate
        self._table = _table((*_own_routes(recorder), *routes))

    def route(self, head: Head) -> Route | Answer:
        """Return the route of a request, or the answer that refuses it."""
        refused = self._admission.refuses(head)
        if refused is not None:
            return refused
        methods = self._table.get(head.target.partition("?")[0])
        if methods is None:
            return refusal(HTTPStatus.NOT_FOUND, "not found; try /metrics")
        route = methods.get("GET" if head.method == "HEAD" else head.method)
        if route is None:
            allowed = ", ".join(methods)
            return refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"use {allowed}", ("Allow", allowed))
        if route.method == "GET" and head.has_body:
            return refusal(HTTPStatus.BAD_REQUEST, f"a {head.method} has no body here")
        if route.method != "GET" and route.accepts not in ("", _content_type(head)):
            return refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"send {route.accepts}")
        return route

    @property
    def asks_everybody(self) -> bool:
        """Whether every request needs a password or token, also one for a path that does not exist."""
        return self._authenticate is not None

    def asks_first(self, route: Route) -> bool:
        """Whether `admit` has something to ask."""
        return self._authenticate is not None or route.admit is not None

    def admit(self, route: Route, headers: Mapping[str, str]) -> Answer | None:
        """Return the answer that refuses these headers, or None if they are admitted.

        A route with its own key requires only that key, because a client sends one `Authorization` header.
        """
        return self._asked(route.admit or self._authenticate, headers)

    def authenticate(self, headers: Mapping[str, str]) -> Answer | None:
        """Return the answer that refuses these headers on any path, or None if they are admitted."""
        return self._asked(self._authenticate, headers)

    def _asked(self, ask: Authenticate | None, headers: Mapping[str, str]) -> Answer | None:
        try:
            return ask(headers) if ask else None
        except BaseException as error:  # noqa: BLE001 - the error boundary: SystemExit of a handler ends nothing
            return self._failed(error)

    def answer(self, route: Route, request: Request) -> Answer:
        """What the route answers."""
        try:
            return route.handle(request)
        except BaseException as error:  # noqa: BLE001 - the error boundary: SystemExit of a handler ends nothing
            return self._failed(error)

    def tick(self) -> bool:
        """Write what waits in the recorder. Returns whether anything waited."""
        try:
            return self._recorder.tick()
        except BaseException as error:  # noqa: BLE001 - a strict recorder raises
            self.failed(error)
            return False

    def stop_ticking(self) -> None:
        """Announce that `tick` is no longer called."""
        self._recorder.stop_ticking()

    def limited(self, limit: str) -> None:
        """Count that a limit was reached."""
        with contextlib.suppress(BaseException):  # a strict recorder raises; the server continues
            self._recorder.count(f.LIMITS_REACHED, limit)

    def failed(self, error: BaseException) -> None:
        """Count and log a failure of this library."""
        with contextlib.suppress(BaseException):  # a strict recorder raises
            self._recorder.failed("serve", error)

    def _failed(self, error: BaseException) -> Answer:
        self.failed(error)
        return refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "failed; the application's log says where")


def request_of(head: Head, body: bytes = b"") -> Request:
    """A request as handlers see it."""
    path, _, query = head.target.partition("?")
    return Request(path, query, head.headers, body)


def _content_type(head: Head) -> str:
    return head.headers.get("content-type", "").partition(";")[0].strip().lower()


Table = dict[str, dict[str, Route]]


def _own_routes(recorder: Recorder) -> tuple[Route, ...]:
    def metrics(request: Request) -> Answer:
        openmetrics = _is_openmetrics(request)
        content_type = OPENMETRICS_CONTENT_TYPE if openmetrics else TEXT_CONTENT_TYPE
        return Answer(HTTPStatus.OK, content_type, recorder.render(openmetrics=openmetrics))

    def healthy(_: Request) -> Answer:
        return Answer(HTTPStatus.OK, TEXT, b"healthy\n")

    return (
        Route("/metrics", metrics, title="for Prometheus", share=_is_openmetrics),
        Route("/-/healthy", healthy, title="for health checks", is_quick=True),
    )


def _is_openmetrics(request: Request) -> bool:
    return "application/openmetrics-text" in request.headers.get("accept", "")


def _table(routes: tuple[Route, ...]) -> Table:
    """Routes by path and method, the landing page among them."""
    table: Table = {}
    for route in (*routes, Route("/", lambda _: page, is_quick=True)):
        if table.setdefault(route.path, {}).setdefault(route.method, route) is not route:
            raise ConfigurationError(f"two routes serve {route.method} {route.path}; remove one of them")
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
