"""The generated rules of each question, keyed by the template block that they fill."""

from __future__ import annotations

from anthropic_exporter.rules import templates
from anthropic_exporter.rules.shapes import (
    PAIR,
    BeyondChance,
    Budget,
    FrozenBaseline,
    Growth,
    IncidentCost,
    MissingDefaults,
    Onset,
    Resolved,
    Rule,
    guard,
)


def per_minute(level: str, subject: str, of: str, by: tuple[str, ...], matchers: str = "") -> tuple[Growth, ...]:
    """The pace of some counters, over the fast window and over the slow one."""
    record = f"{level}:anthropic_{subject}_per_minute"
    return tuple(
        Growth(f"{record}:rate_{window}", of, by, window, matchers, per_minute=True) for window in ("fast", "slow")
    )


def seen_above_usual(paces: tuple[str, str], usual: str, by: tuple[str, ...], judged_by_fast: str) -> str:
    """Dollars above the usual in the window that the alert reads, fast or slow."""
    labels = ", ".join(by)
    (fast, slow), on = paces, f"on ({labels})"
    seen_fast, seen_slow = (
        f"${{fast_minutes}} * ({fast} - {on} {usual})",
        f"${{slow_minutes}} * ({slow} - {on} {usual})",
    )
    return f"{seen_fast}\nand {on} {judged_by_fast}\nor {on} {seen_slow}"


def above_halfway(grown: str, usual: str, threshold: str, by: tuple[str, ...]) -> str:
    """How far a step's growth is above halfway between two paces a minute, as a part of halfway."""
    on = f"on ({', '.join(by)})"
    return f"{grown}\n/ {on} (({usual} + {on} {threshold}) / (2 * ${{steps_a_minute}}) > 0)\n- 1"


def enough(requests: str, minimum: str) -> str:
    """Restrict to places with as many requests as a guard requires."""
    return f"{requests} >= on () group_left () {guard(minimum)}"


def either(record: str, operation: str = "increase") -> str:
    """The fast window, otherwise the slow one: the fast one has data sooner, the slow one bridges gaps in scraping."""
    return f"{record}:{operation}_fast or {record}:{operation}_slow"


def counted(record: str, of: str, by: tuple[str, ...], matchers: str = "") -> tuple[Growth, ...]:
    """The growth of some counters, over the fast window and over the slow one."""
    return tuple(Growth(f"{record}:increase_{window}", of, by, window, matchers) for window in ("fast", "slow"))


FEATURE, MODEL = ("feature",), ("model",)
COST = either("feature_model:anthropic_cost_usd_per_minute", "rate")
TOKENS = either("feature:anthropic_tokens_per_minute", "rate")
TOKENS_USUAL = "last_over_time(feature:anthropic_tokens_per_minute:baseline[5m])"
CACHE = either("feature_model_result:anthropic_cache_requests")
CACHE_MISS_COST = either("feature_model:anthropic_cache_miss_cost_usd_per_minute", "rate")
OUTCOMES = either("feature_model_outcome:anthropic_requests")
DURATION = "feature_model:anthropic_request_duration_seconds"
LATENCY = f"{DURATION}:p95_slow or {DURATION}:p70_fast"
STREAMS = "feature_model:anthropic_time_to_first_token_seconds:p95_slow"
# Results of a batch arrive all at once, hours after they were paid for: budgets count them, paces do not.
INTERACTIVE = 'tier!="batch"'

PREMIUM_AND_SAVINGS = ("cache_write_premium_usd", "cache_savings_usd")

A_STEP = "/ ${steps_a_minute}"  # of a pace a minute, what one evaluation adds
PAIR_PACE = "feature_model:anthropic_cost_usd_per_minute"
PAIR_USUAL, FEATURE_USUAL, TOTAL_USUAL = (
    f"{level}:anthropic_cost_usd_per_minute:usual" for level in ("feature_model", "feature", "total")
)
MISS_PACE = "feature_model:anthropic_cache_miss_cost_usd_per_minute"
PAIR_SEEN = seen_above_usual(
    (f"{PAIR_PACE}:rate_fast", f"{PAIR_PACE}:rate_slow"),
    PAIR_USUAL,
    PAIR,
    enough("feature_model:anthropic_requests:increase_fast", "cost_min_requests"),
)
STEP_COST = "feature_model:anthropic_cost_usd:increase_step"
PAIR_GROWTH = f"{STEP_COST} - on (feature, model) {PAIR_USUAL} {A_STEP}"
MISS_SEEN = seen_above_usual(
    (f"{MISS_PACE}:rate_fast", f"{MISS_PACE}:rate_slow"),
    f"{MISS_PACE}:usual",
    PAIR,
    "feature_model:anthropic_cache_misses:most_fast",
)
MISS_GROWTH = (
    f"feature_model:anthropic_cache_miss_cost_usd:increase_step - on (feature, model) {MISS_PACE}:usual {A_STEP}"
)

