"""Samples for `POST /api/v1/write` of Prometheus: protobuf (WriteRequest) in a snappy block that compresses nothing.

Both formats as their specifications have them: protobuf wire types 1 (double), 0 (varint) and 2 (length), and a snappy
block of one literal.
"""

from __future__ import annotations

import struct
import urllib.request
from collections.abc import Iterable

STALE = struct.pack("<Q", 0x7FF0000000000002)  # the NaN by which Prometheus says that a series ended
Labels = tuple[tuple[str, str], ...]


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(tag: bytes, content: bytes) -> bytes:
    return tag + varint(len(content)) + content


def value(number: float) -> bytes:
    """Eight bytes of a sample."""
    return struct.pack("<d", number)


def moment(milliseconds: int) -> bytes:
    """The bytes of a sample's time."""
    return b"\x10" + varint(milliseconds)


def sample(number: bytes, when: bytes) -> bytes:
    return field(b"\x12", b"\x09" + number + when)


def series(labels: Labels, samples: Iterable[bytes]) -> bytes:
    """A series with its samples in order of time; labels in order of their names, `__name__` among them."""
    named = [field(b"\x0a", field(b"\x0a", key.encode()) + field(b"\x12", text.encode())) for key, text in labels]
    return field(b"\x0a", b"".join([*named, *samples]))


def post(url: str, message: bytes) -> None:
    """Hand a message to a Prometheus that receives.

    Raises:
        HTTPError: it was refused, for instance because a sample is older than one of its series.
    """
    block = varint(len(message)) + b"\xfc" + struct.pack("<I", len(message) - 1) + message
    headers = {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    request = urllib.request.Request(f"{url}/api/v1/write", data=block, headers=headers, method="POST")
    urllib.request.urlopen(request, timeout=600).close()
