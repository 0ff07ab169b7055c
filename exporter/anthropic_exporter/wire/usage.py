"""The wire into values: a Messages API body becomes a `Reading`. Pure, and it never raises on what a server may send.

Sources, all read 2026-11-21: the types `Usage` and `BetaUsage` of the SDK 2.12.0; platform.claude.com/docs, pages
*streaming*, *prompt caching*, *handling stop reasons* and *errors*.

A field that is absent or null counts as 0. A field that no server should send (negative, a string) counts as 0 too and
is reported in `Reading.malformed`, so that it is counted where somebody sees it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from anthropic_exporter.call import Inference, Tokens

#: A refusal before any output is billed only in these categories (handling stop reasons, read 2026-11-21).
_BILLED_REFUSALS = frozenset({"bio", "frontier_llm", "reasoning_extraction"})
#: More tokens than any request can hold: such a count is a mistake, and added to a counter it would drown the rest.
_MOST = 1_000_000_000
#: `error.type` by status, for error bodies that were never read (errors page, read 2026-11-21).
_ERROR_OF_STATUS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Reading(NamedTuple):
    """What one message says of itself. Counts are tokens or requests; an empty string stands for "not said"."""

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
    estimate: str = ""
    malformed: tuple[str, ...] = ()


def read_message(message: Mapping[str, Any], asked_model: str) -> Reading:
    """Read a message: the JSON body of a response, or a stream folded into one (`fold_event`)."""
    malformed: list[str] = []
    usage = _mapping(message, "usage", malformed)
    said, used = message.get, usage.get
    model, stop_reason = _text(said("model")) or asked_model, _text(said("stop_reason"))
    inferences = _inferences(usage, model, malformed)
    return Reading(
        model,
        inferences,
        _tier(usage),
        stop_reason,
        _thinking_tokens(usage, malformed) if used("output_tokens_details") is not None else 0,
        _server_tools(usage, malformed) if used("server_tool_use") else (),
        _touched_cache(inferences),
        _cache_miss_reason(message) if said("diagnostics") else "",
        _text(used("inference_geo")),
        stop_reason != "refusal" or _refusal_is_billed(message, inferences),
        _estimate(usage),
        tuple(malformed),
    )


def fold_event(message: dict[str, Any], event: Mapping[str, Any]) -> None:
    """Fold a `message_start` or `message_delta` event into `message`.

    Usage in a delta is cumulative: it overwrites, is never added, and null keeps what was there.
    """
    started = event.get("message")
    if isinstance(started, Mapping):
        message.update(started)
    delta = event.get("delta")
    if isinstance(delta, Mapping):
        message.update({key: value for key, value in delta.items() if value is not None})
    usage = event.get("usage")
    if isinstance(usage, Mapping):
        kept = message.get("usage")
        merged = dict(kept) if isinstance(kept, Mapping) else {}
        merged.update({key: value for key, value in usage.items() if value is not None})
        message["usage"] = merged


def read_usage(usage: Mapping[str, Any], model: str) -> Reading:
    """Read a bare usage object: `response.usage` of anything that did not come through the SDK's client."""
    return read_message({"model": model, "usage": usage}, model)


def asks_for_caching(request: Any) -> bool:
    """Whether a request body carries `cache_control` anywhere; the newest messages are looked at first."""
    if not isinstance(request, Mapping):
        return False
    if request.get("cache_control"):
        return True
    contents = [m.get("content") for m in reversed(_list(request.get("messages"))) if isinstance(m, Mapping)]
    return any(_marks_cache(blocks) for blocks in (request.get("system"), request.get("tools"), *contents))


