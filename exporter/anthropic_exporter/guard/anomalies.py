"""What can be told: each kind of anomaly with the name, labels and patience that its rule has."""

from __future__ import annotations

from anthropic_exporter.guard.telling.alerts import Condition

_USD_A_MINUTE = "{:.2f} USD a minute"
COST_RATE = Condition(
    "cost_rate",
    "AnthropicCostRateHigh",
    "critical",
    "cost",
    "Claude calls cost more dollars a minute than the threshold allows.",
    _USD_A_MINUTE,
    "over 30 s, or 5 minutes where there are few requests",
)
COST_SPIKE = Condition(
    "cost_spike",
    "AnthropicCostSpike",
    "warning",
    "cost",
    "A feature costs several times what it usually does.",
    _USD_A_MINUTE,
    "over 30 s, or 5 minutes where there are few requests",
)
TOKEN_SPIKE = Condition(
    "token_spike",
    "AnthropicTokenSpike",
    "warning",
    "tokens",
    "A feature uses several times the tokens that it usually does.",
    "{:.0f} tokens a minute",
    "over 30 s, or 5 minutes where there are few requests",
)
LONG_ANSWERS = TOKEN_SPIKE._replace(
    unit="{:.0f} tokens", said="one answer in five has more than {}", window="over 30 s"
)
REQUEST_COST = Condition(
    "request_cost",
    "AnthropicRequestUnusuallyExpensive",
    "warning",
    "cost",
    "A single request was unusually expensive.",
    "{:.2f} USD",
    "one request of the last 60 s",
    300.0,
)
REQUEST_TOKENS = REQUEST_COST._replace(unit="{:.0f} output tokens")
CACHE_MISS_RATE = Condition(
    "cache_miss_rate",
    "AnthropicCacheMissRateHigh",
    "warning",
    "cache",
    "The prompt cache of a feature stopped working.",
    "{:.0%}",
    "over 30 s, or 5 minutes where there are few requests",
    said="{} of the requests that asked for caching read nothing",
)
CACHE_SHARE_DROP = CACHE_MISS_RATE._replace(said="the share of the prompt read from the cache fell by {}")
CACHE_MISS_COST = Condition(
    "cache_miss_cost",
    "AnthropicCacheMissWaste",
    "critical",
    "cache",
    "Cache misses burn dollars.",
    _USD_A_MINUTE,
    "over 30 s, or 5 minutes where there are few requests",
    said="{} above a working cache",
)
LATENCY = Condition(
    "latency",
    "AnthropicLatencyHigh",
    "info",
    "latency",
    "Requests take longer than the threshold allows.",
    "{:.1f} s",
    "over 5 minutes",
    said="one request in 20 takes longer than {}",
)
SLOW_REQUESTS = LATENCY._replace(said="three requests in ten take longer than {}", window="over 30 s")
TTFT = Condition(
    "ttft",
    "AnthropicTimeToFirstTokenHigh",
    "info",
    "latency",
    "Streams take longer to begin than the threshold allows.",
    "{:.1f} s",
    "over 5 minutes",
    said="one stream in 20 begins after more than {}",
)
STUCK = Condition(
    "stuck",
    "AnthropicRequestStuck",
    "warning",
    "latency",
    "A request hangs.",
    "{:.0f} s",
    "right now",
    0.0,
    said="in flight for {}",
)
ERROR_RATE = Condition(
    "error_rate",
    "AnthropicErrorRateHigh",
    "warning",
    "errors",
    "Calls to Claude fail.",
    "{:.0%}",
    "over 30 s, or 5 minutes where there are few requests",
    said="{} of the attempts failed",
)
RATE_LIMITED = ERROR_RATE._replace(
    key="rate_limited",
    alertname="AnthropicRateLimited",
    summary="The API refuses calls with 429, because they ask for more than the rate limit.",
    said="{} of the attempts were refused with 429",
)
OVERLOADED = ERROR_RATE._replace(
    key="overloaded",
    alertname="AnthropicOverloaded",
    summary="The API refuses calls with 529, because it is overloaded.",
    said="{} of the attempts were refused with 529",
)
DAILY_TOKENS = Condition(
    "daily_tokens",
    "AnthropicDailyTokenBudgetExceeded",
    "critical",
    "budget",
    "The day's budget of tokens is used up.",
    "{:.0f} tokens",
    "since 00:00 UTC",
    0.0,
)
DAILY_COST = Condition(
    "daily_cost",
    "AnthropicDailyCostBudgetExceeded",
    "critical",
    "budget",
    "The day's budget of dollars is used up.",
    "{:.2f} USD",
    "since 00:00 UTC",
    0.0,
)
RUNAWAY = Condition(
    "runaway_loop",
    "AnthropicRunawayLoop",
    "critical",
    "cost",
    "A task goes beyond the limit that its code gave it.",
    "{:.0f} calls",
    "since the task began",
)
RUNAWAY_COST = RUNAWAY._replace(unit="{:.2f} USD")

CONDITIONS = {
    one.key: one
    for one in (
        *(COST_RATE, COST_SPIKE, TOKEN_SPIKE, REQUEST_COST, CACHE_MISS_RATE, CACHE_MISS_COST),
        *(LATENCY, TTFT, STUCK, ERROR_RATE, RATE_LIMITED, OVERLOADED, DAILY_TOKENS, DAILY_COST, RUNAWAY),
    )
}
