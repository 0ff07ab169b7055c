"""An answer as bytes: all readers share one body object; headers are made for each connection."""

from __future__ import annotations

import time
import zlib
from typing import NamedTuple

from anthropic_exporter.web.request_head import Head
from anthropic_exporter.web.routes import Answer

# Level 1: 4 times faster than level 6 for 7 % more bytes on a loopback or a LAN.
_GZIP_LEVEL = 1
_GZIP_CONTAINER = 16 + zlib.MAX_WBITS
_LEAST_GZIP_BYTES = 256
_SMALL_BYTES = 16_384
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_ALWAYS = {
    "Vary": "Accept, Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}
#: Sent before a body is read where the client waits for it.
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Response(NamedTuple):
    """Status line and headers without the empty line, and the body."""

    start: str
    body: bytes

    def buffers(self, head: Head | None, *, closes: bool) -> list[memoryview]:
        """What is sent: a large body is shared, not copied; HEAD has none."""
        close = "Connection: close\r\n" if closes else ""
        start = f"{self.start}Date: {_date(time.time())}\r\n{close}\r\n".encode("latin-1", "replace")
        if head is not None and head.method == "HEAD":
            return [memoryview(start)]
        if len(self.body) <= _SMALL_BYTES:
            return [memoryview(start + self.body)]  # one packet
        return [memoryview(start), memoryview(self.body)]


def accepts_gzip(head: Head | None) -> bool:
    """Whether the client says that it reads gzip."""
    return head is not None and "gzip" in head.headers.get("accept-encoding", "")


def build(answer: Answer, *, gzip: bool, extra: tuple[tuple[str, str], ...] = ()) -> Response:
    """Compress and describe an answer; `extra` are headers that the operator configured."""
    body, headers = answer.body, {**_ALWAYS, **dict(extra), **dict(answer.headers)}
    if gzip and len(body) >= _LEAST_GZIP_BYTES and "Content-Encoding" not in headers:
        compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_CONTAINER)
        body = compressor.compress(body) + compressor.flush()
        headers["Content-Encoding"] = "gzip"
    lines = [f"HTTP/1.1 {answer.status:d} {answer.status.phrase}", f"Content-Type: {answer.content_type}"]
    lines += [f"Content-Length: {len(body)}", *(f"{name}: {value}" for name, value in headers.items())]
    return Response("".join(f"{line}\r\n" for line in lines), body)


def _date(now: float) -> str:
    """An HTTP date (RFC 9110, section 5.6.7), in English regardless of the locale."""
    at = time.gmtime(now)
    day = f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year}"
    return f"{day} {at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"
