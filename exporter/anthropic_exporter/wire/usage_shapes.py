"""Converts usage objects of other libraries to the API's own shape.

They differ in one thing that costs money: whether their input count includes cache reads and writes.

| shape | known by | input count | source, read 2026-11-30 |
|---|---|---|---|
| Messages API | `input_tokens`, none of the below | exclusive | `Usage` of the SDK 2.14.0 |
| LangChain | `input_token_details`, `output_token_details` | inclusive | `UsageMetadata` of langchain-core 1.8.3, langchain-anthropic 1.7.10 |
| pydantic-ai | `cache_read_tokens`, `cache_write_tokens` | inclusive | `RequestUsage` of pydantic-ai 2.68.0 |
| OpenAI Responses | `input_tokens_details` | inclusive | `ResponseUsage` of openai 3.3.0 |
| OpenAI Chat, gateways, LiteLLM | `prompt_tokens` | inclusive | `CompletionUsage` of openai 3.3.0, `Usage` of litellm 1.110.2 |
| Bedrock Converse | `inputTokens` | exclusive | `TokenUsage` of botocore 1.44.8; Bedrock user guide, *prompt caching* |
| Claude Agent SDK | `cacheCreationInputTokens` | exclusive | `ResultMessage.model_usage` of claude-agent-sdk 0.2.189 |
| OTel GenAI | `gen_ai.usage.*` | inclusive | GenAI conventions, opentelemetry-semantic-conventions 0.66b2 |

Other shapes are not read: a guess would be a wrong number that looks right. Nor is a shape that counts something of a
cache under a name which is not known here, at any depth; one whose details cannot be read, or whose `total_tokens` is
not the sum of its input and output; and an OpenAI-like one that does not say whether its prompt includes the cache:
`total_tokens` or the details do. Haystack keeps such a prompt exclusive.
"""  # noqa: E501 - a table

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

_Usage = Mapping[str, Any]
_OTEL = "gen_ai.usage."
#: Ends of keys whose values are objects: `prompt_tokens_details`, `inputTokenDetails`, and those of the API.
_DETAILS = ("_details", "TokenDetails", "TokensDetails")
_OBJECTS = (*_DETAILS, "cache_creation", "server_tool_use")
#: These fields mean the same in every library.
_ALIKE = ("service_tier", "speed", "inference_geo", "server_tool_use")
#: How deep names that speak of a cache are searched for.
_DEEPEST = 4
#: Counts of a cache in the API's own shape.
_API_OF_CACHE = frozenset({"cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation"})


class _Counts(NamedTuple):
    """The counts of a library, None if missing. `inclusive`: `prompt` includes cache reads and writes."""

    prompt: Any
    output: Any
    cache_read: Any = None
    cache_write: Any = None
    cache_write_5m: Any = None
    cache_write_1h: Any = None
    thinking: Any = None
    inclusive: bool = True
    searches: Any = None
    total: Any = None


def as_mapping(usage: Any) -> dict[str, Any] | None:
    """The fields of a mapping, a pydantic model, a dataclass, a named tuple or an object with attributes; else None."""
    try:
        return _fields(usage)
    except Exception:  # noqa: BLE001 - an object of somebody else's, whose method of that name is another one
        return None


def _fields(usage: Any) -> dict[str, Any] | None:
    if isinstance(usage, Mapping):
        return dict(usage)
    for method in ("model_dump", "_asdict", "dict"):
        dump = getattr(usage, method, None)
        if callable(dump) and not isinstance(usage, type):
            found = dump()
            return dict(found) if isinstance(found, Mapping) else None
    if isinstance(usage, type):
        return None
    if dataclasses.is_dataclass(usage):
        return {field.name: getattr(usage, field.name) for field in dataclasses.fields(usage)}
    return {name: value for name, value in vars(usage).items() if not name.startswith("_")} or None


def in_api_shape(usage: _Usage) -> dict[str, Any] | None:
    """The same usage in the shape of the Messages API; None for a shape that is not known or contradicts itself."""
    usage = {key: _detailed(key, value) for key, value in usage.items()}
    for shape in _SHAPES:
        if shape.fits(usage):
            known = _is_readable(usage) and not _counts_another_cache(usage, shape)
            converted = _converted(shape.counts(usage)) if known else None
            return None if converted is None else converted | {key: usage[key] for key in _ALIKE if usage.get(key)}
    if not ("input_tokens" in usage or "output_tokens" in usage):
        return None
    is_known = any(usage.get(key) for key in _API_OF_CACHE) or not _counts_another_cache(usage, _API)
    return usage if is_known and _is_readable(usage) and _adds_up(usage) else None


