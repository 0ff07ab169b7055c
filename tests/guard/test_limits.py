from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from anthropic_exporter import bundle
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.guard import Limits
from anthropic_exporter.guard.thresholds import NAMES

SHIPPED = bundle.path("prometheus") / "rules" / "thresholds.yml"


@pytest.fixture
def edited(tmp_path: Path) -> Callable[..., Path]:
    """A copy of the shipped file with one text replaced."""

    def edit(old: str, new: str) -> Path:
        text = SHIPPED.read_text()
        assert old in text
        path = tmp_path / "thresholds.yml"
        path.write_text(text.replace(old, new, 1))
        return path

    return edit


def test_the_default_is_what_the_shipped_rules_use() -> None:
    limits = Limits.shipped()
    assert limits.of("cost_usd_per_minute") == 2
    assert limits.of("tokens_per_day") == 1_000_000
    assert limits.of("stuck_request_seconds", "chat", "claude-opus-5-5") == 300


def test_the_most_specific_override_wins() -> None:
    limits = (
        Limits.shipped()
        .replace(model="m", cost_usd_per_minute=3)
        .replace(feature="f", cost_usd_per_minute=4)
        .replace(feature="f", model="m", cost_usd_per_minute=5)
    )
    found = [limits.of("cost_usd_per_minute", *place) for place in (("x", "x"), ("x", "m"), ("f", "x"), ("f", "m"))]
    assert found == [2, 3, 4, 5]


def test_a_value_is_a_promql_expression_of_numbers(edited: Callable[..., Path]) -> None:
    assert Limits.from_file(edited('expr: "2"', 'expr: "2 * 60 ^ 2"')).of("cost_usd_per_minute") == 7200


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_missing_threshold_is_named_with_its_file(edited: Callable[..., Path], name: str) -> None:
    path = edited(f"{{threshold: {name}}}", "{threshold: something_else}")
    with pytest.raises(ConfigurationError, match=f"thresholds.yml: threshold {name} has no default"):
        Limits.from_file(path)


def test_what_is_not_a_number_is_named_with_its_line(edited: Callable[..., Path]) -> None:
    path = edited('expr: "2"', 'expr: "rate(x[5m])"')
    with pytest.raises(ConfigurationError, match=r"thresholds\.yml:\d+: `rate\(x\[5m\]\)` is not a plain number"):
        Limits.from_file(path)


@pytest.mark.parametrize("expression", ["(0 - 1) ^ 0.5", "1e9999 * 0", "9 ^ 9 ^ 9 ^ 9", "Inf - Inf"])
def test_what_has_no_value_is_one_line(edited: Callable[..., Path], expression: str) -> None:
    with pytest.raises(ConfigurationError, match=r"is not a plain number|is NaN; give a number") as raised:
        Limits.from_file(edited('expr: "2"', f'expr: "{expression}"'))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [float("nan"), None, [1], 10**400, "much"])
def test_a_value_that_is_not_a_number_is_refused_with_its_name(value: float | list[int] | str | None) -> None:
    with pytest.raises(ConfigurationError, match="cost_usd_per_minute"):
        Limits.shipped().replace(cost_usd_per_minute=value)  # type: ignore[arg-type]


def test_a_threshold_given_twice_is_named(edited: Callable[..., Path]) -> None:
    path = edited("{threshold: total_cost_usd_per_minute}", "{threshold: cost_usd_per_minute}")
    with pytest.raises(ConfigurationError, match="cost_usd_per_minute is given twice"):
        Limits.from_file(path)


def test_a_file_without_groups_is_not_a_rule_file(tmp_path: Path) -> None:
    path = tmp_path / "other.yml"
    path.write_text("models: []\n")
    with pytest.raises(ConfigurationError, match="expected a Prometheus rule file"):
        Limits.from_file(path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.yml: cannot be read"):
        Limits.from_file(tmp_path / "none.yml")
