"""Compare the judge of some hours with the judge of all of them, over whole simulated weeks.

    python -m bench.false_alarms.agreement                              a week each at 15, 30 and 60 s
    python -m bench.false_alarms.agreement --weeks 5:1 --ease 1         with the shipped thresholds
    python -m bench.false_alarms.agreement --days 2 --ease 0.5

Thresholds and guards are made easier by `--ease`, so that there are many alerts to agree on. A real Prometheus judges
the whole week, evaluation by evaluation. Then `screen.py` says which half hours come near an alert, and another one
judges only these. Exit code 1 if a condition held in a half hour that the screen left out, or if the two differ in one
that it kept.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import yaml

from anthropic_exporter.tuning.backtest.replay import SLICE_SECONDS
from bench.false_alarms import many, run, screen, traffic

#: Thresholds and guards that `--ease` multiplies: those that the screen compares.
EASED = (
    "cost_usd_per_minute",
    "total_cost_usd_per_minute",
    "cost_min_requests",
    "cost_spike_ratio",
    "cost_spike_min_usd_per_minute",
    "spike_min_requests",
    "request_cost_usd",
    "request_output_tokens",
    "token_spike_ratio",
    "token_spike_min_tokens_per_minute",
    "cache_miss_ratio",
    "cache_read_share_drop",
    "cache_min_requests",
    "cache_min_input_tokens_per_minute",
    "cache_miss_cost_usd_per_minute",
    "error_ratio",
    "rate_limited_ratio",
    "overloaded_ratio",
    "error_min_requests",
    "error_min_failures",
)
#: Traffic exceeds a threshold of dollars or cache misses by its size, not by chance; these are eased further.
EASED_TWICE = ("cost_usd_per_minute", "total_cost_usd_per_minute", "cache_miss_cost_usd_per_minute", "request_cost_usd")
Held = dict[tuple[str, tuple[tuple[str, str], ...]], list[float]]


class Agreement(NamedTuple):
    """What two judges say of a week: half hours kept and with a condition, evaluations by alert, and differences."""

    task: many.Task
    kept: int
    with_condition: int
    evaluations: dict[str, int]
    left_out: list[str]
    different: list[str]
    took_seconds: tuple[float, float]


def eased(rules: Path, most: run.Spent, ease: float, path: Path) -> dict[str, float]:
    """Write a file of thresholds that are easier to exceed, and return its defaults."""
    document = run.own_thresholds(rules, None, most)
    for rule in document["groups"][0]["rules"]:
        name = rule["labels"]["threshold"]
        if name in EASED:
            factor = ease * (ease if name in EASED_TWICE else 1)
            rule["expr"] = f"{factor * float(rule['expr']):.6g}"
    path.write_text(yaml.safe_dump(document))
    return run.defaults(path)


def by_alert(held: run.Held) -> Held:
    """When each loud alert's condition held."""
    return {
        (rule.name, labels): times
        for rule, by_labels in held.items()
        if dict(rule.labels)["severity"] in run.LOUD
        for labels, times in by_labels.items()
        if times
    }


def compared(task: many.Task, ease: float, days: float) -> Agreement:
    """Judge a week in both ways."""
    with tempfile.TemporaryDirectory() as folder:
        rules = run.rules_for(task.scrape, Path(folder) / "exported")
        drawn = screen.drawn(task.seed, task.scrape, int(days * traffic.DAY))
        most = screen.busiest_day(drawn, task.scrape)
        thresholds = eased(rules, most, ease, Path(folder) / "eased.yml")
        kept = screen.Screen(drawn, task.scrape, thresholds).kept()
        week = run.Week(task.seed, days, task.scrape, rules, Path(folder) / "eased.yml", run.LOUD)
        began = time.monotonic()
        whole = by_alert(run.conditions(week, 1, lambda _: None, most, None)[0])
        between = time.monotonic()
        some = by_alert(run.conditions(week, 1, lambda _: None, most, kept)[0])
        ended = time.monotonic()
    numbers = {key: {int(at - run.START) // SLICE_SECONDS for at in times} for key, times in whole.items()}
    left_out = [f"{name} {dict(labels)}: {sorted(own - kept)}" for (name, labels), own in numbers.items() if own - kept]
    within = {key: run.of_slices(times, kept) for key, times in whole.items()}
    different = [
        f"{key[0]} {dict(key[1])}: {len(within.get(key, []))} and {len(some.get(key, []))} evaluations"
        for key in whole.keys() | some.keys()
        if within.get(key, []) != some.get(key, [])
    ]
    evaluations: dict[str, int] = {}
    for (name, _), times in whole.items():
        evaluations[name] = evaluations.get(name, 0) + len(times)
    took = (between - began, ended - between)
    return Agreement(task, len(kept), len(set().union(*numbers.values())), evaluations, left_out, different, took)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", nargs="*", default=("15:1", "30:1", "60:1"), help="such as 15:1-10")
    parser.add_argument("--ease", type=float, default=0.6, help="factor of thresholds and guards")
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    code = 0
    judge = functools.partial(compared, ease=options.ease, days=options.days)
    with multiprocessing.Pool(options.jobs) as pool:
        for one in pool.imap(judge, many.tasks(options.weeks)):
            total = sum(one.evaluations.values())
            print(
                f"{one.task.scrape} s, seed {one.task.seed}: conditions held in {total} evaluations "
                f"of {one.with_condition} half hours; {one.kept} kept; "
                f"{one.took_seconds[0]:.0f} s for all, {one.took_seconds[1]:.0f} s for these"
            )
            print("  " + ", ".join(f"{name} {number}" for name, number in sorted(one.evaluations.items())))
            for line in one.left_out:
                print(f"  left out: {line}")
            for line in one.different:
                print(f"  different: {line}")
            sys.stdout.flush()
            code |= bool(one.left_out or one.different)
    return code


if __name__ == "__main__":
    sys.exit(main())
