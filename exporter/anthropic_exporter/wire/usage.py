"""Reads a body of the Messages API into a `Reading`. Pure; never raises, regardless of what a server sends.

Sources: the types `Usage` and `BetaUsage` of the SDK 2.14.0; platform.claude.com/docs, pages *streaming*, *prompt
caching* and *handling stop reasons*, read 2026-11-21.

An absent or null field counts as 0. An invalid field (negative, a string) counts as 0 too and is reported in
`Reading.malformed`, which becomes a metric. A whole number may be written as
`9325.0`. No prompt is empty, so an answer that counts none, or no output at all, is reported in `Reading.unmetered`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from anthropic_exporter.call import NO_USAGE, REFUSAL, STOP_REASONS, UNKNOWN_SHAPE, Inference, Tokens
from anthropic_exporter.wire.fallbacks import BILLED_REFUSALS, declined_attempts, iteration_models
from anthropic_exporter.wire.model_ids import REGIONAL, US_GOV, identify, model_label, served_label

#: `diagnostics.cache_miss_reason.type` as documented (prompt caching, *cache diagnostics*, read 2026-11-21).
CACHE_MISS_REASONS = frozenset(
    {
        "model_changed",
        "system_changed",
        "tools_changed",
        "messages_changed",
        "previous_message_not_found",
        "unavailable",
    }
)
_DEEPEST_BLOCK = 4
#: The key of a folded stream that says that the last event with usage had no iterations, and an earlier one had.
_ITERATIONS_ARE_OLDER = "iterations_are_older"
#: The output count in a `message_start` of the API is 1 to 8 (streaming page, read 2026-11-21).
_MOST_PLACEHOLDER = 10
#: More tokens than any request can hold: such a count is a mistake, and would dwarf everything else in a counter.
_MOST = 1_000_000_000
#: The token counts of a response; at least one must be present.
_COUNTS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
#: Values of `usage.service_tier`, and of the same column of the Usage and Cost API (read 2026-11-30).
_TIERS = frozenset({"standard", "priority", "batch", "flex", "flex_discount", "priority_on_demand"})
_OTHER_TIER = "other"
_OTHER_WORD = "other"
_DOCUMENTED_REASONS = frozenset(STOP_REASONS)
#: Tools of one answer; the API has three.
_MOST_TOOLS = 50
#: What a documented word looks like. A server's free text, an id or an account number does not become a label.
_WORD = re.compile(r"(?!.*\d{6})[a-z][a-z0-9_]{0,63}").fullmatch
_PRICED_BY_THE_REQUEST = frozenset({"web_search_requests", "web_fetch_requests", "code_execution_requests"})


class Reading(NamedTuple):
    """What one message contains. Counts are tokens or requests; an empty string means that a word is missing."""

    model: str
    inferences: tuple[Inference, ...]
    tier: str = "standard"
    stop_reason: str = ""
    thinking_tokens: int = 0
    server_tools: tuple[tuple[str, int], ...] = ()
    cached: bool = False
    cache_miss_reason: str = ""
    inference_geo: str = ""
    billable: bool = True
    estimates: tuple[str, ...] = ()
    unmetered: str = ""
    malformed: tuple[str, ...] = ()
    regional: bool = False
    fell_back: bool = False


def read_message(message: Mapping[str, Any], asked_model: str) -> Reading:
    """Read a message: the JSON body of a response, or a stream folded into one (`fold_event`)."""
    malformed: list[str] = []
    usage = _mapping(message, "usage", malformed)
    said, used = message.get, usage.get
    named, stop_reason = _text(said("model")), stop_reason_of(message)
    model, asked = served_label(named) if named else model_label(asked_model), identify(asked_model)
    inferences = _inferences(message, usage, model, asked_model, malformed)
    fell_back = len(inferences) > 1 and any(one.get("type") == "fallback_message" for one in _entries(usage))
    billable = stop_reason != REFUSAL or _refusal_is_billed(message, inferences[-1:] if fell_back else inferences)
    estimates = _estimates(usage)
    if not asked.bare and asked_model:
        estimates = (*estimates, "inference_profile")
    if fell_back:
        inferences = declined_attempts(message, _entries(usage), inferences, last_is_free=not billable)
        billable = True
        if not all(inference.certain for inference in inferences):
            estimates = (*estimates, "fallback_hop")
    return Reading(
        model,
        inferences,
        _tier(usage, model, asked_model),
        stop_reason,
        _thinking_tokens(usage, malformed) if used("output_tokens_details") is not None else 0,
        _server_tools(usage, malformed) if used("server_tool_use") else (),
        _touched_cache(inferences),
        _cache_miss_reason(message) if said("diagnostics") else "",
        "us-gov" if asked.endpoint == US_GOV else _text(used("inference_geo")).lower(),
        billable,
        estimates,
        "" if _is_metered(usage, inferences) else _why_unmetered(said("usage"), malformed),
        tuple(malformed),
        asked.endpoint in (REGIONAL, US_GOV),
        fell_back,
    )


def fold_event(message: dict[str, Any], event: Mapping[str, Any]) -> None:
    """Fold a `message_start` or `message_delta` event into `message`.

    Usage is cumulative: a later count replaces an earlier one unless it is smaller, and null keeps what was there.
    """
    started, delta = event.get("message"), event.get("delta")
    if isinstance(started, Mapping):
        _fold_values(message, started)
        _fold_usage(message, _without_placeholder(started.get("usage")))
    if isinstance(delta, Mapping):
        _fold_values(message, delta)
    usage, kept = event.get("usage"), message.get("usage")
    if isinstance(usage, Mapping) and isinstance(kept, Mapping) and kept.get("iterations"):
        message[_ITERATIONS_ARE_OLDER] = not usage.get("iterations")
    _fold_usage(message, usage)


def _without_placeholder(usage: Any) -> Any:
    """The usage of a `message_start` without its output count, which is a placeholder of a few tokens."""
    output = _whole(usage.get("output_tokens")) if isinstance(usage, dict) else None
    return {**usage, "output_tokens": 0} if type(output) is int and 0 < output <= _MOST_PLACEHOLDER else usage


def _fold_values(message: dict[str, Any], values: Mapping[str, Any]) -> None:
    message.update({key: value for key, value in values.items() if value is not None and key != "usage"})


def _fold_usage(message: dict[str, Any], usage: Any) -> None:
    kept = message.get("usage")
    if not isinstance(kept, dict):
        if usage is not None:
            message["usage"] = usage
    elif isinstance(usage, Mapping):
        message["usage"] = _never_less(kept, usage)


def _never_less(kept: dict[str, Any], usage: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(kept)
    for key, value in usage.items():
        if value is not None:
            merged[key] = _larger(merged.get(key), value)
    return merged


def _larger(kept: Any, value: Any) -> Any:
    """The later value, unless it is a smaller count or replaces a count by something else."""
    kept, value = _whole(kept), _whole(value)
    if type(kept) is int:
        return max(kept, value) if type(value) is int else kept
    if isinstance(kept, dict):
        return _never_less(kept, value) if isinstance(value, dict) else kept
    if isinstance(kept, list):
        return _longer(kept, value) if isinstance(value, list) else kept
    return value


def _longer(kept: list[Any], entries: list[Any]) -> list[Any]:
    """Iterations are appended; each entry is itself cumulative. Of lists in another order, the larger stays."""
    if any(_are_others(old, new) for old, new in zip(kept, entries, strict=False)):
        return max((entries, kept), key=_tokens_of_all)
    both = [_larger(old, new) if isinstance(old, dict) else new for old, new in zip(kept, entries, strict=False)]
    return [*both, *kept[len(both) :], *entries[len(both) :]]


def _are_others(old: Any, new: Any) -> bool:
    """Whether two entries are about different inferences."""
    is_known = isinstance(old, dict) and isinstance(new, dict)
    return is_known and any(old.get(key) != new.get(key) for key in ("type", "model") if old.get(key) and new.get(key))


def _tokens_of_all(entries: list[Any]) -> int:
    return sum(sum(_tokens(entry, [])) for entry in entries if isinstance(entry, dict))


def read_usage(usage: Mapping[str, Any], model: str) -> Reading:
    """Read a bare usage object: `response.usage` from a source other than the SDK's client."""
    return read_message({"model": model, "usage": usage}, model)


