"""Evaluate the shipped rules over a simulated week without an incident, and say which alerts fired.

    python bench/false_alarms/run.py                              a week, every 5 s: about an hour on two cores
    python bench/false_alarms/run.py --step 15                    every third evaluation: 20 minutes
    python bench/false_alarms/run.py --thresholds my.yml --days 14

The week is written as samples, and promtool, Prometheus' own rule engine without the waiting, evaluates the rule
files as they are, `for` and `keep_firing_for` included: budgets every minute, all else every `--step` seconds. The
two latency percentiles (severity info) and the alerts about Prometheus' and Alertmanager's own metrics have no samples
here. Budgets are figures that everybody replaces by their own; unless --thresholds says otherwise they are set to 1.5
times what the week spends. Exit code 1 when an alert of severity warning or critical fired.
"""

from __future__ import annotations

import argparse
import datetime as dt
import itertools
import os
import random
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import traffic
import yaml

from anthropic_exporter import toolchain

RULES = Path(__file__).resolve().parent.parent.parent / "prometheus" / "rules"
FILES = {
    "cost": ("anthropic_cost_usd", "anthropic_requests", "anthropic_request_"),
    "tokens": ("anthropic_tokens", "anthropic_requests"),
    "cache": ("anthropic_cache_", "anthropic_tokens"),
    "errors": ("anthropic_requests",),
    "latency": ("anthropic_oldest",),
    "budget": ("anthropic_tokens", "anthropic_cost_usd"),
    "meter": ("up", "anthropic_exporter_", "anthropic_inflight"),
}
MINUTE = 60
BUDGETS = {"tokens_per_day": 1, "cost_usd_per_day": 1, "cost_usd_per_month": 22}
FIRING = 'ALERTS{alertstate="firing", alertname!="Watchdog"}'
SAMPLE = re.compile(r"(\{[^}]*\}) ([-+.\dE]+)")


class Fired(NamedTuple):
    """An alert that fired: since when, in seconds of the week, and how many seconds in all."""

    alert: str
    severity: str
    labels: dict[str, str]
    since: float
    seconds: float


