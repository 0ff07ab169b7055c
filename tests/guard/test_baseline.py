"""What is usual is learned from quiet time, kept, and not poisoned by an incident."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from anthropic_exporter import Call, Recorder
from anthropic_exporter.guard import Guard
from anthropic_exporter.guard.measuring.spikes import Usual
from anthropic_exporter.guard.usual.baseline import Baselines, robust_mean
from support import Clock

NIGHT = 0.002  # dollars a second: 0.12 a minute


@pytest.fixture
def usual(live: Callable[..., None], spend: Callable[..., None]) -> Callable[..., Any]:
    """So many seconds of ordinary traffic: one request a second."""
    return lambda seconds: live(seconds, lambda _: spend(NIGHT))


@pytest.fixture
def spiking(live: Callable[..., None], spend: Callable[..., None]) -> Callable[..., Any]:
    """So many seconds at so many times the ordinary pace."""
    return lambda seconds, times: live(seconds, lambda _: spend(NIGHT * times))


def names(guard: Guard) -> set[str]:
    return {alert.name for alert in guard.alerts()}


def test_nothing_is_a_spike_before_half_an_hour_is_known(
    guard: Guard, usual: Callable[..., Any], spiking: Callable[..., Any]
) -> None:
    usual(1500)
    spiking(40, 5)
    assert names(guard) == set()


def test_three_times_the_usual_is_a_spike_and_less_is_none(
    guard: Guard, usual: Callable[..., Any], spiking: Callable[..., Any]
) -> None:
    usual(2400)
    spiking(60, 2.9)
    assert names(guard) == set()
    spiking(60, 3.6)
    assert names(guard) == {"AnthropicCostSpike", "AnthropicTokenSpike"}
    assert {alert.labels.get("feature") for alert in guard.alerts()} == {"chat"}


def test_a_baseline_that_was_said_holds_at_once_and_can_be_taken_back(
    guard: Guard, spiking: Callable[..., Any]
) -> None:
    guard.set_baseline("chat", cost_usd_per_minute=0.12, tokens_per_minute=30_000)
    spiking(40, 5)
    assert names(guard) == {"AnthropicCostSpike", "AnthropicTokenSpike"}
    guard.set_baseline("chat")
    spiking(130, 5)
    assert names(guard) == set()


def test_a_poisoned_hour_does_not_become_usual(
    guard: Guard, usual: Callable[..., Any], spiking: Callable[..., Any]
) -> None:
    usual(5400)
    spiking(3600, 8)
    usual(600)
    assert names(guard) == set()
    spiking(40, 4)
    assert names(guard) == {"AnthropicCostSpike", "AnthropicTokenSpike"}


def test_what_continues_for_hours_is_what_is_usual_from_then_on(
    guard: Guard, usual: Callable[..., Any], spiking: Callable[..., Any]
) -> None:
    usual(3600)
    spiking(11_000, 4)
    assert names(guard) == set()


def test_the_same_time_yesterday_and_last_week_are_usual() -> None:
    """A nightly job of an hour, from slot 102 of each day on, seen half an hour into it on the day after."""
    baselines = Baselines(1800)
    for slot in range(288 + 102):
        nightly = 102 <= slot % 288 < 114
        baselines.learn("chat", slot, Usual(3.0 if nightly else 0.5, 100.0))
    assert baselines.usual("chat", (288 + 108) * 300).cost_usd == 3.0


def test_a_quarter_of_an_hour_ago_is_usual_too() -> None:
    """A morning: three hours at 1 a minute, then slots of 2, 3, 4 and 9. Of the newest two nothing is usual yet."""
    baselines = Baselines(1800)
    for slot, spent in enumerate([1.0] * 36 + [2.0, 3.0, 4.0, 9.0]):
        baselines.learn("chat", slot, Usual(spent, 10 * spent, 1.0))
    usual = baselines.usual("chat", 40 * 300 + 60)
    assert (usual.cost_usd, usual.tokens) == (3.0, 30.0)


def test_the_usual_number_of_requests_is_that_of_the_last_hour_but_for_its_newest_slot() -> None:
    baselines = Baselines(1800)
    for slot, requests in enumerate([50.0] * 20 + [10.0] * 6 + [4.0] * 6 + [90.0]):
        baselines.learn("chat", slot, Usual(1.0, 100.0, requests))
    assert baselines.usual("chat", 33 * 300).requests == 7.0


HUNDRED = [0, 90, 10, *[0] * 9]  # answers by bucket: up to 256 tokens, up to 1,000
LONG = [0, 0, 0, 0, 100, *[0] * 7]  # up to 4,000


def taught(*slots: list[int] | None, least_answers: float = 20.0, said: float | None = None) -> Usual | None:
    """What is usual after so many slots of answers, oldest first; `said`: dollars and tokens a minute."""
    baselines = Baselines(1800, least_answers)
    baselines.fix("chat", cost_usd_per_minute=said, tokens_per_minute=said)
    for slot, counts in enumerate(slots):
        baselines.learn("chat", slot, Usual(1.0, 100.0, 10.0))
        baselines.learn_answers("chat", slot, counts)
    return baselines.usual("chat", len(slots) * 300)


def test_nineteen_answers_in_twenty_of_the_last_hour_are_shorter_than_the_usual_length() -> None:
    assert (
        taught(*[HUNDRED] * 12).answer_tokens == 628.0
    )  # promtool: histogram_quantile(0.95, 90 up to 256, 10 to 1,000)


def test_of_an_hour_the_newest_slot_is_not_usual_yet() -> None:
    assert taught(*[HUNDRED] * 12, LONG).answer_tokens == 628.0
    assert taught(*[HUNDRED] * 12, LONG, HUNDRED).answer_tokens > 2_000


def test_no_length_is_usual_before_half_an_hour_is_known() -> None:
    assert taught(*[HUNDRED] * 5) is None  # neither is a pace
    assert taught(*[HUNDRED] * 5, said=1.0).answer_tokens == float("inf")
    assert taught(*[HUNDRED] * 6, said=1.0).answer_tokens == 628.0
    assert taught(*[HUNDRED] * 6).answer_tokens == 628.0


def test_an_hour_with_fewer_answers_than_a_spike_has_no_usual_length() -> None:
    few = [0, 1, 0, *[0] * 9]
    assert taught(*[few] * 11, least_answers=11).answer_tokens == float("inf")  # ten, and the newest one
    assert taught(*[few] * 12, least_answers=11).answer_tokens < 256


def test_while_an_anomaly_runs_the_length_stays_as_it_was() -> None:
    assert taught(*[HUNDRED] * 12, *[None] * 24).answer_tokens == pytest.approx(628.0)
    assert taught(*[HUNDRED] * 12, *[LONG] * 24).answer_tokens > 2_000


def test_the_length_of_the_same_time_yesterday_is_usual() -> None:
    """A nightly job of an hour, from slot 102 of each day on, seen twenty minutes before it and much earlier."""
    nights = [LONG if 102 <= slot % 288 < 114 else HUNDRED for slot in range(288 + 98)]
    assert taught(*nights).answer_tokens > 2_000  # an hour that began at this time yesterday has most of it
    assert taught(*nights[: 288 + 80]).answer_tokens == 628.0


def test_answers_that_became_long_are_reported_until_they_are_short_again(
    guard: Guard, recorder: Recorder, call: Callable[..., Call], live: Callable[..., None], clock: Clock
) -> None:
    def answers(tokens: int) -> Callable[..., Any]:
        return lambda _: recorder.record(call(output=tokens, input=2_000, feature="chat"))

    live(2400, answers(300))
    assert names(guard) == set()
    assert guard._learning.usual("chat", clock.now).requests == pytest.approx(60, rel=0.01)
    live(13, answers(3_000))
    assert "AnthropicTokenSpike" in names(guard)
    [description] = [one.description for one in guard.alerts() if one.name == "AnthropicTokenSpike"]
    assert description.startswith("chat: one answer in five has more than ")
    assert description.endswith(" tokens; the threshold is 2888 tokens (over 30 s).")  # three times 962.8
    live(1500, answers(3_000))  # which teaches nothing
    assert "AnthropicTokenSpike" in names(guard)
    live(330, answers(300))
    assert "AnthropicTokenSpike" not in names(guard)


def test_what_was_learned_is_the_same_after_a_restart() -> None:
    first, second = Baselines(1800), Baselines(1800)
    for slot in range(600):
        first.learn("chat", slot, Usual(slot / 7, 100.0, 12.0))
        first.learn_answers("chat", slot, HUNDRED)
        first.learn_share("chat", "opus", slot, 90.0, 100.0)
    second.load(json.loads(json.dumps(first.dump())))
    now = 600 * 300
    assert second.usual("chat", now).cost_usd == pytest.approx(first.usual("chat", now).cost_usd, rel=1e-5)
    assert second.usual("chat", now)[1:] == (100.0, 12.0, 628.0)
    assert second.usual_share("chat", "opus", now) == 0.9


def test_a_file_without_requests_and_answers_teaches_the_rest() -> None:
    first, second = Baselines(1800), Baselines(1800)
    for slot in range(12):
        first.learn("chat", slot, Usual(1.0, 100.0, 12.0))
    dumped = first.dump()
    del dumped["chat"]["requests"], dumped["chat"]["answers"]
    second.load(dumped)
    assert second.usual("chat", 12 * 300) == (1.0, 100.0, float("inf"), float("inf"))


@pytest.mark.parametrize("dumped", [{"chat": {}}, {"chat": {"cost_usd": 1, "tokens": 2, "shares": {}}}])
def test_a_file_of_something_else_is_not_a_baseline(dumped: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="not baselines"):
        Baselines().load(dumped)


def test_one_bad_quarter_of_an_hour_does_not_lift_the_mean() -> None:
    assert robust_mean([1.0] * 9 + [50.0] * 3) == 1.0
    assert robust_mean([1.0] * 12) == 1.0
    assert robust_mean([0.0] * 11 + [12.0]) == 1.0
