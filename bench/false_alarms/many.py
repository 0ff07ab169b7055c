"""Judge many simulated weeks, and say how often an alert fires in a month of traffic without an incident.

    python -m bench.false_alarms.many                             thirty weeks at 5 s, ten at 15, 30 and 60 s each
    python -m bench.false_alarms.many --weeks 15:1-10 60:3        weeks with these seeds, at these intervals
    python -m bench.false_alarms.many --jobs 4                    four weeks at a time; a week takes some minutes
    python -m bench.false_alarms.many --report                    only what is known so far

Only alerts of severity warning and critical are judged. Each week that is finished is a line of `--results`; a run that
was stopped continues after the last of them. The file belongs to one version of the rules, named in its first line;
other rules need another file. Exit code 1 when an alert fired.
"""

from __future__ import annotations

import argparse
import collections
import functools
import hashlib
import json
import math
import multiprocessing
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from bench.false_alarms import run, screen, traffic

DAYS_A_MONTH = 30.4
WEEKS = ("5:1-30", "15:1-10", "30:1-10", "60:1-10")
FILE = Path(".false-alarms")
#: Deploys, the launch and the restart are at the same second of every week: with these seeds they are judged.
SEEDS_WITH_EVENTS = 3


class Task(NamedTuple):
    """One week: the seconds between its scrapes, and its seed."""

    scrape: int
    seed: int


def tasks(written: list[str]) -> Iterator[Task]:
    """`5:1-3` as three tasks.

    Raises:
        SystemExit: it says neither weeks nor a week.
    """
    for text in written:
        found = re.fullmatch(r"(\d+):(\d+)(?:-(\d+))?", text)
        if found is None:
            raise SystemExit(f"--weeks {text}: write an interval and seeds, such as 15:1-10")
        for seed in range(int(found[2]), int(found[3] or found[2]) + 1):
            yield Task(int(found[1]), seed)


def judged(task: Task, *, whole: bool = False) -> dict[str, Any]:
    """What one week comes to, as a line of the results."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        week = run.Week(task.seed, 7, task.scrape, run.rules_for(task.scrape, Path(folder)), None, run.LOUD)
        drawn = screen.drawn(task.seed, task.scrape, 7 * traffic.DAY)
        kept = (
            None
            if whole
            else screen.Screen(drawn, task.scrape, run.defaults(run.RULES / "thresholds.yml")).kept(
                events=task.seed <= SEEDS_WITH_EVENTS
            )
        )
        held, _ = run.conditions(week, 1, lambda _: None, screen.busiest_day(drawn, task.scrape), kept)
    fired = [one._asdict() for one in run.all_fired(held) if one.severity in run.LOUD]
    judged_hours = 7 * 24 if kept is None else len(kept) / 2
    took = round(time.monotonic() - began)
    return {**task._asdict(), "fired": fired, "whole": whole, "judged_hours": judged_hours, "took_seconds": took}


def version() -> str:
    """Which rules these are: what is evaluated and how often, not what alerts and comments say of it."""
    groups = [group for path in sorted(run.RULES.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]]
    for group in groups:
        group["rules"] = [{key: rule[key] for key in rule if key != "annotations"} for rule in group["rules"]]
    return hashlib.sha256(json.dumps(groups, sort_keys=True).encode()).hexdigest()[:12]


def known(path: Path) -> list[dict[str, Any]]:
    """The weeks that are finished.

    Raises:
        SystemExit: they were judged by other rules.
    """
    if not path.exists():
        path.write_text(json.dumps({"rules": version()}) + "\n")
    first, *lines = path.read_text().splitlines()
    if json.loads(first)["rules"] != version():
        raise SystemExit(f"{path}: the rules have changed since; remove it, or give --results another name")
    return [json.loads(line) for line in lines]


def at_most(events: int) -> float:
    """The largest mean with which so few events come by chance in one of twenty cases (Poisson), by bisection."""
    low, high = 0.0, 10.0 + 3 * events
    while high - low > 1e-6:
        mean = (low + high) / 2
        few = sum(math.exp(-mean) * mean**number / math.factorial(number) for number in range(events + 1))
        low, high = (mean, high) if few > 0.05 else (low, mean)
    return high


def report(weeks: list[dict[str, Any]]) -> int:
    by_interval = collections.defaultdict(list)
    for week in weeks:
        by_interval[f"{week['scrape']} s"].append(week)
    print(
        "| scrape interval | weeks | alerts | a month of traffic | below, with 95 % confidence |\n|---|---|---|---|---|"
    )
    rows = sorted(by_interval.items(), key=lambda row: row[1][0]["scrape"])
    for name, some in [*rows, ("all", weeks)]:
        fired, months = sum(len(week["fired"]) for week in some), len(some) * 7 / DAYS_A_MONTH
        if some:
            print(f"| {name} | {len(some)} | {fired} | {fired / months:.2f} | {at_most(fired) / months:.2f} |")
    alerts = [(week, one) for week in weeks for one in week["fired"]]
    for week, one in alerts:
        labels = ", ".join(f"{key}={value}" for key, value in one["labels"].items())
        where = f"{week['scrape']} s, seed {week['seed']}, {run.when(one['since'])}"
        print(f"{where}: {one['severity']} {one['alert']} ({labels}) for {one['seconds']:.0f} s")
    return 1 if alerts else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", nargs="*", default=WEEKS, help="such as 15:1-10")
    parser.add_argument("--jobs", type=int, default=1, help="weeks at a time")
    parser.add_argument("--whole", action="store_true", help="judge every hour, not only those that come near an alert")
    parser.add_argument("--results", type=Path, default=FILE)
    parser.add_argument("--report", action="store_true", help="judge nothing")
    options = parser.parse_args()
    done = known(options.results)
    finished = {(week["scrape"], week["seed"]) for week in done if week["whole"] >= options.whole}
    open_tasks = [] if options.report else [task for task in tasks(options.weeks) if task not in finished]
    with multiprocessing.Pool(options.jobs) as pool, options.results.open("a") as results:
        for week in pool.imap_unordered(functools.partial(judged, whole=options.whole), open_tasks):
            done.append(week)
            results.write(json.dumps(week) + "\n")
            results.flush()
            fired, took = len(week["fired"]), week["took_seconds"]
            print(f"{week['scrape']} s, seed {week['seed']}: {fired} alerts, {took} s", file=sys.stderr)
    return report(done)


if __name__ == "__main__":
    sys.exit(main())
