"""Bodies of the API as it writes them: messages, streams, batch results; and scripted answers made of them."""

from __future__ import annotations

import gzip
import json
from typing import Any

from anthropic_exporter.simulator.fake_api import Chunk, Scripted
from anthropic_exporter.simulator.fake_api.wire import event

MODEL = "claude-opus-5-5"
USAGE = {"input_tokens": 100, "cache_read_input_tokens": 2000, "cache_creation_input_tokens": 0, "output_tokens": 50}
#: What the application sends.
ASK: dict[str, Any] = {"model": MODEL, "max_tokens": 500, "messages": [{"role": "user", "content": "hello"}]}


def message(usage: Any = USAGE, **fields: Any) -> dict[str, Any]:
    """A message, as JSON would have it."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": "Hi there."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
    } | fields


def answer(usage: Any = USAGE, *, status: int = 200, headers: dict[str, str] | None = None, **fields: Any) -> Scripted:
    """A message as an answer in one piece."""
    return Scripted.of(json.dumps(message(usage, **fields)).encode(), status=status, **(headers or {}))


def refused(
    status: int, error_type: str, *, headers: dict[str, str] | None = None, **error: dict[str, str]
) -> Scripted:
    """An error answer."""
    body = {"type": "error", "error": {"type": error_type, "message": "no"} | error}
    return Scripted.of(json.dumps(body).encode(), status=status, **(headers or {}))


def delta(text: str = "Hello ") -> bytes:
    """One content delta."""
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})


def events(usage: dict[str, Any] = USAGE, *, deltas: int = 4, **fields: Any) -> list[bytes]:
    """The events of a whole stream, one an entry. Output in `message_start` is the placeholder 1."""
    begun = message(usage | {"output_tokens": 1}, content=[], stop_reason=None, **fields)
    return [
        event("message_start", message=begun),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("ping"),
        *[delta() for _ in range(deltas)],
        event("content_block_stop", index=0),
        event(
            "message_delta",
            delta={"stop_reason": "end_turn", "stop_sequence": None},
            usage={"output_tokens": usage["output_tokens"]},
        ),
        event("message_stop"),
    ]


def streamed(
    parts: list[bytes],
    *,
    drop: bool = False,
    packed: bool = False,
    after: float = 0.0,
    headers: dict[str, str] | None = None,
) -> Scripted:
    """An answer of server-sent events, each in a chunk of its own; `packed` for gzip in one chunk."""
    named = {"content-type": "text/event-stream; charset=utf-8"} | (headers or {})
    if packed:
        return Scripted(200, named | {"content-encoding": "gzip"}, (Chunk(gzip.compress(b"".join(parts))),))
    return Scripted(200, named, tuple(Chunk(part, after) for part in parts), drop)


def batch(
    identifier: str = "msgbatch_1",
    base_url: str = "https://api.anthropic.com",
    created_at: str = "2026-11-20T10:00:00Z",
) -> dict[str, Any]:
    """A batch that has ended."""
    return {
        "id": identifier,
        "type": "message_batch",
        "processing_status": "ended",
        "request_counts": {"processing": 0, "succeeded": 2, "errored": 0, "canceled": 0, "expired": 0},
        "created_at": created_at,
        "expires_at": "2026-11-21T10:00:00Z",
        "ended_at": "2026-11-20T11:00:00Z",
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": f"{base_url}/v1/messages/batches/{identifier}/results",
    }


def result(custom_id: str, usage: dict[str, int] = USAGE, **fields: Any) -> bytes:
    """One line of batch results."""
    succeeded = {"type": "succeeded", "message": message(usage | {"service_tier": "batch"}, **fields)}
    return json.dumps({"custom_id": custom_id, "result": succeeded}).encode() + b"\n"
