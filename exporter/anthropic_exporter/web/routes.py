"""What can be mounted on the server beside /metrics: values, and no server."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import NamedTuple

TEXT = "text/plain; charset=utf-8"
JSON = "application/json; charset=utf-8"


class Answer(NamedTuple):
    """A response: status, content type, body, further headers."""

    status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class Request(NamedTuple):
    """A request as handlers see it: headers by their names in lower case, and the whole body."""

    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""


Handler = Callable[[Request], Answer]
Admit = Callable[[Mapping[str, str]], "Answer | None"]


class Route(NamedTuple):
    """One method of one path.

    `admit` sees the headers before a byte of the body is read; what it returns, unless None, is the answer. A body
    above `max_body_bytes` is answered with 413. `title` is the route's line on the landing page; without one it has
    none. A handler runs on the thread of its connection; what it raises is counted, logged and answered with 500.
    """

    path: str
    handle: Handler
    method: str = "GET"
    max_body_bytes: int = 0
    admit: Admit | None = None
    title: str = ""


def refusal(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Answer:
    """An answer that says in one line what was wrong."""
    return Answer(status, TEXT, f"{text}\n".encode(), headers)


_LOOPBACK = re.compile(r"(localhost|[\w.-]+\.localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?", re.IGNORECASE)


def loopback_names_only(headers: Mapping[str, str]) -> Answer | None:
    """Refuse a request that does not name this machine as loopback: a foreign web page may have a name point here."""
    if _LOOPBACK.fullmatch(headers.get("host", "")):
        return None
    return refusal(
        HTTPStatus.MISDIRECTED_REQUEST, "this server is for this machine: ask for localhost, or bind another address"
    )