def _adds_up(usage: _Usage) -> bool:
    """Whether a total is that of input and output, with or without the cache. The API itself sends none."""
    total = usage.get("total_tokens")
    if not total or not _is_number(total):
        return True
    prompt, read, written, output = (
        usage.get(f"{name}_tokens") or 0 for name in ("input", "cache_read_input", "cache_creation_input", "output")
    )
    try:
        return total in (prompt + output, prompt + read + written + output)
    except TypeError:  # a count that is not a number is malformed, and counted as that
        return True


def _detailed(key: Any, value: Any) -> Any:
    """The value of a key; an object as its fields, because libraries mix objects and mappings."""
    is_object = str(key).endswith(_OBJECTS) and value is not None and not isinstance(value, Mapping | list)
    return value if not is_object or (fields := as_mapping(value)) is None else fields


def _is_readable(usage: _Usage) -> bool:
    """Whether the details have fields: their counts are part of another number, or of none."""
    details = (value for key, value in usage.items() if str(key).endswith(_DETAILS))
    return all(value is None or isinstance(value, Mapping) for value in details)


def _counts_another_cache(usage: _Usage, shape: _Shape) -> bool:
    """Whether something is counted under a name that speaks of a cache, and that the shape does not read."""
    return any(
        _counts(value, of_cache="cach" in str(key).lower(), known=shape.of_cache_inside)
        for key, value in usage.items()
        if key not in shape.of_cache and key not in _ALIKE and key != "iterations"
    )


def _counts(value: Any, *, of_cache: bool, known: frozenset[str], depth: int = 1) -> bool:
    if isinstance(value, Mapping):
        inside = ((str(key).lower(), inner) for key, inner in value.items() if key not in known)
        return depth < _DEEPEST and any(
            _counts(inner, of_cache=of_cache or "cach" in key, known=known, depth=depth + 1) for key, inner in inside
        )
    return of_cache and _is_number(value)


def _is_number(value: Any) -> bool:
    """Whether a value is a number above 0, also where somebody wrote it as text."""
    try:
        return float(value) > 0
    except (TypeError, ValueError, OverflowError):
        return False


def _converted(said: _Counts) -> dict[str, Any] | None:
    """None if a count is not a number, an inclusive prompt is smaller than its parts, or the total is another one."""
    said = _Counts(*map(_whole, said))
    numbers = (said.prompt, *said[2:7], said.output, said.searches)
    if said.output is None or said.prompt is None or not all(_is_count(number) for number in numbers):
        return None
    read, short, long = said.cache_read or 0, said.cache_write_5m or 0, said.cache_write_1h or 0
    written = max(said.cache_write or 0, short + long)
    uncached = said.prompt - read - written if said.inclusive else said.prompt
    if uncached < 0 or (said.total and said.total != said.prompt + said.output):
        return None
    found = {
        "input_tokens": uncached,
        "output_tokens": said.output,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens_details": {"thinking_tokens": said.thinking or 0},
    }
    if short or long:
        found["cache_creation"] = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    if said.searches:
        found["server_tool_use"] = {"web_search_requests": said.searches}
    return found


def _whole(number: Any) -> Any:
    """A whole number as an int: some serializers, of protobuf for one, write every number as a fraction."""
    return int(number) if type(number) is float and number.is_integer() else number


def _is_count(number: Any) -> bool:
    return number is None or (type(number) is int and number >= 0)


# -- one function a shape


def _langchain(usage: _Usage) -> _Counts:
    details, output = _inside(usage, "input_token_details"), _inside(usage, "output_token_details")
    return _Counts(
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        details.get("cache_read"),
        details.get("cache_creation"),
        details.get("ephemeral_5m_input_tokens"),
        details.get("ephemeral_1h_input_tokens"),
        output.get("reasoning"),
        total=usage.get("total_tokens"),
    )


def _pydantic_ai(usage: _Usage) -> _Counts:
    return _Counts(
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        usage.get("cache_read_tokens"),
        usage.get("cache_write_tokens"),
        cache_write_1h=usage.get("cache_write_1h_tokens"),
        thinking=usage.get("output_reasoning_tokens"),
    )


def _openai_responses(usage: _Usage) -> _Counts:
    details, output = _inside(usage, "input_tokens_details"), _inside(usage, "output_tokens_details")
    return _Counts(
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        details.get("cached_tokens"),
        details.get("cache_write_tokens"),
        thinking=output.get("reasoning_tokens"),
        total=usage.get("total_tokens"),
    )


