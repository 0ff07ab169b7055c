"""Tests in promtool's own format, with three things added when they are loaded.

`${...}` in a string is arithmetic on the thresholds of the shipped file, so that no test repeats one. `exp_labels` need
not name the severity and category, which the alert's rule says. Annotations are compared only where a test gives them.
`thresholds` and `without` of a test add thresholds to the shipped ones and take defaults away; `overridden_guards` adds
overrides to those that have none; `begins` is how old the ledger is when the test starts. `shows` of an expectation
says what it proves; kinds.py checks it.

The rules read the ledger, which stands before those of each question; a test gives the counters of processes, and
lives.py adds what the ledger reads. A test that evaluates less often than Prometheus does gets a ledger of that pace.
"""

from __future__ import annotations

import copy
import functools
import os
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from anthropic_exporter.rules import questions, settings
from rules import generated_cases, lives

HERE = Path(__file__).resolve().parent
RULES = HERE.parent.parent / "prometheus" / "rules"
STEP = 5
#: For promtool, which lives for seconds: a sixth of its CPU time is collecting garbage at Go's default of 100 (%).
RARE_GARBAGE_COLLECTION = {"GOGC": "400"}
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
EXPRESSION = re.compile(r"\$\{([^}]+)\}")
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
Yaml = dict[str, Any]


class Case(NamedTuple):
    """One test of a `.test.yml` file, and the rule files that it runs on."""

    name: str
    rules: tuple[str, ...]
    test: Yaml


def load(name: str, rules: Path = RULES) -> Yaml:
    return copy.deepcopy(parsed(rules / f"{name}.yml"))


@functools.cache
def parsed(path: Path) -> Yaml:
    return yaml.load(path.read_text(encoding="utf-8"), LOADER)


def rules_of(document: Yaml) -> list[Yaml]:
    return [rule for group in document["groups"] for rule in group["rules"]]


def defaults() -> dict[str, float]:
    labelled = [(rule["labels"], rule["expr"]) for rule in rules_of(load("thresholds"))]
    return {labels["threshold"]: float(value) for labels, value in labelled if set(labels) == {"threshold"}}


def alerts(*names: str) -> dict[str, Yaml]:
    found = [rule for name in names for rule in rules_of(load(name))]
    return {rule["alert"]: rule for rule in found if "alert" in rule}


def cases(*names: str) -> list[Case]:
    """Those written by hand, and the scenarios that every generated rule goes through."""
    files = [HERE / f"{name}.test.yml" for name in names] or sorted(HERE.glob("*.test.yml"))
    documents = [parsed(path) for path in files]
    written = [Case(test["name"], tuple(file["rules"]), test) for file in documents for test in file["tests"]]
    generated = [(file["rules"], case) for file in documents for case in generated_cases.cases(file["rules"][0])]
    return written + [Case(name, tuple(rules), {"name": name} | test) for rules, (name, test) in generated]


def run(promtool: Path, folder: Path, case: Case, rules: Path = RULES) -> str:
    """What promtool has to say against the test; nothing when it passes."""
    prepare(folder, case, rules)
    return verdict(promtool, folder)


def prepare(folder: Path, case: Case, rules: Path = RULES) -> None:
    """Write what promtool reads: the rules, the thresholds and the test."""
    test = filled_in(copy.deepcopy(case.test), defaults())
    folder.mkdir(parents=True, exist_ok=True)
    compared = compared_annotations(test)
    start_later(test, seconds(test.pop("begins", "0s")))
    test["input_series"] = lives.with_lives(test.get("input_series", []), seconds(test.get("interval", "5s")))
    for name in with_ledger(case.rules):
        write(folder / f"{name}.yml", with_annotations(load(name, rules), compared))
    write(folder / "ledger.yml", at_the_pace_of(test, load("ledger", rules)))
    write(folder / "thresholds.yml", thresholds(test))
    write(folder / "test.yml", as_promtool_reads(case.rules, test))


