"""Each condition: fires when it should, with the labels of the rule, and stays silent one step below."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from anthropic_exporter import Call, Recorder, bundle
from anthropic_exporter.attribution import Attribution
from anthropic_exporter.guard import CONDITIONS, Guard
from anthropic_exporter.guard.anomalies import Condition
from anthropic_exporter.metrics.quantiles import quantile
from support import Clock


def shipped_alerts() -> dict[str, dict[str, Any]]:
    files = sorted((bundle.path("prometheus") / "rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


@pytest.mark.parametrize("condition", CONDITIONS.values(), ids=lambda one: one.key)
def test_names_labels_summaries_and_patience_are_those_of_the_rules(condition: Condition) -> None:
    rule = shipped_alerts().get(condition.alertname)
    if condition.key == "runaway_loop":
        assert rule is None  # tasks are known in the process alone
        return
    assert rule["labels"] == {"severity": condition.severity, "category": condition.category}
    assert rule["annotations"]["summary"] == condition.summary
    kept = rule.get("keep_firing_for", "0m")
    assert condition.resolve_seconds == int(kept[:-1]) * 60


def names(guard: Guard) -> list[tuple[str, str, str]]:
    return [(alert.name, alert.feature, alert.model) for alert in guard.alerts()]


def test_three_requests_above_the_rate_are_reported_at_the_third(guard: Guard, spend: Callable[..., None]) -> None:
    for _ in range(2):
        spend(0.9)
    assert names(guard) == []
    spend(0.9)
    assert names(guard) == [("AnthropicCostRateHigh", "chat", "claude-opus-5-5")]
    assert guard.alerts()[0].labels == {
        "alertname": "AnthropicCostRateHigh",
        "severity": "critical",
        "category": "cost",
        "feature": "chat",
        "model": "claude-opus-5-5",
    }


def test_one_large_request_is_not_a_rate_but_is_reported_by_itself(guard: Guard, spend: Callable[..., None]) -> None:
    spend(1.1)
    guard.tick()
    assert names(guard) == [("AnthropicRequestUnusuallyExpensive", "chat", "claude-opus-5-5")]


def test_a_long_answer_is_reported(guard: Guard, recorder: Recorder, call: Callable[..., Call]) -> None:
    recorder.record(call(output=10_001, feature="chat"))
    assert [(alert.name, alert.value) for alert in guard.alerts()] == [("AnthropicRequestUnusuallyExpensive", 10_001)]


def test_few_requests_are_judged_over_five_minutes(
    guard: Guard, live: Callable[..., None], spend: Callable[..., None]
) -> None:
    """Two dollars a minute in one request each 50 s: never three within 30 s."""
    live(250, lambda second: spend(0.99) if second % 20 == 0 else None)
    assert ("AnthropicCostRateHigh", "chat", "claude-opus-5-5") in names(guard)


def test_a_sum_that_no_feature_explains_is_reported_without_labels(guard: Guard, spend: Callable[..., None]) -> None:
    for feature in ("a", "b", "c"):
        for _ in range(4):
            spend(0.1, feature=feature)
    guard.tick()
    assert names(guard) == [("AnthropicCostRateHigh", "", "")]


def test_batches_are_in_the_budget_and_not_in_the_rate(
    start_guard: Callable[..., Guard], spend: Callable[..., None]
) -> None:
    guard = start_guard(cost_usd_per_day=3)
    for _ in range(10):
        spend(0.9, tier="batch", requests=0)
    guard.tick()
    assert [alert.name for alert in guard.alerts()] == ["AnthropicDailyCostBudgetExceeded"]


def misses(recorder: Recorder, call: Callable[..., Call], count: int) -> None:
    for _ in range(count):
        recorder.record(call(cache_write_5m=20_000, feature="chat", cache_asked=True))


def hits(recorder: Recorder, call: Callable[..., Call], count: int) -> None:
    for _ in range(count):
        recorder.record(call(cache_read=20_000, feature="chat", cache_asked=True))


def test_misses_are_reported_from_the_twentieth_request_on(
    guard: Guard, recorder: Recorder, call: Callable[..., Call]
) -> None:
    misses(recorder, call, 10)
    hits(recorder, call, 9)
    guard.tick()
    assert "AnthropicCacheMissRateHigh" not in [name for name, *_ in names(guard)]
    misses(recorder, call, 1)
    guard.tick()
    assert ("AnthropicCacheMissRateHigh", "chat", "claude-opus-5-5") in names(guard)


WASTE = ("AnthropicCacheMissWaste", "chat", "claude-opus-5-5")


def test_dollars_lost_to_misses_are_reported_with_the_tenth_where_most_requests_miss(
    guard: Guard, recorder: Recorder, call: Callable[..., Call]
) -> None:
    hits(recorder, call, 9)
    misses(recorder, call, 9)
    assert WASTE not in names(guard)
    misses(recorder, call, 1)
    assert WASTE in names(guard)


def test_misses_that_are_half_of_the_requests_are_not_waste_at_a_rate_of_30_s(
    guard: Guard, recorder: Recorder, call: Callable[..., Call]
) -> None:
    """Ten misses are 1.84 dollars a minute over 30 s, and 0.18 over 5 minutes."""
    hits(recorder, call, 10)
    misses(recorder, call, 10)
    guard.tick()
    assert WASTE not in names(guard)


def test_requests_that_stop_asking_for_the_cache_are_reported_by_the_share(
    guard: Guard, recorder: Recorder, call: Callable[..., Call], live: Callable[..., None]
) -> None:
    def warm(_: int) -> None:
        recorder.record(call(cache_read=2_000, input=100, feature="chat", cache_asked=True))

    live(4200, warm)
    assert names(guard) == []
    live(31, lambda _: recorder.record(call(input=2_100, feature="chat")))
    assert ("AnthropicCacheMissRateHigh", "chat", "claude-opus-5-5") in names(guard)


def test_a_cold_cache_of_a_deploy_is_not_a_lost_one(
    guard: Guard, recorder: Recorder, call: Callable[..., Call], live: Callable[..., None]
) -> None:
    """The share read falls from 0.95 to 0.58 over 30 s, which is more than half of it, and to 0.91 over 5 minutes."""

    def warm(_: int) -> None:
        recorder.record(call(cache_read=2_000, input=100, feature="chat", cache_asked=True))

    live(4200, warm)
    live(12, lambda _: recorder.record(call(input=2_100, feature="chat")))
    live(18, warm)
    assert "AnthropicCacheMissRateHigh" not in [name for name, *_ in names(guard)]


def answered(
    recorder: Recorder, call: Callable[..., Call], count: int, seconds: float, first: float | None = None
) -> None:
    for _ in range(count):
        recorder.record(call(output=1, duration_seconds=seconds, time_to_first_token_seconds=first))


def test_slow_beginnings_are_reported_from_the_twentieth_on(
    guard: Guard, recorder: Recorder, call: Callable[..., Call]
) -> None:
    answered(recorder, call, 19, 4.5, first=4.0)
    guard.tick()
    assert names(guard) == []
    answered(recorder, call, 1, 4.5, first=4.0)
    guard.tick()
    assert names(guard) == [("AnthropicTimeToFirstTokenHigh", "", "claude-opus-5-5")]


LATENCY = ("AnthropicLatencyHigh", "", "claude-opus-5-5")


@pytest.mark.parametrize(("quick", "slow", "told"), [(0, 9, False), (7, 3, False), (6, 4, True)])
def test_three_requests_in_ten_of_30_s_are_reported_from_the_tenth_on(
    guard: Guard, recorder: Recorder, call: Callable[..., Call], quick: int, slow: int, told: bool
) -> None:
    answered(recorder, call, quick, 4.0)
    answered(recorder, call, slow, 9.0)
    guard.tick()
    assert (names(guard) == [LATENCY]) is told


def test_what_is_slow_is_said_with_its_share_and_over_which_time(
    guard: Guard, recorder: Recorder, call: Callable[..., Call]
) -> None:
    answered(recorder, call, 10, 9.0)
    guard.tick()
    assert guard.alerts()[0].description == (
        "Unattributed calls on claude-opus-5-5: three requests in ten take longer than 8.5 s; "
        "the threshold is 5.0 s (over 30 s)."
    )


def test_slow_requests_are_over_two_minutes_after_they_left_the_30_seconds(
    guard: Guard, recorder: Recorder, call: Callable[..., Call], live: Callable[..., None]
) -> None:
    answered(recorder, call, 10, 9.0)
    live(1)
    assert names(guard) == [LATENCY]
    live(29 + 120)  # up to second 30 they are within the window
    assert names(guard) == [LATENCY]
    live(1)
    assert names(guard) == []


def test_one_request_in_twenty_is_reported_from_the_twentieth_of_five_minutes_on(
    guard: Guard, recorder: Recorder, call: Callable[..., Call], live: Callable[..., None]
) -> None:
    def every_20_seconds(second: int) -> None:
        if second % 20 == 0:  # never ten within 30 s
            answered(recorder, call, 1, 4.0)
            answered(recorder, call, 1, 9.0)

    live(180, every_20_seconds)
    assert names(guard) == []
    live(20, every_20_seconds)
    assert names(guard) == [LATENCY]
    assert "one request in 20 takes longer than 9.5 s" in guard.alerts()[0].description


@pytest.mark.parametrize(
    ("outcome", "told"),
    [
        ("api_error", ("AnthropicErrorRateHigh", "chat", "claude-opus-5-5")),
        ("timeout", ("AnthropicErrorRateHigh", "chat", "claude-opus-5-5")),
        ("rate_limit_error", ("AnthropicRateLimited", "", "claude-opus-5-5")),
        ("overloaded_error", ("AnthropicOverloaded", "", "claude-opus-5-5")),
        ("refusal", None),
        ("cancelled", None),
        ("blocked", None),
    ],
)
def test_failures_limits_and_overload_are_distinguished(
    guard: Guard, recorder: Recorder, call: Callable[..., Call], outcome: str, told: tuple[str, str, str] | None
) -> None:
    for number in range(20):
        recorder.record(call(feature="chat", outcome=outcome if number < 6 else "success"))
    guard.tick()
    assert names(guard) == ([told] if told else [])


@pytest.mark.parametrize("outcome", ["api_error", "rate_limit_error", "overloaded_error"])
def test_five_failures_are_bad_luck(guard: Guard, recorder: Recorder, call: Callable[..., Call], outcome: str) -> None:
    for number in range(20):
        recorder.record(call(feature="chat", outcome=outcome if number < 5 else "success"))
    guard.tick()
    assert names(guard) == []


def test_a_request_that_hangs_is_reported_while_it_hangs(guard: Guard, recorder: Recorder, clock: Clock) -> None:
    recorder.begin(1, "claude-opus-5-5", Attribution("chat"))
    clock.now += 300
    guard.tick()
    assert names(guard) == []
    clock.now += 1
    guard.tick()
    assert names(guard) == [("AnthropicRequestStuck", "chat", "claude-opus-5-5")]
    recorder.inflight.end(1)
    guard.tick()
    assert names(guard) == []


def test_a_percentile_is_read_as_prometheus_reads_it() -> None:
    """`histogram_quantile(0.95, ...)` of promtool for 90 observations up to 1 and 10 up to 2: 1.5."""
    assert quantile(0.95, [90, 10, 0], [1, 2]) == 1.5
    assert quantile(0.95, [0, 0, 5], [1, 2]) == 2
