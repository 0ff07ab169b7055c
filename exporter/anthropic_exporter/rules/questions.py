"""The generated rules of each question, by the name of the block that they fill in a template."""

from __future__ import annotations

from anthropic_exporter.rules import templates
from anthropic_exporter.rules.shapes import (
    PAIR,
    BeyondChance,
    Budget,
    Incident,
    Increase,
    MissingDefaults,
    Resolved,
    Rule,
    Usual,
    guard,
)


def per_minute(level: str, subject: str, counter: str, by: tuple[str, ...], matchers: str = "") -> tuple[Increase, ...]:
    """The pace of a counter, over the fast window and over the slow one."""
    return tuple(
        Increase(f"{level}:anthropic_{subject}_per_minute:rate{window}", counter, by, window, matchers, factor)
        for window, factor in (("30s", "2 * "), ("5m", "0.2 * "))
    )


def seen_above_usual(paces: tuple[str, str], usual: str, by: tuple[str, ...], judged_by_fast: str) -> str:
    """Dollars above the usual in the window that the alert looks at: 30 s or 5 minutes."""
    labels = ", ".join(by)
    (fast, slow), on = paces, f"on ({labels})"
    return f"({fast} - {on} {usual}) / 2\nand {on} {judged_by_fast}\nor {on} 5 * ({slow} - {on} {usual})"


def enough(requests: str, minimum: str) -> str:
    """Where there were as many requests as a guard wants."""
    return f"{requests} >= on () group_left () {guard(minimum)}"


def either(record: str, operation: str = "increase") -> str:
    """Whatever either window knows: the fast one is there sooner, the slow one bridges a gap in scraping."""
    return f"{record}:{operation}30s or {record}:{operation}5m"


def counted(record: str, counter: str, by: tuple[str, ...], matchers: str = "") -> tuple[Increase, ...]:
    """The growth of a counter, over the fast window and over the slow one."""
    return tuple(Increase(f"{record}:increase{window}", counter, by, window, matchers) for window in ("30s", "5m"))


FEATURE, MODEL = ("feature",), ("model",)
COST = either("feature_model:anthropic_cost_usd_per_minute", "rate")
TOKENS = either("feature:anthropic_tokens_per_minute", "rate")
CACHE = either("feature_model_result:anthropic_cache_requests")
CACHE_MISS_COST = either("feature_model:anthropic_cache_miss_cost_usd_per_minute", "rate")
OUTCOMES = either("feature_model_outcome:anthropic_requests")
# Results of a batch arrive all at once, hours after they were paid for: budgets count them, paces do not.
INTERACTIVE = 'tier!="batch"'

PAIR_PACE = "feature_model:anthropic_cost_usd_per_minute"
PAIR_USUAL, FEATURE_USUAL, TOTAL_USUAL = (
    f"{level}:anthropic_cost_usd_per_minute:usual" for level in ("feature_model", "feature", "total")
)
MISS_PACE = "feature_model:anthropic_cache_miss_cost_usd_per_minute"
PAIR_SEEN = seen_above_usual(
    (f"{PAIR_PACE}:rate30s", f"{PAIR_PACE}:rate5m"),
    PAIR_USUAL,
    PAIR,
    enough("feature_model:anthropic_requests:increase30s", "cost_min_requests"),
)
PAIR_GROWTH = f"feature_model:anthropic_cost_usd:increase5s - on (feature, model) {PAIR_USUAL} / 12"
MISS_SEEN = seen_above_usual(
    (f"{MISS_PACE}:rate30s", f"{MISS_PACE}:rate5m"),
    f"{MISS_PACE}:usual",
    PAIR,
    "feature_model:anthropic_cache_misses:most30s",
)
MISS_GROWTH = f"feature_model:anthropic_cache_miss_cost_usd:increase5s - on (feature, model) {MISS_PACE}:usual / 12"

