"""What the API sends, and how `fuzz.py` damages it."""

from __future__ import annotations

import asyncio
import base64
import gzip
import importlib
import json
import struct
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic

LIBRARY = "httpx2" if "httpx2" in anthropic._base_client.__dict__ else "httpx"  # noqa: SLF001 - which one it uses
http = importlib.import_module(LIBRARY)

MODEL = "claude-opus-5-5"
USAGE = {
    "input_tokens": 100,
    "cache_read_input_tokens": 2000,
    "cache_creation_input_tokens": 500,
    "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200},
    "server_tool_use": {"web_search_requests": 2},
    "service_tier": "standard",
    "output_tokens": 50,
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "content": [{"type": "text", "text": "Ünï 😀 there."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}
ERROR: dict[str, Any] = {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi 😀 "}}
EVENTS: list[dict[str, Any]] = [
    {"type": "message_start", "message": MESSAGE | {"content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    *[DELTA] * 5,
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 50}},
    {"type": "message_stop"},
]
#: The last event counts less than those before it, zeros and nulls included.
SMALLER = {"input_tokens": 0, "cache_read_input_tokens": None, "cache_creation_input_tokens": 3, "output_tokens": 7}
FEWER = [*EVENTS[:-1], {"type": "message_delta", "delta": {}, "usage": SMALLER}, EVENTS[-1]]
WORDS = [b"null", b"-1", b"1e999", b"[]", b"{}", b'"x"', b"true", b"NaN", b"99999999999999999999", b"0.5"]
LINES = [b"\n", b"\r\n", b"\r", b"\n\n", b"event: error\n", b"data: {}\n\n", b": comment\n", b"data: [DONE]\n\n"]


def sse(events: list[dict[str, Any]]) -> bytes:
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode() for event in events
    )


def frame(payload: bytes, **headers: str) -> bytes:
    """One message of an AWS event stream: two lengths, CRC, headers of type string, payload, CRC."""
    named = b"".join(
        struct.pack("!B", len(name) + 1) + b":" + name + b"\x07" + struct.pack("!H", len(value)) + value
        for name, value in ((name.replace("_", "-").encode(), value.encode()) for name, value in headers.items())
    )
    prelude = struct.pack("!II", len(named) + len(payload) + 16, len(named))
    body = prelude + struct.pack("!I", zlib.crc32(prelude)) + named + payload
    return body + struct.pack("!I", zlib.crc32(body))


def framed(event: dict[str, Any]) -> bytes:
    """An event as Bedrock wraps it."""
    payload = json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}).encode()
    return frame(payload, event_type="chunk", content_type="application/json", message_type="event")


AWS_STREAM = "application/vnd.amazon.eventstream"
THROTTLED = frame(b'{"message": "no"}', exception_type="throttlingException", message_type="exception")
_JSON = (200, "application/json", json.dumps(MESSAGE).encode())
_ERROR = (529, "application/json", json.dumps(ERROR).encode())
#: name: status, content type, body.
BODIES = {
    "json": _JSON,
    "sse": (200, "text/event-stream; charset=utf-8", sse(EVENTS)),
    "sse error": (200, "text/event-stream", sse([*EVENTS[:6], ERROR])),
    "sse counting less": (200, "text/event-stream", sse(FEWER)),
    "sse all named message": (200, "text/event-stream", sse(EVENTS).replace(b"event: ", b"event: message\n: ")),
    "error in 200": (200, "application/json", json.dumps(ERROR).encode()),
    "no usage": (200, "application/json", json.dumps(MESSAGE | {"usage": None}).encode()),
    "error": _ERROR,
}
BEDROCK_BODIES = {
    "json": _JSON,
    "frames": (200, AWS_STREAM, b"".join(map(framed, EVENTS))),
    "frames exception": (200, AWS_STREAM, b"".join(map(framed, EVENTS[:6])) + THROTTLED),
    "error": _ERROR,
}


def damaged(chance: Any, body: Any) -> Any:
    """The body with a few of its bytes, numbers or lines changed."""
    for _ in range(chance.randrange(4)):
        at, far = chance.randrange(len(body) + 1), chance.randrange(1, 40)
        kind = chance.randrange(7)
        if kind == 0:
            body = body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]
        elif kind == 1:
            body = body[:at] + body[at + far :]
        elif kind == 2:
            body = body[: at + far] + body[at:]
        elif kind == 3:
            body = body[:at] + chance.choice(LINES) + body[at:]
        elif kind == 4:
            body = body[:at]
        else:
            body = _another_value(chance, body, at)
    return body


def _another_value(chance: Any, body: Any, at: Any) -> Any:
    """Replace the value behind the next colon, up to the next comma or brace."""
    colon = body.find(b":", at)
    ends = [end for end in (body.find(mark, colon) for mark in (b",", b"}", b"\n")) if end > 0]
    if colon < 0 or not ends:
        return body
    return body[: colon + 1] + chance.choice(WORDS) + body[min(ends) :]


def packed(chance: Any, body: Any) -> Any:
    """The body compressed, sometimes damaged once more."""
    body = gzip.compress(body, mtime=0)
    return damaged(chance, body) if chance.random() < 0.3 else body


def chopped(chance: Any, body: Any) -> Any:
    """The body in pieces, cut anywhere."""
    cuts = sorted(chance.randrange(len(body) + 1) for _ in range(chance.choice([0, 1, 5, 30, 200])))
    return [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]


class Chunks(http.SyncByteStream):  # type: ignore[name-defined, misc]
    """A body in chunks; raises at the end where the connection breaks."""

    def __init__(self, chunks: Any, broken: Any) -> None:
        self.chunks = chunks
        self.broken = broken

    def __iter__(self) -> Iterator[Any]:
        yield from self.chunks
        if self.broken:
            raise http.ReadError("cut")


class AsyncChunks(http.AsyncByteStream):  # type: ignore[name-defined, misc]
    """The same for async clients; waits for the event loop before each chunk, as a socket may."""

    def __init__(self, chunks: Any, broken: Any) -> None:
        self.chunks = chunks
        self.broken = broken

    async def __aiter__(self) -> AsyncIterator[Any]:
        for chunk in self.chunks:
            await asyncio.sleep(0)
            yield chunk
        if self.broken:
            raise http.ReadError("cut")
