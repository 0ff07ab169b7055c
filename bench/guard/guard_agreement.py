"""The catalogue of incidents told by the Guard and by the shipped rules, from the same calls: do both say the same?

    .venv/bin/python -m bench.guard.guard_agreement            the table of docs/guard.md

Each incident is played once through a real recorder with a Guard on it. What /metrics shows meanwhile is kept every
5 s, and promtool, Prometheus' own rule engine, evaluates the rule files as they are over it. So the rules' time is that
of scrape and evaluation alone; a person waits for Alertmanager's grouping and the notification on top.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from anthropic_exporter import Recorder, toolchain
from bench.detection import incidents
from bench.guard import guard_incidents

BUNDLE = Path(__file__).resolve().parents[2]
RULES, ROUTING = BUNDLE / "prometheus" / "rules", BUNDLE / "alertmanager" / "alertmanager.yml"
FILES = ("ledger", "cost", "tokens", "cache", "errors", "latency")
WARM, END = 2700.0, 420.0
NO_BUDGETS = {"tokens_per_day", "cost_usd_per_day", "cost_usd_per_month"}
FIRING = 'min_over_time(timestamp(ALERTS{{alertstate="firing"}})[{length}s:{every}s])'
ANSWER = re.compile(r'alertname="(\w+)".*?\} ([\d.E+]+)')
#: What the Guard does not ask (docs/guard.md).
RULES_ALONE = frozenset({"AnthropicCacheWriteChurn"})


class Both(NamedTuple):
    """What the Guard told, and what the rules fired with the second it began; both from second 0 on."""

    played: guard_incidents.Played
    fired: dict[str, float]


def severities() -> dict[str, str]:
    """Of the alerts of the files that are played."""
    groups = [one for name in FILES for one in yaml.safe_load((RULES / f"{name}.yml").read_text("utf-8"))["groups"]]
    return {rule["alert"]: rule["labels"]["severity"] for one in groups for rule in one["rules"] if "alert" in rule}


def sent(fired: dict[str, float]) -> dict[str, float]:
    """When Alertmanager sends the first notification of each alert, at the earliest: it gathers before, as shipped."""
    route = yaml.safe_load(ROUTING.read_text("utf-8"))["route"]
    waits = {
        matcher: one.get("group_wait", route["group_wait"]) for one in route["routes"] for matcher in one["matchers"]
    }
    return {
        name: at + float(waits.get(f'severity="{severities()[name]}"', route["group_wait"]).removesuffix("s"))
        for name, at in fired.items()
    }


class Scraped:
    """What /metrics showed, by series, every so many seconds of the incident from its warm-up on."""

    def __init__(self, every: int) -> None:
        self.every = every
        self.samples: dict[str, list[str]] = {}
        self.scrapes = 0

    def __call__(self, seconds: float, recorder: Recorder) -> None:
        if seconds % self.every:
            return
        for line in recorder.render().decode().splitlines():
            if not line.startswith("#"):
                series, _, value = line.rpartition(" ")
                self.put(series, float(value))
        self.scrapes += 1

    def put(self, series: str, value: float) -> None:
        """A sample; times are those of promtool, which begins at 0."""
        if series.partition("{")[0].endswith(("_created", "_timestamp_seconds")):
            value -= guard_incidents.START - WARM
        values = self.samples.setdefault(series, [])
        values += ["_"] * (self.scrapes - len(values))
        values.append(repr(value))

    def input_series(self) -> list[dict[str, str]]:
        return [{"series": labelled(series), "values": " ".join(values)} for series, values in self.samples.items()]


def labelled(series: str) -> str:
    """With the labels that a scrape adds."""
    name, _, labels = series.rstrip("}").partition("{")
    return name + '{job="anthropic", instance="a"' + (f", {labels}" if labels else "") + "}"


def thresholds() -> dict[str, Any]:
    """As shipped; only the budgets are out of the way, as they are for the Guard."""
    document: dict[str, Any] = yaml.safe_load((RULES / "thresholds.yml").read_text(encoding="utf-8"))
    for rule in document["groups"][0]["rules"]:
        if rule["labels"]["threshold"] in NO_BUDGETS:
            rule["expr"] = "1e12"
    return document


def fired(scraped: Scraped, folder: Path) -> dict[str, float]:
    """Which alerts the rules fire, and from which second of the incident on."""
    every, length = f"{scraped.every}s", (scraped.scrapes - 1) * scraped.every
    asked = {"eval_time": f"{length}s", "expr": FIRING.format(length=length, every=scraped.every), "exp_samples": []}
    test = {"interval": every, "input_series": scraped.input_series(), "promql_expr_test": [asked]}
    rules = ["thresholds.yml", *(str(RULES / f"{name}.yml") for name in FILES)]
    document = {"rule_files": rules, "evaluation_interval": every, "tests": [test]}
    (folder / "thresholds.yml").write_text(yaml.safe_dump(thresholds(), sort_keys=False))
    (folder / "test.yml").write_text(yaml.dump(document, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)))
    promtool = str(toolchain.provide(["promtool"])["promtool"])
    command = [promtool, "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    told = done.stdout + done.stderr
    if done.returncode and "got:" not in told:
        raise SystemExit(told)
    found: dict[str, float] = {}
    for name, at in ANSWER.findall(told.partition("got:")[2]):
        found[name] = min(found.get(name, END), float(at) - WARM)
    return found


def play(incident: incidents.Incident, *, every: int = 5) -> Both:
    """One incident, told by both; scraped and evaluated every so many seconds."""
    scraped = Scraped(every)
    played = guard_incidents.play(incident, warm=WARM, end=END, watch=scraped)
    with tempfile.TemporaryDirectory() as folder:
        return Both(played, fired(scraped, Path(folder)))


def main() -> None:
    columns = (
        *("incident", "condition holds", "Guard tells", "blocked", "lost by then", "rules fire", "lost by then"),
        *("a minute unguarded", "told by both", "by one alone"),
    )
    print("|", " | ".join(columns), "|")
    print("|---" * len(columns) + "|")
    for incident in incidents.INCIDENTS:
        if not guard_incidents.METER & set(incident.told_by):
            print("|", " | ".join(row(play(incident))), "|", flush=True)


def row(both: Both) -> tuple[str, ...]:
    """One line of the table."""
    played, rules = both.played, both.fired.keys() - RULES_ALONE
    first = min((both.fired[name] for name in rules), default=None)
    stopped = "" if played.opened_at is None else f"${played.lost_usd(played.opened_at):.2f}"
    alone = [f"{name} (Guard)" for name in sorted(played.told - rules)]
    alone += [f"{name} (rules)" for name in sorted(rules - played.told)]
    return (
        *(played.name, seconds(played.held_at), seconds(played.told_at), seconds(played.opened_at), stopped),
        *(seconds(first), f"${played.lost_usd(first):.2f}", f"${played.usd_per_minute:.2f}"),
        *(short(sorted(played.told & rules)), short(alone) or "none"),
    )


def seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"


def short(names: list[str]) -> str:
    return ", ".join(name.removeprefix("Anthropic") for name in names)


if __name__ == "__main__":
    main()