BLOCKS: dict[str, tuple[Rule, ...]] = {
    "cost": (
        *per_minute("feature_model", "cost_usd", "anthropic_cost_usd", PAIR, INTERACTIVE),
        *counted("feature_model:anthropic_requests", "anthropic_requests", PAIR),
        Resolved("cost_usd_per_minute", PAIR, COST),
        Resolved("cost_spike_ratio", FEATURE, COST),
        Resolved("request_cost_usd", PAIR, "anthropic_request_cost_usd_max"),
        Resolved("request_output_tokens", PAIR, "anthropic_request_output_tokens_max"),
    ),
    "cost-chance": (
        BeyondChance(
            "feature:anthropic_cost_usd_per_minute:beyond_chance",
            tuple(f"sum by (feature) (feature_model:anthropic_requests:increase{window})" for window in ("30s", "5m")),
            "feature:anthropic_cost_usd_per_minute:without_largest",
        ),
    ),
    "cost-incidents": (
        Increase(
            "feature_model:anthropic_cost_usd:increase5s", "anthropic_cost_usd", PAIR, "5s", INTERACTIVE, "", "30s"
        ),
        Usual(
            "cost_usd",
            PAIR,
            f"last_over_time({PAIR_PACE}:baseline1h[5m])",
            f"({COST})",
            'alertname=~"AnthropicCostRateHigh|AnthropicRequestUnusuallyExpensive"',
        ),
        Usual(
            "cost_usd",
            FEATURE,
            "last_over_time(feature:anthropic_cost_usd_per_minute:baseline[5m])",
            f"group by (feature) ({COST})",
            'alertname="AnthropicCostSpike"',
        ),
        Usual(
            "cost_usd",
            (),
            "sum(last_over_time(feature:anthropic_cost_usd_per_minute:baseline[5m]))",
            f"group({COST})",
            'alertname="AnthropicCostRateHigh"',
        ),
        Incident("AnthropicCostRateHigh", PAIR, PAIR_SEEN, PAIR_GROWTH),
        Incident(
            "AnthropicCostRateHigh",
            (),
            seen_above_usual(
                (f"sum({PAIR_PACE}:rate30s)", f"sum({PAIR_PACE}:rate5m)"),
                TOTAL_USUAL,
                (),
                enough("sum(feature_model:anthropic_requests:increase30s)", "cost_min_requests"),
            ),
            f"sum(feature_model:anthropic_cost_usd:increase5s) - on () {TOTAL_USUAL} / 12",
            f"total:anthropic_cost_usd_per_minute:now > on () {guard('total_cost_usd_per_minute')}",
        ),
        Incident(
            "AnthropicCostSpike",
            FEATURE,
            seen_above_usual(
                (f"sum by (feature) ({PAIR_PACE}:rate30s)", f"sum by (feature) ({PAIR_PACE}:rate5m)"),
                FEATURE_USUAL,
                FEATURE,
                enough("sum by (feature) (feature_model:anthropic_requests:increase30s)", "spike_min_requests"),
            ),
            f"sum by (feature) (feature_model:anthropic_cost_usd:increase5s) - on (feature) {FEATURE_USUAL} / 12",
        ),
        Incident("AnthropicRequestUnusuallyExpensive", PAIR, PAIR_SEEN, PAIR_GROWTH),
    ),
    "tokens": (
        *per_minute("feature", "tokens", "anthropic_tokens", FEATURE, INTERACTIVE),
        *counted("feature:anthropic_requests", "anthropic_requests", FEATURE),
        Increase("feature:anthropic_answers:increase30s", "anthropic_request_output_tokens_count", FEATURE, "30s"),
        Resolved("token_spike_ratio", FEATURE, TOKENS),
    ),
    "tokens-chance": (
        BeyondChance(
            "feature:anthropic_requests_beyond_chance:ratio",
            ("feature:anthropic_requests:increase30s", "feature:anthropic_requests:increase5m"),
        ),
    ),
    "cache": (
        *counted("feature_model_result:anthropic_cache_requests", "anthropic_cache_requests", (*PAIR, "result")),
        *per_minute("feature_model", "prompt_tokens", "anthropic_tokens", PAIR, f'{INTERACTIVE}, type!="output"'),
        *per_minute(
            "feature_model", "cache_read_tokens", "anthropic_tokens", PAIR, f'{INTERACTIVE}, type="cache_read"'
        ),
        *per_minute("feature_model", "cache_miss_cost_usd", "anthropic_cache_miss_cost_usd", PAIR),
        Resolved("cache_miss_ratio", PAIR, CACHE),
        Resolved("cache_read_share_drop", PAIR, CACHE),
        Resolved("cache_miss_cost_usd_per_minute", PAIR, CACHE_MISS_COST),
    ),
    "cache-incidents": (
        *(
            Increase(f"feature_model:{counter}:increase5s", counter, PAIR, "5s", carried_over="30s")
            for counter in (
                "anthropic_cache_requests",
                "anthropic_cache_savings_usd",
                "anthropic_cache_write_premium_usd",
                "anthropic_cache_miss_cost_usd",
            )
        ),
        Usual(
            "cache_miss_cost_usd",
            PAIR,
            f"last_over_time({MISS_PACE}:baseline1h[5m])",
            f"({CACHE_MISS_COST})",
            'alertname=~"AnthropicCacheMissRateHigh|AnthropicCacheMissWaste"',
        ),
        Incident("AnthropicCacheMissWaste", PAIR, MISS_SEEN, MISS_GROWTH),
        # What the cache would have saved as it usually does, less what it saved; where that is not known, the misses.
        Incident(
            "AnthropicCacheMissRateHigh",
            PAIR,
            MISS_SEEN,
            "feature_model:anthropic_cache_requests:increase5s * on (feature, model)"
            " feature_model:anthropic_cache_savings_usd_per_request:usual\n"
            "    - on (feature, model) feature_model:anthropic_cache_savings_usd:increase5s\n"
            "    + on (feature, model) feature_model:anthropic_cache_write_premium_usd:increase5s\n"
            f"    or on (feature, model) {MISS_GROWTH}",
        ),
    ),
    "cache-churn": (
        *(
            Increase(f"feature_model:{counter}:increase1m", counter, PAIR, "1m", carried_over="10m")
            for counter in ("anthropic_cache_write_premium_usd", "anthropic_cache_savings_usd")
        ),
        Incident(
            "AnthropicCacheWriteChurn",
            PAIR,
            "feature_model:anthropic_cache_write_premium_usd:increase1h"
            " - on (feature, model) feature_model:anthropic_cache_savings_usd:increase1h",
            "feature_model:anthropic_cache_write_premium_usd:increase1m"
            " - on (feature, model) feature_model:anthropic_cache_savings_usd:increase1m",
        ),
    ),
    "cache-hour": tuple(
        Increase(f"feature_model:{counter}:increase1h", counter, PAIR, "1h")
        for counter in ("anthropic_cache_write_premium_usd", "anthropic_cache_savings_usd", "anthropic_cache_requests")
    ),
    "budget": (
        Increase("feature:anthropic_tokens:increase1m", "anthropic_tokens", FEATURE, "1m", carried_over="10m"),
        Increase("feature:anthropic_cost_usd:increase1m", "anthropic_cost_usd", FEATURE, "1m", carried_over="10m"),
        Budget("tokens_per_day"),
        Budget("cost_usd_per_day"),
    ),
    "budget-month": (Budget("cost_usd_per_month"),),
    "latency": (
        *counted("feature_model:anthropic_ended_requests", "anthropic_request_duration_seconds_count", PAIR),
        Increase(
            "feature_model:anthropic_streams:increase5m", "anthropic_time_to_first_token_seconds_count", PAIR, "5m"
        ),
        Resolved("latency_p95_seconds", PAIR, "anthropic_request_duration_seconds_count"),
        Resolved("ttft_p95_seconds", PAIR, "anthropic_time_to_first_token_seconds_count"),
        Resolved("stuck_request_seconds", PAIR, "anthropic_oldest_inflight_request_age_seconds"),
    ),
    "errors": (
        *counted("feature_model_outcome:anthropic_requests", "anthropic_requests", (*PAIR, "outcome")),
        Resolved("error_ratio", PAIR, OUTCOMES),
        Resolved("rate_limited_ratio", MODEL, OUTCOMES),
        Resolved("overloaded_ratio", MODEL, OUTCOMES),
        Resolved("ratelimit_headroom_ratio", MODEL, "anthropic_ratelimit_limit"),
    ),
    "meter": (
        *(
            Increase(f"{label}:anthropic_exporter_{what}:increase5m", f"anthropic_exporter_{what}", (label,), "5m")
            for label, what in (("model", "unpriced_tokens"), ("stage", "record_errors"), ("label", "label_overflow"))
        ),
    ),
}


def names_of_thresholds() -> tuple[str, ...]:
    """Names of the thresholds that the rules read, whether they resolve overrides or not."""
    resolved = {one.threshold for rules in BLOCKS.values() for one in rules if isinstance(one, Resolved | Budget)}
    return tuple(sorted(resolved | templates.guards()))


BLOCKS["missing-defaults"] = (MissingDefaults(names_of_thresholds()),)
