"""Does the promise of `calibrate` hold for other shapes of traffic, and with less than a week of history?

    .venv/bin/python -m bench.tuning.pages_by_shape                       all shapes, 4 minutes
    .venv/bin/python -m bench.tuning.pages_by_shape --shape nightly few --weeks 6

Thresholds are chosen for the pace of each feature and of everything together, and for the largest request of each
feature, from the first days (Monday on) of each week. Pages are counted in all other weeks, or in the two weeks after
it where traffic grows. Printed are the mean, the figure of the worst week to choose from, what the command says that
week (the median of the expected pages: `tail` goes up to 5 times the greatest value, so that it may expect
more than is accepted), and how far the thresholds are above the greatest value of their history. Exit code 1 when a
mean exceeds one page a week and what the command said.
"""

from __future__ import annotations

import argparse
import bisect
import itertools
import math
import multiprocessing
import random
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from anthropic_exporter.tuning import tail
from anthropic_exporter.tuning.calibrate import expected_pages, rounded_up, tail_threshold

MINUTE, HOUR, DAY, WEEK = 60, 3_600, 86_400, 604_800
DAYS_OF_HISTORY = (7, 3, 1)
#: As in series.JUDGED, and in thresholds.yml and detection.yml as shipped on 2026-11-30.
FLOOR_USD, MIN_REQUESTS, FAST, SLOW = 0.05, 3, 30, 300
GROWTH_A_WEEK = 1.05
GROWING = "growth"

Requests = list[tuple[float, float]]  # second of the week, dollars
Signals = dict[str, list[tuple[float, float]]]


class Feature(NamedTuple):
    """Requests a minute at its peak, their mean dollars, and the deviation of the logarithm of these."""

    per_minute: float
    usd: float
    deviation: float


CHAT, SUMMARISE, AGENT = Feature(12, 0.012, 0.8), Feature(40, 0.003, 0.8), Feature(3, 0.03, 0.9)
RESEARCH = Feature(2, 0.25, 1.5)


# --- traffic


def arrivals(
    chance: random.Random, most: float, rate: Callable[[float], float], span: tuple[float, float]
) -> Iterator[float]:
    """Moments of a Poisson process; `rate` and `most` are requests a second."""
    now, until = span
    while (now := now + chance.expovariate(most)) < until:
        if chance.random() * most < rate(now):
            yield now


def dollars(chance: random.Random, feature: Feature) -> float:
    return feature.usd * math.exp(chance.gauss(0, feature.deviation) - feature.deviation**2 / 2)


def office_hours(second: float) -> float:
    """Part of the peak: a ramp in the morning, a dip at noon, little at night and at weekends. Second 0 is Monday."""
    hour, day = second % DAY / HOUR, second // DAY % 7
    working = 1 / (1 + math.exp(-(hour - 8.5) / 0.6)) / (1 + math.exp((hour - 18) / 0.8))
    return 0.02 if day >= 5 else 0.05 + 0.95 * working * (1 - 0.3 * math.exp(-(((hour - 12.5) / 0.6) ** 2)))


def weekdays(second: float) -> float:
    return office_hours(second) if second // DAY % 7 < 5 else 0.0


