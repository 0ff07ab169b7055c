"""Evaluate the rules over a simulated week without an incident, and say which alerts fired.

    python -m bench.false_alarms.run                                a week, every 5 s
    python -m bench.false_alarms.run --days 1 --seed 2              a day of another week
    python -m bench.false_alarms.run --thresholds my.yml            with thresholds of your own
    python -m bench.false_alarms.run --rules my/rules               with rules of your own
    python -m bench.false_alarms.run --scrape-interval 30           scraped every 30 s, with the rules that fit
    python -m bench.false_alarms.many                               many weeks, see there

A real Prometheus gets the week as scrapes and is asked for each evaluation of each group of the rules, at the group's
interval, without waiting for it, as `anthropic-exporter backtest` does (`tuning/backtest/replay.py`). `for` and
`keep_firing_for` are applied to what it answers. It has no samples of its own and of Alertmanager's, whose alerts stay
silent here.

Not as shipped, unless --thresholds says otherwise: budgets, which everybody replaces by their own, are 1.5 times what
the busiest day spends; the feature that writes long answers may take a minute. Exit code 1 when an alert of severity
warning or critical fired.
"""

from __future__ import annotations

import argparse
import collections
import datetime as dt
import itertools
import os
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from anthropic_exporter import export
from anthropic_exporter.history import ledger, remote_write
from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.rules import Fit, settings
from anthropic_exporter.stack.scratch import ScratchPrometheus
from anthropic_exporter.tuning.backtest import rules as r
from anthropic_exporter.tuning.backtest.replay import SLICE_SECONDS, Replay
from bench.false_alarms import traffic

RULES = Path(__file__).resolve().parent.parent.parent / "prometheus" / "rules"
START = int(dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc).timestamp())  # a Thursday
INTERVAL = 5
LOUD = ("warning", "critical")
MEMORY = settings.windows(INTERVAL)["memory"]
BUDGETS = {"tokens_per_day": 1, "cost_usd_per_day": 1, "cost_usd_per_month": 22}
LONG_ANSWERS = {"threshold": "latency_p95_seconds", "feature": "agent"}


Held = dict[r.Rule, dict[remote_write.Labels, list[float]]]


class Fired(NamedTuple):
    """An alert that fired: the second of the week since when, and for how many seconds."""

    alert: str
    severity: str
    labels: dict[str, str]
    since: float
    seconds: float


class Spent(NamedTuple):
    """Tokens and dollars of the day that had most."""

    tokens: float
    usd: float


# --- the week


class Scrapes:
    """The samples of the week, slice by slice, or what each day spent.

    `read` are the names of the families that are of interest; all where it is empty.
    """

    def __init__(self, seed: int, step: int = INTERVAL, read: Collection[str] = ()) -> None:
        self.seconds = step
        self.read = read
        self.names: dict[remote_write.Labels, bool] = {}
        instances = itertools.cycle(traffic.INSTANCES)
        self.processes = [traffic.Process(one, next(instances), START) for one in traffic.arrivals(seed, step)]
        self.alive: set[remote_write.Labels] = set()
        self.pages: list[ledger.Page] = []

    def until(self, start: int, end: int) -> dict[remote_write.Labels, list[bytes]]:
        """Samples from one second of the week up to another; a series that a scrape did not find any more is ended.

        `pages` are those of the same scrapes.
        """
        self.pages = []
        found: dict[remote_write.Labels, list[bytes]] = {}
        for now in range(start, end, self.seconds):
            shown: dict[remote_write.Labels, bytes] = {}
            pages = []
            for process in self.processes:
                shown |= process.step(now)
                pages += process.page(now)
            if now in traffic.PROMETHEUS_RESTARTS:
                continue
            self.pages += pages
            shown = {labels: number for labels, number in shown.items() if self.is_read(labels)}
            shown |= dict.fromkeys(self.alive - shown.keys(), remote_write.STALE)
            when = remote_write.moment((START + now) * 1000)
            for labels, number in shown.items():
                found.setdefault(labels, []).append(remote_write.sample(number, when))
            self.alive = {labels for labels, number in shown.items() if number != remote_write.STALE}
        return found

    def skip(self, start: int, end: int) -> None:
        """Pass over the calls from one second up to another: nothing is counted or scraped meanwhile."""
        for now in range(start, end, self.seconds):
            for process in self.processes:
                process.skip(now)
        self.alive = set()

    def is_read(self, labels: remote_write.Labels) -> bool:
        if (known := self.names.get(labels)) is None:
            known = self.names[labels] = not self.read or dict(labels)["__name__"] in self.read
        return known