def asks_for_caching(request: Any) -> bool:
    """Whether a request body has `cache_control` anywhere the API accepts it; checks the newest messages first."""
    if not isinstance(request, Mapping):
        return False
    if request.get("cache_control"):
        return True
    contents = [m.get("content") for m in reversed(_list(request.get("messages"))) if isinstance(m, Mapping)]
    return any(_marks_cache(blocks) for blocks in (request.get("system"), request.get("tools"), *contents))


def _is_metered(usage: Mapping[str, Any], inferences: tuple[Inference, ...]) -> bool:
    """Whether the prompt has any token, as every prompt has, and the output is counted, be it as 0."""
    if not any([one[1][0] or one[1][1] or one[1][2] or one[1][3] for one in inferences]):  # noqa: C419 - a list of one is faster
        return False
    return usage.get("output_tokens") is not None or any(e.get("output_tokens") is not None for e in _entries(usage))


def _why_unmetered(usage: Any, malformed: list[str]) -> str:
    if not usage:
        return NO_USAGE
    known = isinstance(usage, dict) and not usage.keys().isdisjoint(_COUNTS)
    return UNKNOWN_SHAPE if malformed or not known else NO_USAGE


def _inferences(
    message: Mapping[str, Any], usage: Mapping[str, Any], model: str, asked_model: str, malformed: list[str]
) -> tuple[Inference, ...]:
    """If `usage.iterations` is present, it lists what is billed, each entry on its own model."""
    iterations = usage.get("iterations")
    if iterations:
        entries = _entries(usage)
        if len(entries) != len(_list(iterations)) or not entries:
            malformed.append("iterations")
        if entries:
            served = [served_label(name) for name in iteration_models(message, entries, asked_model)]
            found = [Inference(name or model, _tokens(e, malformed)) for name, e in zip(served, entries, strict=True)]
            if message.get(_ITERATIONS_ARE_OLDER):
                rest = _beyond(_tokens(usage, malformed), [inference.tokens for inference in found])
                found = _with_rest(found, rest, model) if any(rest) else found
            return tuple(found)
    return (Inference(model, _tokens(usage, malformed)),)


