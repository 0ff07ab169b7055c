"""What is usual is learned from quiet time, kept, and not poisoned by an incident."""

from __future__ import annotations

import json

import pytest

from anthropic_exporter.guard.baseline import Baselines, robust_mean
from anthropic_exporter.guard.conditions import Usual

NIGHT = 0.002  # dollars a second: 0.12 a minute


@pytest.fixture
def usual(live, spend):
    """So many seconds of ordinary traffic: one request a second."""
    return lambda seconds: live(seconds, lambda _: spend(NIGHT))


@pytest.fixture
def spiking(live, spend):
    """So many seconds at so many times the ordinary pace."""
    return lambda seconds, times: live(seconds, lambda _: spend(NIGHT * times))


def names(guard):
    return {alert.name for alert in guard.alerts()}


def test_nothing_is_a_spike_before_half_an_hour_is_known(guard, usual, spiking):
    usual(1500)
    spiking(40, 5)
    assert names(guard) == set()


def test_three_times_the_usual_is_a_spike_and_less_is_none(guard, usual, spiking):
    usual(2400)
    spiking(60, 2.9)
    assert names(guard) == set()
    spiking(60, 3.6)
    assert names(guard) == {"AnthropicCostSpike", "AnthropicTokenSpike"}
    assert {alert.labels.get("feature") for alert in guard.alerts()} == {"chat"}


def test_a_baseline_that_was_said_holds_at_once_and_can_be_taken_back(guard, spiking):
    guard.set_baseline("chat", cost_usd_per_minute=0.12, tokens_per_minute=30_000)
    spiking(40, 5)
    assert names(guard) == {"AnthropicCostSpike", "AnthropicTokenSpike"}
    guard.set_baseline("chat")
    spiking(130, 5)
    assert names(guard) == set()


def test_a_poisoned_hour_does_not_become_usual(guard, usual, spiking):
    usual(5400)
    spiking(3600, 8)
    usual(600)
    assert names(guard) == set()
    spiking(40, 4)
    assert names(guard) == {"AnthropicCostSpike", "AnthropicTokenSpike"}


def test_what_goes_on_for_hours_is_what_is_usual_from_then_on(guard, usual, spiking):
    usual(3600)
    spiking(11_000, 4)
    assert names(guard) == set()


def test_the_same_time_yesterday_and_last_week_are_usual():
    """A nightly job of an hour, from slot 102 of each day on, seen half an hour into it on the day after."""
    baselines = Baselines(1800)
    for slot in range(288 + 102):
        nightly = 102 <= slot % 288 < 114
        baselines.learn("chat", slot, Usual(3.0 if nightly else 0.5, 100.0))
    assert baselines.usual("chat", (288 + 108) * 300).cost_usd == 3.0


def test_what_was_learned_is_the_same_after_a_restart():
    first, second = Baselines(1800), Baselines(1800)
    for slot in range(600):
        first.learn("chat", slot, Usual(slot / 7, 100.0))
        first.learn_share("chat", "opus", slot, 90.0, 100.0)
    second.load(json.loads(json.dumps(first.dump())))
    now = 600 * 300
    assert second.usual("chat", now).cost_usd == pytest.approx(first.usual("chat", now).cost_usd, rel=1e-5)
    assert second.usual_share("chat", "opus", now) == 0.9


@pytest.mark.parametrize("dumped", [{"chat": {}}, {"chat": {"cost_usd": 1, "tokens": 2, "shares": {}}}])
def test_a_file_of_something_else_is_no_baseline(dumped):
    with pytest.raises(ValueError, match="no baselines"):
        Baselines().load(dumped)


def test_one_bad_quarter_of_an_hour_does_not_lift_the_mean():
    assert robust_mean([1.0] * 9 + [50.0] * 3) == 1.0
    assert robust_mean([1.0] * 12) == 1.0
    assert robust_mean([0.0] * 11 + [12.0]) == 1.0
