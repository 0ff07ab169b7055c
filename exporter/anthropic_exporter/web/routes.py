"""What can be mounted on the server beside /metrics: values only."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from http import HTTPStatus
from typing import NamedTuple

TEXT = "text/plain; charset=utf-8"
JSON_TYPE = "application/json"
JSON = f"{JSON_TYPE}; charset=utf-8"


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
    """One method of one path. What `handle` or `admit` raises is counted, logged and answered with 500.

    Attributes:
        path: without a query.
        handle: answers the request, on one of the server's few threads.
        method: GET also answers HEAD.
        max_body_bytes: a longer body is refused with 413.
        admit: sees the headers before the body is read; unless it returns None, its answer is sent.
        title: the route's line on the landing page, if it has one.
        accepts: the content type that a body must have. A web page of another origin cannot send JSON unasked.
        share: requests with the same key share one answer, made after the last of them arrived.
        is_quick: whether `handle` returns at once: the thread of all connections calls it.
    """

    path: str
    handle: Handler
    method: str = "GET"
    max_body_bytes: int = 0
    admit: Admit | None = None
    title: str = ""
    accepts: str = JSON_TYPE
    share: Callable[[Request], Hashable] | None = None
    is_quick: bool = False


def refusal(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Answer:
    """An answer that describes an error in one line."""
    return Answer(status, TEXT, f"{text}\n".encode(), headers)
