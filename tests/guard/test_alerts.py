from __future__ import annotations

import pytest

from anthropic_exporter.guard.anomalies import COST_RATE, STUCK, Measure
from anthropic_exporter.guard.notifications.alerts import Alerts


@pytest.fixture
def alerts() -> Alerts:
    return Alerts(hysteresis=0.1, cooldown_seconds=300)


def rate(value: float) -> list[Measure]:
    return [Measure(COST_RATE, "place", "chat", "opus", value, 2.0)]


def at(alerts: Alerts, second: int, value: float | None) -> list[str]:
    """The status of what is told after a look at this second."""
    alerts.settle(rate(value) if value is not None else [], second)
    return [alert.status for alert in alerts.news(second)]


def test_an_alert_is_reported_once_and_resolves_two_minutes_after_it_was_over(alerts: Alerts) -> None:
    assert at(alerts, 0, 2.01) == ["firing"]
    assert at(alerts, 10, 5.0) == []
    assert at(alerts, 11, 0.5) == []
    assert at(alerts, 129, 0.5) == []
    assert at(alerts, 130, 0.5) == ["resolved"]


def test_a_condition_that_is_no_longer_measured_ends(alerts: Alerts) -> None:
    at(alerts, 0, 3.0)
    assert at(alerts, 120, None) == ["resolved"]


def test_a_value_just_below_the_threshold_holds_what_fires_and_fires_nothing(alerts: Alerts) -> None:
    assert at(alerts, 0, 1.9) == []
    at(alerts, 1, 2.1)
    assert at(alerts, 500, 1.85) == []
    assert alerts.firing()[0].value == 2.1  # no sentence says that 1.85 is above 2
    assert at(alerts, 619, 1.79) == []
    assert at(alerts, 620, 1.79) == ["resolved"]


def test_the_same_alert_again_is_reported_when_the_cooldown_is_over_at_the_latest(alerts: Alerts) -> None:
    assert at(alerts, 0, 3.0) == ["firing"]
    assert at(alerts, 120, 0.0) == ["resolved"]
    assert at(alerts, 130, 3.0) == []
    assert len(alerts.firing()) == 1
    assert at(alerts, 299, 3.0) == []
    assert at(alerts, 300, 3.0) == ["firing"]


def test_one_resolve_time_for_all_conditions_may_be_given() -> None:
    alerts = Alerts(resolve_seconds=5)
    at(alerts, 0, 3.0)
    assert at(alerts, 4, 0.0) == []
    assert at(alerts, 5, 0.0) == ["resolved"]


def test_a_hung_request_that_ended_is_over_at_once(alerts: Alerts) -> None:
    alerts.settle([Measure(STUCK, "place", "chat", "opus", 301, 300)], 0)
    alerts.news(0)
    alerts.settle([], 1)
    assert [alert.status for alert in alerts.news(1)] == ["resolved"]


def test_memory_of_what_was_sent_ends_with_the_cooldown(alerts: Alerts) -> None:
    for number in range(1000):
        alerts.settle([Measure(COST_RATE, "place", f"f{number}", "opus", 3.0, 2.0)], number * 1000)
        alerts.news(number * 1000)
    assert len(alerts._told_at) <= 2
    assert len(alerts.firing()) <= 2


def test_the_description_says_who_how_much_against_what_and_over_which_time(alerts: Alerts) -> None:
    alerts.settle(rate(5.2), 0)
    assert alerts.firing()[0].description == (
        "chat on opus: 5.20 USD a minute; the threshold is 2.00 USD a minute"
        " (over 30 s, or over 5 minutes if there are few requests)."
    )