# Of the requests of a step that asked for the cache, as a part of the threshold; 0 in a step without any.
MISSES_ABOVE = (
    'sum by (feature, model) (feature_model_result:anthropic_cache_requests:increase_step{result="miss"})\n'
    "/ on (feature, model) (sum by (feature, model) "
    '(feature_model_result:anthropic_cache_requests:increase_step{result=~"hit|miss"}) > 0)\n'
    "/ on (feature, model) feature_model:anthropic_cache_miss_ratio:threshold\n"
    "- 1\n"
    "or on (feature, model) 0 * feature_model:anthropic_cache_requests:increase_step"
)

BLOCKS: dict[str, tuple[Rule, ...]] = {
    "cost": (
        *per_minute("feature_model", "cost_usd", "cost_usd", PAIR, INTERACTIVE),
        *counted("feature_model:anthropic_requests", "requests", PAIR),
        Resolved("cost_usd_per_minute", PAIR, COST),
        Resolved("cost_spike_ratio", FEATURE, COST),
        Resolved("request_cost_usd", PAIR, "feature_model:anthropic_request_cost_usd:max"),
        Resolved("request_output_tokens", PAIR, "feature_model:anthropic_request_output_tokens:max"),
    ),
    "cost-chance": (
        BeyondChance(
            "feature:anthropic_cost_usd_per_minute:beyond_chance",
            tuple(
                f"sum by (feature) (feature_model:anthropic_requests:increase_{window})" for window in ("fast", "slow")
            ),
            "feature:anthropic_cost_usd_per_minute:without_largest",
        ),
    ),
    "cost-incidents": (
        Growth("feature_model:anthropic_cost_usd:increase_step", "cost_usd", PAIR, "step", INTERACTIVE),
        FrozenBaseline(
            "cost_usd",
            PAIR,
            f"last_over_time({PAIR_PACE}:baseline1h[5m])",
            f"({COST})",
            'alertname=~"AnthropicCostRateHigh|AnthropicRequestUnusuallyExpensive"',
        ),
        FrozenBaseline(
            "cost_usd",
            FEATURE,
            "last_over_time(feature:anthropic_cost_usd_per_minute:baseline[5m])",
            f"group by (feature) ({COST})",
            'alertname="AnthropicCostSpike"',
        ),
        FrozenBaseline(
            "cost_usd",
            (),
            "sum(last_over_time(feature:anthropic_cost_usd_per_minute:baseline[5m]))",
            f"group({COST})",
            'alertname="AnthropicCostRateHigh"',
        ),
        IncidentCost("AnthropicCostRateHigh", PAIR, PAIR_SEEN, PAIR_GROWTH),
        IncidentCost(
            "AnthropicCostRateHigh",
            (),
            seen_above_usual(
                (f"sum({PAIR_PACE}:rate_fast)", f"sum({PAIR_PACE}:rate_slow)"),
                TOTAL_USUAL,
                (),
                enough("sum(feature_model:anthropic_requests:increase_fast)", "cost_min_requests"),
            ),
            f"sum({STEP_COST}) - on () {TOTAL_USUAL} {A_STEP}",
            f"total:anthropic_cost_usd_per_minute:now > on () {guard('total_cost_usd_per_minute')}",
        ),
        IncidentCost(
            "AnthropicCostSpike",
            FEATURE,
            seen_above_usual(
                (f"sum by (feature) ({PAIR_PACE}:rate_fast)", f"sum by (feature) ({PAIR_PACE}:rate_slow)"),
                FEATURE_USUAL,
                FEATURE,
                enough("sum by (feature) (feature_model:anthropic_requests:increase_fast)", "spike_min_requests"),
            ),
            f"sum by (feature) ({STEP_COST}) - on (feature) {FEATURE_USUAL} {A_STEP}",
        ),
        IncidentCost("AnthropicRequestUnusuallyExpensive", PAIR, PAIR_SEEN, PAIR_GROWTH),
        Onset(
            "AnthropicCostRateHigh",
            PAIR,
            STEP_COST,
            above_halfway(STEP_COST, PAIR_USUAL, "feature_model:anthropic_cost_usd_per_minute:threshold", PAIR),
        ),
        Onset(
            "AnthropicCostRateHigh",
            (),
            f"sum({STEP_COST})",
            above_halfway(f"sum({STEP_COST})", TOTAL_USUAL, guard("total_cost_usd_per_minute"), ()),
        ),
        Onset(
            "AnthropicCostSpike",
            FEATURE,
            f"sum by (feature) ({STEP_COST})",
            above_halfway(
                f"sum by (feature) ({STEP_COST})",
                FEATURE_USUAL,
                f"{FEATURE_USUAL} * on (feature) feature:anthropic_cost_spike_ratio:threshold",
                FEATURE,
            ),
        ),
    ),
    "tokens": (
        *per_minute("feature", "tokens", "tokens_.+", FEATURE, INTERACTIVE),
        *counted("feature:anthropic_requests", "requests", FEATURE),
        Growth("feature:anthropic_answers:increase_fast", "cache_requests_.+", FEATURE, "fast"),
        Resolved("token_spike_ratio", FEATURE, TOKENS),
    ),
    "tokens-chance": (
        BeyondChance(
            "feature:anthropic_requests_beyond_chance:ratio",
            ("feature:anthropic_requests:increase_fast", "feature:anthropic_requests:increase_slow"),
        ),
    ),
    "tokens-onset": (
        Growth("feature:anthropic_tokens:increase_step", "tokens_.+", FEATURE, "step", INTERACTIVE),
        Onset(
            "AnthropicTokenSpike",
            FEATURE,
            "feature:anthropic_tokens:increase_step",
            above_halfway(
                "feature:anthropic_tokens:increase_step",
                TOKENS_USUAL,
                f"{TOKENS_USUAL} * on (feature) feature:anthropic_token_spike_ratio:threshold",
                FEATURE,
            ),
        ),
    ),
    "cache": (
        *counted("feature_model_result:anthropic_cache_requests", "cache_requests_(.+)", (*PAIR, "result")),
        *per_minute("feature_model", "prompt_tokens", "tokens_(input|cache_.+)", PAIR, INTERACTIVE),
        *per_minute("feature_model", "cache_read_tokens", "tokens_cache_read", PAIR, INTERACTIVE),
        *per_minute("feature_model", "cache_miss_cost_usd", "cache_miss_cost_usd", PAIR),
        Resolved("cache_miss_ratio", PAIR, CACHE),
        Resolved("cache_read_share_drop", PAIR, CACHE),
        Resolved("cache_miss_cost_usd_per_minute", PAIR, CACHE_MISS_COST),
    ),
    "cache-incidents": (
        *(
            Growth(f"feature_model:anthropic_{what}:increase_step", of, PAIR, "step", beside=other)
            for what, of, other in (
                ("cache_requests", "cache_requests_.+", ""),
                ("cache_savings_usd", *PREMIUM_AND_SAVINGS[::-1]),
                ("cache_write_premium_usd", *PREMIUM_AND_SAVINGS),
                ("cache_miss_cost_usd", "cache_miss_cost_usd", ""),
            )
        ),
        FrozenBaseline(
            "cache_miss_cost_usd",
            PAIR,
            f"last_over_time({MISS_PACE}:baseline1h[5m])",
            f"({CACHE_MISS_COST})",
            'alertname=~"AnthropicCacheMissRateHigh|AnthropicCacheMissWaste"',
        ),
        IncidentCost("AnthropicCacheMissWaste", PAIR, MISS_SEEN, MISS_GROWTH),
        # The usual savings of the cache, minus the actual ones; if these are unknown, the misses.
        IncidentCost(
            "AnthropicCacheMissRateHigh",
            PAIR,
            MISS_SEEN,
            "feature_model:anthropic_cache_requests:increase_step * on (feature, model)"
            " feature_model:anthropic_cache_savings_usd_per_request:usual\n"
            "    - on (feature, model) feature_model:anthropic_cache_savings_usd:increase_step\n"
            "    + on (feature, model) feature_model:anthropic_cache_write_premium_usd:increase_step\n"
            f"    or on (feature, model) {MISS_GROWTH}",
        ),
        Growth(
            "feature_model_result:anthropic_cache_requests:increase_step",
            "cache_requests_(.+)",
            (*PAIR, "result"),
            "step",
        ),
        Onset("AnthropicCacheMissRateHigh", PAIR, "feature_model:anthropic_cache_requests:increase_step", MISSES_ABOVE),
        Onset(
            "AnthropicCacheMissWaste",
            PAIR,
            "feature_model:anthropic_cache_miss_cost_usd:increase_step",
            above_halfway(
                "feature_model:anthropic_cache_miss_cost_usd:increase_step",
                f"{MISS_PACE}:usual",
                f"{MISS_PACE}:threshold",
                PAIR,
            ),
        ),
    ),
    "cache-churn": (
        *(
            Growth(f"feature_model:anthropic_{of}:increase_minute", of, PAIR, "minute", beside=other)
            for of, other in (PREMIUM_AND_SAVINGS, PREMIUM_AND_SAVINGS[::-1])
        ),
        IncidentCost(
            "AnthropicCacheWriteChurn",
            PAIR,
            "feature_model:anthropic_cache_write_premium_usd:increase_hour"
            " - on (feature, model) feature_model:anthropic_cache_savings_usd:increase_hour",
            "feature_model:anthropic_cache_write_premium_usd:increase_minute"
            " - on (feature, model) feature_model:anthropic_cache_savings_usd:increase_minute",
        ),
    ),
    "cache-hour": tuple(
        Growth(f"feature_model:anthropic_{what}:increase_hour", of, PAIR, "hour", beside=other)
        for what, of, other in (
            ("cache_write_premium_usd", *PREMIUM_AND_SAVINGS),
            ("cache_savings_usd", *PREMIUM_AND_SAVINGS[::-1]),
            ("cache_requests", "cache_requests_.+", ""),
        )
    ),
    "budget": (
        Budget("tokens_per_day"),
        Budget("cost_usd_per_day"),
        Budget("cost_usd_per_month"),
    ),
    "latency-slow": (Growth("feature_model:anthropic_ended_requests:increase_slow", "requests", PAIR, "slow"),),
    "latency": (Growth("feature_model:anthropic_ended_requests:increase_fast", "requests", PAIR, "fast"),),
    "latency-thresholds": (
        Resolved("latency_p95_seconds", PAIR, LATENCY),
        Resolved("ttft_p95_seconds", PAIR, STREAMS),
        Resolved("stuck_request_seconds", PAIR, "feature_model:anthropic_longest_inflight_silence_seconds:max"),
    ),
    "errors": (
        Resolved("error_ratio", PAIR, OUTCOMES),
        Resolved("rate_limited_ratio", MODEL, OUTCOMES),
        Resolved("overloaded_ratio", MODEL, OUTCOMES),
        Resolved("ratelimit_headroom_ratio", MODEL, "anthropic_ratelimit_limit"),
    ),
    "meter": (
        Growth(
            "model:anthropic_exporter_unpriced_tokens:increase_slow", "unpriced_tokens", MODEL, "recent", living=False
        ),
        *(
            Growth(f"{label}:anthropic_exporter_{what}:increase_slow", f"{what}_(.+)", (label,), "recent")
            for label, what in (("stage", "record_errors"), ("label", "label_overflow"))
        ),
        Growth(
            "model:anthropic_exporter_session_cost_mismatches:increase_slow",
            "session_cost_mismatches",
            MODEL,
            "recent",
            living=False,
        ),
        Growth(
            "kind:anthropic_exporter_drops:increase_slow",
            "(stale_scrapes|sink_dropped_calls|limits_reached_.+|guard_callbacks_dropped|guard_callbacks_failed)",
            ("kind",),
            "recent",
        ),
        Growth(
            "model_reason:anthropic_exporter_unmetered_responses:increase_slow",
            "unmetered_(.+)",
            ("model", "reason"),
            "recent",
        ),
    ),
}


def names_of_thresholds() -> tuple[str, ...]:
    """Names of the thresholds that the rules read, whether they resolve overrides or not."""
    resolved = {one.threshold for rules in BLOCKS.values() for one in rules if isinstance(one, Resolved | Budget)}
    return tuple(sorted(resolved | templates.guards()))


BLOCKS["missing-defaults"] = (MissingDefaults(names_of_thresholds()),)
