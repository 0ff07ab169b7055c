"""Rules that keep labels of the targets: the shipped tests hold for series with them, and namespaces stay apart."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from anthropic_exporter.rules import Fit, generate
from rules import promtool_tests

OF_PROMETHEUS = {
    "AnthropicAlertsNotDelivered",
    "AnthropicConfigReloadFailed",
    "AnthropicRuleEvaluationFailing",
    "AnthropicRuleEvaluationSlow",
    "AnthropicThresholdMissing",
    "AnthropicWatchdog",
}
GIVEN = re.compile(r"(?:anthropic_threshold|prometheus_\w+|alertmanager_\w+)\b")
NO_LABELS_OF_A_TARGET = ("ALERTS{",)
MOST_CASES = 2


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("kept")
    for name, text in generate(Fit(keep_labels=("namespace", "team"))).items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "thresholds.yml").write_text((promtool_tests.RULES / "thresholds.yml").read_text(encoding="utf-8"))
    return folder


def labelled(series: str) -> str:
    """A series as it is scraped in one namespace."""
    if GIVEN.match(series) or series.startswith(NO_LABELS_OF_A_TARGET):
        return series
    name, _, labels = series.partition("{")
    return f'{name}{{namespace="prod", team="shop"{", " + labels if labels else "}"}'


def verdict(promtool: Any, folder: Any, case: Any, kept: Any) -> Any:
    promtool_tests.prepare(folder, case, kept)
    path = folder / "test.yml"
    document = yaml.load(path.read_text(encoding="utf-8"), promtool_tests.LOADER)
    (test,) = document["tests"]
    for one in test["input_series"]:
        one["series"] = labelled(one["series"])
    test.pop("promql_expr_test", None)
    for item in test["alert_rule_test"]:
        if item["alertname"] not in OF_PROMETHEUS:
            for alert in item["exp_alerts"]:
                alert["exp_labels"] = alert["exp_labels"] | {"namespace": "prod", "team": "shop"}
    promtool_tests.write(path, document)
    return promtool_tests.verdict(promtool, folder)


def chosen() -> list[promtool_tests.Case]:
    cases = [case for case in promtool_tests.cases() if case.test.get("alert_rule_test")]
    by_file = itertools.groupby(sorted(cases, key=lambda case: case.rules[0]), lambda case: case.rules[0])
    return [case for _, some in by_file for case in list(some)[:MOST_CASES]]


@pytest.mark.parametrize("case", chosen(), ids=lambda case: case.name)
def test_a_shipped_test_holds_with_labels_that_are_kept(
    promtool: Path, tmp_path: Path, kept: Any, case: promtool_tests.Case
) -> None:
    assert verdict(promtool, tmp_path, case, kept) == ""


def test_without_labels_nothing_changes() -> None:
    assert generate(Fit(keep_labels=())) == generate(Fit())


def spending(namespace: Any, dollars: Any) -> Any:
    """A process of a namespace that spends so many dollars a minute by twelve requests."""
    labels = f'job="api", instance="{namespace}", namespace="{namespace}", team="shop", life="{namespace}"'
    of = f'{labels}, feature="chat", model="opus"'
    return [
        {"series": f"anthropic_exporter_start_timestamp_seconds{{{labels}}}", "values": "-9000x120"},
        {
            "series": f'anthropic_ledger_total{{{of}, of="cost_usd", tier="standard"}}',
            "values": f"9+{dollars / 12}x120",
        },
        {"series": f'anthropic_ledger_total{{{of}, of="requests"}}', "values": "9+1x120"},
    ]


def test_namespaces_stay_apart(promtool: Path, tmp_path: Path, kept: Any) -> None:
    """Three dollars a minute in staging are above the threshold of 2; 1.2 in production, and 1.2 elsewhere, are not."""
    at = {"eval_time": "5m", "alertname": "AnthropicCostRateHigh"}
    staging = {"feature": "chat", "model": "opus", "namespace": "staging", "team": "shop"}
    case = promtool_tests.Case(
        "apart",
        ("cost",),
        {
            "name": "apart",
            "input_series": [*spending("staging", 3), *spending("prod", 1.2), *spending("elsewhere", 1.2)],
            "alert_rule_test": [at | {"exp_alerts": [{"exp_labels": staging}]}],
            "promql_expr_test": [
                {
                    "eval_time": "5m",
                    "expr": 'round(total:anthropic_cost_usd_per_minute:now{namespace="prod"}, 0.001)',
                    "exp_samples": [{"labels": '{namespace="prod", team="shop"}', "value": 1.2}],
                }
            ],
        },
    )
    assert promtool_tests.run(promtool, tmp_path, case, kept) == ""


def test_a_description_shows_the_figures_of_its_own_namespace(kept: Any) -> None:
    texts = [path.read_text(encoding="utf-8") for path in kept.glob("*.yml")]
    asked = [query for text in texts for query in re.findall(r'printf "[^\n]*?\{feature=%q, [^\n]*?" [^)]*\)', text)]
    assert asked
    assert [query for query in asked if "namespace=%q" not in query or "$labels.namespace" not in query] == []
