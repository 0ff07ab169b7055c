"""The bytes of the API: messages, events, errors and headers, built from plain values."""

from __future__ import annotations

import itertools
import json
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anthropic_exporter.simulator.fake_api.cache import CacheUse

STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "overloaded_error": 529,
}
_WORDS = ("what", "this", "costs", "depends", "on", "how", "much", "of", "the", "prompt", "is", "read", "from", "cache")


class GeneratedAnswer(NamedTuple):
    """One answer, before it is serialized as JSON or as events."""

    id: str
    model: str
    usage: Mapping[str, Any]
    block: Mapping[str, Any] | None
    stop_reason: str


def usage(reading: CacheUse, output_tokens: int) -> dict[str, Any]:
    """The full usage object, as in a message and in `message_start`."""
    return {
        "input_tokens": reading.input,
        "cache_creation_input_tokens": reading.write_5m + reading.write_1h,
        "cache_read_input_tokens": reading.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": reading.write_5m,
            "ephemeral_1h_input_tokens": reading.write_1h,
        },
        "output_tokens": output_tokens,
        "service_tier": "standard",
        "inference_geo": "global",
    }


def message(answer: GeneratedAnswer) -> dict[str, Any]:
    """The body of a response that is not streamed."""
    return {
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [answer.block] if answer.block else [],
        "stop_reason": answer.stop_reason,
        "stop_sequence": None,
        "usage": dict(answer.usage),
    }


def opening(answer: GeneratedAnswer) -> Iterator[bytes]:
    """The events before the first content delta."""
    started = message(answer) | {"content": [], "stop_reason": None, "usage": dict(answer.usage) | {"output_tokens": 1}}
    yield event("message_start", message=started)
    if answer.block:
        emptied: dict[str, Any] = {"text": ""} if answer.block["type"] == "text" else {"input": {}}
        yield event("content_block_start", index=0, content_block=dict(answer.block) | emptied)
    yield event("ping")


def deltas(answer: GeneratedAnswer, count: int) -> Iterator[bytes]:
    """The content in `count` events."""
    if answer.block is None:
        return
    text = answer.block["type"] == "text"
    content = answer.block["text"] if text else json.dumps(answer.block["input"])
    size = -(-len(content) // max(1, count))
    for begin in range(0, len(content), size):
        part = content[begin : begin + size]
        delta = {"type": "text_delta", "text": part} if text else {"type": "input_json_delta", "partial_json": part}
        yield event("content_block_delta", index=0, delta=delta)


def closing(answer: GeneratedAnswer) -> Iterator[bytes]:
    """The events after the content; usage is cumulative and lacks the TTL split, the tier and the geo."""
    if answer.block:
        yield event("content_block_stop", index=0)
    cumulative = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens", "output_tokens")
    yield event(
        "message_delta",
        delta={"stop_reason": answer.stop_reason, "stop_sequence": None},
        usage={key: answer.usage[key] for key in cumulative},
    )
    yield event("message_stop")


def event(name: str, **values: Any) -> bytes:
    """One server-sent event."""
    return f"event: {name}\ndata: {json.dumps({'type': name, **values})}\n\n".encode()


def error(error_type: str, text: str, request_id: str) -> dict[str, Any]:
    """The body of a refused request."""
    return {"type": "error", "error": {"type": error_type, "message": text}, "request_id": request_id}


def text_block(tokens: int) -> dict[str, Any] | None:
    """About `tokens` tokens of text."""
    words = itertools.islice(itertools.cycle(_WORDS), tokens)
    return {"type": "text", "text": " ".join(words)} if tokens else None


def timestamp(seconds: float) -> str:
    """Seconds since the epoch as RFC 3339, whole seconds, as the rate-limit headers have them."""
    return datetime.fromtimestamp(seconds, tz=timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
