"""Reads the most common answer in a few steps: one inference, counted by type, and nothing else that is billed.

`read_plain` reads what `read_message` would read of such a message, and refuses every other one.
"""

from __future__ import annotations

import itertools
from typing import Any

from anthropic_exporter.call import REFUSAL
from anthropic_exporter.wire.events import json_value

#: The words of a message that determine its labels and prices: model, stop reason, service tier, speed, geography.
Kind = tuple[str, str, str | None, str | None, str | None]
#: Tokens in the order of `Tokens`.
Counts = tuple[int, int, int, int, int]
Plain = tuple[Kind, Counts]

#: A refusal may be free; an empty word is missing.
_NOT_PLAIN = frozenset({REFUSAL, ""})
_WORD_OR_NOT = (str, type(None))
_KIND_TYPES = frozenset((str, str, *others) for others in itertools.product(_WORD_OR_NOT, repeat=3))
#: In place of a split that cannot be read.
_NO_SPLIT = object()
_SIX_INTS = (int,) * 6
#: A power of two below the largest valid count: a number without a higher bit is smaller.
_BEYOND_ANY = 1 << 29
#: The fields of `Usage`, `BetaUsage` and their `cache_creation` in the SDK 2.14.0. A mapping with others may be of
#: another library.
_FIELDS = frozenset(
    {
        *("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation"),
        *("service_tier", "speed", "inference_geo"),
        *("server_tool_use", "iterations", "output_tokens_details", "fallback_credit"),
        *("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
    }
)
_SDK_MODULES = frozenset(
    f"anthropic.types.{name}" for name in ("usage", "cache_creation", "beta.beta_usage", "beta.beta_cache_creation")
)
#: No output is counted as 0; an answer that counts none is not plain.
_UNCOUNTED = -1


def plain_of(body: bytes) -> Plain | None:
    """Read a body, if it is a plain answer."""
    try:
        message = json_value(body)
    except ValueError:
        return None
    return read_plain(message) if type(message) is dict else None


def read_plain(message: dict[str, Any]) -> Plain | None:
    """Read a message, if it is a plain answer: complete, with tokens, no refusal, nothing unusual."""
    said, usage = message.get, message.get("usage")
    if type(usage) is not dict or said("type") != "message" or said("diagnostics"):
        return None
    stop_reason = said("stop_reason")
    if type(stop_reason) is not str or stop_reason in _NOT_PLAIN:
        return None
    return _plain(said("model"), stop_reason, usage, usage.get("cache_creation"))


def plain_usage(usage: Any, model: str) -> Plain | None:
    """Read a usage object of the API, as a mapping or as the SDK has it, if it says nothing unusual."""
    fields = usage if type(usage) is dict and usage.keys() <= _FIELDS else _fields_of_sdk(usage)
    if fields is None:
        return None
    split = fields.get("cache_creation")
    if split is not None and type(split) is not dict:
        split = _fields_of_sdk(split) or _NO_SPLIT
    return _plain(model, "", fields, split)


def _fields_of_sdk(usage: Any) -> dict[str, Any] | None:
    """The fields of an object of the SDK that says nothing in a field that is not known here."""
    try:
        if type(usage).__module__ not in _SDK_MODULES or usage.__pydantic_extra__:
            return None
        fields = vars(usage)
    except (AttributeError, TypeError):
        return None
    is_known = fields.keys() <= _FIELDS or all(fields[name] is None for name in fields.keys() - _FIELDS)
    return fields if is_known else None


def message_of(plain: Plain) -> dict[str, Any]:
    """A message with the same content."""
    model, stop_reason = plain[0][:2]
    return {"type": "message", "model": model, "stop_reason": stop_reason, "usage": usage_of(plain)}


def usage_of(plain: Plain) -> dict[str, Any]:
    """A usage object with the same content."""
    (_, _, tier, speed, geo), (fresh, read, short, long, output) = plain
    return {
        "input_tokens": fresh,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": short + long,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens": output,
        "service_tier": tier,
        "speed": speed,
        "inference_geo": geo,
    }


def _plain(model: Any, stop_reason: Any, usage: dict[str, Any], split: Any) -> Plain | None:
    """The kind, and the partition as `wire.usage` makes it, of a usage object that says nothing else.

    None if a word or a count is malformed, the prompt has no count, or the object counts more than the tokens of one
    inference.
    """
    used = usage.get
    kind: Any = (model, stop_reason, used("service_tier"), used("speed"), used("inference_geo"))
    if (
        tuple(map(type, kind)) not in _KIND_TYPES
        or not model
        or used("server_tool_use")
        or used("iterations")
        or used("output_tokens_details") is not None
        or used("fallback_credit") is not None
    ):
        return None
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
    return kind, (fresh, read, max(short, rest), long, output)
