"""The envelope that every binary message and file of the fleet shares: a version, a JSON header, and raw bytes.

```
offset  bytes  content
0       4      magic, b"ANXC"
4       1      major version of the format
5       1      flags: bit 0, what follows offset 12 is compressed by zlib; all other bits are 0
6       2      0
8       4      length of the JSON header in bytes, unsigned, little-endian
12      …      the header, UTF-8 JSON, then the body
```

A reader ignores unknown header keys. A change that an older reader must not ignore needs a new major version.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any, NamedTuple

MAGIC = b"ANXC"
MAJOR = 1
_PREFIX = struct.Struct("<4sBBHI")
_COMPRESSED = 1
_LEVEL = 1
#: Smaller messages gain less than the compression costs.
_COMPRESS_FROM_BYTES = 16_384
#: One message of 20,000 series of 16 cells, defined and filled, takes 8 MB.
MOST_BYTES = 64 * 1024 * 1024


class UnreadableError(ValueError):
    """Bytes that are not a message, or one of a newer major version.

    Attributes:
        reason: `newer_format` or `unreadable`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class Container(NamedTuple):
    """A header and a body."""

    header: dict[str, Any]
    body: bytes


def pack(header: dict[str, Any], body: bytes, *, compress: bool = True) -> bytes:
    """The bytes of a message; long ones are compressed."""
    head = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    flags, content = 0, head + body
    if compress and len(content) >= _COMPRESS_FROM_BYTES:
        flags, content = _COMPRESSED, zlib.compress(content, _LEVEL)
    return _PREFIX.pack(MAGIC, MAJOR, flags, 0, len(head)) + content


def unpack(data: bytes, most: int = MOST_BYTES) -> Container:
    """The header and the body of a message of at most `most` bytes, uncompressed.

    Raises:
        UnreadableError: the bytes are not a message, or of a newer format.
    """
    if len(data) < _PREFIX.size or data[:4] != MAGIC:
        raise UnreadableError("unreadable", "no magic")
    _, major, flags, _, length = _PREFIX.unpack_from(data)
    if major > MAJOR:
        raise UnreadableError("newer_format", f"major version {major}; this reads up to {MAJOR}")
    if flags & ~_COMPRESSED:
        raise UnreadableError("newer_format", f"flags {flags}")
    content = data[_PREFIX.size :]
    if flags & _COMPRESSED:
        content = _decompress(content, most)
    if length > len(content) or len(content) > most:
        raise UnreadableError("unreadable", "lengths")
    return Container(_header(content[:length]), content[length:])


def _header(text: bytes) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableError("unreadable", "header") from error
    if not isinstance(header, dict):
        raise UnreadableError("unreadable", "header")
    return header


def _decompress(content: bytes, most: int) -> bytes:
    """At most `most` bytes: a small message cannot fill the memory."""
    stream = zlib.decompressobj()
    try:
        found = stream.decompress(content, most)
    except zlib.error as error:
        raise UnreadableError("unreadable", "compression") from error
    if not stream.eof:
        raise UnreadableError("unreadable", "compression: cut off, or too long")
    return found