def people(
    chance: random.Random, feature: Feature, active: Callable[[float], float] = office_hours, grown: float = 1.0
) -> Requests:
    """Requests by people: the rhythm of the day, noise that lasts for an hour, requests by chance."""
    noise, level = [], 0.0
    for _ in range(WEEK // 5 + 1):
        level = 0.999 * level + chance.gauss(0, 0.008)
        noise.append(math.exp(level))
    peak = feature.per_minute / 60 * grown
    moments = arrivals(chance, 2.2 * peak, lambda at: peak * active(at) * noise[int(at // 5)], (0, WEEK))
    return [(at, dollars(chance, feature)) for at in moments]


def nightly_job(chance: random.Random, feature: Feature, minutes: float) -> Requests:
    """A job each night: begin, length and pace differ."""
    found = []
    for day in range(7):
        start, length = day * DAY + 2 * HOUR + chance.uniform(0, 600), 60 * minutes * math.exp(chance.gauss(0, 0.3))
        pace = feature.per_minute / 60 * math.exp(chance.gauss(0, 0.25))
        found += [
            (at, dollars(chance, feature)) for at in arrivals(chance, pace, lambda _: 1e9, (start, start + length))
        ]
    return found


def few(chance: random.Random, a_day: float, usd: float, deviation: float) -> Requests:
    return people(chance, Feature(2.5 * a_day / 1_440, usd, deviation))


def fan_out(chance: random.Random) -> Requests:
    """Somebody starts ten calls or a hundred at once, 40 times a day."""
    found = []
    for at in arrivals(chance, 100 / DAY, lambda now: 100 / DAY * office_hours(now), (0, WEEK)):
        count = min(int(math.exp(chance.gauss(2.3, 0.7))), 200)
        found += [(at + chance.expovariate(1 / 20), dollars(chance, Feature(0, 0.03, 0.7))) for _ in range(count)]
    return sorted(one for one in found if one[0] < WEEK)


def office(chance: random.Random, _week: int) -> Mapping[str, Requests]:
    return {"chat": people(chance, CHAT), "summarise": people(chance, SUMMARISE), "agent": people(chance, AGENT)}


def weekend_gap(chance: random.Random, _week: int) -> Mapping[str, Requests]:
    return {"chat": people(chance, CHAT, weekdays), "agent": people(chance, AGENT, weekdays)}


def nightly(chance: random.Random, _week: int) -> Mapping[str, Requests]:
    labels, report = Feature(60, 0.02, 0.5), Feature(6, 0.2, 0.7)
    return {"labels": nightly_job(chance, labels, 60), "report": nightly_job(chance, report, 20)}


def growth(chance: random.Random, week: int) -> Mapping[str, Requests]:
    grown = GROWTH_A_WEEK**week
    return {"chat": people(chance, CHAT, grown=grown), "agent": people(chance, AGENT, grown=grown)}


def few_requests(chance: random.Random, _week: int) -> Mapping[str, Requests]:
    shapes = {"contracts": (8, 0.4, 0.8), "letters": (40, 0.08, 0.8), "drafts": (150, 0.05, 1.0)}
    return {name: few(chance, *shape) for name, shape in shapes.items()}


def dear_requests(chance: random.Random, _week: int) -> Mapping[str, Requests]:
    return {"research": people(chance, RESEARCH), "chat": people(chance, CHAT)}


def bursts(chance: random.Random, _week: int) -> Mapping[str, Requests]:
    return {"fan-out": fan_out(chance)}


SHAPES = {
    "office": office,
    "weekend": weekend_gap,
    "nightly": nightly,
    GROWING: growth,
    "few": few_requests,
    "dear": dear_requests,
    "bursts": bursts,
}


# --- what the rules record of it


def pace(requests: Requests) -> list[tuple[float, float]]:
    """Dollars a minute, over 30 s where there are enough requests, else over 5 minutes; the greatest of each minute."""
    times = [at for at, _ in requests]
    sums = list(itertools.accumulate((usd for _, usd in requests), initial=0.0))

    def spent(since: float, until: float) -> tuple[int, float]:
        first, last = bisect.bisect_right(times, since), bisect.bisect_right(times, until)
        return last - first, sums[last] - sums[first]

    def now(at: float) -> float:
        count, usd = spent(at - FAST, at)
        return usd * 60 / FAST if count >= MIN_REQUESTS else spent(at - SLOW, at)[1] * 60 / SLOW

    return [(at, max(now(at + after) for after in (15, 30, 45, 60))) for at in range(0, WEEK, MINUTE)]


def largest(requests: Requests) -> list[tuple[float, float]]:
    """The largest request of the trailing minute, by minute."""
    found: dict[int, float] = {}
    for at, usd in requests:
        for minute in (int(at // 60), int(at // 60) + 1):
            found[minute] = max(found.get(minute, 0.0), usd)
    return [(60 * minute, found.get(minute, 0.0)) for minute in range(WEEK // 60)]


def signals(asked: tuple[str, int]) -> Signals:
    """Everything of one week."""
    name, week = asked
    features = SHAPES[name](random.Random(f"{name} {week}"), week)
    found = {"total pace": pace(sorted(itertools.chain(*features.values())))}
    for feature, requests in features.items():
        found |= {f"{feature} pace": pace(requests), f"{feature} largest": largest(requests)}
    return found


# --- the promise


def choose(week: Signals, days: int) -> tuple[dict[str, float], float]:
    """The thresholds of the default method from the first days of a week, one page accepted; and the expected pages."""
    seconds = days * DAY
    known = {name: [one for one in points if one[0] < seconds] for name, points in week.items()}
    known = {name: points for name, points in known.items() if any(value for _, value in points)}
    found, expected = {}, 0.0
    for name, points in known.items():
        fitted = tail.fit(points, seconds)
        found[name] = rounded_up(max(tail_threshold(fitted, points, seconds, 1 / len(known)), FLOOR_USD))
        said = expected_pages(fitted, points, found[name], seconds)
        expected += math.inf if said is None else said
    return found, expected


class Counted(NamedTuple):
    """Pages a week in other weeks, those that are expected, and thresholds as multiples of the greatest value seen."""

    pages: float
    expected: float
    multiples: list[float]

    @property
    def is_promised(self) -> bool:
        """Whether the command promises no more than the accepted page a week."""
        return self.expected <= 1


def counted(weeks: list[Signals], number: int, days: int, *, is_growing: bool) -> Counted:
    """What the thresholds of a week give in the others."""
    thresholds, expected = choose(weeks[number], days)
    others = weeks[number + 1 : number + 3] if is_growing else weeks[:number] + weeks[number + 1 :]
    pages = [sum(tail.episodes(other[name], value) for name, value in thresholds.items()) for other in others]
    history = weeks[number]
    greatest = {name: max(value for at, value in history[name] if at < days * DAY) for name in thresholds}
    return Counted(statistics.fmean(pages), expected, [value / greatest[name] for name, value in thresholds.items()])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", nargs="*", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--weeks", type=int, default=12)
    options = parser.parse_args()
    results = []
    for name in options.shape:
        with multiprocessing.Pool(2) as pool:
            weeks = pool.map(signals, [(name, week) for week in range(options.weeks)], chunksize=1)
        results += [shown(name, days, weeks) for days in DAYS_OF_HISTORY]
    return 0 if all(results) else 1


def holds(found: list[Counted]) -> bool:
    """Whether the promise holds on average, where it is made, and what is said elsewhere is no less than what comes."""
    made = [one for one in found if one.is_promised]
    return all(
        statistics.fmean(one.pages for one in some) <= max(1.0, statistics.fmean(one.expected for one in some))
        for some in (found, made)
        if some
    )


def shown(name: str, days: int, weeks: list[Signals]) -> bool:
    """Print what thresholds from a part of each week give. Returns whether the promise holds."""
    is_growing = name == GROWING
    last = len(weeks) - 1 if is_growing else len(weeks)
    found = [counted(weeks, number, days, is_growing=is_growing) for number in range(last)]
    pages = [one.pages for one in found]
    above = sorted(itertools.chain.from_iterable(one.multiples for one in found))
    print(
        f"{name:8} {days} d of history: {statistics.fmean(pages):.2f} pages a week, at most {max(pages):.2f}; "
        f"{statistics.median(one.expected for one in found):.1f} expected, one is promised in "
        f"{sum(one.is_promised for one in found)} of {len(found)}; thresholds are {statistics.median(above):.1f} x the "
        f"greatest value, at most {above[int(0.9 * len(above))]:.1f} x in 9 of 10",
        flush=True,
    )
    return holds(found)


if __name__ == "__main__":
    sys.exit(main())
