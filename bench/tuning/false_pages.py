"""Does the promise of `calibrate` hold? Thresholds from one simulated week, pages counted in other weeks.

    .venv/bin/python -m bench.tuning.false_pages                          4 weeks to choose from, 12 others to count in
    .venv/bin/python -m bench.tuning.false_pages --for latency --for spike --train 2 --test 4

The traffic is that of bench/false_alarms: rhythm, noise, deploys, a launch. Signals are what the rules record: the pace
in dollars a minute (`cost`), the 95th percentile of durations over 5 minutes (`latency`), and the pace beyond chance
over the baseline (`spike`). A page of latency is also one that three slow requests in ten of 30 s give, as the alert
has it. Exit code 1 when more than one false page a week came on average.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import random
import statistics
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from anthropic_exporter.history.remote_write import Labels
from anthropic_exporter.tuning import tail
from anthropic_exporter.tuning.calibrate import rounded_up, tail_threshold
from bench.false_alarms import traffic

STEP = 5
EVERY, LOOK = 60, 15
FAST, SLOW, HOUR = 30, 300, 3_600
YOUNG = 2_100  # seconds in which a feature has no baseline
COST, LATENCY, SPIKE = "cost", "latency", "spike"
#: Of series.JUDGED, and of thresholds.yml and detection.yml as shipped on 2026-11-30.
FLOORS = {COST: 0.05, LATENCY: 1.0, SPIKE: 1.5}
COST_MIN_REQUESTS, SPIKE_MIN_REQUESTS, LATENCY_MIN_REQUESTS = 3, 20, 20
SPIKE_MIN_USD_PER_MINUTE = 0.05
CHANCE_DEVIATIONS, FAST_REQUESTS_FACTOR = 2, 2
BOUNDS = traffic.HISTOGRAMS["anthropic_request_duration_seconds"]
Points = list[tuple[int, float]]


class Signal(NamedTuple):
    """What a threshold is chosen from, and what its alert pages for."""

    chosen: Points
    pages: Points


class Step(NamedTuple):
    """One evaluation of one feature: dollars and requests of the step, the largest request of a minute, durations."""

    usd: float
    requests: int
    largest: float
    durations: tuple[float, ...]


class Rules:
    """What the rules record of one feature, from its steps."""

    def __init__(self) -> None:
        self._steps: deque[Step] = deque(maxlen=SLOW // STEP)
        self._paces: list[float] = []  # of each evaluation, over 5 minutes
        self._requests: list[float] = []

    def add(self, step: Step) -> None:
        self._steps.append(step)
        self._paces.append(sum(one.usd for one in self._steps) / (SLOW / 60))
        self._requests.append(sum(one.requests for one in self._steps))

    def fast(self) -> list[Step]:
        return list(self._steps)[-FAST // STEP :]

    def cost(self) -> float:
        recent = self.fast()
        if sum(one.requests for one in recent) >= COST_MIN_REQUESTS:
            return sum(one.usd for one in recent) * 60 / FAST
        return self._paces[-1]

    def latency(self) -> tuple[float, float]:
        """The 95th percentile of 5 minutes, and the 70th of 30 s; 0 where there are too few requests."""
        slow = [one for step in self._steps for one in step.durations]
        fast = [one for step in self.fast() for one in step.durations]
        enough = FAST_REQUESTS_FACTOR * len(fast) >= LATENCY_MIN_REQUESTS
        return (
            quantile(slow, 0.95) if len(slow) >= LATENCY_MIN_REQUESTS else 0.0,
            quantile(fast, 0.7) if enough else 0.0,
        )

    def spike(self) -> float:
        """The pace beyond chance as a multiple of the baseline; 0 below the floor, or where one of both is unknown."""
        usual = self._average(self._requests, HOUR, SLOW)
        recent = self.fast()
        fast_requests = sum(one.requests for one in recent)
        if fast_requests >= SPIKE_MIN_REQUESTS:
            largest = max(one.largest for one in recent)
            pace = sum(one.usd for one in recent) * 60 / FAST - largest * 60 / FAST
            share = beyond_chance(fast_requests, None if usual is None else usual * FAST / SLOW)
        elif self._requests[-1] >= SPIKE_MIN_REQUESTS:
            pace = self._paces[-1] - max(one.largest for one in self._steps) * 60 / SLOW
            share = beyond_chance(self._requests[-1], usual)
        else:
            return 0.0
        if len(self._paces) < YOUNG // STEP:
            return 0.0
        known = [self._average(self._paces, HOUR, SLOW), self._average(self._paces, HOUR // 2, 23 * HOUR + 2_700)]
        baseline = max(one for one in known if one is not None)
        return pace * share / baseline if baseline and pace > SPIKE_MIN_USD_PER_MINUTE else 0.0

    @staticmethod
    def _average(values: Sequence[float], window: int, ago: int) -> float | None:
        end = len(values) - ago // STEP
        return statistics.fmean(values[max(0, end - window // STEP) : end : LOOK // STEP]) if end > 0 else None


def beyond_chance(requests: float, usual: float | None) -> float:
    """The share of requests that did not come by chance, as the rules compute it."""
    if usual is None:
        return 1.0
    without = requests - CHANCE_DEVIATIONS * math.sqrt(requests)
    return min(1.0, max(usual, without) / requests)


def quantile(values: Iterable[float], part: float) -> float:
    """As histogram_quantile has it: by buckets, linear within one."""
    counts = [0] * (len(BOUNDS) + 1)
    for value in values:
        counts[next((index for index, bound in enumerate(BOUNDS) if value <= bound), len(BOUNDS))] += 1
    rank, below = part * sum(counts), 0
    for bound, before, count in zip(BOUNDS, (0.0, *BOUNDS), counts, strict=False):
        if count and below + count >= rank:
            return before + (bound - before) * (rank - below) / count
        below += count
    return BOUNDS[-1]


class Timed(traffic.Process):
    """A process that also keeps the durations of its step."""

    def observe(self, name: str, amount: float) -> None:
        if name == "anthropic_request_duration_seconds":
            self.durations.append(amount)

    def step(self, now: float) -> dict[Labels, bytes]:
        self.durations: list[float] = []
        return super().step(now)


def week(asked: tuple[int, Sequence[str]]) -> dict[str, dict[str, Signal]]:
    """The greatest value of each minute, by feature and kind."""
    seed, kinds = asked
    return {feature.name: of_feature(feature, seed, kinds) for feature in traffic.FEATURES}


def of_feature(feature: traffic.Feature, seed: int, kinds: Sequence[str]) -> dict[str, Signal]:
    """The signals of one feature in one week, by kind."""
    greatest: dict[str, tuple[dict[int, float], dict[int, float]]] = {kind: ({}, {}) for kind in kinds}
    for now, rules in evaluations(feature, seed):
        for kind, sides in greatest.items():
            for side, value in zip(sides, values(rules, kind), strict=True):
                minute = now // EVERY * EVERY
                side[minute] = max(side.get(minute, 0.0), value)
    return {kind: Signal(*(list(side.items()) for side in sides)) for kind, sides in greatest.items()}


def evaluations(feature: traffic.Feature, seed: int) -> Iterator[tuple[int, Rules]]:
    """What the rules know of a feature, every 15 s of a week."""
    chance = random.Random(f"{feature.name} {seed}")
    drawn = [traffic.Arrivals(feature, name, random.Random(chance.random()), STEP) for name in traffic.INSTANCES]
    processes = [Timed(one, name, 0) for one, name in zip(drawn, traffic.INSTANCES, strict=True)]
    rules, before = Rules(), 0.0
    for now in range(0, 7 * traffic.DAY, STEP):
        for process in processes:
            process.step(now)
        total = sum(process.usd for process in processes)
        recent = [call for process in processes for call in process.recent]
        durations = tuple(itertools.chain(*(process.durations for process in processes)))
        requests = sum(call.at > now - STEP for call in recent)
        if now >= feature.from_second:
            rules.add(Step(total - before, requests, max((call.usd for call in recent), default=0.0), durations))
            if now % LOOK == 0:
                yield now, rules
        before = total


def values(rules: Rules, kind: str) -> tuple[float, float]:
    """What a threshold is chosen from, and what its alert compares with it."""
    if kind == LATENCY:
        slow, fast = rules.latency()
        return slow, max(slow, fast)
    value = rules.cost() if kind == COST else rules.spike()
    return value, value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=4)
    parser.add_argument("--test", type=int, default=12)
    parser.add_argument("--pages", type=float, default=1.0)
    parser.add_argument("--for", dest="kinds", choices=FLOORS, action="append")
    options = parser.parse_args()
    kinds = options.kinds or [COST]
    with multiprocessing.Pool(2) as pool:
        weeks = pool.map(week, [(seed, kinds) for seed in range(options.train + options.test)], chunksize=1)
    means = []
    for kind in kinds:
        signals = [{name: of_kind[kind] for name, of_kind in one.items()} for one in weeks]
        means.append(promised(signals, kind, options.train, options.pages))
    return 1 if max(means) > options.pages else 0


def promised(weeks: list[dict[str, Signal]], kind: str, train: int, accepted: float) -> float:
    """Pages a week, on average, of thresholds from each of the first weeks; counted in all others."""
    means = []
    for number, chosen_from in enumerate(weeks[:train]):
        thresholds = choose(chosen_from, accepted, FLOORS[kind], BOUNDS if kind == LATENCY else ())
        others = [one for other, one in enumerate(weeks) if other != number]
        counted = [sum(tail.episodes(one[name].pages, value) for name, value in thresholds.items()) for one in others]
        means.append(statistics.fmean(counted))
        shown = ", ".join(f"{name} {value:g}" for name, value in thresholds.items())
        print(f"week {number}: {shown}: {means[-1]:.2f} pages a week in {len(others)} others, at most {max(counted)}")
    print(f"{kind}: mean {statistics.fmean(means):.2f} pages a week; accepted {accepted:g}")
    return statistics.fmean(means)


def choose(
    chosen_from: dict[str, Signal], pages: float, floor: float, bounds: Sequence[float] = ()
) -> dict[str, float]:
    """The thresholds of `calibrate`'s default method, for the signals that have one."""
    known = {name: one.chosen for name, one in chosen_from.items() if any(value for _, value in one.chosen)}
    share = pages / max(len(known), 1)
    found = {}
    for name, points in known.items():
        fitted = tail.fit(points, tail.WEEK_SECONDS)
        value = tail_threshold(fitted, points, tail.WEEK_SECONDS, share, bounds)
        found[name] = rounded_up(max(value, floor))
    return found


if __name__ == "__main__":
    sys.exit(main())
