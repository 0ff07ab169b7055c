"""What happened in the last seconds and minutes, per feature and model, in constant time and memory per call.

Calls are added by one thread at a time, the one that holds the recorder's lock. Anybody may read meanwhile: reading
changes nothing, and what it misses of a call that is being added it sees half a second later.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from operator import sub
from typing import Protocol

from anthropic_exporter import families as f
from anthropic_exporter.call import Bill
from anthropic_exporter.guard.limits import Limits

FAST_SECONDS, SLOW_SECONDS, REQUEST_SECONDS = 30, 300, 60

# The fields that a place adds up, in this order. UNASKED: neither hit nor miss, too short for a cache included.
COST, OUTPUT, REQUESTS, PROMPT, CACHE_READ, HITS, MISSES, UNASKED, MISS_COST, FAILED, RATE_LIMITED, OVERLOADED = range(
    12
)
_WIDTH = 12
_LATENCY_STEP = 10
_DURATION_BUCKETS, _TTFT_BUCKETS = f.DURATION.buckets, f.TTFT.buckets
_TTFT = len(_DURATION_BUCKETS) + 1
_LATENCY_WIDTH = _TTFT + len(_TTFT_BUCKETS) + 1

#: As in the rules: these are no failures, or have an alert of their own.
_NO_FAILURE = frozenset({"success", "abandoned", "cancelled", "refusal", "blocked"})
_REFUSED = {"rate_limit_error": RATE_LIMITED, "overloaded_error": OVERLOADED}


class Ring:
    """Totals that only grow, and what they were at the end of each of the last steps.

    What happened within a window is a difference of two totals, as in Prometheus, so nothing has to be taken out again.

    Args:
        width: how many totals.
        step: seconds a step.
        seconds: the longest window.
        second: seconds, of a clock that never goes back.
    """

    __slots__ = ("_marks", "_slots", "_step", "at", "totals")

    def __init__(self, width: int, step: int, seconds: int, second: int) -> None:
        self.totals = [0.0] * width
        self.at = second // step
        self._step = step
        self._slots = seconds // step + 2
        self._marks = array("d", bytes(8 * width * self._slots))

    def advance(self, second: int) -> None:
        """Move on to `second`."""
        step = second // self._step
        if step <= self.at:
            return
        totals = array("d", self.totals)
        width, slots, marks = len(totals), self._slots, self._marks
        for past in range(max(self.at, step - slots), step):
            slot = past % slots * width
            marks[slot : slot + width] = totals
        self.at = step

    def before(self, seconds: int, second: int) -> array[float]:
        """The totals as they were so many seconds before the step of `second` began: none of it is missed."""
        width, start = len(self.totals), second // self._step - seconds // self._step - 1
        if start >= self.at:
            return array("d", self.totals)
        slot = start % self._slots * width
        return self._marks[slot : slot + width]

    def sums(self, seconds: int, second: int) -> list[float]:
        """What was added within the last so many seconds and the running step."""
        before = self.before(seconds, second)
        return list(map(sub, self.totals, before))


class Peaks:
    """The largest value of each of the last 5 minutes' steps."""

    __slots__ = ("_step", "_values", "at")

    def __init__(self, step: int, seconds: int) -> None:
        self._step = step
        self._values = array("d", bytes(8 * (seconds // step + 1)))
        self.at = -1

    def advance(self, second: int, value: float) -> None:
        """Note the largest value of the seconds since the last time, and move on to `second`."""
        slot = self.at % len(self._values)
        self._values[slot] = max(self._values[slot], value)
        step, slots = second // self._step, len(self._values)
        for passed in range(max(self.at + 1, step - slots + 1), step + 1):
            self._values[passed % slots] = 0.0
        self.at = max(step, self.at)

    def max(self, seconds: int, second: int) -> float:
        """The largest value of the last so many seconds, to the step; 0 where there was none."""
        slots, newest = len(self._values), second // self._step
        steps = range(max(newest - seconds // self._step, self.at - slots + 1), min(newest, self.at) + 1)
        return max((self._values[step % slots] for step in steps), default=0.0)


class Place:
    """One feature on one model: its windows, its largest requests, its thresholds.

    Attributes:
        second: up to which its windows have moved on.
        peak_usd: the most expensive request of this second.
        peak_output: the output tokens of the longest answer of this second.
        cost_trip: the total of dollars above which the cost rate may be over its threshold.
        miss_trip: the same for dollars lost to cache misses.
        large_at: the second of the last request above a threshold of single ones.
    """

    __slots__ = (
        "_costs",
        "_large_tokens",
        "_large_usd",
        "_outputs",
        "_times",
        "cost_trip",
        "feature",
        "large_at",
        "limits",
        "miss_trip",
        "model",
        "peak_output",
        "peak_usd",
        "ring",
        "second",
    )

    def __init__(self, feature: str, model: str, limits: Limits, second: int) -> None:
        self.feature = feature
        self.model = model
        self.limits = Thresholds(limits, feature, model)
        self._large_usd = self.limits.request_cost_usd
        self._large_tokens = self.limits.request_output_tokens
        self.second = second
        self.ring = Ring(_WIDTH, 1, SLOW_SECONDS, second)
        self._times = Ring(_LATENCY_WIDTH, _LATENCY_STEP, SLOW_SECONDS, second)
        self._costs = Peaks(5, SLOW_SECONDS)
        self._outputs = Peaks(5, REQUEST_SECONDS)
        self.peak_usd = self.peak_output = 0.0
        self.large_at = -math.inf
        self.advance(second)

    def advance(self, second: int) -> None:
        """Move on to `second`, before the first call of it is added."""
        self.second = second
        self.ring.advance(second)
        self._times.advance(second)
        self._costs.advance(second, self.peak_usd)
        self._outputs.advance(second, self.peak_output)
        self.peak_usd = self.peak_output = 0.0
        fast, slow = self.ring.before(FAST_SECONDS, second), self.ring.before(SLOW_SECONDS, second)
        self.cost_trip = _trip(fast[COST], slow[COST], self.limits.cost_usd_per_minute)
        self.miss_trip = _trip(fast[MISS_COST], slow[MISS_COST], self.limits.cache_miss_cost_usd_per_minute)

    def count(self, outcome: str, requests: int, seconds: float | None, first: float | None) -> None:
        """Count one attempt: how it ended, how long it took, when its first token came."""
        totals = self.ring.totals
        totals[REQUESTS] += requests
        if outcome != "success" and outcome not in _NO_FAILURE:
            totals[_REFUSED.get(outcome, FAILED)] += 1.0
        if seconds is not None:
            times = self._times.totals
            times[bisect_left(_DURATION_BUCKETS, seconds)] += 1.0
            if first is not None:
                times[_TTFT + bisect_left(_TTFT_BUCKETS, first)] += 1.0

    def spend(self, bill: Bill, prompt: int, cache_read: int, output: int) -> bool:
        """Add what a response used. True where a threshold may be crossed: worth a look now."""
        totals, usd = self.ring.totals, bill.total_usd
        totals[COST] += usd
        totals[PROMPT] += prompt
        totals[CACHE_READ] += cache_read
        totals[OUTPUT] += output
        result = bill.cache_result
        if result == "hit":
            totals[HITS] += 1.0
        elif result == "miss":
            totals[MISSES] += 1.0
            totals[MISS_COST] += bill.cache_miss_cost_usd
        else:
            totals[UNASKED] += 1.0
        if usd > self.peak_usd:  # noqa: PLR1730 - three times as fast as max()
            self.peak_usd = usd
        if output > self.peak_output:  # noqa: PLR1730 - as above
            self.peak_output = output
        if usd > self._large_usd or output > self._large_tokens:
            self.large_at = self.second
            return True
        return totals[COST] > self.cost_trip or totals[MISS_COST] > self.miss_trip

    def seen(self) -> None:
        """What may be crossed was looked at and holds: not again within this second."""
        self.cost_trip = self.miss_trip = math.inf

    def idle(self, second: int) -> bool:
        """Whether nothing happened within the longest window."""
        return self.ring.before(SLOW_SECONDS, second)[REQUESTS] == self.ring.totals[REQUESTS]

    def largest_usd(self, seconds: int, second: int) -> float:
        """The most expensive request of the last so many seconds."""
        running = self.peak_usd if second - self.second < seconds else 0.0
        return max(running, self._costs.max(seconds, second))

    def largest_output(self, seconds: int, second: int) -> float:
        """The output tokens of the longest answer of the last so many seconds, 60 at most."""
        running = self.peak_output if second - self.second < seconds else 0.0
        return max(running, self._outputs.max(seconds, second))

    def times(self, second: int) -> tuple[list[float], list[float]]:
        """Requests of the slow window by the buckets of duration and of time to first token, not cumulative."""
        sums = self._times.sums(SLOW_SECONDS, second)
        return sums[:_TTFT], sums[_TTFT:]


def _trip(fast: float, slow: float, per_minute: float) -> float:
    return min(fast + per_minute * FAST_SECONDS / 60, slow + per_minute * SLOW_SECONDS / 60)


class Thresholds:
    """The thresholds of one place, looked up once: an attribute for each name."""

    def __init__(self, limits: Limits, feature: str, model: str) -> None:
        self._limits, self._feature, self._model = limits, feature, model

    def __getattr__(self, name: str) -> float:
        value = self._limits.of(name, self._feature, self._model)
        setattr(self, name, value)
        return value


class WindowStore(Protocol):
    """Where places live. In this process; a store shared by workers and hosts has the same methods."""

    def __getitem__(self, key: tuple[str, str]) -> Place:
        """The place of a (feature, model); made where it is new."""

    def places(self) -> list[Place]:
        """Every place."""

    def forget(self, places: Iterable[Place]) -> None:
        """Drop places where nothing happens any more."""


class Windows(dict[tuple[str, str], Place]):
    """The places of this process, by feature and model. A dictionary: looking one up calls nothing of ours.

    Args:
        limits: the thresholds of every place.
    """

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits = limits

    def __missing__(self, key: tuple[str, str]) -> Place:
        place = self[key] = Place(*key, self._limits, 0)
        return place

    def places(self) -> list[Place]:
        """Every place."""
        return list(self.values())

    def forget(self, places: Iterable[Place]) -> None:
        """Drop places where nothing happens any more."""
        for place in places:
            self.pop((place.feature, place.model), None)