def busiest_day(days: float, seed: int, step: int) -> Spent:
    """What the busiest day of a week spends: the week is drawn once for it."""
    instances = traffic.arrivals(seed, step)
    tokens: dict[int, float] = collections.defaultdict(float)
    usd: dict[int, float] = collections.defaultdict(float)
    for now in range(0, int(days * traffic.DAY), step):
        for one in instances:
            for call in one.until(now):
                tokens[now // traffic.DAY] += one.feature.tokens(call)
                usd[now // traffic.DAY] += call.usd
    return Spent(max(tokens.values(), default=0.0), max(usd.values(), default=0.0))


# --- the rules


def own_thresholds(rules: Path, own: Path | None, most: Spent) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((own or rules / "thresholds.yml").read_text("utf-8"))
    if own is None:
        for rule in document["groups"][0]["rules"]:
            name = rule["labels"]["threshold"]
            if name in BUDGETS:
                spends = most.tokens if name.startswith("tokens") else most.usd
                rule["expr"] = f"{1.5 * BUDGETS[name] * spends:.0f}"
        document["groups"][0]["rules"].append({"record": "anthropic_threshold", "expr": "60", "labels": LONG_ANSWERS})
    return document


def defaults(path: Path) -> dict[str, float]:
    """The default of each threshold of a file, by name."""
    document = yaml.safe_load(path.read_text("utf-8"))
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    return {rule["labels"]["threshold"]: float(rule["expr"]) for rule in rules if len(rule["labels"]) == 1}


# --- what fired


def all_fired(held: Held) -> Iterator[Fired]:
    """Each time that an alert fired."""
    for rule, by_labels in held.items():
        for labels, times in by_labels.items():
            for since, last, _ in r.spans(times, rule):
                severity = dict(rule.labels)["severity"]
                yield Fired(rule.name, severity, dict(labels), since - START, last + rule.interval - since)


def when(second: float) -> str:
    return dt.datetime.fromtimestamp(START + second, dt.timezone.utc).strftime("%a %d, %H:%M:%S")


def report(found: list[Fired], days: float, most: Spent, summaries: dict[str, str]) -> int:
    loud = [one for one in found if one.severity in LOUD]
    for one in sorted(loud, key=lambda one: one.since):
        labels = ", ".join(f"{key}={value}" for key, value in one.labels.items())
        print(f"{one.severity:8} {one.alert} ({labels}) {when(one.since)}, {one.seconds:.0f} s: {summaries[one.alert]}")
    others = collections.Counter((one.severity, one.alert) for one in found if one not in loud)
    for (severity, alert), times in others.items():
        print(f"{severity:8} {alert} {times} times: {summaries[alert]}")
    print(f"{len(loud)} alerts of severity warning or critical, {others.total()} others in {days:g} days")
    print(f"The busiest day had {most.tokens / 1e6:.1f} million tokens and cost {most.usd:.2f} USD.")
    return 1 if loud else 0


class Week(NamedTuple):
    """A simulated week: its seed, how long it is, how often it is scraped, and the rules over it."""

    seed: int = 1
    days: float = 7
    scrape: int = INTERVAL
    rules: Path = RULES
    thresholds: Path | None = None
    severities: tuple[str, ...] = ()


def rules_for(scrape: int, folder: Path) -> Path:
    """The folder of the rules that fit an interval: the shipped ones, or those that an export writes below `folder`."""
    if scrape == INTERVAL:
        return RULES
    export.write(export.files(Fit(scrape_interval=scrape)), folder)
    return folder / "rules"


def judge(
    week: Week, jobs: int, progress: Callable[[int], None], kept: Collection[int] | None = None
) -> tuple[list[Fired], Spent, list[r.Rule]]:
    """What fires in a week, what its busiest day spends, and its rules.

    Args:
        week: which one.
        jobs: rules that are asked for at a time.
        progress: is called with the second that each half hour begins with.
        kept: numbers of the half hours that are judged; all of them if None.
    """
    most = busiest_day(week.days, week.seed, week.scrape)
    held, read = conditions(week, jobs, progress, most, kept)
    return list(all_fired(held)), most, read


def conditions(
    week: Week, jobs: int, progress: Callable[[int], None], most: Spent, kept: Collection[int] | None
) -> tuple[Held, list[r.Rule]]:
    """When the condition of each alert held in the half hours that are judged, and the rules."""
    all_slices = range(int(week.days * traffic.DAY) // SLICE_SECONDS)
    judged = set(all_slices if kept is None else kept)
    with tempfile.TemporaryDirectory() as name, ScratchPrometheus(Path(name)) as scratch:
        own = Path(name) / "thresholds.yml"
        own.write_text(yaml.safe_dump(own_thresholds(week.rules, week.thresholds, most)))
        read = [rule for rule in r.read(week.rules, own) if is_judged(rule, week.severities)]
        rules = Replay(Prometheus(scratch.url), read, week.scrape, phases(read), jobs)
        scrapes = Scrapes(week.seed, week.scrape, rules.families if week.severities else ())
        end = 0
        for number in sorted(set(all_slices) & with_history(judged)):
            start = number * SLICE_SECONDS
            if start > end:
                scrapes.skip(end, start)
                rules.begin_anew()
            end = start + SLICE_SECONDS
            remote_write.write(scratch.url, scrapes.until(start, end).items())
            rules.evaluate(START + start, START + end, scrapes.pages)
            progress(start)
    return {
        rule: {labels: of_slices(times, judged) for labels, times in by.items()} for rule, by in rules.held.items()
    }, read


def of_slices(times: list[float], judged: Collection[int]) -> list[float]:
    """The moments that are within these half hours."""
    return [at for at in times if int(at - START) // SLICE_SECONDS in judged]


def with_history(kept: Collection[int]) -> set[int]:
    """Half hours with those that their baselines read: the hour and a half before, and those a day and a week ago.

    A gap that is shorter than the ledger's memory is filled.
    """
    found = {number + before for number in kept for before in (*range(-3, 1), *range(-49, -45), *range(-337, -333))}
    memory = -(-int(r.seconds(MEMORY)) // SLICE_SECONDS)
    return {
        number + between
        for number in found
        for between in range(memory + 1)
        if any(number + more in found for more in range(between, memory + 1))
    }


def is_judged(rule: r.Rule, severities: tuple[str, ...]) -> bool:
    return not (rule.is_alert and severities) or dict(rule.labels)["severity"] in severities


def phases(rules: list[r.Rule]) -> dict[str, float]:
    """Seconds after a scrape at which each group is evaluated: spread over the time between two scrapes."""
    names = sorted(dict.fromkeys(rule.group for rule in rules), key=lambda name: name != "anthropic-thresholds")
    return {name: 0.5 + 4.0 * number / len(names) for number, name in enumerate(names)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--thresholds", type=Path, help="a thresholds.yml of your own")
    parser.add_argument("--rules", type=Path, help="a folder of rules in place of the shipped ones")
    parser.add_argument("--scrape-interval", type=int, default=INTERVAL, help="seconds between scrapes, 5 to 60")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    options = parser.parse_args()
    began = time.monotonic()

    def progress(start: int) -> None:
        if start % (traffic.DAY // 4) == 0:
            say(f"{when(start)} after {time.monotonic() - began:.0f} s")

    with tempfile.TemporaryDirectory() as exported:
        rules = options.rules or rules_for(options.scrape_interval, Path(exported))
        week = Week(options.seed, options.days, options.scrape_interval, rules, options.thresholds)
        found, most, read = judge(week, options.jobs, progress)
    summaries = {rule.name: rule.summary for rule in read if rule.is_alert}
    code = report(found, options.days, most, summaries)
    say(f"It took {(time.monotonic() - began) / 60:.1f} minutes.")
    return code


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
