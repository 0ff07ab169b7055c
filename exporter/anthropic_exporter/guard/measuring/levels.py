"""Measures the conditions of the Prometheus rules on the windows of this process.

Every function is pure: windows and thresholds in, measurements out. No measurement means too few requests to judge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

from anthropic_exporter.bundle.detection import detection_numbers
from anthropic_exporter.guard.anomalies import (
    CACHE_MISS_COST,
    CACHE_MISS_RATE,
    CACHE_SHARE_DROP,
    COST_RATE,
    ERROR_RATE,
    LATENCY,
    OVERLOADED,
    RATE_LIMITED,
    REQUEST_COST,
    REQUEST_TOKENS,
    SLOW_REQUESTS,
    STUCK,
    TTFT,
    Identity,
    Measure,
)
from anthropic_exporter.guard.measuring import windows as w
from anthropic_exporter.guard.measuring.windows import FAST_SECONDS, REQUEST_SECONDS, SLOW_SECONDS, PlaceWindows, Spread
from anthropic_exporter.guard.thresholds import Limits
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.quantiles import quantile
from anthropic_exporter.recording.inflight import Started, by_place

_PER_MINUTE = {FAST_SECONDS: 60 / FAST_SECONDS, SLOW_SECONDS: 60 / SLOW_SECONDS}
_NUMBERS = detection_numbers()
#: The fast window needs this share of the requests that the slow one needs.
FAST_SHARE = _NUMBERS.fast_window_share
_NOTHING = Spread([], [])


class Sums:
    """The sums of one feature on one model over the two windows that end now."""

    def __init__(self, place: PlaceWindows, now: float) -> None:
        self.place = place
        self.now = now
        self.second = int(now)
        self.fast, self.slow = place.sums(self.second)
        self._spread: dict[int, Spread] = {}

    def per_minute(self, field: int, seconds: int) -> float:
        """One of the sums of a window, per minute, ignoring the current partial step."""
        return (self.fast if seconds == FAST_SECONDS else self.slow)[field] * _PER_MINUTE[seconds]

    def spread(self, seconds: int, least: float) -> Spread:
        """The requests of a window, by bucket; nothing if there were fewer than `least`."""
        requests = (self.fast if seconds == FAST_SECONDS else self.slow)[w.REQUESTS]
        if requests < least:
            return _NOTHING
        if seconds not in self._spread:
            self._spread[seconds] = self.place.spread(seconds, self.second)
        return self._spread[seconds]


def of_all(
    all_sums: Sequence[Sums], usual_read_share: Callable[[PlaceWindows], float | None], limits: Limits
) -> Iterator[Measure]:
    """Every condition of every place, of every model, and of everything together unless a place explains it."""
    explained = False
    for sums in all_sums:
        for measure in of_place(sums, usual_read_share(sums.place)):
            explained = explained or (measure.condition is COST_RATE and measure.holds)
            yield measure
    if not explained:
        yield from of_total(all_sums, limits)
    yield from of_models(all_sums, limits)


def of_place(sums: Sums, usual_read_share: float | None) -> Iterator[Measure]:
    """Every condition of one feature on one model."""
    yield from urgent(sums)
    yield from _cache(sums, usual_read_share)
    yield from _latency(sums)
    yield from _errors(sums)


def urgent(sums: Sums) -> Iterator[Measure]:
    """The conditions that are measured after every call that crossed a trip line: dollars."""
    place = sums.place
    limits, where = place.limits, ("place", place.feature, place.model)
    enough = sums.fast[w.REQUESTS] >= limits.cost_min_requests
    rate = sums.per_minute(w.COST, FAST_SECONDS if enough else SLOW_SECONDS)
    yield Measure(COST_RATE, *where, rate, limits.cost_usd_per_minute)
    yield Measure(CACHE_MISS_COST, *where, _missed_usd(sums), limits.cache_miss_cost_usd_per_minute)
    yield from of_requests(sums)


def of_requests(sums: Sums) -> Iterator[Measure]:
    """The largest request of the last minute, if it exceeded a threshold for single requests."""
    place = sums.place
    limits, where = place.limits, ("place", place.feature, place.model)
    if sums.second - place.large_at < REQUEST_SECONDS:
        cost = place.largest_usd(REQUEST_SECONDS, sums.second)
        output = place.largest_output(REQUEST_SECONDS, sums.second)
        if cost > limits.request_cost_usd:
            yield Measure(REQUEST_COST, *where, cost, limits.request_cost_usd)
        else:
            yield Measure(REQUEST_TOKENS, *where, output, limits.request_output_tokens)


def _missed_usd(sums: Sums) -> float:
    """Dollars of misses a minute; over the fast window if most requests missed, and enough of them."""
    limits, misses = sums.place.limits, sums.fast[w.MISSES]
    asked = misses + sums.fast[w.HITS]
    most = misses > limits.cache_miss_ratio * asked and misses >= FAST_SHARE * limits.cache_min_requests
    return sums.per_minute(w.MISS_COST, FAST_SECONDS if most else SLOW_SECONDS)


def _cache(sums: Sums, usual: float | None) -> Iterator[Measure]:
    place = sums.place
    limits = place.limits
    if sums.per_minute(w.PROMPT, SLOW_SECONDS) < limits.cache_min_input_tokens_per_minute:
        return
    where, least = ("place", place.feature, place.model), limits.cache_min_requests
    missed = _missed_share(sums, least)
    read = None if usual is None else _read_share(sums, usual, least)
    drop = None if usual is None or read is None else usual - read
    if drop is not None and drop > limits.cache_read_share_drop and (missed or 0.0) <= limits.cache_miss_ratio:
        yield Measure(CACHE_SHARE_DROP, *where, drop, limits.cache_read_share_drop)
    elif missed is not None:
        yield Measure(CACHE_MISS_RATE, *where, missed, limits.cache_miss_ratio)


def _missed_share(sums: Sums, least: float) -> float | None:
    """The share of misses among the requests that asked for caching and were long enough for it."""
    for values in (sums.fast, sums.slow):
        asked = values[w.HITS] + values[w.MISSES]
        if asked >= max(1.0, least):
            return values[w.MISSES] / asked
    return None


def _read_share(sums: Sums, usual: float, least: float) -> float | None:
    """The share of prompt tokens read; over the fast window only if far below the usual: a cold cache is not a loss."""
    for values, most in ((sums.fast, _NUMBERS.cold_cache_share * usual), (sums.slow, math.inf)):
        if values[w.HITS] + values[w.MISSES] + values[w.UNASKED] >= least and values[w.PROMPT] > 0:
            share = values[w.CACHE_READ] / values[w.PROMPT]
            if share < most:
                return share
    return None


def _latency(sums: Sums) -> Iterator[Measure]:
    place = sums.place
    limits, where = place.limits, ("place", place.feature, place.model)
    least = max(1.0, limits.latency_min_requests)
    if sums.slow[w.REQUESTS] < FAST_SHARE * least:
        return
    slow, fast = sums.spread(SLOW_SECONDS, least).durations, sums.spread(FAST_SECONDS, FAST_SHARE * least).durations
    yield from nearest(
        Measure(condition, *where, quantile(rank, counts, f.DURATION.buckets), limits.latency_p95_seconds)
        for condition, rank, counts, enough in (
            (LATENCY, _NUMBERS.latency_quantile, slow, least),
            (SLOW_REQUESTS, _NUMBERS.slow_requests_quantile, fast, FAST_SHARE * least),
        )
        if sum(counts) >= enough
    )
    first_tokens = place.first_tokens(sums.second) if slow else []
    if sum(first_tokens) >= least:
        yield Measure(
            TTFT, *where, quantile(_NUMBERS.latency_quantile, first_tokens, f.TTFT.buckets), limits.ttft_p95_seconds
        )


def one_each(measures: Iterable[Measure]) -> list[Measure]:
    """The most severe of several measurements for the same alert: several processes measure their own calls."""
    by_identity: dict[Identity, list[Measure]] = {}
    for measure in measures:
        by_identity.setdefault(measure.identity, []).append(measure)
    return [found[0] if len(found) == 1 else next(nearest(found)) for found in by_identity.values()]


def nearest(measures: Iterable[Measure]) -> Iterator[Measure]:
    """Of several measurements of one condition, the one that holds, else the nearest: an alert shows one value."""
    best = max(measures, key=lambda one: (one.holds, one.value / one.threshold if one.threshold else 0.0), default=None)
    if best is not None:
        yield best


def _errors(sums: Sums) -> Iterator[Measure]:
    place = sums.place
    limits = place.limits
    values = _requests_enough((sums.fast, sums.slow), max(1.0, limits.error_min_requests))
    if values is not None:
        failed = _failed_share(values, w.FAILED, limits.error_min_failures)
        yield Measure(ERROR_RATE, "place", place.feature, place.model, failed, limits.error_ratio)


def of_models(all_sums: Iterable[Sums], limits: Limits) -> Iterator[Measure]:
    """The share of attempts that the API refused with 429 and 529, by model."""
    by_model: dict[str, list[Sums]] = {}
    for sums in all_sums:
        by_model.setdefault(sums.place.model, []).append(sums)
    least, failures = max(1.0, limits.of("error_min_requests")), limits.of("error_min_failures")
    for model, places in by_model.items():
        fast, slow = added(one.fast for one in places), added(one.slow for one in places)
        values = _requests_enough((fast, slow), least)
        if values is not None:
            for condition, field, name in (
                (RATE_LIMITED, w.RATE_LIMITED, "rate_limited_ratio"),
                (OVERLOADED, w.OVERLOADED, "overloaded_ratio"),
            ):
                refused = _failed_share(values, field, failures)
                yield Measure(condition, "model", "", model, refused, limits.of(name, "", model))


def _requests_enough(windows: Iterable[list[float]], least: float) -> list[float] | None:
    """The sums of the first window with enough requests."""
    return next((values for values in windows if values[w.REQUESTS] >= least), None)


def _failed_share(values: list[float], field: int, least: float) -> float:
    """The share of failures among the attempts; 0 for fewer failures than `least`, which may be chance."""
    return values[field] / values[w.REQUESTS] if values[field] >= least else 0.0


def added(parts: Iterable[list[float]]) -> list[float]:
    """The sum of several lists, field by field."""
    return [sum(values) for values in zip(*parts, strict=True)]


def of_total(all_sums: Sequence[Sums], limits: Limits) -> Iterator[Measure]:
    """The cost rate of everything together."""
    if not all_sums:
        return
    enough = sum(one.fast[w.REQUESTS] for one in all_sums) >= limits.of("cost_min_requests")
    rate = sum(one.per_minute(w.COST, FAST_SECONDS if enough else SLOW_SECONDS) for one in all_sums)
    yield Measure(COST_RATE, "total", "", "", rate, limits.of("total_cost_usd_per_minute"))


def of_inflight(started: Iterable[Started], wall: float, limits: Limits) -> Iterator[Measure]:
    """The oldest request in flight of each feature on each model. `started` bears the labels as they are shown."""
    for (model, feature), (_, age) in by_place(started, wall, ()).items():
        yield Measure(STUCK, "place", feature, model, age, limits.of("stuck_request_seconds", feature, model))
