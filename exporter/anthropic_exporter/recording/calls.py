"""The one place where a `Reading` of the wire becomes a `Call`: of an attempt, a batch result or `record_usage`."""

from __future__ import annotations

from typing import Any

from anthropic_exporter.attribution import Attribution
from anthropic_exporter.call import NO_USAGE, REFUSAL, SUCCESS, UNKNOWN_SHAPE, Call
from anthropic_exporter.wire.model_ids import served_label
from anthropic_exporter.wire.usage import Reading, read_usage
from anthropic_exporter.wire.usage_shapes import as_mapping, in_api_shape


def outcome_of(reading: Reading) -> str:
    """The outcome of a message that came whole."""
    return REFUSAL if reading.stop_reason == REFUSAL else SUCCESS


def call_of(reading: Reading, where: Attribution, started_at: float, **known: Any) -> Call:
    """The call that a reading is about: one successful request, unless `known` says otherwise.

    Args:
        reading: what the message says.
        where: who the call is for.
        started_at: seconds since the epoch.
        known: fields of `Call` that a message does not say, such as durations; they win over the reading's.
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


def reading_of_usage(usage: Any, model: str) -> Reading:
    """Read a usage object of the API or of a library in `usage_shapes`; any other is an answer without usage."""
    fields = as_mapping(usage)
    if not fields:
        reason = NO_USAGE if usage is None or fields is not None else UNKNOWN_SHAPE
        return Reading(served_label(model), (), unmetered=reason)
    said = in_api_shape(fields)
    return Reading(served_label(model), (), unmetered=UNKNOWN_SHAPE) if said is None else read_usage(said, model)
