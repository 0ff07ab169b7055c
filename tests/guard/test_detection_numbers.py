"""The numbers that the rules and the Guard share are the same in both."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from anthropic_exporter import bundle
from anthropic_exporter.bundle.detection import detection_numbers
from anthropic_exporter.call import NO_FAILURE
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.guard import CONDITIONS

NUMBERS = detection_numbers()
RULES = [
    rule
    for path in sorted((bundle.path("prometheus") / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
EXPRESSIONS = {rule["record"]: str(rule["expr"]) for rule in RULES if "record" in rule}
SECONDS = {"s": 1, "m": 60}


def keep_firing_seconds(rule: dict[str, Any]) -> int:
    number, unit = re.fullmatch(r"(\d+)([sm])", rule.get("keep_firing_for", "0s")).groups()
    return int(number) * SECONDS[unit]


def test_every_alert_resolves_after_the_same_time_in_rules_and_guard() -> None:
    by_rule = {rule["alert"]: keep_firing_seconds(rule) for rule in RULES if "alert" in rule}
    shared = {name: seconds for name, seconds in NUMBERS.resolve_seconds.items() if name != "AnthropicRunawayLoop"}
    assert shared == {name: by_rule[name] for name in shared}
    assert {one.alertname: one.resolve_seconds for one in CONDITIONS.values()} == dict(NUMBERS.resolve_seconds)


@pytest.mark.parametrize(
    ("record", "numbers"),
    [
        ("feature_model:anthropic_request_duration_seconds:p95_slow", [NUMBERS.latency_quantile]),
        ("feature_model:anthropic_request_duration_seconds:p70_fast", [NUMBERS.slow_requests_quantile]),
        ("feature_model:anthropic_time_to_first_token_seconds:p95_slow", [NUMBERS.latency_quantile]),
        ("feature:anthropic_request_output_tokens:p80_fast", [NUMBERS.long_answers_quantile]),
        ("feature:anthropic_request_output_tokens:p95_hour", [NUMBERS.usual_answers_quantile]),
        ("feature_model:anthropic_cache_read_share:ratio", [NUMBERS.cold_cache_share]),
    ],
)
def test_the_rules_use_the_shared_share(record: str, numbers: list[float]) -> None:
    found = {float(number) for number in re.findall(r"(?<![\w.])0\.\d+(?![\w.])", EXPRESSIONS[record])}
    assert set(numbers) <= found


@pytest.mark.parametrize(
    "record",
    [
        "feature_model:anthropic_request_duration_seconds:p70_fast",
        "feature:anthropic_request_output_tokens:p80_fast",
        "feature_model:anthropic_cache_misses:most_fast",
    ],
)
def test_the_fast_window_needs_the_shared_share_of_the_requests(record: str) -> None:
    assert f"{1 / NUMBERS.fast_window_share:g} *" in EXPRESSIONS[record]


@pytest.mark.parametrize("record", [name for name in EXPRESSIONS if "beyond_chance" in name])
def test_the_rules_leave_out_the_shared_number_of_deviations(record: str) -> None:
    assert len(re.findall(rf"- {NUMBERS.chance_deviations:g} \* sqrt\(", EXPRESSIONS[record])) == 2


def test_the_rules_have_the_shared_windows() -> None:
    for window, seconds in (("fast", NUMBERS.fast_window_seconds), ("slow", NUMBERS.slow_window_seconds)):
        assert re.search(rf"offset \S+\)?,\s+{seconds}\s", EXPRESSIONS[f"anthropic_ledger:{window}_seconds"])


def test_the_rules_and_panels_ignore_the_same_outcomes() -> None:
    panels = (Path(__file__).parents[2] / "grafana" / "claude-cost.panels.yml").read_text(encoding="utf-8")
    ignored = re.findall(r'outcome!~"([^"]+)"', str(RULES) + panels)
    assert ignored
    assert {frozenset(one.split("|")) - {"rate_limit_error", "overloaded_error"} for one in ignored} == {NO_FAILURE}


def test_a_damaged_file_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "detection.yml"
    path.write_text("fast_window_seconds: 30\n")
    monkeypatch.setattr("anthropic_exporter.bundle.detection.PATH", path)
    with pytest.raises(ConfigurationError, match=r"detection\.yml: keys are missing or unknown"):
        detection_numbers.__wrapped__()
