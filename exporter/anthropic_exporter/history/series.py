"""Names of the series that the commands read, in one place: those of the recorder and those that rules record."""

from __future__ import annotations

from typing import NamedTuple

from anthropic_exporter.call import NOT_IN_ERROR_RATIO
from anthropic_exporter.metrics import families as f

THRESHOLD = "anthropic_threshold"
#: Our alerts; the heartbeat fires always and is not an incident.
FIRING = 'ALERTS{alertstate="firing",alertname=~"Anthropic.+",alertname!="AnthropicWatchdog"}'
#: Dollars of an open incident above the usual cost, at any level of aggregation.
INCIDENT_COST = '{{__name__=~".*:anthropic_incident_cost_usd:sum",alertname="{alert}"}}'

TOKENS, COST, REQUESTS, GUARD_BLOCKED = f.TOKENS, f.COST, f.REQUESTS, f.GUARD_BLOCKED
NOTIFICATIONS = f.NOTIFICATIONS
CACHE_SAVINGS, CACHE_WRITE_PREMIUM = f.CACHE_SAVINGS, f.CACHE_WRITE_PREMIUM
ADVICE_PROMPT_TOKENS, ADVICE_COST = f.ADVICE_PROMPT_TOKENS, f.ADVICE_COST


class Signal(NamedTuple):
    """The series that rises when an incident begins: a counter with its matchers, or a gauge."""

    name: str
    matchers: str = ""
    is_gauge: bool = False


_INTERACTIVE = 'tier!="batch"'
_PROMPT = 'type=~"input|cache_write_5m|cache_write_1h",tier!="batch"'
_FAILURES = f'outcome!~"{NOT_IN_ERROR_RATIO}"'
#: By alert. What is not here has no onset: a budget, a forecast, a percentile.
SIGNALS = {
    "AnthropicCostRateHigh": Signal(COST.name, _INTERACTIVE),
    "AnthropicCostSpike": Signal(COST.name, _INTERACTIVE),
    "AnthropicTokenSpike": Signal(TOKENS.name, _INTERACTIVE),
    "AnthropicCacheMissRateHigh": Signal(TOKENS.name, _PROMPT),
    "AnthropicCacheMissWaste": Signal(f.CACHE_MISS_COST.name),
    "AnthropicErrorRateHigh": Signal(REQUESTS.name, _FAILURES),
    "AnthropicRateLimited": Signal(REQUESTS.name, 'outcome="rate_limit_error"'),
    "AnthropicOverloaded": Signal(REQUESTS.name, 'outcome="overloaded_error"'),
    "AnthropicRequestUnusuallyExpensive": Signal(f.REQUEST_COST_MAX.name, is_gauge=True),
}


#: Alerts whose rules record when their incident began, and say it in the annotation `began`.
WITH_ONSET = (
    "AnthropicCostRateHigh",
    "AnthropicCostSpike",
    "AnthropicTokenSpike",
    "AnthropicCacheMissRateHigh",
    "AnthropicCacheMissWaste",
)


class Judged(NamedTuple):
    """A series that rules record, and the threshold that it is compared with.

    `floor` is the smallest threshold worth a page, in the unit of the series. `kind` is how a person asks for it, one
    of `KINDS`. `expression` is what the alert compares, where that is not the series itself. `is_daily` says that the
    series grows from 0 each day. `bounds` are those of the buckets that a percentile is taken from.
    """

    series: str
    threshold: str
    floor: float
    unit: str
    alert: str
    kind: str = "cost"
    expression: str = ""
    is_daily: bool = False
    bounds: tuple[float, ...] = ()


COST_KIND, REQUEST_KIND, LATENCY_KIND, SPIKE_KIND, BUDGET_KIND = "cost", "request", "latency", "spike", "budget"
KINDS = (COST_KIND, REQUEST_KIND, LATENCY_KIND, SPIKE_KIND, BUDGET_KIND)
_SPIKE = (
    "(feature:anthropic_{0}_per_minute:beyond_chance"
    " and on (feature) feature:anthropic_{0}_per_minute:{1} > on () group_left ()"
    ' anthropic_threshold{{threshold="{2}", feature="", model=""}})'
    " / on (feature) (last_over_time(feature:anthropic_{0}_per_minute:baseline[5m]) > 0)"
)
#: What `calibrate` may choose thresholds for, and `review` suggests them for.
JUDGED = (
    Judged(
        "feature_model:anthropic_cost_usd_per_minute:now",
        "cost_usd_per_minute",
        0.05,
        "USD a minute",
        "AnthropicCostRateHigh",
    ),
    Judged(
        "total:anthropic_cost_usd_per_minute:now",
        "total_cost_usd_per_minute",
        0.05,
        "USD a minute",
        "AnthropicCostRateHigh",
    ),
    Judged(
        "feature_model:anthropic_cache_miss_cost_usd_per_minute:now",
        "cache_miss_cost_usd_per_minute",
        0.05,
        "USD a minute",
        "AnthropicCacheMissWaste",
    ),
    Judged(
        f.REQUEST_COST_MAX.name, "request_cost_usd", 0.05, "USD", "AnthropicRequestUnusuallyExpensive", REQUEST_KIND
    ),
    Judged(
        f.REQUEST_OUTPUT_TOKENS_MAX.name,
        "request_output_tokens",
        1_000.0,
        "tokens",
        "AnthropicRequestUnusuallyExpensive",
        REQUEST_KIND,
    ),
    Judged(
        "feature_model:anthropic_request_duration_seconds:p95_slow",
        "latency_p95_seconds",
        1.0,
        "seconds",
        "AnthropicLatencyHigh",
        LATENCY_KIND,
        bounds=f.DURATION.buckets,
    ),
    Judged(
        "feature_model:anthropic_time_to_first_token_seconds:p95_slow",
        "ttft_p95_seconds",
        0.5,
        "seconds",
        "AnthropicTimeToFirstTokenHigh",
        LATENCY_KIND,
        bounds=f.TTFT.buckets,
    ),
    Judged(
        "feature:anthropic_cost_usd_per_minute:beyond_chance",
        "cost_spike_ratio",
        1.5,
        "times the baseline",
        "AnthropicCostSpike",
        SPIKE_KIND,
        _SPIKE.format("cost_usd", "without_largest", "cost_spike_min_usd_per_minute"),
    ),
    Judged(
        "total:anthropic_cost_usd:today",
        "cost_usd_per_day",
        0.05,
        "USD a day",
        "AnthropicDailyCostBudgetExceeded",
        BUDGET_KIND,
        is_daily=True,
    ),
    Judged(
        "total:anthropic_tokens:today",
        "tokens_per_day",
        1_000.0,
        "tokens a day",
        "AnthropicDailyTokenBudgetExceeded",
        BUDGET_KIND,
        is_daily=True,
    ),
)
