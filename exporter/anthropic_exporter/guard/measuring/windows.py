"""Sums over the last seconds and minutes of each feature and model, in constant time and memory per call.

The recorder adds calls one at a time. Any thread may read at the same time: reading changes nothing, and a call that is
being added is seen by the next evaluation.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from anthropic_exporter.bundle.detection import detection_numbers
from anthropic_exporter.call import NO_FAILURE, SUCCESS, Bill
from anthropic_exporter.guard.measuring.rings import Peaks, Ring
from anthropic_exporter.guard.thresholds import Limits, PlaceThresholds
from anthropic_exporter.metrics import families as f

_NUMBERS = detection_numbers()
FAST_SECONDS = _NUMBERS.fast_window_seconds
SLOW_SECONDS = _NUMBERS.slow_window_seconds
REQUEST_SECONDS = _NUMBERS.request_window_seconds

# Fields of the totals. UNASKED: neither hit nor miss, including requests too short for a cache.
COST, OUTPUT, REQUESTS, PROMPT, CACHE_READ, HITS, MISSES, UNASKED, MISS_COST, FAILED, RATE_LIMITED, OVERLOADED = range(
    12
)
_WIDTH = 12
_SLOW_STEP = 10
# Bounds of the recorder's histograms; values above the last bound have a separate bucket.
_DURATION_BOUNDS, _TTFT_BOUNDS = tuple(map(float, f.DURATION.buckets)), tuple(map(float, f.TTFT.buckets))
_ANSWER_BOUNDS = f.REQUEST_OUTPUT_TOKENS.buckets
_ANSWERS = len(_DURATION_BOUNDS) + 1
_SPREAD_WIDTH = _ANSWERS + len(_ANSWER_BOUNDS) + 1
#: The columns of `grow`: the totals, then requests by duration, by output tokens, and by time to first token.
DURATIONS_AT = _WIDTH
ANSWERS_AT = DURATIONS_AT + _ANSWERS
FIRST_TOKENS_AT = DURATIONS_AT + _SPREAD_WIDTH
COLUMNS = FIRST_TOKENS_AT + len(_TTFT_BOUNDS) + 1

#: After an evaluation without a result, this share of a minute's threshold must be spent before the next one.
_MORE = 0.005
#: Failures that have their own alert, as in the rules.
_REFUSED = {"rate_limit_error": RATE_LIMITED, "overloaded_error": OVERLOADED}


class Spread(NamedTuple):
    """Requests per bucket of the recorder's histograms: by duration, and by output tokens."""

    durations: list[float]
    answers: list[float]


