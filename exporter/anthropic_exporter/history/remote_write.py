"""Samples for `POST /api/v1/write` of Prometheus: protobuf (WriteRequest) in a snappy block that compresses nothing.

Both formats as their specifications have them: protobuf wire types 1 (double), 0 (varint) and 2 (length), and a snappy
block of one literal.
"""

from __future__ import annotations

import struct
import urllib.request
from collections.abc import Iterable

#: The NaN that ends a series.
STALE = struct.pack("<Q", 0x7FF0000000000002)
Labels = tuple[tuple[str, str], ...]
_SEVEN_BITS = 127
_ONE_BYTE = tuple(bytes((number,)) for number in range(_SEVEN_BITS + 1))
#: Samples in one message.
_TOGETHER = 20_000
_PATIENCE_SECONDS = 600


def varint(number: int) -> bytes:
    """An integer as protobuf writes it."""
    out = bytearray()
    while number > _SEVEN_BITS:
        out.append(number & _SEVEN_BITS | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(tag: bytes, content: bytes) -> bytes:
    """A field of a length and its content."""
    return tag + varint(len(content)) + content


def value(number: float) -> bytes:
    """The eight bytes of a sample's value."""
    return struct.pack("<d", number)


def moment(milliseconds: int) -> bytes:
    """The bytes of a sample's time."""
    return b"\x10" + varint(milliseconds)


def sample(number: bytes, when: bytes) -> bytes:
    """A sample, from `value` or `STALE` and `moment`."""
    content = b"\x09" + number + when
    return b"\x12" + _ONE_BYTE[len(content)] + content


def series(labels: Labels, samples: Iterable[bytes]) -> bytes:
    """A series with its samples in order of time; labels in order of their names, `__name__` among them."""
    named = [field(b"\x0a", field(b"\x0a", key.encode()) + field(b"\x12", text.encode())) for key, text in labels]
    return field(b"\x0a", b"".join([*named, *samples]))


def write(url: str, parts: Iterable[tuple[Labels, list[bytes]]]) -> None:
    """Send series with their samples, in messages of a moderate size.

    Raises:
        HTTPError: the server refused them, for instance because a sample is older than the newest one of its series.
    """
    message: list[bytes] = []
    count = 0
    for labels, samples in parts:
        message.append(series(labels, samples))
        count += len(samples)
        if count > _TOGETHER:
            post(url, b"".join(message))
            message, count = [], 0
    if message:
        post(url, b"".join(message))


def post(url: str, message: bytes) -> None:
    """Send one message to a Prometheus that receives."""
    block = varint(len(message)) + b"\xfc" + struct.pack("<I", len(message) - 1) + message
    headers = {
        "Content-Encoding": "snappy",
        "Content-Type": "application/x-protobuf",
        "X-Prometheus-Remote-Write-Version": "0.1.0",
    }
    request = urllib.request.Request(f"{url}/api/v1/write", data=block, headers=headers, method="POST")  # noqa: S310
    urllib.request.urlopen(request, timeout=_PATIENCE_SECONDS).close()  # noqa: S310 - an address of our own
