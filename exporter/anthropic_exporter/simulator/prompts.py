"""The request bodies of the sample application, healthy and broken."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from anthropic_exporter.simulator.workload import prose

if TYPE_CHECKING:
    from anthropic_exporter.simulator.workload import Feature

_EPHEMERAL = {"type": "ephemeral"}
SEARCH: Any = {
    "name": "search_orders",
    "description": "Find the orders that a sentence is about.",
    "input_schema": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
}


class Prompts:
    """The requests of one feature. The system prompt is built once."""

    def __init__(self, feature: Feature) -> None:
        self._feature = feature
        self._system: dict[str, Any] = {"type": "text", "text": prose(feature.system_tokens)}
        if feature.cached:
            self._system["cache_control"] = _EPHEMERAL
        self._question = prose(feature.question_tokens)

    def first(self, number: int) -> list[dict[str, Any]]:
        """The first turn of a conversation, a new question each time."""
        return [{"role": "user", "content": f"Case {number:08d}. {self._question}"}]

    def body(
        self, messages: list[dict[str, Any]], *, stamped: bool = False, max_tokens: int | None = None
    ) -> dict[str, Any]:
        """The arguments of `messages.create`; with `stamped`, a timestamp precedes the cached prefix."""
        now = [{"type": "text", "text": f"Now: {dt.datetime.now(dt.timezone.utc).isoformat()}"}] if stamped else []
        return {
            "model": self._feature.model,
            "max_tokens": self._feature.max_tokens if max_tokens is None else max_tokens,
            "system": [*now, self._system],
            "messages": messages,
        }


def results(content: list[Any]) -> list[dict[str, Any]]:
    """The results of the tool calls in a message."""
    calls = (block for block in content if block.type == "tool_use")
    return [{"type": "tool_result", "tool_use_id": call.id, "content": "2 orders, both delivered"} for call in calls]