class PlaceWindows:
    """One feature on one model: its windows, its largest requests, its thresholds.

    Attributes:
        second: how far its windows have advanced.
        totals: sums since it was created, by the fields above.
        peak_usd: the most expensive request of this second.
        peak_output: the output tokens of the longest answer of this second.
        cost_trip: once the total of dollars exceeds this, the cost rate may exceed its threshold.
        miss_trip: the same for dollars lost to cache misses.
        large_at: the second of the last request that exceeded a threshold for single requests.
    """

    __slots__ = (
        "_costs",
        "_fast",
        "_fast_spread",
        "_first_tokens",
        "_large_tokens",
        "_large_usd",
        "_outputs",
        "_slow",
        "_slow_spread",
        "_spread",
        "cost_trip",
        "feature",
        "large_at",
        "limits",
        "miss_trip",
        "model",
        "peak_output",
        "peak_usd",
        "second",
        "totals",
    )

    def __init__(self, feature: str, model: str, limits: Limits, second: int) -> None:
        self.feature = feature
        self.model = model
        self.limits = PlaceThresholds(limits, feature, model)
        self._large_usd = self.limits.request_cost_usd
        self._large_tokens = self.limits.request_output_tokens
        self.second = second
        # Integers until a fraction is added, because adding integers is faster.
        self.totals: list[float] = [0] * _WIDTH
        self._fast = Ring(self.totals, 1, FAST_SECONDS, second)
        self._slow = Ring(self.totals, _SLOW_STEP, SLOW_SECONDS, second)
        self._spread: list[float] = [0] * _SPREAD_WIDTH
        self._fast_spread = Ring(self._spread, 1, FAST_SECONDS, second)
        self._slow_spread = Ring(self._spread, _SLOW_STEP, SLOW_SECONDS, second)
        self._first_tokens = Ring([0] * (len(_TTFT_BOUNDS) + 1), _SLOW_STEP, SLOW_SECONDS, second)
        self._costs = Peaks(5, SLOW_SECONDS)
        self._outputs = Peaks(5, REQUEST_SECONDS)
        self.peak_usd: float = 0.0
        self.peak_output: float = 0
        self.large_at = -math.inf
        self.advance(second)

    def advance(self, second: int) -> None:
        """Move on to `second`; called before the first call of that second is added."""
        self.second = second
        self._fast.advance(second)
        self._slow.advance(second)
        self._fast_spread.advance(second)
        self._slow_spread.advance(second)
        self._first_tokens.advance(second)
        self._costs.advance(second, self.peak_usd)
        self._outputs.advance(second, self.peak_output)
        self.peak_usd, self.peak_output = 0.0, 0
        fast, slow = self._fast.before(FAST_SECONDS, second), self._slow.before(SLOW_SECONDS, second)
        self.cost_trip = _trip(fast[COST], slow[COST], self.limits.cost_usd_per_minute)
        self.miss_trip = _trip(fast[MISS_COST], slow[MISS_COST], self.limits.cache_miss_cost_usd_per_minute)

    def count(self, outcome: str, requests: int, seconds: float | None, first: float | None) -> None:
        """Count one attempt: its outcome, its duration and its time to first token in seconds."""
        totals = self.totals
        totals[REQUESTS] += requests
        if outcome != SUCCESS and outcome not in NO_FAILURE:
            totals[_REFUSED.get(outcome, FAILED)] += 1
        if seconds is not None:
            self._spread[bisect_left(_DURATION_BOUNDS, seconds)] += 1
            if first is not None:
                self._first_tokens.totals[bisect_left(_TTFT_BOUNDS, first)] += 1

    def spend(self, bill: Bill, requests: int, usd: float, prompt: int, cache_read: int, output: int) -> bool:
        """Add the usage of a response. Returns True if a threshold may be exceeded: the caller evaluates now."""
        totals, result = self.totals, bill.cache_result
        totals[COST] += usd
        totals[PROMPT] += prompt
        totals[CACHE_READ] += cache_read
        totals[OUTPUT] += output
        self._spread[_ANSWERS + bisect_left(_ANSWER_BOUNDS, output)] += requests
        look = (usd > self.peak_usd or output > self.peak_output) and self._is_large(usd, output)
        if result == "hit":
            totals[HITS] += 1
        elif result == "miss":
            totals[MISSES] += 1
            totals[MISS_COST] += bill.cache_miss_cost_usd
            look = look or totals[MISS_COST] > self.miss_trip
        else:
            totals[UNASKED] += 1
        return look or totals[COST] > self.cost_trip

    def grow(self, columns: Sequence[float]) -> None:
        """Add the sums of many calls: a value for each of the `COLUMNS`."""
        for sums, start in (
            (self.totals, 0),
            (self._spread, DURATIONS_AT),
            (self._first_tokens.totals, FIRST_TOKENS_AT),
        ):
            for index in range(len(sums)):
                sums[index] += columns[start + index]

    def _is_large(self, usd: float, output: int) -> bool:
        """Keep the largest request of this second. True if this one exceeds a threshold for single requests."""
        self.peak_usd, self.peak_output = max(self.peak_usd, usd), max(self.peak_output, output)
        large = usd > self._large_usd or output > self._large_tokens
        if large:
            self.large_at = self.second
        return large

    def evaluated(self, *, holds: bool) -> None:
        """Set the next trip lines: none within this second if a condition holds, else a little higher."""
        usd, missed_usd = self.limits.cost_usd_per_minute, self.limits.cache_miss_cost_usd_per_minute
        self.cost_trip = max(self.cost_trip, math.inf if holds else self.totals[COST] + _MORE * usd)
        self.miss_trip = max(self.miss_trip, math.inf if holds else self.totals[MISS_COST] + _MORE * missed_usd)

    def idle(self, second: int) -> bool:
        """Whether there was no request within the longest window."""
        return self._slow.before(SLOW_SECONDS, second)[REQUESTS] == self.totals[REQUESTS]

    def sums(self, second: int) -> tuple[list[float], list[float]]:
        """The sums of the fast and of the slow window."""
        return self._fast.sums(FAST_SECONDS, second), self._slow.sums(SLOW_SECONDS, second)

    def largest_usd(self, seconds: int, second: int) -> float:
        """Dollars of the most expensive request of the last `seconds`."""
        running = self.peak_usd if second - self.second < seconds else 0.0
        return max(running, self._costs.max(seconds, second))

    def largest_output(self, seconds: int, second: int) -> float:
        """Output tokens of the longest answer of the last `seconds`, 60 at most."""
        running = self.peak_output if second - self.second < seconds else 0.0
        return max(running, self._outputs.max(seconds, second))

    def spread(self, seconds: int, second: int) -> Spread:
        """The requests of the fast or of the slow window, by bucket."""
        ring = self._fast_spread if seconds == FAST_SECONDS else self._slow_spread
        sums = ring.sums(seconds, second)
        return Spread(sums[:_ANSWERS], sums[_ANSWERS:])

    def first_tokens(self, second: int) -> list[float]:
        """The streams of the slow window, by bucket of their time to first token."""
        return self._first_tokens.sums(SLOW_SECONDS, second)


def window_minutes(now: float) -> dict[int, float]:
    """Window lengths in minutes by their seconds, including the elapsed part of the current step."""
    return {FAST_SECONDS: (FAST_SECONDS + now % 1) / 60, SLOW_SECONDS: (SLOW_SECONDS + now % _SLOW_STEP) / 60}


def _trip(fast: float, slow: float, per_minute: float) -> float:
    return min(fast + per_minute * FAST_SECONDS / 60, slow + per_minute * SLOW_SECONDS / 60)


class Windows(dict[tuple[str, str], PlaceWindows]):
    """The windows of this process, by feature and model. A dictionary, so that a lookup runs no Python code.

    Args:
        limits: the thresholds.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits = limits

    def __missing__(self, key: tuple[str, str]) -> PlaceWindows:
        place = self[key] = PlaceWindows(*key, self._limits, 0)
        return place

    def places(self) -> list[PlaceWindows]:
        """The windows of every feature and model."""
        return list(self.values())

    def forget(self, second: int) -> None:
        """Drop windows without a request within the longest window."""
        for key, place in list(self.items()):
            if place.idle(second):
                self.pop(key, None)
                if not place.idle(second):  # a call arrived in between: keep it, unless new windows already exist
                    self.setdefault(key, place)