def verdict(promtool: Path, folder: Path) -> str:
    """What promtool has to say against a folder that was prepared."""
    done = subprocess.run(
        [promtool, "test", "rules", "test.yml"],
        cwd=folder,
        env=os.environ | RARE_GARBAGE_COLLECTION,
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def write(path: Path, document: Yaml) -> None:
    path.write_text(yaml.dump(document, Dumper=DUMPER, sort_keys=False, width=10**6), encoding="utf-8")


def filled_in(value: Any, names: dict[str, float]) -> Any:
    match value:
        case dict():
            return {key: filled_in(item, names) for key, item in value.items()}
        case list():
            return [filled_in(item, names) for item in value]
        case str() if whole := EXPRESSION.fullmatch(value):
            return calculated(whole[1], names)
        case str():
            return EXPRESSION.sub(lambda found: f"{calculated(found[1], names):.9g}", value)
    return value


def calculated(expression: str, names: dict[str, float]) -> float:
    return float(eval(expression, {"__builtins__": {}}, dict(names)))  # arithmetic of our own test files


def thresholds(test: Yaml) -> Yaml:
    document = load("thresholds")
    (group,) = document["groups"]
    gone = test.pop("without", [])
    group["rules"] = [rule for rule in group["rules"] if rule["labels"]["threshold"] not in gone]
    if test.pop("overridden_guards", False):
        group["rules"] += [override | {"expr": "1e9"} for override in overridden_guards()]
    for added in test.pop("thresholds", []):
        labels = {key: value for key, value in added.items() if key != "value"}
        group["rules"].append({"record": "anthropic_threshold", "expr": str(added["value"]), "labels": labels})
    return document


def overridden_guards() -> list[Yaml]:
    """Overrides of thresholds that have none: they must change nothing."""
    have = {rule.threshold for rules in questions.BLOCKS.values() for rule in rules if hasattr(rule, "threshold")}
    labels = [
        {"threshold": name, label: "nobody"}
        for name in defaults()
        if name not in have
        for label in ("feature", "model")
    ]
    return [{"record": "anthropic_threshold", "labels": one} for one in labels]


def start_later(test: Yaml, after: float) -> None:
    """Let everything happen later, so that the ledger knows its windows when it does."""
    steps = int(after / seconds(test.get("interval", "5s")))
    for one in test.get("input_series", []) if steps else ():
        if re.match(r"\w+_created\b", one["series"]):
            values = [None if value is None else value + after for value in lives.values_of(one["values"])]
            one["values"] = " ".join("_" if value is None else f"{value:g}" for value in values)
        one["values"] = f"_x{steps} {one['values']}"
    for item in [*test.get("alert_rule_test", []), *test.get("promql_expr_test", [])]:
        item["eval_time"] = f"{seconds(item['eval_time']) + after:.0f}s"


def with_ledger(names: tuple[str, ...]) -> tuple[str, ...]:
    return ("ledger", *(name for name in names if name != "ledger"))


def at_the_pace_of(test: Yaml, document: Yaml) -> Yaml:
    """The ledger with the durations that follow from a test's samples and evaluations."""
    step = int(seconds(test.get("evaluation_interval", "5s")))
    scrape = max(step, int(seconds(test.get("interval", "5s"))))
    if scrape == STEP:
        return document
    own = settings.windows(scrape, step)
    memory = settings.duration(max(4200, 2 * scrape))
    text = yaml.dump(document, Dumper=DUMPER, sort_keys=False, width=10**6)
    for before, after in (
        ("[20s]", f"[{own['alive']}]"),
        ("[6m]", f"[{own['leave']}]"),
        (") < 60 unless", f") < {own['young']} unless"),
        (") < 3600", f") < {3600 + scrape}"),
        ("tick[22s]) >= 4", f"tick[{own['pause']}]) >= {own['pause_ticks']}"),
        ("tick[70m] offset 30s", f"tick[{memory}] offset {own['settled']}"),
        ("[70m]", f"[{memory}]"),
    ):
        assert before in text, before
        text = text.replace(before, after)
    found: Yaml = yaml.load(text, LOADER)
    return found


def seconds(duration: str) -> float:
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smhd])", str(duration)))


def compared_annotations(test: Yaml) -> set[str]:
    expected = [alert for item in test.get("alert_rule_test", []) for alert in item["exp_alerts"]]
    return {key for alert in expected for key in alert.get("exp_annotations", {})}


def with_annotations(document: Yaml, names: set[str]) -> Yaml:
    for rule in rules_of(document):
        kept = {key: text for key, text in rule.pop("annotations", {}).items() if key in names}
        if kept:
            rule["annotations"] = kept
    return document


def as_promtool_reads(names: tuple[str, ...], test: Yaml) -> Yaml:
    known = alerts(*names)
    for item in test.get("alert_rule_test", []):
        item.pop("shows", None)
        labels = known[item["alertname"]]["labels"]
        item["exp_alerts"] = [alert | {"exp_labels": labels | alert["exp_labels"]} for alert in item["exp_alerts"]]
    interval = test.pop("evaluation_interval", "5s")
    names = with_ledger(names)
    files = ["thresholds.yml", *(f"{name}.yml" for name in names)]
    # without an order promtool takes the groups in a random one
    order = [group["name"] for name in ["thresholds", *names] for group in load(name)["groups"]]
    tests = [{"interval": "5s"} | test]
    return {"rule_files": files, "evaluation_interval": interval, "group_eval_order": order, "tests": tests}
