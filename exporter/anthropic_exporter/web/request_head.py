"""Parses the request line and headers of HTTP/1.1 strictly: ambiguous requests are refused.

RFC 9112 (June 2022), sections 2 to 6. A message that a proxy in front reads differently would let a client smuggle a
second request past that proxy.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import NamedTuple

from anthropic_exporter.web.routes import Answer, refusal

END = b"\r\n\r\n"
_MOST_HEADERS = 100
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([!-~]+) HTTP/(\d)\.(\d)")
_HEADER = re.compile(rb"(" + _TOKEN + rb"):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*")
_TARGET = re.compile(r"(?:https?://([^/?#@]+))?(/[^#]*)")
_ONCE = frozenset({"host", "content-length", "transfer-encoding", "authorization", "content-type", "origin", "expect"})
_MOST_DIGITS = 12


class Head(NamedTuple):
    """A request without its body: `target` is path and query, `headers` are keyed by lower-case name."""

    method: str
    target: str
    minor_version: int
    headers: dict[str, str]

    @property
    def keeps_connection(self) -> bool:
        """Whether the client may send another request on the connection."""
        tokens = {token.strip().lower() for token in self.headers.get("connection", "").split(",")}
        return self.minor_version >= 1 and "close" not in tokens

    @property
    def has_body(self) -> bool:
        """Whether bytes that follow belong to the request."""
        return "transfer-encoding" in self.headers or self.headers.get("content-length", "0").strip("0") != ""


def parse(head: bytes) -> Head | Answer:
    """Parse a head, given without its empty line; returns it, or the answer that refuses it."""
    first, *lines = head.split(b"\r\n")
    found = _REQUEST_LINE.fullmatch(first)
    if found is None:
        return _bad("the request line is not HTTP/1.1")
    if found[3] != b"1":
        return refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "only HTTP/1.1 is supported")
    target = _TARGET.fullmatch(found[2].decode("ascii"))
    if target is None:
        return _bad("the request target is not a path")
    headers = _headers(lines)
    if isinstance(headers, Answer):
        return headers
    parsed = Head(found[1].decode("ascii"), target[2], int(found[4]), headers)
    mistake = _mistake(parsed, target[1] or "")
    return _bad(mistake) if mistake else parsed


def body_length(head: Head, most: int) -> int | Answer:
    """Return the length of the body in bytes, or the answer that refuses the request."""
    length = head.headers.get("content-length")
    if length is None or "transfer-encoding" in head.headers:
        return refusal(HTTPStatus.LENGTH_REQUIRED, "send the body in one piece, with Content-Length")
    if len(length) > _MOST_DIGITS or int(length) > most:
        return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body may have at most {most} bytes")
    return int(length)


def _headers(lines: list[bytes]) -> dict[str, str] | Answer:
    if len(lines) > _MOST_HEADERS:
        return refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {_MOST_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines:
        found = _HEADER.fullmatch(line)
        if found is None:
            return _bad("a header is not NAME: VALUE")
        name, value = found[1].decode("ascii").lower(), found[2].decode("latin-1")
        if name in headers and name in _ONCE:
            return _bad("a header is repeated")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _mistake(head: Head, authority: str) -> str:
    """The mistake in a head, if any. A host in the request target is used if there is no `Host` header."""
    length = head.headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        return "Content-Length is not a number"
    if authority and head.headers.setdefault("host", authority).lower() != authority.lower():
        return "the request target and Host name different hosts"
    return "no Host" if head.minor_version and "host" not in head.headers else ""


def _bad(reason: str) -> Answer:
    return refusal(HTTPStatus.BAD_REQUEST, reason)
