"""The bundle's alerts as published, and the form of its files. What each alert does is in test_rules_*.py."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from anthropic_exporter.history.series import WITH_ONSET
from rules import kinds, promtool_tests

ROOT = Path(__file__).resolve().parent.parent.parent
RULES = ROOT / "prometheus" / "rules"
SEVERITIES = {
    "AnthropicCostRateHigh": ("critical", "cost"),
    "AnthropicCostSpike": ("warning", "cost"),
    "AnthropicRequestUnusuallyExpensive": ("warning", "cost"),
    "AnthropicTokenSpike": ("warning", "tokens"),
    "AnthropicCacheMissRateHigh": ("warning", "cache"),
    "AnthropicCacheMissWaste": ("critical", "cache"),
    "AnthropicCacheWriteChurn": ("info", "cache"),
    "AnthropicDailyTokenBudgetExceeded": ("critical", "budget"),
    "AnthropicDailyCostBudgetExceeded": ("critical", "budget"),
    "AnthropicDailyBudgetForecast": ("info", "budget"),
    "AnthropicMonthlyBudgetForecast": ("warning", "budget"),
    "AnthropicLatencyHigh": ("info", "latency"),
    "AnthropicTimeToFirstTokenHigh": ("info", "latency"),
    "AnthropicRequestStuck": ("warning", "latency"),
    "AnthropicErrorRateHigh": ("warning", "errors"),
    "AnthropicRateLimited": ("warning", "errors"),
    "AnthropicOverloaded": ("warning", "errors"),
    "AnthropicRateLimitHeadroomLow": ("warning", "errors"),
    "AnthropicUnpricedTokens": ("warning", "meter"),
    "AnthropicUnmeteredResponses": ("warning", "meter"),
    "AnthropicRecordErrors": ("warning", "meter"),
    "AnthropicLabelOverflow": ("warning", "meter"),
    "AnthropicPricesStale": ("warning", "meter"),
    "AnthropicThresholdMissing": ("warning", "meter"),
    "AnthropicConfigReloadFailed": ("warning", "meter"),
    "AnthropicExporterDown": ("critical", "meter"),
    "AnthropicMeterStopped": ("critical", "meter"),
    "AnthropicRuleEvaluationSlow": ("critical", "meter"),
    "AnthropicRuleEvaluationFailing": ("critical", "meter"),
    "AnthropicAlertsNotDelivered": ("critical", "meter"),
    "AnthropicRecorderDrops": ("warning", "meter"),
    "AnthropicSessionCostMismatch": ("warning", "meter"),
    "AnthropicCountedLate": ("warning", "meter"),
    "AnthropicTargetsGone": ("critical", "meter"),
    "AnthropicWorkersLost": ("warning", "meter"),
    "AnthropicCollectorBlind": ("critical", "meter"),
    "AnthropicCollectorLag": ("warning", "meter"),
    "AnthropicHostsLost": ("warning", "meter"),
    "AnthropicCollectorDrops": ("warning", "meter"),
    "AnthropicPublishingFails": ("warning", "meter"),
    "AnthropicFleetGuardFailedOpen": ("critical", "meter"),
    "AnthropicBillDrift": ("warning", "meter"),
    "AnthropicBillNotCompared": ("warning", "meter"),
    "AnthropicWatchdog": ("none", "meter"),
}
QUESTIONS = ("cost", "tokens", "cache", "budget", "latency", "errors", "meter", "fleet", "reconcile")
CASES = promtool_tests.cases()
ALERTS = promtool_tests.alerts(*QUESTIONS)
SHOWN = list(kinds.shown(CASES))
# what an alert has not, and why
HAS_NOT = {
    "AnthropicWatchdog": dict.fromkeys(("fires", "below", "few", "resolves"), "it always fires"),
    "AnthropicConfigReloadFailed": {"below": "an edit was loaded or was not"},
    "AnthropicFleetGuardFailedOpen": {"below": "a collector is heard or is not"},
}
COUNTS_NO_REQUESTS = {
    "AnthropicRequestUnusuallyExpensive": "one request is what it is about",
    "AnthropicCacheWriteChurn": "it asks for dollars of an hour",
    "AnthropicDailyTokenBudgetExceeded": "one request can use a budget up",
    "AnthropicDailyCostBudgetExceeded": "one request can use a budget up",
    "AnthropicDailyBudgetForecast": "it asks for dollars of a day",
    "AnthropicMonthlyBudgetForecast": "it asks for dollars of a month",
    "AnthropicRequestStuck": "one request is what it is about",
    "AnthropicRateLimitHeadroomLow": "the API says what is left, in one answer",
    **{name: "it is about the meter, whatever it counts" for name, (_, of) in SEVERITIES.items() if of == "meter"},
}


def test_a_wrong_expectation_is_reported(promtool: Path, tmp_path: Path) -> None:
    wrong = {
        "name": "nothing spends",
        "alert_rule_test": [{"eval_time": "1m", "alertname": "AnthropicWatchdog", "exp_alerts": []}],
    }
    case = promtool_tests.Case("nothing spends", ("meter",), wrong)
    assert "FAILED" in promtool_tests.run(promtool, tmp_path, case)


def test_every_question_has_its_tests_and_they_are_run() -> None:
    assert {case.rules[0] for case in CASES} == set(QUESTIONS)
    assert {path.stem for path in Path(__file__).parent.glob("test_rules_*.py")} == {
        f"test_rules_{q}" for q in ("ledger", *QUESTIONS)
    }


@pytest.mark.parametrize("name", ["thresholds", "ledger", *QUESTIONS])
def test_rules_pass_the_linter(promtool: Path, name: str) -> None:
    command: list[Any] = [promtool, "check", "rules", "--lint=all", "--lint-fatal", RULES / f"{name}.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_threshold_that_is_defined_twice_is_found(promtool: Path, tmp_path: Path) -> None:
    shipped = (RULES / "thresholds.yml").read_text(encoding="utf-8")
    path = tmp_path / "thresholds.yml"
    again = '      - record: anthropic_threshold\n        expr: "4"\n        labels: {threshold: cost_usd_per_minute}\n'
    path.write_text(shipped + again, encoding="utf-8")
    command: list[Any] = [promtool, "check", "rules", "--lint=all", "--lint-fatal", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "cost_usd_per_minute" in done.stdout + done.stderr


def test_names_severities_and_categories_are_the_published_ones() -> None:
    found = {name: (rule["labels"]["severity"], rule["labels"]["category"]) for name, rule in ALERTS.items()}
    assert found == SEVERITIES


@pytest.mark.parametrize("name", SEVERITIES)
def test_every_alert_is_shown_to_fire_to_stay_silent_to_resolve_and_to_miss_data(name: str) -> None:
    has_not = HAS_NOT.get(name, {}).keys() | ({"few"} if name in COUNTS_NO_REQUESTS else set())
    assert {one.kind for one in SHOWN if one.alert == name} == set(kinds.KINDS) - has_not


def test_every_threshold_keeps_an_alert_silent_that_it_just_misses() -> None:
    assert promtool_tests.defaults().keys() <= {one.by for one in SHOWN}


@pytest.mark.parametrize("one", SHOWN, ids=str)
def test_an_expectation_shows_what_it_says(one: kinds.Shown) -> None:
    assert kinds.is_so(one)


@pytest.mark.parametrize("one", [one for one in SHOWN if one.by], ids=str)
def test_an_alert_is_silent_because_of_what_the_expectation_says(
    promtool: Path, tmp_path: Path, one: kinds.Shown
) -> None:
    expected, told = kinds.told_when_easier(promtool, tmp_path, one)
    assert told > expected


def claim(shows: str, *items: tuple[str, list[str]], **test: Any) -> kinds.Shown:
    """What one expectation of a test of AnthropicExporterDown claims, the others being given as time and alerts."""
    known = {"alertname": "AnthropicExporterDown"}
    others = [
        known | {"eval_time": at, "exp_alerts": [{"exp_labels": {"job": job}} for job in jobs]} for at, jobs in items
    ]
    others[-1]["shows"] = shows
    (one,) = kinds.shown([promtool_tests.Case("claim", ("meter",), test | {"alert_rule_test": others})])
    return one


@pytest.mark.parametrize(
    "one",
    [
        claim("fires", ("1m", ["a"])),
        claim("fires", ("50s", []), ("1m", ["a"])),
        claim("fires", ("55s", ["a"]), ("1m", ["a"])),
        claim("fires", ("30s", []), ("1m", ["a"]), evaluation_interval="30s"),
        claim("resolves", ("1m", [])),
        claim("resolves", ("55s", []), ("1m", [])),
        claim("missing", ("1m", []), input_series=[{"values": "_x5 1x100"}]),
        claim("missing", ("1m", []), input_series=[{"values": "1x20 stale"}]),
        claim("below", ("1m", [])),
        claim("ends", ("1m", [])),
    ],
    ids=str,
)
def test_a_wrong_claim_is_reported(one: kinds.Shown) -> None:
    assert not kinds.is_so(one)


def test_a_threshold_that_keeps_nothing_silent_is_reported(promtool: Path, tmp_path: Path) -> None:
    below = next(one for one in SHOWN if one.kind == "below" and one.by == "cost_usd_per_minute")
    expected, told = kinds.told_when_easier(promtool, tmp_path, below._replace(by="cache_miss_ratio"))
    assert told <= expected


@pytest.mark.parametrize("name", SEVERITIES)
def test_annotations_are_complete(name: str) -> None:
    annotations = ALERTS[name]["annotations"]
    began = {"began"} if name in WITH_ONSET else set()
    assert set(annotations) == {"summary", "description", "runbook_url", "dashboard_url"} | began
    assert annotations["summary"].endswith(".")
    assert "{{" not in annotations["summary"]
    assert annotations["runbook_url"] == f"http://localhost:9464/runbooks/{name}.md"


SHOWS = {
    "cost": "cost_usd|request_output_tokens",
    "tokens": 'anthropic_ledger:increase_fast{of=~"tokens_',
    "cache": "cache",
    "budget": "cost_usd:today|cost_usd:month|anthropic_tokens",
    "latency": "duration|first_token|inflight",
    "errors": "anthropic_requests|ratelimit",
    "meter": "anthropic_exporter|anthropic_requests|up|ALERTS",
}


@pytest.mark.parametrize("name", SEVERITIES)
def test_the_link_opens_a_panel_about_the_alert_with_its_feature_and_model(name: str) -> None:
    dashboard = json.loads((ROOT / "grafana" / "dashboards" / "claude-cost.json").read_text(encoding="utf-8"))
    panels = {panel["id"]: panel for panel in dashboard["panels"]}
    alert = ALERTS[name]
    link = re.fullmatch(
        r"http://localhost:3000/d/(?P<uid>[\w-]+)/claude-cost"
        r"\?viewPanel=(?P<panels>\d+|{{ with .* }})(?P<variables>&var-.*)?",
        alert["annotations"]["dashboard_url"],
    )
    assert link is not None
    assert link["uid"] == dashboard["uid"]
    for panel in re.findall(r"(?<![%.])\b\d+\b", link["panels"]):
        queries = " ".join(target["expr"] for target in panels[int(panel)]["targets"])
        assert re.search(SHOWS[alert["labels"]["category"]], queries)
    known = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert set(re.findall(r"var-(\w+)=", link["variables"] or "")) <= known


def test_generated_rules_are_up_to_date() -> None:
    command: list[Any] = [sys.executable, ROOT / "scripts" / "generate_rules.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_threshold_says_what_it_is_for() -> None:
    lines = (RULES / "thresholds.yml").read_text(encoding="utf-8").splitlines()
    before = [lines[number - 1] for number, line in enumerate(lines) if line.strip() == "- record: anthropic_threshold"]
    assert len(before) == len(promtool_tests.defaults())
    assert all(line.strip().startswith("# ") for line in before)


def test_prometheus_loads_the_whole_configuration(promtool: Path) -> None:
    command: list[Any] = [promtool, "check", "config", ROOT / "prometheus" / "prometheus.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_scrape_jobs_are_the_ones_the_rules_name() -> None:
    config = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    jobs = [job["job_name"] for job in config["scrape_configs"]]
    assert jobs == ["anthropic", "anthropic-exporter", "prometheus", "alertmanager"]
