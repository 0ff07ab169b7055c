"""Evaluate the rules over a simulated week without an incident, and say which alerts fired.

    python bench/false_alarms/run.py                                a week, every 5 s
    python bench/false_alarms/run.py --days 1 --seed 2              another day
    python bench/false_alarms/run.py --thresholds my.yml            with thresholds of your own
    python bench/false_alarms/run.py --rules my/rules               with rules of your own

The week is written as samples every 5 s, as scrapes would have found them, and back-filled into a real Prometheus; the
recording rules and the conditions of the alerts are back-filled after them, evaluation by evaluation, at the interval
of their group. `for` and `keep_firing_for` are applied to the outcome. There are no samples of Prometheus' and
Alertmanager's own metrics, whose alerts stay silent here.

Not as shipped, unless --thresholds says otherwise: budgets, which everybody replaces by their own, are 1.5 times what
the busiest day spends; one feature that writes long answers may take a minute. Exit code 1 when an alert of severity
warning or critical fired.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import backfill
import traffic
import yaml

from anthropic_exporter import toolchain

RULES = Path(__file__).resolve().parent.parent.parent / "prometheus" / "rules"
START = int(dt.datetime(2026, 1, 1, tzinfo=dt.timezone.utc).timestamp())  # a Thursday
STEP = 5
BUDGETS = {"tokens_per_day": 1, "cost_usd_per_day": 1, "cost_usd_per_month": 22}
LONG_ANSWERS = {"threshold": "latency_p95_seconds", "feature": "agent"}
UNITS = {"s": 1, "m": 60, "h": 3600}


class Fired(NamedTuple):
    """An alert that fired: the second of the week since when, and how many seconds in all."""

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


def week(days: float, seed: int, folder: Path, write: Any) -> Spent:
    """Write the scrapes of each two hours into a file and hand it to `write`."""
    chance = random.Random(seed)
    processes = [
        traffic.Process(feature, instance, random.Random(chance.random()), START, STEP)
        for feature in traffic.FEATURES
        for instance in traffic.INSTANCES
    ]
    daily: dict[int, list[Spent]] = {}
    end = int(days * traffic.DAY)
    for start in range(0, end, backfill.SLICE):
        text = folder / f"samples{start}.txt"
        with text.open("w") as file:
            for now in range(start, min(start + backfill.SLICE, end), STEP):
                scraped = [line for process in processes for line in process.step(now)]
                if now not in traffic.PROMETHEUS_RESTARTS:
                    file.write(f" {START + now}\n".join([*scraped, ""]))
            file.write("# EOF\n")
        write(text)
        daily.setdefault(start // traffic.DAY, []).append(spent(processes))
    return busiest([sums[-1] for sums in daily.values()])


def spent(processes: Iterable[traffic.Process]) -> Spent:
    return Spent(sum(one.tokens for one in processes), sum(one.usd for one in processes))


def busiest(until: list[Spent]) -> Spent:
    pairs = list(itertools.pairwise([Spent(0, 0), *until]))
    return Spent(max(b.tokens - a.tokens for a, b in pairs), max(b.usd - a.usd for a, b in pairs))


# --- the rules


def groups(rules: Path, thresholds: dict[str, Any]) -> list[dict[str, Any]]:
    documents = [yaml.safe_load(path.read_text("utf-8")) for path in sorted(rules.glob("*.yml"))]
    others = [group for document in documents for group in document["groups"] if group["name"] != "anthropic-thresholds"]
    return thresholds["groups"] + others


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


# --- what fired


def all_fired(prometheus: backfill.Prometheus, groups: list[dict[str, Any]], span: range) -> Iterator[Fired]:
    for group in groups:
        for rule in group["rules"]:
            if "alert" in rule and rule["alert"] != "Watchdog":
                yield from fired(prometheus, rule, seconds(group["interval"]), span)


def fired(prometheus: backfill.Prometheus, rule: dict[str, Any], interval: int, span: range) -> Iterator[Fired]:
    """Each label set of an alert that fired, with `for` and `keep_firing_for` applied to its condition."""
    found: dict[tuple[tuple[str, str], ...], list[float]] = {}
    for end in range(span.start + traffic.DAY, span.stop + traffic.DAY, traffic.DAY):
        for series in prometheus.query(f'{{__name__="alert:{rule["alert"]}"}}[{traffic.DAY}s]', end):
            labels = tuple(sorted((key, value) for key, value in series["metric"].items() if key != "__name__"))
            found.setdefault(labels, []).extend(float(at) for at, _ in series["values"])
    for labels, times in found.items():
        firing = list(intervals(sorted(set(times)), interval, seconds(rule.get("for")), seconds(rule.get("keep_firing_for"))))
        if firing:
            lasted = sum(stop - start for start, stop in firing)
            yield Fired(rule["alert"], rule["labels"]["severity"], dict(labels), firing[0][0] - span.start, lasted)


def intervals(times: list[float], interval: int, wait: int, keep: int) -> Iterator[tuple[float, float]]:
    """From when to when an alert fires whose condition held at these seconds, one evaluation every `interval`."""
    start = last = stop = None
    for now in [*times, float("inf")]:
        if last is not None and now - last > 1.5 * interval:  # it ended at the evaluation after `last`
            if stop is not None and now > (until := last + interval + keep):
                yield stop, until
                stop = None
            start = None
        if now == float("inf"):
            return
        start = now if start is None else start
        if stop is None and now - start >= wait:
            stop = now
        last = now


def seconds(duration: str | None) -> int:
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smh])", duration or ""))


def when(second: float) -> str:
    return dt.datetime.fromtimestamp(START + second, dt.timezone.utc).strftime("%a %d, %H:%M:%S")


def report(found: list[Fired], days: float, most: Spent, summaries: dict[str, str]) -> int:
    for one in sorted(found, key=lambda one: one.since):
        labels = ", ".join(f"{key}={value}" for key, value in one.labels.items())
        lasted = f"first {when(one.since)}, {one.seconds:.0f} s in all"
        print(f"{one.severity:8} {one.alert} ({labels}) {lasted}: {summaries[one.alert]}")
    loud = [one for one in found if one.severity in ("warning", "critical")]
    print(f"{len(loud)} alerts of severity warning or critical, {len(found) - len(loud)} others in {days:g} days")
    print(f"The busiest day had {most.tokens / 1e6:.1f} million tokens and cost {most.usd:.2f} USD.")
    return 1 if loud else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--thresholds", type=Path, help="a thresholds.yml of your own")
    parser.add_argument("--rules", type=Path, default=RULES, help="a folder of rules in place of the shipped ones")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--keep", type=Path, help="a folder for the Prometheus data, to look at afterwards")
    options = parser.parse_args()
    began = time.monotonic()
    tools = toolchain.provide(["promtool", "prometheus"])
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep or Path(name)
        (folder / "data").mkdir(parents=True)
        span = range(START, START + int(options.days * traffic.DAY))
        with ThreadPoolExecutor(options.jobs) as pool:
            imports: list[Future[None]] = []
            most = week(
                options.days,
                options.seed,
                folder,
                lambda text: imports.append(pool.submit(backfill.add_samples, tools["promtool"], folder / "data", text)),
            )
            for one in imports:
                one.result()
        say(f"samples are there after {time.monotonic() - began:.0f} s")
        read = groups(options.rules, own_thresholds(options.rules, options.thresholds, most))
        prometheus = backfill.Prometheus(tools, folder, STEP)
        for number in backfill.add_rules(prometheus, read, folder, span, options.jobs):
            say(f"layer {number} of the rules is there after {time.monotonic() - began:.0f} s")
        with prometheus:
            found = list(all_fired(prometheus, read, span))
    summaries = {rule["alert"]: rule["annotations"]["summary"] for group in read for rule in group["rules"] if "alert" in rule}
    code = report(found, options.days, most, summaries)
    say(f"It took {(time.monotonic() - began) / 60:.1f} minutes.")
    return code


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