def error_type(body: Any, status: int) -> str:
    """The API's `error.type` of an error body; by status where the body was not read or is not the API's.

    A spend cap answers 429 as a rate limit does, but waiting does not help: it goes by its `error_code`, such as
    `enforced_spend_limit_reached` (types `*SpendLimitReachedErrorDetails` of the SDK 2.12.0).
    """
    error = body.get("error") if isinstance(body, Mapping) else None
    error = error if isinstance(error, Mapping) else {}
    details = error.get("details")
    code = _text(details.get("error_code")) if isinstance(details, Mapping) else ""
    if code.endswith("spend_limit_reached"):
        return code
    named = _text(error.get("type"))
    return named or _ERROR_OF_STATUS.get(status) or ("api_error" if status >= 500 else "invalid_request_error")  # noqa: PLR2004


def _inferences(usage: Mapping[str, Any], model: str, malformed: list[str]) -> tuple[Inference, ...]:
    """`usage.iterations`, where present, is the record of what is billed, each entry on its own model."""
    iterations = usage.get("iterations")
    if iterations:
        entries = [entry for entry in _list(iterations) if isinstance(entry, dict)]
        if len(entries) != len(_list(iterations)) or not entries:
            malformed.append("iterations")
        if entries:
            return tuple(Inference(_text(e.get("model")) or model, _tokens(e, malformed)) for e in entries)
    return (Inference(model, _tokens(usage, malformed)),)


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
    return any([tokens[1] or tokens[2] or tokens[3] for _, tokens in inferences])  # noqa: C419 - a list of one is faster


def _thinking_tokens(usage: Mapping[str, Any], malformed: list[str]) -> int:
    return _count(_mapping(usage, "output_tokens_details", malformed), "thinking_tokens", malformed)


def _count(usage: Mapping[str, Any], key: str, malformed: list[str]) -> int:
    value = usage.get(key)
    if type(value) is int and 0 <= value <= _MOST:
        return value
    if value is not None:
        malformed.append(key)
    return 0


_NOTHING: Mapping[str, Any] = {}


def _mapping(parent: Mapping[str, Any], key: str, malformed: list[str]) -> Mapping[str, Any]:
    value = parent.get(key)
    if isinstance(value, dict):
        return value
    if value is not None:
        malformed.append(key)
    return _NOTHING


def _estimate(usage: Mapping[str, Any]) -> str:
    """Why the list price is more than the bill will be, where the response says so; the amount is not in it."""
    credit = usage.get("fallback_credit")
    if isinstance(credit, dict):
        status = credit.get("status")
        if (status.get("type") if isinstance(status, dict) else status) == "redeemed":
            return "fallback_credit"
    return "priority_tier" if usage.get("service_tier") == "priority" else ""


def _tier(usage: Mapping[str, Any]) -> str:
    if usage.get("speed") == "fast":
        return "fast"
    tier = usage.get("service_tier")
    return tier if tier in ("batch", "priority") else "standard"


def _server_tools(usage: Mapping[str, Any], malformed: list[str]) -> tuple[tuple[str, int], ...]:
    used = _mapping(usage, "server_tool_use", malformed)
    counts = ((str(key).removesuffix("_requests"), _count(used, key, malformed)) for key in used)
    return tuple((tool, count) for tool, count in counts if count)


def _cache_miss_reason(message: Mapping[str, Any]) -> str:
    diagnostics = message.get("diagnostics")
    reason = diagnostics.get("cache_miss_reason") if isinstance(diagnostics, Mapping) else None
    return _text(reason.get("type")) if isinstance(reason, Mapping) else ""


def _refusal_is_billed(message: Mapping[str, Any], inferences: tuple[Inference, ...]) -> bool:
    """A refusal after output began is billed as any message; before it, only in the categories named above."""
    details = message.get("stop_details")
    category = details.get("category") if isinstance(details, Mapping) else None
    return bool(message.get("content")) or category in _BILLED_REFUSALS or _generated(inferences)


def _generated(inferences: tuple[Inference, ...]) -> bool:
    return sum(inference.tokens.output for inference in inferences) > 1


def _marks_cache(blocks: Any) -> bool:
    return any(isinstance(block, Mapping) and block.get("cache_control") for block in _list(blocks))


def _list(value: Any) -> list[Any] | tuple[Any, ...]:
    return value if isinstance(value, list | tuple) else ()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
