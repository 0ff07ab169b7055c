"""Every alert of the bundle: fires, stays silent just below, with too few requests and without data, and ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import promtool_tests
import pytest
import yaml

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
    "Watchdog": ("none", "meter"),
}
QUESTIONS = ("cost", "tokens", "cache", "budget", "latency", "errors", "meter")
CASES = promtool_tests.collect()
ALERTS = promtool_tests.alerts(*QUESTIONS)


@pytest.mark.parametrize(("names", "test"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_behaviour(promtool, tmp_path, names, test):
    assert promtool_tests.run(promtool, tmp_path, names, test) == ""


def test_a_wrong_expectation_is_told(promtool, tmp_path):
    wrong = {
        "name": "nothing spends",
        "alert_rule_test": [{"eval_time": "1m", "alertname": "Watchdog", "exp_alerts": []}],
    }
    assert "FAILED" in promtool_tests.run(promtool, tmp_path, ["meter"], wrong)


@pytest.mark.parametrize("name", ["thresholds", *QUESTIONS])
def test_rules_pass_the_linter(promtool, name):
    command = [promtool, "check", "rules", "--lint=all", "--lint-fatal", RULES / f"{name}.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_names_severities_and_categories_are_the_published_ones():
    found = {name: (rule["labels"]["severity"], rule["labels"]["category"]) for name, rule in ALERTS.items()}
    assert found == SEVERITIES


@pytest.mark.parametrize("name", SEVERITIES)
def test_every_alert_is_expected_to_fire_and_to_stay_silent(name):
    expectations = [item for *_, test in CASES for item in test.get("alert_rule_test", []) if item["alertname"] == name]
    assert any(item["exp_alerts"] for item in expectations)
    assert name == "Watchdog" or any(not item["exp_alerts"] for item in expectations)


@pytest.mark.parametrize("name", SEVERITIES)
def test_annotations_are_complete(name):
    annotations = ALERTS[name]["annotations"]
    assert set(annotations) == {"summary", "description", "runbook_url", "dashboard_url"}
    assert annotations["summary"].endswith(".")
    assert "{{" not in annotations["summary"]
    assert annotations["runbook_url"].endswith(f"/docs/runbooks/{name}.md")


def test_generated_rules_are_up_to_date():
    command = [sys.executable, ROOT / "scripts" / "generate_rules.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_threshold_says_what_it_is_for():
    lines = (RULES / "thresholds.yml").read_text(encoding="utf-8").splitlines()
    before = [lines[number - 1] for number, line in enumerate(lines) if line.strip() == "- record: anthropic_threshold"]
    assert len(before) == len(promtool_tests.defaults())
    assert all(line.strip().startswith("# ") for line in before)


def test_prometheus_loads_the_whole_configuration(promtool):
    command = [promtool, "check", "config", ROOT / "prometheus" / "prometheus.yml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_scrape_jobs_are_the_ones_the_rules_name():
    config = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    jobs = [job["job_name"] for job in config["scrape_configs"]]
    assert jobs == ["anthropic", "anthropic-exporter", "prometheus", "alertmanager"]
