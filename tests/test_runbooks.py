"""A page for every alert, whose queries parse and ask for what exists, whose thresholds are there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from anthropic_exporter import toolchain
from anthropic_exporter.collector.families import COLLECTOR_FAMILIES
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.recorder import Recorder

ROOT = Path(__file__).resolve().parent.parent
RULES = [
    rule
    for path in sorted((ROOT / "prometheus/rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
PAGES = {path.stem: path.read_text() for path in (ROOT / "docs/runbooks").glob("*.md")}
HEADINGS = ["Meaning", "Impact in dollars", "Diagnosis", "Mitigation", "Tuning its threshold"]
THRESHOLDS = {rule["labels"]["threshold"] for rule in RULES if rule.get("record") == "anthropic_threshold"}
OF_OTHERS = {
    "up",
    "ALERTS",
    "prometheus_config_last_reload_successful",
    "prometheus_notifications_alertmanagers_discovered",
    "prometheus_notifications_errors_total",
    "prometheus_rule_evaluation_failures_total",
    "prometheus_rule_group_interval_seconds",
    "prometheus_rule_group_iterations_missed_total",
    "prometheus_rule_group_last_duration_seconds",
    "alertmanager_config_last_reload_successful",
    "alertmanager_notifications_failed_total",
    "alertmanager_notifications_total",
}
EACH = pytest.mark.parametrize("name", sorted(PAGES))


def blocks(name: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[name], re.DOTALL)


def test_every_alert_has_a_page_and_every_page_an_alert() -> None:
    assert set(PAGES) == {rule["alert"] for rule in RULES if "alert" in rule}


@EACH
def test_a_page_answers_the_five_questions_in_few_lines(name: str) -> None:
    assert re.findall(r"^## (.*)$", PAGES[name], re.MULTILINE) == HEADINGS
    assert PAGES[name].startswith(f"# {name}\n")
    assert len(PAGES[name].splitlines()) < 80
    assert len(blocks(name, "promql")) >= 1
    assert re.findall(r"^- ", PAGES[name], re.MULTILINE)


@EACH
def test_its_queries_ask_for_series_that_exist(name: str) -> None:
    exposed = set(re.findall(r"^# TYPE (\S+)", Recorder(registry=None).render().decode(), re.MULTILINE))
    exposed |= {family.name for family in COLLECTOR_FAMILIES}
    exposed |= {f"{metric}_bucket" for metric in exposed}
    known = exposed | {rule["record"] for rule in RULES if "record" in rule} | OF_OTHERS
    text = re.sub(r'"[^"]*"', '""', " ".join(blocks(name, "promql")))
    asked = set(
        re.findall(r"\b(?:[a-z_]+:)?(?:anthropic|prometheus|alertmanager)_[a-z0-9_]+(?::\w+)?|\bup\b|ALERTS", text)
    )
    assert asked - known == set()


def test_all_queries_parse(tmp_path: Path) -> None:
    try:
        promtool = toolchain.provide(["promtool"])["promtool"]
    except ConfigurationError as error:
        pytest.skip(str(error))
    rules = [
        {"record": f"runbook:{name}:{number}", "expr": query}
        for name in PAGES
        for number, query in enumerate(blocks(name, "promql"))
    ]
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", tmp_path / "rules.yml"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout


@EACH
def test_its_threshold_is_one_that_exists(name: str) -> None:
    tuning = PAGES[name].split("## Tuning its threshold")[1]
    named = [rule for block in blocks(name, "yaml") for rule in yaml.safe_load(block)]
    assert named or "No threshold" in tuning
    for rule in named:
        assert rule["record"] == "anthropic_threshold"
        assert float(rule["expr"]) > 0
        assert rule["labels"]["threshold"] in THRESHOLDS
        assert set(rule["labels"]) <= {"threshold", "feature", "model"}


@EACH
def test_its_links_lead_somewhere(name: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", PAGES[name]):
        assert (ROOT / "docs/runbooks" / target).resolve().is_file(), target
