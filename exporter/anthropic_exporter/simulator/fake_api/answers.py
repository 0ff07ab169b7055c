"""The answers of the fake model: text of the drawn length, or a tool call while an agent has rounds left."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from anthropic_exporter.simulator.fake_api import wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anthropic_exporter.simulator.fake_api.cache import CacheUse

_TOOL_CALL_TOKENS = 40


def compose(body: Mapping[str, Any], reading: CacheUse, drawn_tokens: int, tool_rounds: int) -> wire.GeneratedAnswer:
    """The answer to `body`, cut at its `max_tokens`; `max_tokens: 0` warms the cache and returns no content."""
    limit = int(body["max_tokens"])
    identifier = f"msg_{uuid.uuid4().hex[:24]}"
    if body.get("tools") and _rounds(body) < tool_rounds and limit >= _TOOL_CALL_TOKENS:
        usage = wire.usage(reading, _TOOL_CALL_TOKENS)
        return wire.GeneratedAnswer(identifier, body["model"], usage, _tool_call(body["tools"][0]), "tool_use")
    tokens = min(drawn_tokens, limit)
    stop_reason = "max_tokens" if tokens == limit else "end_turn"
    return wire.GeneratedAnswer(
        identifier, body["model"], wire.usage(reading, tokens), wire.text_block(tokens), stop_reason
    )


def _rounds(body: Mapping[str, Any]) -> int:
    contents = (message.get("content") for message in body["messages"])
    blocks = (block for content in contents if not isinstance(content, str) for block in content)
    return sum(block.get("type") == "tool_result" for block in blocks)


def _tool_call(tool: Mapping[str, Any]) -> dict[str, Any]:
    names = tool.get("input_schema", {}).get("properties", {})
    arguments = dict.fromkeys(names, "the part of the question that needs looking up")
    return {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex[:24]}", "name": tool["name"], "input": arguments}
