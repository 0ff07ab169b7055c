"""What an expectation about an alert proves, as `shows:` on an item of `alert_rule_test` says it.

    fires       the alert is there, and was not at the evaluation before
    resolves    it is not there, and was at the evaluation before
    missing     what it says when data, or a threshold, was there and is gone
    below X     it is silent, and fires once X is a twentieth easier to reach: a threshold, or a figure of the rule
    few X       it is silent, and fires once the guard X asks for a tenth, or for one, fewer

The first two ask for evaluations as often as Prometheus makes them, so that the time is that of the alert.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rules import promtool_tests
from rules.promtool_tests import Case, Yaml

KINDS = ("fires", "below", "few", "resolves", "missing")
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
FIRES_FROM_BELOW = ("ratelimit_headroom_ratio",)
# figures that no threshold holds, and what is a little easier to reach
EASIER = {
    "> 0": ">= 0",
    "> 1": "> 0.95",
    "> 1.5": "> 1",
    "< 1": "<= 1",
    ">= 12": ">= 11",
    "> 900": "> 855",
    "> 0.1": "> 0.095",
    "> 15": "> 14",
    "> 100": "> 95",
    "> 60": "> 57",
    ">= 3": ">= 2",
    "for 10s": "5s",
    "for 30s": "25s",
    "for 1m": "55s",
}


class Shown(NamedTuple):
    """One thing that one expectation shows; `by` is the threshold or figure that keeps the alert silent."""

    kind: str
    by: str
    case: Case
    item: Yaml

    @property
    def alert(self) -> str:
        return str(self.item["alertname"])

    def __str__(self) -> str:
        return f"{self.alert} {self.kind} {self.by}: {self.case.name} at {self.item['eval_time']}"


def shown(cases: list[Case]) -> Iterator[Shown]:
    for case in cases:
        for item in case.test.get("alert_rule_test", []):
            said = item.get("shows", [])
            for one in [said] if isinstance(said, str) else said:
                kind, _, by = one.partition(" ")
                yield Shown(kind, by, case, item)


def seconds(duration: str) -> int:
    return sum(int(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)([smhd])", str(duration)))


def step(case: Case) -> int:
    return seconds(case.test.get("evaluation_interval", "5s"))


def as_often_as_prometheus(one: Shown) -> bool:
    groups = [group for name in one.case.rules for group in promtool_tests.load(name)["groups"]]
    (interval,) = {
        seconds(group["interval"]) for group in groups for rule in group["rules"] if rule.get("alert") == one.alert
    }
    return step(one.case) <= interval


def told(item: Yaml) -> set[frozenset[tuple[str, str]]]:
    return {frozenset(alert["exp_labels"].items()) for alert in item["exp_alerts"]}


def told_before(one: Shown) -> set[frozenset[tuple[str, str]]] | None:
    """What is expected of the same alert one evaluation earlier; none where nothing is."""
    asked = seconds(one.item["eval_time"]) - step(one.case)
    for item in one.case.test["alert_rule_test"]:
        if item["alertname"] == one.alert and seconds(item["eval_time"]) == asked:
            return told(item)
    return None


def is_so(one: Shown) -> bool:
    """Whether the test itself bears out what can be read from it."""
    before, now = told_before(one), told(one.item)
    match one.kind:
        case "fires":
            return before is not None and bool(now - before) and as_often_as_prometheus(one)
        case "resolves":
            return before is not None and bool(before - now) and as_often_as_prometheus(one)
        case "missing":
            return something_is_gone(one)
    return one.kind in ("below", "few") and bool(one.by)


def something_is_gone(one: Shown) -> bool:
    test = promtool_tests.filled_in(one.case.test, promtool_tests.defaults())
    until = seconds(one.item["eval_time"]) // seconds(test.get("interval", "5s"))
    inputs = [series["values"] for series in test.get("input_series", [])]
    return any(gone(values, until) for values in inputs)


def gone(values: str, until: int) -> bool:
    """Whether a series in promtool's notation has no sample somewhere between its first one and step `until`."""
    there: list[bool] = []
    for token in values.split():
        times = int(token.rpartition("x")[2]) if "x" in token else 0
        nothing = token.startswith("_") or token == "stale"
        there += [not nothing] * (max(times, 1) if nothing else times + 1)
    there += [False] * (until + 1 - len(there))
    return True in there and False in there[there.index(True) : until + 1]


def told_when_easier(promtool: Path, folder: Path, one: Shown) -> tuple[int, int]:
    """How many alerts the expectation names, and how many there are once `by` is easier to reach."""
    test = one.case.test | {"alert_rule_test": [one.item], "promql_expr_test": []}
    promtool_tests.prepare(folder, one.case._replace(test=test))
    make_easier(folder, one)
    said = promtool_tests.verdict(promtool, folder)
    return len(one.item["exp_alerts"]), said.partition("got:")[2].count("Labels:")


def make_easier(folder: Path, one: Shown) -> None:
    name = "thresholds" if one.by in promtool_tests.defaults() else one.case.rules[0]
    path = folder / f"{name}.yml"
    document = promtool_tests.load(name, folder)
    for rule in promtool_tests.rules_of(document):
        if name == "thresholds" and rule["labels"]["threshold"] == one.by:
            rule["expr"] = f"({rule['expr']}) * {factor(one)}"
        elif rule.get("alert") == one.alert:
            put_easier_figure(rule, one.by)
    promtool_tests.write(path, document)


def factor(one: Shown) -> float:
    if one.kind == "few":
        value = promtool_tests.defaults()[one.by]
        return min(0.9, (value - 1) / value)
    return 1.05 if one.by in FIRES_FROM_BELOW else 0.95


def put_easier_figure(rule: Yaml, figure: str) -> None:
    if figure == f"for {rule.get('for')}":
        rule["for"] = EASIER[figure]
        return
    text, count = re.subn(re.escape(figure) + r"(?![\d.])", EASIER[figure], rule["expr"])
    assert count == 1, f"{figure} stands {count} times in the rule"
    rule["expr"] = text