def _openai_chat(usage: _Usage) -> _Counts:
    details, output = _inside(usage, "prompt_tokens_details"), _inside(usage, "completion_tokens_details")
    split = _inside(details, "cache_creation_token_details")
    prompt, total = usage.get("prompt_tokens"), usage.get("total_tokens")
    cached = any(usage.get(key) for key in _API_OF_CACHE)
    says_so = any(details.values()) or (total and total == (prompt or 0) + (usage.get("completion_tokens") or 0))
    return _Counts(
        prompt if says_so or not cached else None,
        usage.get("completion_tokens"),
        _first(usage.get("cache_read_input_tokens"), details.get("cached_tokens")),
        _first(
            usage.get("cache_creation_input_tokens"),
            details.get("cache_creation_tokens"),
            details.get("cache_write_tokens"),
        ),
        split.get("ephemeral_5m_input_tokens"),
        split.get("ephemeral_1h_input_tokens"),
        output.get("reasoning_tokens"),
        total=total,
    )


def _agent_sdk(usage: _Usage) -> _Counts:
    return _Counts(
        usage.get("inputTokens"),
        usage.get("outputTokens"),
        usage.get("cacheReadInputTokens"),
        usage.get("cacheCreationInputTokens"),
        usage.get("cacheCreationEphemeral5mInputTokens"),
        usage.get("cacheCreationEphemeral1hInputTokens"),
        usage.get("thinkingTokens"),
        inclusive=False,
        searches=usage.get("webSearchRequests"),
    )


def _bedrock_converse(usage: _Usage) -> _Counts:
    by_ttl = {entry.get("ttl"): entry.get("inputTokens") for entry in _entries(usage.get("cacheDetails"))}
    return _Counts(
        usage.get("inputTokens"),
        usage.get("outputTokens"),
        usage.get("cacheReadInputTokens"),
        usage.get("cacheWriteInputTokens"),
        by_ttl.get("5m"),
        by_ttl.get("1h"),
        inclusive=False,
    )


def _otel(usage: _Usage) -> _Counts:
    def said(name: str) -> Any:
        return usage.get(_OTEL + name)

    return _Counts(
        _first(said("input_tokens"), said("prompt_tokens")),
        _first(said("output_tokens"), said("completion_tokens")),
        said("cache_read.input_tokens"),
        said("cache_creation.input_tokens"),
        thinking=said("reasoning.output_tokens"),
    )


def _has(*keys: str) -> Callable[[_Usage], bool]:
    return lambda usage: any(key in usage for key in keys)


class _Shape(NamedTuple):
    """One shape: how it is recognised, its reader, and its names for cache counts, including those inside details."""

    fits: Callable[[_Usage], bool]
    counts: Callable[[_Usage], _Counts]
    of_cache: frozenset[str] = frozenset()
    of_cache_inside: frozenset[str] = frozenset()


_SHAPES = (
    _Shape(
        lambda usage: any(str(key).startswith(_OTEL) for key in usage),
        _otel,
        frozenset({f"{_OTEL}cache_read.input_tokens", f"{_OTEL}cache_creation.input_tokens"}),
    ),
    _Shape(
        _has("cacheCreationInputTokens"),
        _agent_sdk,
        frozenset(
            {
                *("cacheReadInputTokens", "cacheCreationInputTokens"),
                *("cacheCreationEphemeral5mInputTokens", "cacheCreationEphemeral1hInputTokens"),
            }
        ),
    ),
    _Shape(
        _has("inputTokens", "outputTokens"),
        _bedrock_converse,
        frozenset(  # Bedrock sends both spellings
            {
                *("cacheReadInputTokens", "cacheWriteInputTokens", "cacheDetails"),
                *("cacheReadInputTokenCount", "cacheWriteInputTokenCount"),
            }
        ),
    ),
    _Shape(
        _has("prompt_tokens", "completion_tokens"),
        _openai_chat,
        _API_OF_CACHE,
        frozenset({"cached_tokens", "cache_creation_tokens", "cache_write_tokens", "cache_creation_token_details"}),
    ),
    _Shape(
        _has("input_token_details", "output_token_details"),
        _langchain,
        of_cache_inside=frozenset({"cache_read", "cache_creation"}),
    ),
    _Shape(
        _has("input_tokens_details"),
        _openai_responses,
        of_cache_inside=frozenset({"cached_tokens", "cache_write_tokens"}),
    ),
    _Shape(
        _has("cache_read_tokens", "cache_write_tokens"),
        _pydantic_ai,
        frozenset({"cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens"}),
    ),
)
_API = _Shape(_has("input_tokens"), _otel, _API_OF_CACHE)


def _first(*values: Any) -> Any:
    """The first value that is set: libraries fill unknown values with 0 or with None."""
    return next((value for value in values if value), next((value for value in values if value is not None), None))


def _inside(usage: _Usage, key: str) -> _Usage:
    value = usage.get(key)
    return value if isinstance(value, Mapping) else {}


def _entries(value: Any) -> Iterator[_Usage]:
    return (entry for entry in value if isinstance(entry, Mapping)) if isinstance(value, list) else iter(())
