"""Reads the most common answer in a few steps: one inference, counted by type, and nothing else that is billed.

`read_plain` reads what `read_message` would read of such a message, and refuses every other one.
"""

from __future__ import annotations

import itertools
from typing import Any

from anthropic_exporter.call import REFUSAL
from anthropic_exporter.wire.events import json_object

#: The words of a message that determine its labels and prices: model, stop reason, service tier, speed, geography.
Kind = tuple[str, str, str | None, str | None, str | None]
#: Tokens in the order of `Tokens`.
Counts = tuple[int, int, int, int, int]
Plain = tuple[Kind, Counts]

#: A refusal may be free; an empty word is missing.
_NOT_PLAIN = frozenset({REFUSAL, ""})
_WORD_OR_NOT = (str, type(None))
_KIND_TYPES = frozenset((str, str, *others) for others in itertools.product(_WORD_OR_NOT, repeat=3))
_SIX_INTS = (int,) * 6
#: A power of two below the largest valid count: a number without a higher bit is smaller.
_BEYOND_ANY = 1 << 29
#: No output is counted as 0; an answer that counts none is not plain.
_UNCOUNTED = -1


def plain_of(body: bytes) -> Plain | None:
    """Read a body, if it is a plain answer."""
    try:
        return read_plain(json_object(body))
    except ValueError:
        return None


def read_plain(message: dict[str, Any]) -> Plain | None:
    """Read a message, if it is a plain answer: complete, with tokens, no refusal, nothing unusual."""
    said, usage = message.get, message.get("usage")
    if type(usage) is not dict or said("type") != "message" or said("diagnostics"):
        return None
    used = usage.get
    if used("server_tool_use") or used("iterations"):
        return None
    if used("output_tokens_details") is not None or used("fallback_credit") is not None:
        return None
    kind: Any = (said("model"), said("stop_reason"), used("service_tier"), used("speed"), used("inference_geo"))
    if tuple(map(type, kind)) not in _KIND_TYPES or kind[1] in _NOT_PLAIN or not kind[0]:
        return None
    counts = _counts(usage)
    return None if counts is None else (kind, counts)


def message_of(plain: Plain) -> dict[str, Any]:
    """A message with the same content."""
    (model, stop_reason, tier, speed, geo), (fresh, read, short, long, output) = plain
    usage = {
        "input_tokens": fresh,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": short + long,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens": output,
        "service_tier": tier,
        "speed": speed,
        "inference_geo": geo,
    }
    return {"type": "message", "model": model, "stop_reason": stop_reason, "usage": usage}


def _counts(usage: dict[str, Any]) -> Counts | None:
    """The partition as `wire.usage` makes it; None where a count is no count, or the prompt has none."""
    used, split = usage.get, usage.get("cache_creation")
    short = long = 0
    if split is not None:
        if type(split) is not dict:
            return None
        short, long = split.get("ephemeral_5m_input_tokens", 0), split.get("ephemeral_1h_input_tokens", 0)
    fresh, read = used("input_tokens", 0), used("cache_read_input_tokens", 0)
    written, output = used("cache_creation_input_tokens", 0), used("output_tokens", _UNCOUNTED)
    if tuple(map(type, (fresh, read, written, short, long, output))) != _SIX_INTS:
        return None
    prompt = fresh | read | written | short | long
    if not prompt or not 0 < prompt | output < _BEYOND_ANY:  # a negative one makes all of it negative
        return None
    rest = written - long
    return fresh, read, max(short, rest), long, output
