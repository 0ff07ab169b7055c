"""The day's spend: exact, per UTC day, over restarts; and what happens to its files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.guard import Guard, Limits, Spent
from anthropic_exporter.guard.measuring.budgets import Budgets
from support import Clock, Samples


def test_the_day_is_counted_by_feature_and_starts_over_at_midnight_utc(
    guard: Guard, spend: Callable[..., None], clock: Clock
) -> None:
    spend(0.5)
    spend(0.25, feature="search")
    assert sorted(guard.today()) == [Spent("chat", 125_000, 0.5), Spent("search", 62_500, 0.25)]
    clock.now += 12 * 3600
    assert sorted(guard.today()) == [Spent("chat", 125_000, 0.5), Spent("search", 62_500, 0.25)]
    guard.tick()
    assert guard.today() == ()
    spend(0.125)
    assert guard.today() == (Spent("chat", 31_250, 0.125),)


@pytest.mark.parametrize(("offset_minutes", "left"), [(0, 0.5), (120, 0.0), (-330, 0.5)])
def test_the_day_begins_at_midnight_of_its_time_zone(offset_minutes: int, left: float) -> None:
    budgets = Budgets(Limits.shipped(), offset_minutes)
    budgets.turn(20 * 3600.0)  # 20:00 UTC, 22:00 at +2, 14:30 at -5:30
    budgets.add("chat", 1000, 0.5)
    budgets.turn(22.5 * 3600.0)  # 22:30 UTC, 00:30 at +2, 17:00 at -5:30
    assert budgets.spent()[0].usd == left


def test_the_call_that_uses_the_budget_up_reports_it(
    start_guard: Callable[..., Guard], spend: Callable[..., None]
) -> None:
    guard = start_guard(cost_usd_per_day=1)
    spend(0.75)
    assert guard.alerts() == ()
    spend(0.5)
    assert [(alert.name, alert.feature, alert.value) for alert in guard.alerts()] == [
        ("AnthropicDailyCostBudgetExceeded", "", 1.25)
    ]


def test_a_budget_of_one_feature_stands_beside_that_of_everything(
    start_guard: Callable[..., Guard], spend: Callable[..., None]
) -> None:
    guard = start_guard(feature="chat", tokens_per_day=100_000)
    spend(0.5, feature="search")
    spend(0.5)
    assert [(alert.name, alert.feature) for alert in guard.alerts()] == [("AnthropicDailyTokenBudgetExceeded", "chat")]


def test_budgets_and_baselines_outlive_the_process(
    start_guard: Callable[..., Guard], spend: Callable[..., None], tmp_path: Path
) -> None:
    first = start_guard(state_dir=tmp_path)
    first.set_baseline("chat", cost_usd_per_minute=0.5, tokens_per_minute=1000)
    spend(0.5)
    first.close()
    second = start_guard(state_dir=tmp_path, cost_usd_per_day=1)
    assert second.today() == (Spent("chat", 125_000, 0.5),)
    assert second._learning.usual("chat", 0.0).cost_usd == 0.5
    spend(0.6)
    assert [alert.name for alert in second.alerts()] == ["AnthropicDailyCostBudgetExceeded"]


def test_every_look_keeps_what_was_spent_since_the_last(
    start_guard: Callable[..., Guard], spend: Callable[..., None], tmp_path: Path
) -> None:
    guard = start_guard(state_dir=tmp_path)
    spend(0.5)
    guard.tick()
    assert '"chat": [125000, 0.5]' in (tmp_path / "budgets.json").read_text()


def test_dollars_without_tokens_are_kept_too(start_guard: Callable[..., Guard], tmp_path: Path) -> None:
    guard = start_guard(state_dir=tmp_path)
    guard.tick()
    guard._budgets.add("chat", 0, 0.5)
    guard.tick()
    assert '"chat": [0, 0.5]' in (tmp_path / "budgets.json").read_text()


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"x": 1}', '{"20000": {"chat": ["a", 1]}}', '{"1": {"a": [NaN, 1]}}']
)
def test_a_damaged_file_is_put_aside_and_said_and_stops_nobody(
    start_guard: Callable[..., Guard],
    spend: Callable[..., None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    content: str,
) -> None:
    (tmp_path / "budgets.json").write_text(content)
    guard = start_guard(state_dir=tmp_path)
    spend(0.5)
    assert guard.today() == (Spent("chat", 125_000, 0.5),)
    assert (tmp_path / "budgets.json.damaged").read_text() == content
    assert "is damaged, so its content is ignored" in caplog.text


def test_a_second_guard_waits_for_the_folder_of_the_first_and_says_so(
    start_guard: Callable[..., Guard],
    spend: Callable[..., None],
    clock: Clock,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    samples: Samples,
) -> None:
    first, second = start_guard(state_dir=tmp_path), start_guard(state_dir=tmp_path)
    spend(0.5)
    for seconds in (0, 4.9):  # a worker of one service may judge, and another not know yet that it does not
        clock.now += seconds
        second.tick()
    assert "another process" not in caplog.text
    assert not samples("anthropic_exporter_record_errors_total", stage="guard_state")
    clock.now += 0.1
    second.tick()
    assert "another process saves its state here; give each service its own state_dir" in caplog.text
    assert samples("anthropic_exporter_record_errors_total", stage="guard_state") == 1
    first.close()
    spend(0.5)
    second.tick()
    second.close()
    assert '"chat": [250000, 1.0]' in (tmp_path / "budgets.json").read_text()


def test_a_folder_that_cannot_be_is_one_line(start_guard: Callable[..., Guard], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match=r"cannot be written: .*; give another state_dir"):
        start_guard(state_dir=tmp_path / "file")
