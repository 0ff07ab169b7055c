from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from anthropic_exporter import Call, Recorder
from anthropic_exporter.simulator import workload
from anthropic_exporter.simulator.fake_api import Chunk, FakeApi, Scripted
from anthropic_exporter.simulator.fake_api.script import ReceivedRequest
from anthropic_exporter.simulator.traffic import Application
from anthropic_exporter.simulator.workload import CACHE_LOST, LOOP, RUSH, WORKLOAD

pytest_plugins = ("fixtures_fake_api",)

PATIENCE_SECONDS = 60


class Ledger:
    """The priced calls of a recorder; `until` waits for what is looked for."""

    def __init__(self, recorder: Recorder) -> None:
        self.calls: list[Any] = []
        self._changed = threading.Condition()
        recorder.subscribe(self._add)

    def _add(self, call: Call) -> None:
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()

    def until(self, count: int, **wanted: str) -> list[Call]:
        def matching() -> list[Call]:
            return [call for call in self.calls if all(getattr(call, name) == value for name, value in wanted.items())]

        with self._changed:
            assert self._changed.wait_for(lambda: len(matching()) >= count, PATIENCE_SECONDS), (
                f"{len(matching())} of {count}"
            )
            return matching()

    def after(self) -> None:
        """Forget what was; look at what comes."""
        with self._changed:
            self.calls.clear()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(registry=CollectorRegistry(), strict=True)


@pytest.fixture
def ledger(recorder: Recorder) -> Ledger:
    return Ledger(recorder)


@pytest.fixture
def application(recorder: Recorder, fake_api: FakeApi) -> Iterator[Application]:
    quick = [replace(feature, per_minute=1200) for feature in WORKLOAD.features]
    with Application(recorder, fake_api.base_url, workload=workload.Workload(*quick)) as running:
        yield running


def test_each_feature_makes_its_calls_on_its_model_for_its_users(application: Application, ledger: Ledger) -> None:
    for feature in WORKLOAD.features:
        calls = ledger.until(20, feature=feature.name, outcome="success")
        assert {call.model for call in calls} == {feature.model}
        assert {call.user for call in calls} - {""} <= set(feature.users)
        assert len({call.user for call in calls}) > 1


def test_chat_is_streamed_and_reads_its_prompt_from_the_cache(application: Application, ledger: Ledger) -> None:
    first, *rest = ledger.until(20, feature="chat", outcome="success")
    assert first.inferences[0].tokens.cache_write_5m == 50_000
    assert {call.inferences[0].tokens.cache_read for call in rest} == {50_000}
    assert all(call.time_to_first_token_seconds is not None for call in rest)
    assert {call.bill.cache_result for call in rest} == {"hit"}


def test_an_agent_task_takes_four_calls(application: Application, ledger: Ledger) -> None:
    calls = ledger.until(12, feature="agent")[:12]
    assert [call.stop_reason for call in calls] == ["tool_use", "tool_use", "tool_use", "end_turn"] * 3


def test_a_timestamp_before_the_prompt_loses_the_cache_of_that_feature_alone(
    application: Application, ledger: Ledger
) -> None:
    ledger.until(5, feature="chat")
    application.deploy(CACHE_LOST)
    ledger.after()
    misses = ledger.until(20, feature="chat")[5:]
    assert {call.bill.cache_result for call in misses} == {"miss"}
    assert {call.inferences[0].tokens.cache_read for call in misses} == {0}
    # 50,000 tokens written at 5 USD a million instead of read at 0.20 USD a million
    assert misses[0].bill.cache_miss_cost_usd == pytest.approx(0.24, rel=0.01)
    assert {call.bill.cache_result for call in ledger.until(5, feature="agent")} == {"hit"}


def test_a_deploy_for_that_many_requests_repairs_itself(application: Application, ledger: Ledger) -> None:
    application.deploy(CACHE_LOST, 30)
    ledger.until(50, feature="chat", outcome="success")
    results = [call.bill.cache_result for call in ledger.calls if call.feature == "chat" and call.user]
    assert results.count("miss") == 30


def test_a_broken_feature_is_fast_forwarded_and_no_other(recorder: Recorder) -> None:
    def pauses(feature: workload.Feature, times: float) -> list[float]:
        application = Application(recorder, "http://127.0.0.1:1")
        application.deploy(CACHE_LOST)
        application.fast_forward(times)
        return [pause for pause, _ in itertools.islice(application._schedule(feature), 20)]

    assert pauses(WORKLOAD.chat, 40.0) == pytest.approx([pause / 40.0 for pause in pauses(WORKLOAD.chat, 1.0)])
    assert pauses(WORKLOAD.agent, 40.0) == pauses(WORKLOAD.agent, 1.0)


def test_a_repaired_application_finds_its_cache_again(application: Application, ledger: Ledger) -> None:
    application.deploy(CACHE_LOST)
    ledger.until(10, feature="chat")
    application.deploy(None)
    ledger.after()
    assert ledger.until(20, feature="chat")[-1].bill.cache_result == "hit"


def test_an_agent_that_forgets_its_results_asks_for_ever(application: Application, ledger: Ledger) -> None:
    application.deploy(LOOP)
    ledger.until(5, feature="agent")
    ledger.after()
    assert {call.stop_reason for call in ledger.until(30, feature="agent")} == {"tool_use"}


def test_a_rush_is_one_users(recorder: Recorder, ledger: Ledger, fake_api: FakeApi) -> None:
    slow = replace(WORKLOAD.chat, per_minute=120)
    with Application(recorder, fake_api.base_url, workload=replace(WORKLOAD, chat=slow)) as running:
        running.deploy(RUSH)
        calls = ledger.until(60, feature="chat")[20:]
    assert sum(call.user == "globex" for call in calls) > 0.9 * len(calls)


def test_closing_cancels_requests_in_flight(recorder: Recorder, ledger: Ledger, fake_api: FakeApi) -> None:
    arrived = threading.Event()

    def never(_received: ReceivedRequest) -> Scripted:
        arrived.set()
        return Scripted(body=(Chunk(b"{", after=60.0),))

    fake_api.push(never)
    no_agent = replace(WORKLOAD, agent=replace(WORKLOAD.agent, per_minute=0.001))
    with Application(recorder, fake_api.base_url, workload=no_agent):
        assert arrived.wait(PATIENCE_SECONDS)
        began = time.monotonic()
    assert time.monotonic() - began < 40.0
    assert [call.outcome for call in ledger.calls] == ["cancelled"]


@pytest.mark.parametrize(("tokens", "characters"), [(0, 0), (1, 4), (50_000, 200_000)])
def test_prose_has_exactly_the_tokens_asked_for(tokens: int, characters: int) -> None:
    assert len(workload.prose(tokens)) == characters
