"""Serves the page: one self-contained document that reads from this process alone."""

from __future__ import annotations

import base64
import gzip
import hashlib
import time
from collections.abc import Callable
from http import HTTPStatus
from importlib import resources
from urllib.parse import parse_qs

from anthropic_exporter.live.feeds import Feed
from anthropic_exporter.live.guard_view import Watched
from anthropic_exporter.live.state import PageState
from anthropic_exporter.web.routes import JSON, Answer, Request, Route

_HTML = "text/html; charset=utf-8"
_SCRIPTS = ("uPlot.iife.min.js", "numbers.js", "charts.js", "page.js")
_STYLES = ("uPlot.min.css", "page.css")
_PRIVATE = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class Live:
    """The routes `/live` and `/live/state`. Close it to stop its feed.

    Args:
        feed: the calls to show.
        watched: open alerts and breakers, if there is a Guard.
        clock: monotonic seconds.
        wall: Unix seconds.
    """

    def __init__(
        self,
        feed: Feed,
        watched: Watched | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._state = PageState(feed, watched, clock=clock, wall=wall)
        self.close = self._state.close
        page = _page()
        self.routes = (
            Route("/live", lambda _: page, title="spend as it happens, on a page", is_quick=True),
            Route("/live/state", self._read, share=lambda request: request.query),
        )

    def _read(self, request: Request) -> Answer:
        since = parse_qs(request.query).get("since", ["0"])[0]
        if not (since.isascii() and since.isdigit() and len(since) < 16):  # noqa: PLR2004 - far beyond any step
            return Answer(HTTPStatus.BAD_REQUEST, JSON, b'{"error": "since is not a step number"}')
        return Answer(HTTPStatus.OK, JSON, self._state.read(int(since)), _PRIVATE)


def _page() -> Answer:
    """The document, compressed once: every client that can show it takes gzip."""
    scripts, styles = "\n".join(map(_asset, _SCRIPTS)), "\n".join(map(_asset, _STYLES))
    document = _asset("page.html").replace("/*STYLES*/", styles).replace("/*SCRIPTS*/", scripts)
    policy = (
        f"default-src 'none'; script-src {_hash(scripts)}; style-src {_hash(styles)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = (*_PRIVATE, ("Content-Security-Policy", policy), ("Content-Encoding", "gzip"))
    return Answer(HTTPStatus.OK, _HTML, gzip.compress(document.encode(), 9), headers)


def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
