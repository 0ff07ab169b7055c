"""What is an anomaly: the questions of the Prometheus rules, asked of the windows of this process.

Every function is pure: windows and thresholds in, measurements out. No measurement means "not enough requests to say".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from anthropic_exporter import families as f
from anthropic_exporter.guard import windows as w
from anthropic_exporter.guard.alerts import Condition, Measure
from anthropic_exporter.guard.limits import Limits
from anthropic_exporter.guard.windows import FAST_SECONDS, REQUEST_SECONDS, SLOW_SECONDS, Place
from anthropic_exporter.inflight import Started, by_place

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
    "{:.0%} of the requests that asked for caching read nothing",
    "over 30 s, or 5 minutes where there are few requests",
)
CACHE_SHARE_DROP = CACHE_MISS_RATE._replace(unit="the share of the prompt read from the cache fell by {:.0%}")
CACHE_MISS_COST = Condition(
    "cache_miss_cost",
    "AnthropicCacheMissWaste",
    "critical",
    "cache",
    "Cache misses burn dollars.",
    _USD_A_MINUTE + " above a working cache",
    "over 30 s, or 5 minutes where there are few requests",
)
LATENCY = Condition(
    "latency",
    "AnthropicLatencyHigh",
    "info",
    "latency",
    "Requests take longer than the threshold allows.",
    "one request in 20 takes longer than {:.1f} s",
    "over 5 minutes",
)
TTFT = Condition(
    "ttft",
    "AnthropicTimeToFirstTokenHigh",
    "info",
    "latency",
    "Streams take longer to begin than the threshold allows.",
    "one stream in 20 begins after more than {:.1f} s",
    "over 5 minutes",
)
STUCK = Condition(
    "stuck",
    "AnthropicRequestStuck",
    "warning",
    "latency",
    "A request hangs.",
    "in flight for {:.0f} s",
    "right now",
    0.0,
)
ERROR_RATE = Condition(
    "error_rate",
    "AnthropicErrorRateHigh",
    "warning",
    "errors",
    "Calls to Claude fail.",
    "{:.0%} of the attempts failed",
    "over 30 s, or 5 minutes where there are few requests",
)
RATE_LIMITED = ERROR_RATE._replace(
    key="rate_limited",
    alertname="AnthropicRateLimited",
    summary="The API refuses calls with 429, because they ask for more than the rate limit.",
    unit="{:.0%} of the attempts were refused with 429",
)
OVERLOADED = ERROR_RATE._replace(
    key="overloaded",
    alertname="AnthropicOverloaded",
    summary="The API refuses calls with 529, because it is overloaded.",
    unit="{:.0%} of the attempts were refused with 529",
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

_PER_MINUTE = {FAST_SECONDS: 60 / FAST_SECONDS, SLOW_SECONDS: 60 / SLOW_SECONDS}
_P95 = 0.95


class Sums:
    """What one place did within the two windows."""

    def __init__(self, place: Place, second: int) -> None:
        self.place = place
        self.second = second
        self.fast, self.slow = place.sums(second)

    def rate(self, field: int, guard: int, least: float) -> float:
        """Per minute over 30 s where the guard counts enough there, over 5 minutes elsewhere."""
        if self.fast[guard] >= least:
            return self.fast[field] * _PER_MINUTE[FAST_SECONDS]
        return self.slow[field] * _PER_MINUTE[SLOW_SECONDS]


def of_place(sums: Sums, usual_read_share: float | None) -> Iterator[Measure]:
    """Everything that is asked of one feature on one model."""
    yield from urgent(sums)
    yield from _cache(sums, usual_read_share)
    yield from _latency(sums)
    yield from _errors(sums)


def urgent(sums: Sums) -> Iterator[Measure]:
    """What is asked after every call that crossed a trip line: dollars."""
    place = sums.place
    limits, where = place.limits, ("place", place.feature, place.model)
    rate = sums.rate(w.COST, w.REQUESTS, limits.cost_min_requests)
    yield Measure(COST_RATE, *where, rate, limits.cost_usd_per_minute)
    lost = sums.rate(w.MISS_COST, w.MISSES, limits.cost_min_requests)
    yield Measure(CACHE_MISS_COST, *where, lost, limits.cache_miss_cost_usd_per_minute)
    if sums.second - place.large_at < REQUEST_SECONDS:
        cost = place.largest_usd(REQUEST_SECONDS, sums.second)
        output = place.largest_output(REQUEST_SECONDS, sums.second)
        if cost > limits.request_cost_usd:
            yield Measure(REQUEST_COST, *where, cost, limits.request_cost_usd)
        else:
            yield Measure(REQUEST_TOKENS, *where, output, limits.request_output_tokens)


def _cache(sums: Sums, usual: float | None) -> Iterator[Measure]:
    place = sums.place
    limits = place.limits
    if sums.slow[w.PROMPT] * _PER_MINUTE[SLOW_SECONDS] < limits.cache_min_input_tokens_per_minute:
        return
    where, least = ("place", place.feature, place.model), limits.cache_min_requests
    missed = _share(sums, (w.MISSES,), (w.HITS, w.MISSES), (w.HITS, w.MISSES), least)
    read = _share(sums, (w.CACHE_READ,), (w.PROMPT,), (w.HITS, w.MISSES, w.UNASKED), least)
    drop = None if usual is None or read is None else usual - read
    if drop is not None and drop > limits.cache_read_share_drop and (missed or 0.0) <= limits.cache_miss_ratio:
        yield Measure(CACHE_SHARE_DROP, *where, drop, limits.cache_read_share_drop)
    elif missed is not None:
        yield Measure(CACHE_MISS_RATE, *where, missed, limits.cache_miss_ratio)


def _share(
    sums: Sums, part: tuple[int, ...], whole: tuple[int, ...], guard: tuple[int, ...], least: float
) -> float | None:
    for values in (sums.fast, sums.slow):
        total = sum(values[field] for field in whole)
        if sum(values[field] for field in guard) >= least and total > 0:
            return sum(values[field] for field in part) / total
    return None


def _latency(sums: Sums) -> Iterator[Measure]:
    place = sums.place
    limits, where = place.limits, ("place", place.feature, place.model)
    least = max(1.0, limits.latency_min_requests)
    if sums.slow[w.REQUESTS] < least:
        return
    durations, first_tokens = place.times(sums.second)
    for condition, counts, buckets, threshold in (
        (LATENCY, durations, f.DURATION.buckets, limits.latency_p95_seconds),
        (TTFT, first_tokens, f.TTFT.buckets, limits.ttft_p95_seconds),
    ):
        if sum(counts) >= least:
            yield Measure(condition, *where, quantile(_P95, counts, buckets), threshold)


def quantile(rank: float, counts: Sequence[float], buckets: Sequence[float]) -> float:
    """As `histogram_quantile` reads it: linear within a bucket, the last finite bound above all of them.

    Args:
        rank: 0 to 1.
        counts: observations per bucket, not cumulative, the one above the last bound included.
        buckets: upper bounds.
    """
    wanted = rank * sum(counts)
    for index, (below, count) in enumerate(zip(accumulate((0.0, *counts)), counts, strict=False)):
        if below + count >= wanted and count:
            if index == len(buckets):
                break
            start = buckets[index - 1] if index else 0.0
            return start + (buckets[index] - start) * (wanted - below) / count
    return float(buckets[-1])


def _errors(sums: Sums) -> Iterator[Measure]:
    place = sums.place
    failed = _share(sums, (w.FAILED,), (w.REQUESTS,), (w.REQUESTS,), max(1.0, place.limits.error_min_requests))
    if failed is not None:
        yield Measure(ERROR_RATE, "place", place.feature, place.model, failed, place.limits.error_ratio)


def of_models(all_sums: Iterable[Sums], limits: Limits) -> Iterator[Measure]:
    """What the API refused, by model."""
    by_model: dict[str, list[Sums]] = {}
    for sums in all_sums:
        by_model.setdefault(sums.place.model, []).append(sums)
    least = max(1.0, limits.of("error_min_requests"))
    for model, places in by_model.items():
        values = _requests_enough(places, least)
        if values is not None:
            for condition, field, name in (
                (RATE_LIMITED, w.RATE_LIMITED, "rate_limited_ratio"),
                (OVERLOADED, w.OVERLOADED, "overloaded_ratio"),
            ):
                yield Measure(
                    condition, "model", "", model, values[field] / values[w.REQUESTS], limits.of(name, "", model)
                )


def _requests_enough(places: list[Sums], least: float) -> list[float] | None:
    for values in (_added(one.fast for one in places), _added(one.slow for one in places)):
        if values[w.REQUESTS] >= least:
            return values
    return None


def _added(parts: Iterable[list[float]]) -> list[float]:
    return [sum(values) for values in zip(*parts, strict=True)]


def of_total(all_sums: Sequence[Sums], limits: Limits) -> Iterator[Measure]:
    """The cost rate of everything together, where no single feature explains it."""
    if not all_sums:
        return
    fast, slow = _added(one.fast for one in all_sums), _added(one.slow for one in all_sums)
    enough = fast[w.REQUESTS] >= limits.of("cost_min_requests")
    rate = fast[w.COST] * _PER_MINUTE[FAST_SECONDS] if enough else slow[w.COST] * _PER_MINUTE[SLOW_SECONDS]
    yield Measure(COST_RATE, "total", "", "", rate, limits.of("total_cost_usd_per_minute"))


class Usual:
    """What a feature usually spends, per minute."""

    __slots__ = ("cost_usd", "tokens")

    def __init__(self, cost_usd: float, tokens: float) -> None:
        self.cost_usd = cost_usd
        self.tokens = tokens


def of_feature(feature: str, places: Sequence[Sums], usual: Usual, limits: Limits) -> Iterator[Measure]:
    """Spikes: what a feature spends now against what it usually does, the largest single request left out."""
    least = limits.of("spike_min_requests")
    seconds, values = FAST_SECONDS, _added(one.fast for one in places)
    if values[w.REQUESTS] < least:
        seconds, values = SLOW_SECONDS, _added(one.slow for one in places)
    if values[w.REQUESTS] < max(1.0, least):
        return
    cost, tokens = values[w.COST] * _PER_MINUTE[seconds], (values[w.PROMPT] + values[w.OUTPUT]) * _PER_MINUTE[seconds]
    threshold = max(usual.cost_usd * limits.of("cost_spike_ratio", feature), limits.of("cost_spike_min_usd_per_minute"))
    if cost > threshold * 0.5:
        largest = max(one.place.largest_usd(max(REQUEST_SECONDS, seconds), one.second) for one in places)
        cost -= largest * _PER_MINUTE[seconds]
    yield Measure(COST_SPIKE, "feature", feature, "", cost, threshold)
    threshold = max(
        usual.tokens * limits.of("token_spike_ratio", feature), limits.of("token_spike_min_tokens_per_minute")
    )
    yield Measure(TOKEN_SPIKE, "feature", feature, "", tokens, threshold)


def of_inflight(started: Iterable[Started], wall: float, limits: Limits) -> Iterator[Measure]:
    """The oldest request in flight of each feature on each model. `started` bears the labels as they are shown."""
    for (model, feature), (_, age) in by_place(started, wall, ()).items():
        yield Measure(STUCK, "place", feature, model, age, limits.of("stuck_request_seconds", feature, model))
