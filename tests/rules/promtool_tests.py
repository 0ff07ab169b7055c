"""Tests in promtool's own format, with three things added when they are loaded.

`${...}` in a string is arithmetic on the thresholds of the shipped file, so that no test repeats one. `exp_labels` need
not name the severity and category, which the alert's rule says. Annotations are compared only where a test gives them.
`thresholds` and `without` of a test add thresholds to the shipped ones and take defaults away; `overridden_guards` adds
overrides to those that have none. `shows` of an expectation says what it proves; kinds.py checks it.
"""

from __future__ import annotations

import copy
import functools
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import generated_cases
import yaml

from anthropic_exporter.rules import questions

HERE = Path(__file__).resolve().parent
RULES = HERE.parent.parent / "prometheus" / "rules"
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
    for name in case.rules:
        write(folder / f"{name}.yml", with_annotations(load(name, rules), compared))
    write(folder / "thresholds.yml", thresholds(test))
    write(folder / "test.yml", as_promtool_reads(case.rules, test))


def verdict(promtool: Path, folder: Path) -> str:
    """What promtool has to say against a folder that was prepared."""
    done = subprocess.run(
        [promtool, "test", "rules", "test.yml"], cwd=folder, capture_output=True, text=True, check=False
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
    files = ["thresholds.yml", *(f"{name}.yml" for name in names)]
    # without an order promtool takes the groups in a random one
    order = [group["name"] for name in ["thresholds", *names] for group in load(name)["groups"]]
    tests = [{"interval": "5s"} | test]
    return {"rule_files": files, "evaluation_interval": interval, "group_eval_order": order, "tests": tests}
