"""SDK clients on a transport that answers from memory: no network, no server, the same bytes each time."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
from anthropic import Anthropic, AsyncAnthropic

EVENTS = 200
ASKED: dict[str, Any] = {
    "model": "claude-opus-5-5",
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "Is it?"}],
}
_USAGE = {"input_tokens": 1234, "cache_read_input_tokens": 30_000, "cache_creation_input_tokens": 2048}
_MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5-5",
    "content": [{"type": "text", "text": "Yes."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {**_USAGE, "output_tokens": 187},
}
#: As many headers as the API sends, so that looking through them has its price.
_HEADERS = {
    "request-id": "req_1",
    "anthropic-organization-id": "org_1",
    **{
        f"anthropic-ratelimit-{resource}-{part}": value
        for resource in ("requests", "tokens", "input-tokens", "output-tokens")
        for part, value in (("limit", "400000"), ("remaining", "399000"), ("reset", "2026-11-25T00:00:00Z"))
    },
    **{f"x-other-{number}": "of the servers in between" for number in range(9)},
}


def _body(text_bytes: int) -> bytes:
    return json.dumps({**_MESSAGE, "content": [{"type": "text", "text": "word " * (text_bytes // 5)}]}).encode()


def _events() -> Iterator[tuple[str, dict[str, Any]]]:
    started = {**_MESSAGE, "content": [], "stop_reason": None, "usage": {**_USAGE, "output_tokens": 1}}
    yield "message_start", {"message": started}
    yield "content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}
    for _ in range(EVENTS):
        yield "content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "word "}}
    yield "content_block_stop", {"index": 0}
    yield "message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 187}}
    yield "message_stop", {}


#: Bodies of answers, by size.
BODIES = {"450 B": json.dumps(_MESSAGE).encode(), "2 kB": _body(1_600), "200 kB": _body(200_000)}
CHUNKS = [f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode() for name, data in _events()]


class _Events(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield from CHUNKS

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in CHUNKS:
            yield chunk


def _answer(body: bytes, request: httpx2.Request) -> httpx2.Response:
    if b'"stream":true' in request.content:
        return httpx2.Response(200, headers={**_HEADERS, "content-type": "text/event-stream"}, stream=_Events())
    return httpx2.Response(200, headers={**_HEADERS, "content-type": "application/json"}, content=body)


def client(body: bytes, *middleware: Any) -> Anthropic:
    """A client whose every answer is `body`, or the events of a stream."""
    transport = httpx2.MockTransport(functools.partial(_answer, body))
    http = httpx2.Client(transport=transport)
    return Anthropic(api_key="none", middleware=list(middleware), http_client=http, max_retries=0)


def async_client(body: bytes, *middleware: Any) -> AsyncAnthropic:
    """The same, async."""
    transport = httpx2.MockTransport(functools.partial(_answer, body))
    http = httpx2.AsyncClient(transport=transport)
    return AsyncAnthropic(api_key="none", middleware=list(middleware), http_client=http, max_retries=0)
