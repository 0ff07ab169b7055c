"""The kinds of anomaly the Guard detects, each with the name, labels and patience of its Prometheus rule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from anthropic_exporter.bundle.detection import detection_numbers

Identity = tuple[str, str, str, str]


class Condition(NamedTuple):
    """One kind of anomaly. Breakers name it by `key`; the other fields are those of the rule with the same alert name.

    `unit` formats value and threshold, as in `"{:.2f} USD a minute"`; `said` is the sentence around the value; `window`
    is the time over which both are measured, in words.
    """

    key: str
    alertname: str
    severity: str
    category: str
    summary: str
    unit: str
    window: str
    said: str = "{}"

    @property
    def resolve_seconds(self) -> float:
        """How long the condition must stay false before its alert resolves: the rule's `keep_firing_for`."""
        return _RESOLVE_SECONDS[self.alertname]


class Measure(NamedTuple):
    """The value of one condition, for one subject; feature and model are empty if it covers all of them.

    `scope` is "place" (feature and model), "feature", "model", "task" or "total".
    """

    condition: Condition
    scope: str
    feature: str
    model: str
    value: float
    threshold: float
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether the threshold is exceeded."""
        return self.value > self.threshold

    @property
    def identity(self) -> Identity:
        """Equal for two measurements that belong to the same alert."""
        return (self.condition.key, self.scope, self.feature, self.model)


def describe(measure: Measure) -> str:
    """One sentence: who, how much, against what, over which time."""
    condition = measure.condition
    sentence = f"{subject(measure)}: {against(measure)} ({condition.window})."
    return f"{sentence} {measure.note}" if measure.note else sentence


def against(measure: Measure) -> str:
    """The value and the threshold, in words."""
    unit, said = measure.condition.unit, measure.condition.said
    return f"{said.format(unit.format(measure.value))}; the threshold is {unit.format(measure.threshold)}"


def subject(measure: Measure) -> str:
    """The subject of a measurement, in words."""
    if measure.scope == "total":
        return "All features together"
    if measure.scope == "model":
        return measure.model or "An unnamed model"
    feature = measure.feature or "Unattributed calls"
    return f"{feature} on {measure.model or 'an unnamed model'}" if measure.scope == "place" else feature


_RESOLVE_SECONDS = detection_numbers().resolve_seconds
_USD_A_MINUTE = "{:.2f} USD a minute"
_EITHER_WINDOW = "over 30 s, or over 5 minutes if there are few requests"
COST_RATE = Condition(
    "cost_rate",
    "AnthropicCostRateHigh",
    "critical",
    "cost",
    "Claude calls cost more dollars a minute than the threshold allows.",
    _USD_A_MINUTE,
    _EITHER_WINDOW,
)
COST_SPIKE = Condition(
    "cost_spike",
    "AnthropicCostSpike",
    "warning",
    "cost",
    "A feature costs several times what it usually does.",
    _USD_A_MINUTE,
    _EITHER_WINDOW,
)
TOKEN_SPIKE = Condition(
    "token_spike",
    "AnthropicTokenSpike",
    "warning",
    "tokens",
    "A feature uses several times the tokens that it usually does.",
    "{:.0f} tokens a minute",
    _EITHER_WINDOW,
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
)
REQUEST_TOKENS = REQUEST_COST._replace(unit="{:.0f} output tokens")
CACHE_MISS_RATE = Condition(
    "cache_miss_rate",
    "AnthropicCacheMissRateHigh",
    "warning",
    "cache",
    "The prompt cache of a feature stopped working.",
    "{:.0%}",
    _EITHER_WINDOW,
    said="{} of the requests that asked for caching read nothing",
)
CACHE_SHARE_DROP = CACHE_MISS_RATE._replace(said="the share of the prompt read from the cache fell by {}")
CACHE_MISS_COST = Condition(
    "cache_miss_cost",
    "AnthropicCacheMissWaste",
    "critical",
    "cache",
    "Cache misses waste money.",
    _USD_A_MINUTE,
    _EITHER_WINDOW,
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
    "A request in flight has received nothing for a long time.",
    "{:.0f} s",
    "right now",
    said="no byte for {}",
)
ERROR_RATE = Condition(
    "error_rate",
    "AnthropicErrorRateHigh",
    "warning",
    "errors",
    "Calls to Claude are failing.",
    "{:.0%}",
    _EITHER_WINDOW,
    said="{} of the attempts failed",
)
RATE_LIMITED = ERROR_RATE._replace(
    key="rate_limited",
    alertname="AnthropicRateLimited",
    summary="The API rejects calls with 429, because they exceed the rate limit.",
    said="{} of the attempts were rejected with 429",
)
OVERLOADED = ERROR_RATE._replace(
    key="overloaded",
    alertname="AnthropicOverloaded",
    summary="The API rejects calls with 529, because it is overloaded.",
    said="{} of the attempts were rejected with 529",
)
DAILY_TOKENS = Condition(
    "daily_tokens",
    "AnthropicDailyTokenBudgetExceeded",
    "critical",
    "budget",
    "The daily token budget is used up.",
    "{:.0f} tokens",
    "since the day began",
)
DAILY_COST = Condition(
    "daily_cost",
    "AnthropicDailyCostBudgetExceeded",
    "critical",
    "budget",
    "The daily cost budget is used up.",
    "{:.2f} USD",
    "since the day began",
)
RUNAWAY = Condition(
    "runaway_loop",
    "AnthropicRunawayLoop",
    "critical",
    "cost",
    "A task exceeds its own limit.",
    "{:.0f} calls",
    "since the task began",
)
RUNAWAY_COST = RUNAWAY._replace(unit="{:.2f} USD")
#: Conditions of the day's budgets: they end at midnight, all at once.
DAILY = frozenset({DAILY_COST.key, DAILY_TOKENS.key})

CONDITIONS = {
    one.key: one
    for one in (
        *(COST_RATE, COST_SPIKE, TOKEN_SPIKE, REQUEST_COST, CACHE_MISS_RATE, CACHE_MISS_COST),
        *(LATENCY, TTFT, STUCK, ERROR_RATE, RATE_LIMITED, OVERLOADED, DAILY_TOKENS, DAILY_COST, RUNAWAY),
    )
}

#: Every kind of measurement by name: some conditions are measured in several ways.
KINDS = {
    **CONDITIONS,
    "long_answers": LONG_ANSWERS,
    "request_tokens": REQUEST_TOKENS,
    "cache_share_drop": CACHE_SHARE_DROP,
    "slow_requests": SLOW_REQUESTS,
    "runaway_cost": RUNAWAY_COST,
}
_NAMES = {condition: name for name, condition in KINDS.items()}


def kind_of(condition: Condition) -> str:
    """The name of a kind of measurement."""
    return _NAMES[condition]


def measure_of(values: Mapping[str, Any]) -> Measure:
    """A measurement from the plain values of one.

    Raises:
        ValueError: they are not.
        KeyError: one is missing, or the condition is not known.
    """
    scope, feature, model, note = (str(values[key])[:128] for key in ("scope", "feature", "model", "note"))
    value, threshold = float(values["value"]), float(values["threshold"])
    return Measure(KINDS[values["condition"]], scope, feature, model, value, threshold, note)