def _beyond(total: Tokens, parts: list[Tokens]) -> Tokens:
    """What the top level counts above all iterations, which are older than it."""
    listed = Tokens(*map(sum, zip(*parts, strict=True)))
    written = max(0, total[2] + total[3] - listed[2] - listed[3])
    long = min(written, max(0, total.cache_write_1h - listed.cache_write_1h))
    fresh, read, output = (max(0, total[at] - listed[at]) for at in (0, 1, 4))
    return Tokens(fresh, read, written - long, long, output)


def _with_rest(found: list[Inference], rest: Tokens, model: str) -> list[Inference]:
    """The inferences, with the rest on the last one of the model that answered."""
    at = next((index for index in reversed(range(len(found))) if found[index].model == model), None)
    if at is None:
        return [*found, Inference(model, rest)]
    whole = Tokens(*map(sum, zip(found[at].tokens, rest, strict=True)))
    return [*found[:at], Inference(model, whole), *found[at + 1 :]]


def _entries(usage: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [entry for entry in _list(usage.get("iterations")) if isinstance(entry, dict)]


def _tokens(usage: Mapping[str, Any], malformed: list[str]) -> Tokens:
    """The partition. Writes without a TTL split are 5m; a split wins over the total, a remainder of the total is 5m."""
    write_5m, write_1h = _count(usage, "cache_creation_input_tokens", malformed), 0
    if usage.get("cache_creation") is not None:
        split = _mapping(usage, "cache_creation", malformed)
        told_5m = _count(split, "ephemeral_5m_input_tokens", malformed)
        write_1h = _count(split, "ephemeral_1h_input_tokens", malformed)
        write_5m = max(told_5m, write_5m - write_1h)
    return Tokens(
        _count(usage, "input_tokens", malformed),
        _count(usage, "cache_read_input_tokens", malformed),
        write_5m,
        write_1h,
        _count(usage, "output_tokens", malformed),
    )


def _touched_cache(inferences: tuple[Inference, ...]) -> bool:
    return any([one[1][1] or one[1][2] or one[1][3] for one in inferences])  # noqa: C419 - a list of one is faster


def _thinking_tokens(usage: Mapping[str, Any], malformed: list[str]) -> int:
    return _count(_mapping(usage, "output_tokens_details", malformed), "thinking_tokens", malformed)


def _count(usage: Mapping[str, Any], key: str, malformed: list[str]) -> int:
    value = usage.get(key)
    if type(value) is int and 0 <= value <= _MOST:
        return value
    if value is None:
        return 0
    if type(value) is float and value.is_integer() and 0 <= value <= _MOST:
        return int(value)
    malformed.append(key)
    return 0


def _whole(value: Any) -> Any:
    """A whole number as an int: some gateways write every number as a fraction."""
    return int(value) if type(value) is float and value.is_integer() else value


_NOTHING: Mapping[str, Any] = {}


def _mapping(parent: Mapping[str, Any], key: str, malformed: list[str]) -> Mapping[str, Any]:
    value = parent.get(key)
    if isinstance(value, dict):
        return value
    if value is not None:
        malformed.append(key)
    return _NOTHING


def _estimates(usage: Mapping[str, Any]) -> tuple[str, ...]:
    """The reasons in a response why the invoice may differ from the list price; it does not contain the amount."""
    credit, priority = usage.get("fallback_credit"), _lower(usage.get("service_tier")) == "priority"
    if not isinstance(credit, dict):
        return ("priority_tier",) if priority else ()
    status = credit.get("status")
    redeemed = (status.get("type") if isinstance(status, dict) else status) == "redeemed"
    return (*(("fallback_credit",) if redeemed else ()), *(("priority_tier",) if priority else ()))


def _tier(usage: Mapping[str, Any], model: str, asked_model: str) -> str:
    """The tier that prices the tokens. An undocumented tier is `other`, which has no price."""
    tier, speed = usage.get("service_tier"), usage.get("speed")
    if speed and speed != "standard" and _lower(speed) != "standard":
        return "fast" if _lower(speed) == "fast" else _OTHER_TIER
    if tier and tier != "standard" and _lower(tier) != "standard":
        return _lower(tier) if isinstance(tier, str) and tier.lower() in _TIERS else _OTHER_TIER
    if "-fast" in model or "-fast" in asked_model:  # Foundry names a deployment of fast mode so
        return "fast" if identify(model).fast or identify(asked_model).fast else "standard"
    return "standard"


def _server_tools(usage: Mapping[str, Any], malformed: list[str]) -> tuple[tuple[str, int], ...]:
    """Requests by tool, once if two keys count the same. Other entries are ignored."""
    found: dict[str, int] = {}
    for key, value in _mapping(usage, "server_tool_use", malformed).items():
        count = _uses(key, value, malformed)
        if count:
            tool = _as_word(str(key).removesuffix("_requests")) if len(found) < _MOST_TOOLS else _OTHER_WORD
            found[tool] = found.get(tool, 0) + count if tool == _OTHER_WORD else max(found.get(tool, 0), count)
    return tuple(found.items())


def _uses(key: str, value: Any, malformed: list[str]) -> int:
    if isinstance(value, dict):
        value = value.get("requests")
    value = _whole(value)
    if type(value) is int and 0 <= value <= _MOST:
        return value
    if value is not None and key in _PRICED_BY_THE_REQUEST:
        malformed.append(key)
    return 0


def _cache_miss_reason(message: Mapping[str, Any]) -> str:
    diagnostics = message.get("diagnostics")
    reason = diagnostics.get("cache_miss_reason") if isinstance(diagnostics, Mapping) else None
    word = _text(reason.get("type")) if isinstance(reason, Mapping) else ""
    return word if not word or word in CACHE_MISS_REASONS else "other"


def _refusal_is_billed(message: Mapping[str, Any], inferences: tuple[Inference, ...]) -> bool:
    """A refusal after output began is billed as any message; before it, only in the categories named above."""
    details = message.get("stop_details")
    category = details.get("category") if isinstance(details, Mapping) else None
    generated = sum(inference.tokens.output for inference in inferences)
    return _has_output(message.get("content")) or category in BILLED_REFUSALS or generated > 1


def _has_output(content: Any) -> bool:
    """Whether there is any block other than those that mark a fallback to the next model."""
    return any(not isinstance(block, Mapping) or block.get("type") != "fallback" for block in _list(content))


def _marks_cache(blocks: Any, depth: int = 0) -> bool:
    """Whether a block is marked, or one inside it: in the content of a tool result or in the source of a document."""
    for block in _list(blocks):
        if isinstance(block, Mapping):
            if block.get("cache_control"):
                return True
            source = block.get("source")
            inner = (block.get("content"), source.get("content") if isinstance(source, Mapping) else None)
            if depth < _DEEPEST_BLOCK and any(one and _marks_cache(_as_list(one), depth + 1) for one in inner):
                return True
    return False


def stop_reason_of(message: Mapping[str, Any]) -> str:
    """Why a message ended, as the word it says; `other` where that is not a word, empty where there is none."""
    reason = _text(message.get("stop_reason"))
    return reason if not reason or reason in _DOCUMENTED_REASONS else _as_word(reason)


def _as_word(text: str) -> str:
    return text if _WORD(text) else _OTHER_WORD


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


def _list(value: Any) -> list[Any] | tuple[Any, ...]:
    return value if isinstance(value, list | tuple) else ()


def _as_list(value: Any) -> Any:
    return [value] if type(value) is dict else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