class Week:
    """Samples by series, one a step; None where there is none."""

    def __init__(self, days: int, step: int, seed: int) -> None:
        self.step = step
        self.samples: dict[str, list[float | None]] = {}
        self.steps = days * traffic.DAY // step
        chance = random.Random(seed)
        processes = [
            traffic.Process(feature, instance, random.Random(chance.random()))
            for feature in traffic.FEATURES
            for instance in traffic.INSTANCES
        ]
        for number in range(self.steps):
            for process in processes:
                self.scrape(process, number, up=process.step(number * step, step))

    def scrape(self, process: traffic.Process, number: int, *, up: bool) -> None:
        now = number * self.step
        if now < process.feature.from_second:
            return
        where = f'instance="{process.feature.name}-{process.instance}"'
        self.put(f'up{{job="anthropic", {where}}}', number, float(up))
        if not up:
            return
        labels = f'feature="{process.feature.name}", model="{process.feature.model}", {where}'
        for (name, kind), value in process.counted.items():
            series = f"{labels}, {KINDS[name]}" % kind if name in KINDS else labels
            self.put(f"{name}{{{series}}}", number, value)
            self.put(f"{name.removesuffix('_total')}_created{{{series}}}", number, process.created)
        cost, output = process.largest()
        self.put(f"anthropic_request_cost_usd_max{{{labels}}}", number, cost)
        self.put(f"anthropic_request_output_tokens_max{{{labels}}}", number, output)
        self.put(f"anthropic_oldest_inflight_request_age_seconds{{{labels}}}", number, process.chance.uniform(0, 30))
        here = f'{{job="anthropic", {where}}}'
        self.put(f"anthropic_exporter_build_info{here}", number, 1)
        self.put(f"anthropic_exporter_prices_checked_timestamp_seconds{here}", number, 1)
        last = process.recent[-1][0] if process.recent else max(now - 61, 1)
        self.put(f"anthropic_exporter_last_record_timestamp_seconds{here}", number, last)
        self.put(f"anthropic_inflight_requests{here}", number, float(bool(process.recent)))

    def put(self, series: str, number: int, value: float) -> None:
        values = self.samples.setdefault(series, [])
        values.extend([None] * (number - len(values)))
        values.append(value)

    def input_series(self, prefixes: tuple[str, ...], every: int) -> list[dict[str, str]]:
        chosen = [name for name in self.samples if name.startswith(prefixes)]
        return [{"series": name, "values": written(self.samples[name][::every])} for name in chosen]

    def spent_in_a_day(self, name: str) -> float:
        """Of the day that spent most, restarts left out."""
        daily = traffic.DAY // self.step
        days = [0.0] * (self.steps // daily + 1)
        for series, values in self.samples.items():
            if series.startswith(name):
                known = [(number, value) for number, value in enumerate(values) if value is not None]
                for (_, before), (number, now) in itertools.pairwise(known):
                    days[number // daily] += max(now - before, 0)
        return max(days)


KINDS = {
    "anthropic_requests_total": 'outcome="%s"',
    "anthropic_tokens_total": 'type="%s", tier="standard"',
    "anthropic_cost_usd_total": 'type="%sall", tier="standard"',
    "anthropic_cache_requests_total": 'result="%s"',
}


def written(values: list[float | None]) -> str:
    """Samples as promtool reads them, equal ones in a row once: `4x2 _ 7` is 4 4 4 _ 7."""
    parts: list[str] = []
    start = 0
    for number in range(1, len(values) + 1):
        if number == len(values) or values[number] != values[start]:
            text = "_" if values[start] is None else f"{values[start]:.12g}"
            again = number - start - 1
            parts.append(f"{text}x{again + (text == '_')}" if again else text)
            start = number
    return " ".join(parts)


def thresholds(week: Week, own: Path | None) -> dict[str, Any]:
    document = yaml.safe_load((own or RULES / "thresholds.yml").read_text(encoding="utf-8"))
    if own is None:
        spent = {
            "tokens": week.spent_in_a_day("anthropic_tokens_total"),
            "cost": week.spent_in_a_day("anthropic_cost_usd_total"),
        }
        for rule in document["groups"][0]["rules"]:
            name = rule["labels"]["threshold"]
            if name in BUDGETS:
                rule["expr"] = f"{1.5 * BUDGETS[name] * spent[name.split('_')[0]]:.0f}"
    return document


def evaluate(promtool: Path, folder: Path, week: Week, name: str) -> list[Fired]:
    """What fired of one rules file."""
    every = MINUTE // week.step if name == "budget" else 1
    step, end = week.step * every, f"{(week.steps - 1) * week.step}s"
    whole = f"[{week.steps * week.step}s:{step}s]"
    asked = (f"min_over_time(timestamp({FIRING}){whole})", f"count_over_time({FIRING}[{week.steps * week.step}s])")
    test = {
        "interval": f"{step}s",
        "input_series": week.input_series(FILES[name], every),
        "promql_expr_test": [{"eval_time": end, "expr": query, "exp_samples": []} for query in asked],
    }
    files = ["../thresholds.yml", str(RULES / f"{name}.yml")]
    document = {"rule_files": files, "evaluation_interval": f"{step}s", "tests": [test]}
    work = folder / name
    work.mkdir()
    (work / "test.yml").write_text(
        yaml.dump(document, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), width=10**9)
    )
    done = subprocess.run(
        [promtool, "test", "rules", "test.yml"], cwd=work, capture_output=True, text=True, check=False
    )
    if done.returncode and "got:" not in done.stdout + done.stderr:
        raise SystemExit(f"{name}: {done.stdout}{done.stderr}")
    return list(fired(done.stdout + done.stderr, step))


def fired(told: str, step: int) -> list[Fired]:
    """The answers to the two questions, as promtool prints what it did not expect."""
    since, counts = ({}, {})
    for part in told.split("expr: ")[1:]:
        answer = since if part.startswith('"min_over_time') else counts
        answer |= {
            text.removeprefix("ALERTS"): float(value) for text, value in SAMPLE.findall(part.partition("got:")[2])
        }
    found = []
    for text, at in since.items():
        labels = dict(re.findall(r'(\w+)="([^"]*)"', text))
        own = {
            key: value
            for key, value in labels.items()
            if key not in ("alertname", "severity", "category", "alertstate")
        }
        found.append(Fired(labels["alertname"], labels["severity"], own, at, counts.get(text, 0) * step))
    return found


def reasons() -> dict[str, str]:
    documents = [yaml.safe_load((RULES / f"{name}.yml").read_text(encoding="utf-8")) for name in FILES]
    rules = [rule for document in documents for group in document["groups"] for rule in group["rules"]]
    return {rule["alert"]: rule["annotations"]["summary"] for rule in rules if "alert" in rule}


def when(second: float) -> str:
    return dt.datetime.fromtimestamp(second, dt.timezone.utc).strftime("day %d, %a %H:%M:%S")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=7)
    parser.add_argument("--step", type=int, default=5, choices=(5, 10, 15, 30), help="seconds between evaluations")
    parser.add_argument("--thresholds", type=Path, help="a thresholds.yml of your own")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2)
    parser.add_argument("--files", nargs="*", default=list(FILES), choices=FILES, metavar="FILE")
    options = parser.parse_args()
    week = Week(options.days, options.step, options.seed)
    promtool = toolchain.provide(["promtool"])["promtool"]
    with tempfile.TemporaryDirectory() as name, ThreadPoolExecutor(options.jobs) as pool:
        folder = Path(name)
        (folder / "thresholds.yml").write_text(yaml.safe_dump(thresholds(week, options.thresholds), sort_keys=False))
        found = [
            one for part in pool.map(lambda file: evaluate(promtool, folder, week, file), options.files) for one in part
        ]
    return report(found, week, options.files)


def report(found: list[Fired], week: Week, files: list[str]) -> int:
    why = reasons()
    for one in sorted(found, key=lambda one: one.since):
        labels = ", ".join(f"{key}={value}" for key, value in one.labels.items())
        lasted = f"first {when(one.since)}, {one.seconds:.0f} s in all"
        print(f"{one.severity:8} {one.alert} ({labels}) {lasted}: {why[one.alert]}")
    loud = [one for one in found if one.severity in ("warning", "critical")]
    days = week.steps * week.step / traffic.DAY
    spent = week.spent_in_a_day("anthropic_cost_usd_total")
    print(f"{len(loud)} alerts of severity warning or critical, {len(found) - len(loud)} others in {days:g} days")
    print(
        f"evaluated {week.steps} times, every {week.step} s: {', '.join(files)}; the busiest day cost {spent:.2f} USD"
    )
    return 1 if loud else 0


if __name__ == "__main__":
    sys.exit(main())
