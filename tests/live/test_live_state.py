from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from anthropic_exporter import Call, Recorder
from anthropic_exporter.live.feeds import CallFeed
from anthropic_exporter.live.state import PageState
from support import Clock


@pytest.fixture
def steady() -> Clock:
    return Clock(1_000.0)


@pytest.fixture
def state(recorder: Recorder, clock: Clock, steady: Clock) -> PageState:
    return PageState(CallFeed(recorder, clock=steady, wall=clock), clock=steady, wall=clock)


def read(state: PageState, since: int = 0) -> dict[str, Any]:
    return json.loads(state.read(since))


def test_before_the_first_call_everything_is_zero_and_nothing_is_missing(state: PageState) -> None:
    found = read(state)
    assert found["features"] == found["users"] == found["steps"] == []
    assert not any(found["total"])
    assert found["minute"][1] == [None, None, None, None]
    assert (found["alerts"], found["breakers"]) == (None, None)
    assert (found["inflight"], found["oldest_seconds"]) == (0, None)


def test_a_call_is_there_at_once_and_in_its_step_when_that_has_ended(
    state: PageState, recorder: Recorder, call: Callable[..., Call], steady: Clock
) -> None:
    recorder.record(call(feature="chat", user="acme", output=171))
    found = read(state)
    assert found["minute"][0][10] == found["total"][10] == 171
    assert [row[0] for row in found["features"] + found["users"]] == ["chat", "acme"]
    assert found["steps"] == []
    steady.now += 5
    ((number, counts, latency, spent),) = read(state)["steps"]
    assert (number, counts[10], list(spent)) == (200, 171, ["chat"])
    assert latency[0] == pytest.approx(1.5, rel=0.2)


def test_only_steps_that_the_page_does_not_have_are_sent(
    state: PageState, recorder: Recorder, call: Callable[..., Call], steady: Clock
) -> None:
    recorder.record(call(output=171))
    steady.now += 12
    first = read(state)
    assert ([step[0] for step in first["steps"]], first["next"]) == ([200, 201], 202)
    steady.now += 5
    assert [step[0] for step in read(state, first["next"])["steps"]] == [202]
    assert [step[0] for step in read(state)["steps"]] == [200, 201, 202]


def test_at_most_16_minutes_are_sent_however_long_nobody_asked(state: PageState, steady: Clock) -> None:
    steady.now += 100_000
    assert len(read(state)["steps"]) == 192


def test_lists_are_bounded_whatever_the_application_names(
    state: PageState, recorder: Recorder, call: Callable[..., Call]
) -> None:
    for number in range(300):
        recorder.record(call(feature=f"feature {number}", user=f"user {number}", output=number))
    found = read(state)
    assert (len(found["features"]), len(found["users"])) == (12, 12)
    assert (found["feature_count"], found["user_count"]) == (101, 155)  # the budget of series leaves no more
    assert found["features"][0][0] == "other"


def test_a_request_in_flight_is_shown_with_its_age(state: PageState, recorder: Recorder, clock: Clock) -> None:
    from anthropic_exporter.attribution import Attribution  # noqa: PLC0415

    recorder.begin(1, "claude-opus-5-5", Attribution())
    clock.now += 12
    found = read(state)
    assert (found["inflight"], found["oldest_seconds"]) == (1, 12)


def test_alerts_and_breakers_are_handed_on(recorder: Recorder) -> None:
    class Watched:
        def alerts(self) -> list[dict[str, str]]:
            return [{"name": "AnthropicCostRateHigh", "severity": "critical"}]

        def breakers(self) -> list[dict[str, str]]:
            return [{"name": "chat", "state": "open"}]

    found = read(PageState(CallFeed(recorder), Watched()))
    assert (found["alerts"][0]["name"], found["breakers"][0]["state"]) == ("AnthropicCostRateHigh", "open")


def test_of_very_many_alerts_the_most_urgent_are_shown_and_all_are_counted(recorder: Recorder) -> None:
    class Watched:
        def alerts(self) -> list[dict[str, str]]:
            return [{"name": str(n), "severity": ("info", "warning", "critical")[n % 3]} for n in range(300)]

        def breakers(self) -> list[dict[str, str]]:
            return [{"name": str(n), "state": "open"} for n in range(300)]

    found = read(PageState(CallFeed(recorder), Watched()))
    assert [alert["severity"] for alert in found["alerts"]] == ["critical"] * 20
    assert len(found["breakers"]) == 12
    assert (found["alert_count"], found["breaker_count"]) == (300, 300)


def test_a_call_never_waits_for_a_reader_and_is_not_lost(
    state: PageState, recorder: Recorder, call: Callable[..., Call]
) -> None:
    with state._feed.lock:  # somebody reads
        thread = threading.Thread(target=recorder.record, args=(call(output=171),))
        thread.start()
        thread.join(30)
        assert not thread.is_alive()
    assert read(state)["total"][10] == 171


def test_closing_it_ends_the_subscription(state: PageState, recorder: Recorder, call: Callable[..., Call]) -> None:
    state.close()
    recorder.record(call(output=171))
    assert read(state)["total"][10] == 0


def test_threads_lose_nothing(state: PageState, recorder: Recorder, call: Callable[..., Call]) -> None:
    def work() -> None:
        for _ in range(500):
            recorder.record(call(output=1))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        state.read()
    assert read(state)["total"][10] == 4_000
