"""Reads the body of a request: never more than allowed, never longer than a few seconds."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from http import HTTPStatus
from io import BufferedIOBase

from anthropic_exporter.web.routes import Answer, refusal

_READ_SECONDS = 10.0
_DISCARD_SECONDS = 1.0
_CHUNK_BYTES = 65_536
_MOST_DIGITS = 12


def read(source: BufferedIOBase, connection: socket.socket, headers: Mapping[str, str], most: int) -> bytes | Answer:
    """The body, or the answer that refuses it.

    Args:
        source: where the body stands next.
        connection: the socket below `source`.
        headers: of the request, by their names in lower case.
        most: bytes allowed.
    """
    length = headers.get("content-length")
    if length is None or headers.get("transfer-encoding"):
        return refusal(HTTPStatus.LENGTH_REQUIRED, "send the body in one piece, with Content-Length")
    if not (length.isascii() and length.isdigit()):
        return refusal(HTTPStatus.BAD_REQUEST, "Content-Length is no number")
    if len(length) > _MOST_DIGITS or int(length) > most:
        return refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a body of at most {most} bytes is taken here")
    body = _read(source, connection, int(length), _READ_SECONDS)
    if len(body) < int(length):
        return refusal(HTTPStatus.REQUEST_TIMEOUT, f"the body did not come within {_READ_SECONDS:.0f} s")
    return body


def discard(source: BufferedIOBase, connection: socket.socket) -> None:
    """Read on for a moment after a refusal: closing on unread bytes would reset the connection before it is read."""
    deadline = time.monotonic() + _DISCARD_SECONDS
    while time.monotonic() < deadline and _read(source, connection, _CHUNK_BYTES, _DISCARD_SECONDS / 10):
        pass


def _read(source: BufferedIOBase, connection: socket.socket, count: int, seconds: float) -> bytes:
    """Up to `count` bytes: less where the sender stops, closes, or takes longer."""
    deadline, found, before = time.monotonic() + seconds, bytearray(), connection.gettimeout()
    try:
        while len(found) < count and (left := deadline - time.monotonic()) > 0:
            connection.settimeout(left)
            chunk = source.read1(min(count - len(found), _CHUNK_BYTES))
            if not chunk:
                break
            found += chunk
    except OSError:  # slow, or gone
        pass
    connection.settimeout(before)
    return bytes(found)
