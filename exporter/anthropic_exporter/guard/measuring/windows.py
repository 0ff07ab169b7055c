"""What happened in the last seconds and minutes, per feature and model, in constant time and memory per call.

Calls are added by one thread at a time, the one that holds the recorder's lock. Anybody may read meanwhile: reading
changes nothing, and what it misses of a call that is being added it sees half a second later.
"""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from operator import sub
from typing import NamedTuple, Protocol

from anthropic_exporter.call import Bill
from anthropic_exporter.guard.thresholds import Limits
from anthropic_exporter.metrics import families as f

FAST_SECONDS, SLOW_SECONDS, REQUEST_SECONDS = 30, 300, 60

# The fields that a place adds up, in this order. UNASKED: neither hit nor miss, too short for a cache included.
COST, OUTPUT, REQUESTS, PROMPT, CACHE_READ, HITS, MISSES, UNASKED, MISS_COST, FAILED, RATE_LIMITED, OVERLOADED = range(
    12
)
_WIDTH = 12
_SLOW_STEP = 10
# The bounds of the recorder's histograms. What is above the last one has a bucket of its own.
_DURATION_BOUNDS, _TTFT_BOUNDS = tuple(map(float, f.DURATION.buckets)), tuple(map(float, f.TTFT.buckets))
_ANSWER_BOUNDS = f.REQUEST_OUTPUT_TOKENS.buckets
_ANSWERS = len(_DURATION_BOUNDS) + 1
_SPREAD_WIDTH = _ANSWERS + len(_ANSWER_BOUNDS) + 1

#: As in the rules: these are no failures, or have an alert of their own.
NO_FAILURE = frozenset({"success", "abandoned", "cancelled", "refusal", "blocked"})
#: The part of a minute's threshold that must be spent on top before a look that found nothing is repeated.
_MORE = 0.005
_REFUSED = {"rate_limit_error": RATE_LIMITED, "overloaded_error": OVERLOADED}


class Ring:
    """Totals that only grow, and what they were at the end of each of the last steps.

    What happened within a window is a difference of two totals, as in Prometheus, so nothing has to be taken out again.

    Args:
        totals: what its owner adds to.
        step: seconds a step; a window is that much longer at most.
        seconds: the longest window.
        second: seconds, of a clock that never goes back.
    """

    __slots__ = ("_marks", "_slots", "_step", "at", "totals")

    def __init__(self, totals: list[float], step: int, seconds: int, second: int) -> None:
        self.totals = totals
        self.at = second // step
        self._step = step
        self._slots = seconds // step + 2
        self._marks = array("d", bytes(8 * len(totals) * self._slots))

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


class Spread(NamedTuple):
    """How many requests fell into each bucket of the recorder's histograms: by seconds, by output tokens."""

    durations: list[float]
    answers: list[float]


class Place:
    """One feature on one model: its windows, its largest requests, its thresholds.

    Attributes:
        second: up to which its windows have moved on.
        totals: what was added since it began, by the fields above.
        peak_usd: the most expensive request of this second.
        peak_output: the output tokens of the longest answer of this second.
        cost_trip: the total of dollars above which the cost rate may be over its threshold.
        miss_trip: the same for dollars lost to cache misses.
        large_at: the second of the last request above a threshold of single ones.
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
        self.limits = Thresholds(limits, feature, model)
        self._large_usd = self.limits.request_cost_usd
        self._large_tokens = self.limits.request_output_tokens
        self.second = second
        # Whole numbers until a fraction is added: adding one whole number to another is the fastest addition there is.
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
        """Move on to `second`, before the first call of it is added."""
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
        """Count one attempt: how it ended, how long it took, when its first token came."""
        totals = self.totals
        totals[REQUESTS] += requests
        if outcome != "success" and outcome not in NO_FAILURE:
            totals[_REFUSED.get(outcome, FAILED)] += 1
        if seconds is not None:
            self._spread[bisect_left(_DURATION_BOUNDS, seconds)] += 1
            if first is not None:
                self._first_tokens.totals[bisect_left(_TTFT_BOUNDS, first)] += 1

    def spend(self, bill: Bill, requests: int, usd: float, prompt: int, cache_read: int, output: int) -> bool:
        """Add what a response used. True where a threshold may be crossed: worth a look now."""
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

    def _is_large(self, usd: float, output: int) -> bool:
        """Note the largest request of this second so far. Whether it is unusually large."""
        self.peak_usd, self.peak_output = max(self.peak_usd, usd), max(self.peak_output, output)
        large = usd > self._large_usd or output > self._large_tokens
        if large:
            self.large_at = self.second
        return large

    def looked(self, *, holds: bool) -> None:
        """What may be crossed was looked at: where it holds, not again within this second; else, after a bit more."""
        usd, missed_usd = self.limits.cost_usd_per_minute, self.limits.cache_miss_cost_usd_per_minute
        self.cost_trip = max(self.cost_trip, math.inf if holds else self.totals[COST] + _MORE * usd)
        self.miss_trip = max(self.miss_trip, math.inf if holds else self.totals[MISS_COST] + _MORE * missed_usd)

    def idle(self, second: int) -> bool:
        """Whether nothing happened within the longest window."""
        return self._slow.before(SLOW_SECONDS, second)[REQUESTS] == self.totals[REQUESTS]

    def sums(self, second: int) -> tuple[list[float], list[float]]:
        """What was added within the fast and within the slow window."""
        return self._fast.sums(FAST_SECONDS, second), self._slow.sums(SLOW_SECONDS, second)

    def largest_usd(self, seconds: int, second: int) -> float:
        """The most expensive request of the last so many seconds."""
        running = self.peak_usd if second - self.second < seconds else 0.0
        return max(running, self._costs.max(seconds, second))

    def largest_output(self, seconds: int, second: int) -> float:
        """The output tokens of the longest answer of the last so many seconds, 60 at most."""
        running = self.peak_output if second - self.second < seconds else 0.0
        return max(running, self._outputs.max(seconds, second))

    def spread(self, seconds: int, second: int) -> Spread:
        """How the requests of the fast or of the slow window are spread."""
        ring = self._fast_spread if seconds == FAST_SECONDS else self._slow_spread
        sums = ring.sums(seconds, second)
        return Spread(sums[:_ANSWERS], sums[_ANSWERS:])

    def first_tokens(self, second: int) -> list[float]:
        """Streams of the slow window by the buckets of their time to first token."""
        return self._first_tokens.sums(SLOW_SECONDS, second)


def minutes(now: float) -> dict[int, float]:
    """How long the windows are that are read at `now`: with what is over of the running step."""
    return {FAST_SECONDS: (FAST_SECONDS + now % 1) / 60, SLOW_SECONDS: (SLOW_SECONDS + now % _SLOW_STEP) / 60}


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

    def forget(self, second: int) -> None:
        """Drop the places where nothing happened within the longest window."""


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

    def forget(self, second: int) -> None:
        """Drop the places where nothing happened within the longest window."""
        for key, place in list(self.items()):
            if place.idle(second):
                self.pop(key, None)
                if not place.idle(second):  # a call came just now: it stays, unless a place was made anew meanwhile
                    self.setdefault(key, place)
