"""Does `calibrate` choose the same thresholds from a history with restarts and gaps as from one without?

    .venv/bin/python -m bench.tuning.broken_history               a week, two times
    .venv/bin/python -m bench.tuning.broken_history --days 2

The same calls by two processes that are scraped each minute, once as they are, once with what happens in somebody's
production: one process restarts every six hours, so that its counters are reset; on the first day Prometheus is down
for an hour, and then does not reach the processes for three, while they go on. One feature appears in the middle of the
history, one vanishes. The rules for scrapes of a minute are evaluated over both by a real Prometheus.

What is missing makes the choice more careful. Exit code 1 when a pace of the broken history exceeds the true one by a
tenth, or a threshold is less than nine tenths or more than the double of the other one, or would have given more false
pages in the whole history than were accepted.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry

from anthropic_exporter import Call, Inference, Recorder, Tokens
from anthropic_exporter.history import series
from anthropic_exporter.history.prometheus_api import Prometheus, TimeSeries
from anthropic_exporter.history.remote_write import Labels
from anthropic_exporter.stack.scratch import ScratchPrometheus
from anthropic_exporter.tuning import calibrate, tail
from anthropic_exporter.tuning.backtest import rules
from anthropic_exporter.tuning.backtest.replay import SLICE_SECONDS, Replay
from anthropic_exporter.tuning.backtest.scrapes import Slice
from bench.false_alarms.run import phases, rules_for

START = 1_795_392_000  # Monday, 2026-11-23T00:00:00Z
DAY, HOUR, SCRAPE = 86_400, 3_600, 60
MODEL = "claude-opus-5-5"
RESTARTS_SECONDS = 6 * HOUR
DOWN, UNREACHED = (4 * HOUR, 5 * HOUR), (8 * HOUR, 11 * HOUR)
MOST_ABOVE, LEAST_SHARE, MOST_TIMES = 1.1, 0.9, 2.0
#: Features, calls a minute of both processes together at the busiest hour.
PER_MINUTE = {"chat": 12.0, "search": 6.0, "legacy": 6.0}
APPEARS, VANISHES = "search", "legacy"


class Sent(NamedTuple):
    """A call: second of the history, process, feature, tokens."""

    at: float
    process: str
    feature: str
    tokens: Tokens


class Found(NamedTuple):
    """What a history gave: the calibration, and the greatest pace of each feature by the rules."""

    calibration: calibrate.Calibration
    greatest: dict[str, float]

    def choices(self) -> dict[tuple[str, str], float]:
        return {key_of(one): one.choices[calibrate.TAIL].value for one in self.calibration.found}


def calls(days: float) -> Iterator[Sent]:
    """The calls, oldest first: a rhythm of the day, and chance."""
    chance = random.Random("calls")
    for minute in range(int(days * DAY) // 60):
        for feature, most in PER_MINUTE.items():
            middle = minute * 60 >= days * DAY / 2
            if (feature == APPEARS and not middle) or (feature == VANISHES and middle):
                continue
            rhythm = 0.1 + 0.9 * math.exp(-((((minute / 60) % 24 - 13) / 3.5) ** 2))
            for at in sorted(chance.uniform(0, 60) for _ in range(poisson(chance, most * rhythm))):
                tokens = Tokens(1_000, 0, 0, 0, round(400 * chance.lognormvariate(0, 0.5)))
                yield Sent(minute * 60 + at, chance.choice("ab"), feature, tokens)


def poisson(chance: random.Random, mean: float) -> int:
    limit, product, count = math.exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count


class Process:
    """A process with a recorder, on the clock of the history."""

    def __init__(self, name: str) -> None:
        self.name, self.now = name, float(START)
        self.restart()

    def restart(self) -> None:
        self._registry = CollectorRegistry()
        self._recorder = Recorder(registry=self._registry, clock=lambda: self.now)

    def record(self, sent: Sent) -> None:
        self.now = START + sent.at
        self._recorder.record(
            Call(
                MODEL,
                started_at=self.now - 1.5,
                duration_seconds=1.5,
                inferences=(Inference(MODEL, sent.tokens),),
                feature=sent.feature,
            )
        )

    def scrape(self, at: float, wanted: set[str]) -> Iterator[tuple[Labels, float]]:
        self.now = at
        for sample in (one for family in self._registry.collect() for one in family.samples if one.name in wanted):
            yield labelled(sample.name, self.name, sample.labels), sample.value


def labelled(name: str, instance: str, labels: Mapping[str, str] | None = None) -> Labels:
    return tuple(sorted({**(labels or {}), "job": "anthropic", "instance": instance, "__name__": name}.items()))


class History:
    """Both processes, minute by minute."""

    def __init__(self, days: float, wanted: set[str], *, broken: bool) -> None:
        self._seconds, self._wanted, self._broken = int(days * DAY), wanted, broken
        self._processes = {name: Process(name) for name in "ab"}
        self._calls = calls(days)
        self._next = next(self._calls, None)

    def pages(self) -> Iterator[tuple[int, Slice]]:
        """What each half hour of scrapes shows, with the second of the history that it ends with."""
        found: dict[Labels, list[tuple[float, float]]] = {}
        for second in range(SCRAPE, self._seconds + 1, SCRAPE):
            self._record(second)
            for labels, value in self._scraped(second):
                found.setdefault(labels, []).append((START + second, value))
            if self._broken and second % RESTARTS_SECONDS == 0:
                self._processes["a"].restart()
            if second % SLICE_SECONDS == 0:
                yield second, Slice([TimeSeries(dict(labels), tuple(points)) for labels, points in found.items()])
                found = {}

    def _record(self, second: int) -> None:
        while self._next is not None and self._next.at < second:
            self._processes[self._next.process].record(self._next)
            self._next = next(self._calls, None)

    def _scraped(self, second: int) -> Iterator[tuple[Labels, float]]:
        if self._is_within(second, DOWN):
            return
        is_reached = not self._is_within(second, UNREACHED)
        for process in self._processes.values():
            yield labelled("up", process.name), float(is_reached)
            if is_reached:
                yield from process.scrape(START + second, self._wanted)

    def _is_within(self, second: int, span: tuple[int, int]) -> bool:
        return self._broken and span[0] < second <= span[1]


def judge(days: float, folder: Path, *, broken: bool) -> Found:
    """Evaluate the rules over a history, and calibrate from what they record."""
    read = [
        one
        for one in rules.read(rules_for(SCRAPE, folder / "export"), None)
        if not one.is_alert or one.name in {judged.alert for judged in series.JUDGED}
    ]
    with ScratchPrometheus(folder) as scratch:
        replay = Replay(Prometheus(scratch.url), read, SCRAPE, phases(read))
        for second, page in History(days, replay.families, broken=broken).pages():
            if page.series:  # while Prometheus is down no rules are evaluated either
                replay.add(START + second - SLICE_SECONDS, START + second, page)
        span = (float(START), START + days * DAY)
        source = Prometheus(scratch.url)
        found = calibrate.calibrate(source, span, 1.0)
        greatest = source.vector(
            f"max by (feature) (max_over_time({series.JUDGED[0].series}[{round(days * 24)}h]))", span[1]
        )
    return Found(found, {one.labels["feature"]: one.points[0][1] for one in greatest})


def report(whole: Found, broken: Found, days: float) -> bool:
    """Print both, and whether they agree."""
    a, b = whole.choices(), broken.choices()
    holds = a.keys() == b.keys()
    for key in sorted(a.keys() & b.keys()):
        holds &= LEAST_SHARE * a[key] <= b[key] <= MOST_TIMES * a[key]
        print(f"{key[0]:28} {key[1] or 'together':8} whole {a[key]:8.4g}  broken {b[key]:8.4g}")
    for feature, most in whole.greatest.items():
        seen = broken.greatest.get(feature, 0.0)
        holds &= seen <= MOST_ABOVE * most
        print(f"greatest pace of {feature:8} whole {most:8.4g}  broken {seen:8.4g} USD a minute")
    seen_pages = sum(tail.episodes(one.points, b.get(key_of(one), 0.0)) for one in whole.calibration.found)
    print(f"pages in the whole history with the thresholds of the broken one: {seen_pages}; accepted one a week")
    for name, found in (("whole", whole), ("broken", broken)):
        print(f"{name}: {found.calibration.seconds / HOUR:.1f} h of history; {states(found.calibration.found)}")
    return holds and seen_pages <= math.ceil(days / 7)


def key_of(one: calibrate.Calibrated) -> tuple[str, str]:
    return one.judged.threshold, one.feature


def states(found: Sequence[calibrate.Calibrated]) -> str:
    return "; ".join(
        f"{one.judged.threshold} {one.feature or 'together'}, new: {one.is_new}, gone: {one.is_gone},"
        f" expected {one.choices[calibrate.TAIL].expected}"
        for one in found
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=7.0)
    options = parser.parse_args()
    with contextlib.ExitStack() as owned:
        folders = [Path(owned.enter_context(tempfile.TemporaryDirectory())) for _ in range(2)]
        whole, broken = (judge(options.days, folder, broken=number > 0) for number, folder in enumerate(folders))
    return 0 if report(whole, broken, options.days) else 1


if __name__ == "__main__":
    sys.exit(main())
