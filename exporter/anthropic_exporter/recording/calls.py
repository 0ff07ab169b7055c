"""The one place where a `Reading` of the wire becomes a `Call`: of an attempt, a batch result or `record_usage`."""

from __future__ import annotations

from typing import Any, Protocol

from anthropic_exporter.attribution import Attribution
from anthropic_exporter.call import (
    NO_USAGE,
    REFUSAL,
    SUCCESS,
    UNKNOWN_SHAPE,
    Bill,
    Call,
    Cost,
    Inference,
    Sight,
    Tokens,
)
from anthropic_exporter.metrics.line import Line
from anthropic_exporter.wire.headers import RateLimitHeaders
from anthropic_exporter.wire.model_ids import served_label
from anthropic_exporter.wire.plain_answer import Counts
from anthropic_exporter.wire.usage import Reading, read_usage


def outcome_of(reading: Reading) -> str:
    """The outcome of a complete message."""
    return REFUSAL if reading.stop_reason == REFUSAL else SUCCESS


def call_of(reading: Reading, where: Attribution, started_at: float, **known: Any) -> Call:
    """The call that a reading is about: one successful request, unless `known` says otherwise.

    Args:
        reading: what the message says.
        where: who the call is for.
        started_at: seconds since the epoch.
        known: fields of `Call` that a message does not contain, such as durations; they override the reading's.
    """
    said = {"tier": reading.tier, "cache_asked": reading.cached, "regional": reading.regional}
    fields: dict[str, Any] = {**said, "unmetered": reading.unmetered, **known}
    return Call(
        reading.model,
        fields.pop("outcome", SUCCESS),
        reading.inferences,
        where.feature,
        where.user,
        started_at=started_at,
        stop_reason=reading.stop_reason,
        thinking_tokens=reading.thinking_tokens,
        server_tools=reading.server_tools,
        cache_miss_reason=reading.cache_miss_reason,
        inference_geo=reading.inference_geo,
        billable=reading.billable,
        estimates=reading.estimates,
        task=where.task,
        **fields,
    )


class Asked(Protocol):
    """An attempt: who it was for, and when it was sent, in seconds since the epoch."""

    where: Attribution
    at: float


def priced_call(
    line: Line,
    sent: Asked,
    counts: Counts,
    seconds: float,
    limits: RateLimitHeaders,
    prompt: Sight | None,
    *,
    asked: bool,
) -> Call:
    """The priced call of a plain answer: the one that the line stands for, with other counts, times and `prompt`.

    `Metrics.write_plain` adds what the bill of this call says.
    """
    like: tuple[Any, ...] = line.like
    fresh, read, short, long, output = counts
    fresh_rate, read_rate, short_rate, long_rate, output_rate = line.rates_of(counts)
    cost = Cost(fresh * fresh_rate, read * read_rate, short * short_rate, long * long_rate, output * output_rate)
    total = cost[0] + cost[1] + cost[2] + cost[3] + cost[4]
    miss = savings = premium = 0.0
    result = "ineligible" if asked else "unasked"
    if read or short or long:
        result, asked = "hit" if read else "miss", True
        savings = read * (fresh_rate - read_rate)
        premium = short * (short_rate - fresh_rate) + long * (long_rate - fresh_rate)
        if not read:
            miss = max(0.0, cost[0] + cost[1] + cost[2] + cost[3] - (fresh + read + short + long) * read_rate)
    inferences, bill = (
        (Inference(line.like.model, Tokens(*counts)),),
        Bill((cost,), (), total, result, miss, savings, premium),
    )
    known = (seconds, None, *like[_STOP_REASON_TO_CACHE_ASKED], asked, *like[_CACHE_ASKED_TO_LIMITS])
    fields = (*like[:_INFERENCES], inferences, *like[_FEATURE_TO_START], sent.at, *known, limits, seconds)
    return tuple.__new__(Call, (*fields, *like[_ESTIMATES_TO_TASK], sent.where.task, prompt, bill))


_at = Call._fields.index
_INFERENCES = _at("inferences")
_FEATURE_TO_START = slice(_at("feature"), _at("started_at"))
_STOP_REASON_TO_CACHE_ASKED = slice(_at("stop_reason"), _at("cache_asked"))
_CACHE_ASKED_TO_LIMITS = slice(_at("cache_asked") + 1, _at("rate_limit_headers"))
_ESTIMATES_TO_TASK = slice(_at("estimates"), _at("task"))


def reading_of_usage(usage: Any, model: str) -> Reading:
    """Read a usage object of the API or of a library in `usage_shapes`; any other is an answer without usage."""
    from anthropic_exporter.wire.usage_shapes import as_mapping, in_api_shape  # noqa: PLC0415 - most never ask

    fields = as_mapping(usage)
    if not fields:
        reason = NO_USAGE if usage is None or fields is not None else UNKNOWN_SHAPE
        return Reading(served_label(model), (), unmetered=reason)
    said = in_api_shape(fields)
    return Reading(served_label(model), (), unmetered=UNKNOWN_SHAPE) if said is None else read_usage(said, model)
