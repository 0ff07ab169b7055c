"""Breakers through the real SDK and a real socket: sync, async, streams, retries; the fake API counts what arrives."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar

import anthropic
import pytest
from anthropic.types import Message
from prometheus_client import CollectorRegistry

from anthropic_exporter import Call, Recorder, SpendLimitExceeded, attribution
from anthropic_exporter.attribution import Attribution
from anthropic_exporter.call import Task
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.guard import Guard
from anthropic_exporter.guard.breaker import Circuit, Labels
from anthropic_exporter.simulator.fake_api import FakeApi, Scripted
from anthropic_exporter.simulator.fake_api.script import ReceivedRequest
from bodies import ASK, MODEL, answer, refused
from support import Clock, Samples

pytest_plugins = ("fixtures_fake_api",)


@pytest.fixture
def client(fake_api: FakeApi, recorder: Recorder) -> Iterator[anthropic.Anthropic]:
    options: dict[str, Any] = {"api_key": "sk-ant-test", "base_url": fake_api.base_url, "max_retries": 2}
    with anthropic.Anthropic(**options, middleware=[recorder.middleware()]) as client:
        yield client


@pytest.fixture
async def async_client(fake_api: FakeApi, recorder: Recorder) -> AsyncIterator[anthropic.AsyncAnthropic]:
    options: dict[str, Any] = {"api_key": "sk-ant-test", "base_url": fake_api.base_url, "max_retries": 0}
    async with anthropic.AsyncAnthropic(**options, middleware=[recorder.middleware()]) as client:
        yield client


@pytest.fixture
def ask(client: anthropic.Anthropic) -> Callable[..., Message]:
    """One call of a feature."""

    def create(feature: str = "chat", **fields: Any) -> Message:
        with attribution(feature=feature):
            return client.messages.create(**ASK | fields)

    return create


@pytest.fixture
def overrun(spend: Callable[..., None]) -> Callable[..., None]:
    """Spend more than two dollars a minute for a feature."""

    def overrun(feature: str = "chat") -> None:
        for _ in range(4):
            spend(0.6, feature=feature)

    return overrun


class Asked:
    """What a gate sees of a request."""

    json: ClassVar = {"model": MODEL}


def state(guard: Guard) -> list[tuple[str, str, str]]:
    return [(one.scope, one.name, one.state) for one in guard.breakers()]


def sent(fake_api: FakeApi, field: str) -> list[Any]:
    return [request.body[field] for request in fake_api.requests]


def cheaper(request: anthropic.APIRequest) -> anthropic.APIRequest:
    return request.copy(body={**request.json, "model": "claude-haiku-5-5", "max_tokens": 50})  # type: ignore[dict-item]


def test_an_open_breaker_stops_the_request_before_it_is_sent(
    guard: Guard, ask: Callable[..., Message], overrun: Callable[..., None], fake_api: FakeApi, samples: Samples
) -> None:
    guard.breaker(action="block")
    overrun()
    with pytest.raises(SpendLimitExceeded) as stopped:
        ask()
    assert fake_api.requests == []
    assert str(stopped.value) == (
        "feature 'chat' is blocked (cost_rate): 3.60 USD a minute; the threshold is 2.00 USD a minute"
        " (over 30 s, or over 5 minutes if there are few requests); retry at 2026-11-21T12:01:00Z"
    )
    assert samples("anthropic_requests_total", feature="chat", outcome="blocked") == 1
    assert samples("anthropic_guard_blocked_total", feature="chat", reason="cost_rate", mode="block") == 1


def test_the_error_says_what_a_program_needs_and_can_be_pickled(
    guard: Guard, ask: Callable[..., Message], overrun: Callable[..., None], clock: Clock
) -> None:
    guard.breaker(action="block")
    overrun()
    with pytest.raises(SpendLimitExceeded) as stopped:
        ask()
    error = pickle.loads(pickle.dumps(stopped.value))
    assert (error.scope, error.name, error.reason, error.retry_at) == ("feature", "chat", "cost_rate", clock.now + 60)
    assert str(error) == str(stopped.value)


def test_other_features_and_exempt_ones_continue(
    guard: Guard, ask: Callable[..., Message], overrun: Callable[..., None]
) -> None:
    guard.breaker(action="block", exempt=["payment"])
    overrun()
    overrun("payment")
    ask("search")
    ask("payment")
    with pytest.raises(SpendLimitExceeded):
        ask("chat")


def test_the_default_only_counts_what_it_would_have_stopped(
    guard: Guard, ask: Callable[..., Message], overrun: Callable[..., None], samples: Samples
) -> None:
    guard.breaker(when=["cost_rate", "request_cost"])
    overrun()
    assert ask().usage.output_tokens > 0
    assert samples("anthropic_guard_blocked_total", feature="chat", reason="cost_rate", mode="observe") == 1
    assert samples("anthropic_requests_total", outcome="blocked") is None


def test_a_degraded_request_goes_out_in_place_of_the_one_asked_for(
    guard: Guard, ask: Callable[..., Message], overrun: Callable[..., None], fake_api: FakeApi, samples: Samples
) -> None:
    guard.breaker(action="degrade", degrade=cheaper)
    overrun()
    assert ask().model == "claude-haiku-5-5"
    assert sent(fake_api, "max_tokens") == [50]
    assert samples("anthropic_requests_total", feature="chat", model="claude-haiku-5-5", outcome="success") == 1
    assert samples("anthropic_guard_blocked_total", mode="degrade") == 1


def test_every_retry_of_a_degraded_request_is_degraded(
    guard: Guard, ask: Callable[..., Message], overrun: Callable[..., None], fake_api: FakeApi
) -> None:
    guard.breaker(action="degrade", degrade=cheaper)
    overrun()
    fake_api.push(refused(529, "overloaded_error", headers={"retry-after-ms": "1"}))
    ask()
    assert sent(fake_api, "model") == ["claude-haiku-5-5"] * 2


def test_a_retry_is_stopped_where_the_breaker_opened_meanwhile(
    guard: Guard, ask: Callable[..., Message], overrun: Callable[..., None], fake_api: FakeApi
) -> None:
    guard.breaker(action="block")
    overloaded = refused(529, "overloaded_error", headers={"retry-after-ms": "1"})
    fake_api.push(lambda _: (overrun(), overloaded)[1])
    with pytest.raises(SpendLimitExceeded):
        ask()
    assert len(fake_api.requests) == 1


def test_streams_are_stopped_and_degraded(
    guard: Guard, client: anthropic.Anthropic, overrun: Callable[..., None]
) -> None:
    guard.breaker(scope="feature", action="block")
    guard.breaker(scope="model", action="degrade", degrade=cheaper, when=["request_cost"])
    overrun()
    with attribution(feature="chat"), pytest.raises(SpendLimitExceeded):
        client.messages.create(**ASK, stream=True)
    with attribution(feature="chat"), pytest.raises(SpendLimitExceeded), client.messages.stream(**ASK):
        pass
    guard.open_breaker(MODEL, scope="model", reason="a trial")
    with attribution(feature="search"), client.messages.stream(**ASK) as stream:
        assert stream.get_final_message().model == "claude-haiku-5-5"


async def test_async_calls_are_stopped_and_degraded(
    guard: Guard, async_client: anthropic.AsyncAnthropic, overrun: Callable[..., None]
) -> None:
    guard.breaker(action="block")
    guard.breaker(scope="total", action="degrade", degrade=cheaper, when=["daily_cost"])
    overrun()
    with attribution(feature="chat"):
        tasks = [async_client.messages.create(**ASK) for _ in range(3)]
        found = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in found] == [SpendLimitExceeded] * 3
    guard.open_breaker(scope="total", reason="a trial")
    guard.close_breaker("chat")
    stream = await async_client.messages.create(**ASK, stream=True)
    assert [event.message.model async for event in stream if event.type == "message_start"] == ["claude-haiku-5-5"]


def test_half_open_lets_one_probe_through_and_closes_when_it_comes_back_well(
    guard: Guard, ask: Callable[..., Message], overrun: Callable[..., None], live: Callable[..., None]
) -> None:
    guard.breaker(action="block")
    overrun()
    live(31)
    with pytest.raises(SpendLimitExceeded):
        ask()
    live(330)  # until the slow window is past, too
    assert state(guard) == [("feature", "chat", "half_open")]
    ask()
    assert state(guard) == [("feature", "", "closed")]
    ask()


def test_only_one_probe_is_out_at_a_time(
    guard: Guard,
    ask: Callable[..., Message],
    overrun: Callable[..., None],
    live: Callable[..., None],
    fake_api: FakeApi,
) -> None:
    guard.breaker(action="block")
    overrun()
    live(400)
    stopped = []

    def meanwhile(_: ReceivedRequest) -> Scripted:
        with pytest.raises(SpendLimitExceeded) as error:
            ask()
        stopped.append(error)
        return answer()

    fake_api.push(meanwhile)
    ask()
    assert len(stopped) == 1
    assert len(fake_api.requests) == 1


def test_a_probe_that_spends_too_much_opens_it_again(
    guard: Guard,
    ask: Callable[..., Message],
    overrun: Callable[..., None],
    live: Callable[..., None],
    fake_api: FakeApi,
) -> None:
    guard.breaker(action="block", when=["request_cost"])
    overrun()
    live(400)
    giant = answer({"input_tokens": 300_000, "output_tokens": 1})
    fake_api.push(giant, giant)
    ask()
    assert state(guard) == [("feature", "chat", "open")]
    live(400)
    assert state(guard) == [("feature", "chat", "half_open")]
    ask()
    assert state(guard) == [("feature", "chat", "open")]


def test_a_probe_that_fails_lets_another_one_through_and_closes_nothing(
    guard: Guard,
    ask: Callable[..., Message],
    overrun: Callable[..., None],
    live: Callable[..., None],
    fake_api: FakeApi,
) -> None:
    guard.breaker(action="block")
    overrun()
    live(400)
    fake_api.push(refused(400, "invalid_request_error"))
    with pytest.raises(anthropic.BadRequestError):
        ask()
    assert state(guard) == [("feature", "chat", "half_open")]
    ask()
    assert state(guard) == [("feature", "", "closed")]


def test_a_probe_that_fails_opens_what_failures_opened(
    guard: Guard, ask: Callable[..., Message], live: Callable[..., None], fake_api: FakeApi
) -> None:
    guard.breaker(when=["error_rate"], action="block")
    broken = refused(400, "invalid_request_error")
    fake_api.push(*[broken] * 21)
    for _ in range(20):
        with pytest.raises(anthropic.BadRequestError):
            ask()
    live(400)
    assert state(guard) == [("feature", "chat", "half_open")]
    with pytest.raises(anthropic.BadRequestError):
        ask()
    assert state(guard) == [("feature", "chat", "open")]
    live(61)
    ask()
    assert state(guard) == [("feature", "", "closed")]


def test_an_exempt_call_is_not_a_probe(
    guard: Guard, ask: Callable[..., Message], overrun: Callable[..., None], live: Callable[..., None]
) -> None:
    guard.breaker(scope="total", action="block", exempt=["payment"])
    overrun()
    live(400)
    ask("payment")
    assert state(guard) == [("total", "", "half_open")]
    ask()
    assert state(guard) == [("total", "", "closed")]


def test_a_hundred_callers_at_once_get_one_probe_through(
    guard: Guard, overrun: Callable[..., None], live: Callable[..., None], recorder: Recorder
) -> None:
    guard.breaker(action="block")
    overrun()
    live(400)
    start, passed = threading.Barrier(100), []

    def caller() -> None:
        start.wait()
        with contextlib.suppress(SpendLimitExceeded):
            guard._gate.admit(Asked(), Attribution("chat"))
            passed.append(1)

    callers = [threading.Thread(target=caller) for _ in range(100)]
    for one in callers:
        one.start()
    for one in callers:
        one.join()
    assert passed == [1]


def test_a_probe_that_never_comes_back_is_sent_again(
    guard: Guard, recorder: Recorder, live: Callable[..., None], overrun: Callable[..., None]
) -> None:
    guard.breaker(action="block")
    overrun()
    live(400)

    def stopped() -> bool:
        return (
            guard._judge.breakers[0].stops(
                Labels("chat", MODEL, "chat"), guard._clock.moment(), guard._judge.alerts.holding
            )
            is not None
        )

    assert not stopped()
    assert stopped()
    live(61)
    assert not stopped()


def test_what_a_request_pays_does_not_grow_with_the_breakers_that_are_open(
    guard: Guard, overrun: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    guard.breaker(action="block")
    for number in range(50):
        overrun(f"feature-{number}")
    advanced = []
    advance = Circuit.advance
    monkeypatch.setattr(Circuit, "advance", lambda self, *more: (advanced.append(self.name), advance(self, *more)))
    guard._gate.admit(Asked(), Attribution("chat"))
    assert advanced == []
    with pytest.raises(SpendLimitExceeded):
        guard._gate.admit(Asked(), Attribution("feature-7"))
    assert advanced == ["feature-7"]


def test_a_used_up_day_is_tried_again_at_midnight(
    start_guard: Callable[..., Guard], ask: Callable[..., Message], spend: Callable[..., None], clock: Clock
) -> None:
    guard = start_guard(cost_usd_per_day=3)
    guard.breaker(action="block", when=["daily_cost"])
    spend(3.5)
    with pytest.raises(SpendLimitExceeded, match=r"every request is blocked.*retry at 2026-11-22T00:00:00Z"):
        ask()
    clock.now += 11 * 3600
    guard.tick()
    with pytest.raises(SpendLimitExceeded):
        ask("search")
    clock.now += 3600
    guard.tick()
    ask()
    ask()


def test_a_model_is_known_by_its_alias_and_by_its_date(
    guard: Guard, recorder: Recorder, call: Callable[..., Call], client: anthropic.Anthropic
) -> None:
    guard.breaker(scope="model", action="block")
    for _ in range(4):
        recorder.record(call(model="claude-haiku-4-5-20251001", input=600_000))
    with pytest.raises(SpendLimitExceeded):
        client.messages.create(**ASK | {"model": "claude-haiku-4-5"})
    client.messages.create(**ASK)


def test_by_hand_it_opens_and_closes_whatever_holds(
    guard: Guard, ask: Callable[..., Message], overrun: Callable[..., None], live: Callable[..., None]
) -> None:
    guard.breaker(action="block")
    guard.open_breaker("chat", reason="deploy 17", seconds=20)
    with pytest.raises(SpendLimitExceeded, match=r"\(manual\): deploy 17 \(for 20 s\)"):
        ask()
    live(21)
    ask()
    overrun()
    guard.close_breaker("chat")
    live(3)
    ask()
    assert state(guard) == [("feature", "", "closed")]


@pytest.fixture
def crowd(recorder: Recorder) -> None:
    """Features up to the limit of labels: the next ones are shown as `other`."""
    for number in range(100):
        recorder.place_of(MODEL, f"feature-{number}")


def test_one_overspending_feature_beyond_the_limit_stops_no_other_one(
    guard: Guard, ask: Callable[..., Message], overrun: Callable[..., None], crowd: None
) -> None:
    guard.breaker(action="block")
    overrun("late-1")
    assert [(alert.name, alert.feature) for alert in guard.alerts()] == [("AnthropicCostRateHigh", "other")]
    ask("late-1")
    ask("late-2")
    assert state(guard) == [("feature", "", "closed")]


def test_a_breaker_that_says_so_stops_every_feature_beyond_the_limit(
    guard: Guard, ask: Callable[..., Message], overrun: Callable[..., None], crowd: None
) -> None:
    guard.breaker(action="block", include_other=True, exempt=["late-3"])
    overrun("late-1")
    with pytest.raises(SpendLimitExceeded, match=r"feature 'other' is blocked"):
        ask("late-2")
    ask("feature-1")
    ask("late-3")


def test_by_hand_a_feature_beyond_the_limit_is_stopped_by_its_own_name(
    guard: Guard, ask: Callable[..., Message], crowd: None
) -> None:
    guard.breaker(action="block")
    guard.open_breaker("late-1", reason="deploy 17")
    with pytest.raises(SpendLimitExceeded, match=r"feature 'late-1' is blocked"):
        ask("late-1")
    ask("late-2")
    with pytest.raises(ConfigurationError, match="create the breaker with include_other=True"):
        guard.open_breaker("other", reason="deploy 17")


def test_without_a_breaker_nothing_can_be_opened(guard: Guard) -> None:
    with pytest.raises(ConfigurationError, match=r"no breaker has scope='feature'; create one with guard.breaker"):
        guard.open_breaker("chat", reason="deploy 17")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"scope": "galaxy"}, "scope 'galaxy' is not one of feature, model, total"),
        ({"action": "stop"}, "action 'stop' is not one of observe, block, degrade"),
        ({"when": ["weather"]}, "when 'weather' is not one of"),
        ({"when": ["rate_limited"]}, "rate_limited is measured by model; use scope='model' or scope='total'"),
        ({"scope": "model", "when": "cost_spike"}, "cost_spike is measured by feature"),
        ({"action": "degrade"}, "action='degrade' and degrade=... go together"),
        ({"degrade": cheaper}, "action='degrade' and degrade=... go together"),
        ({"probes": 0}, "probes at least 1"),
    ],
)
def test_arguments_that_make_no_sense_are_one_line(guard: Guard, arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)):
        guard.breaker(**arguments)


# -- tasks


def test_the_call_after_the_last_allowed_one_is_stopped(
    guard: Guard,
    client: anthropic.Anthropic,
    fake_api: FakeApi,
    samples: Samples,
    told: Callable[..., list[tuple[str, str]]],
) -> None:
    guard.breaker(when=["runaway_loop"], action="block")
    with attribution(feature="agent", task="plan", max_calls=3):
        for _ in range(3):
            client.messages.create(**ASK)
        with pytest.raises(
            SpendLimitExceeded, match=r"task 'plan' is blocked .runaway_loop.: 4 calls; the threshold is 3"
        ):
            client.messages.create(**ASK)
    with attribution(feature="agent", task="plan", max_calls=3):
        client.messages.create(**ASK)
    assert len(fake_api.requests) == 4
    assert told() == [("AnthropicRunawayLoop", "firing")]
    assert samples("anthropic_guard_blocked_total", feature="agent", reason="runaway_loop", mode="block") == 1


async def test_calls_at_the_same_time_are_counted_before_they_are_sent(
    guard: Guard, async_client: anthropic.AsyncAnthropic, fake_api: FakeApi
) -> None:
    guard.breaker(when=["runaway_loop"], action="block")
    with attribution(task="plan", max_calls=3):
        calls = [async_client.messages.create(**ASK) for _ in range(10)]
        found = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(one, SpendLimitExceeded) for one in found) == 7
    assert len(fake_api.requests) == 3


def test_a_retry_is_not_another_call_of_a_task(guard: Guard, client: anthropic.Anthropic, fake_api: FakeApi) -> None:
    guard.breaker(when=["runaway_loop"], action="block")
    fake_api.push(refused(529, "overloaded_error", headers={"retry-after-ms": "1"}))
    with attribution(max_calls=1):
        client.messages.create(**ASK)
    assert len(fake_api.requests) == 2


def test_a_task_that_continues_is_not_forgotten_for_ten_thousand_others(guard: Guard) -> None:
    tasks, one = guard._tasks, Task(1, "plan", max_calls=3)
    for number in range(2, 20_002):
        tasks.asks(Task(number, max_calls=3), "", 0.0, again=False)
        if number % 6_000 == 0:
            assert tasks.asks(one, "", 0.0, again=False) is None
    assert tasks.asks(one, "", 0.0, again=False).value == 4
    assert len(tasks._runs) == 10_000


def test_dollars_of_a_task_stop_the_call_after(guard: Guard, client: anthropic.Anthropic, fake_api: FakeApi) -> None:
    guard.breaker(when=["runaway_loop"], action="block")
    fake_api.push(answer({"input_tokens": 300_000, "output_tokens": 1}))
    with attribution(max_usd=1):
        client.messages.create(**ASK)
        with pytest.raises(SpendLimitExceeded, match=r"1\.20 USD; the threshold is 1\.00 USD"):
            client.messages.create(**ASK)


def test_without_a_breaker_a_task_is_only_told_and_counted(
    guard: Guard, client: anthropic.Anthropic, samples: Samples
) -> None:
    with attribution(feature="agent", max_calls=1):
        client.messages.create(**ASK)
        client.messages.create(**ASK)
    assert samples("anthropic_guard_blocked_total", reason="runaway_loop", mode="observe") == 1
    assert [alert.name for alert in guard.alerts()] == ["AnthropicRunawayLoop"]


# -- misuse


def test_a_degrade_that_fails_sends_the_request_as_it_was(
    registry: CollectorRegistry,
    clock: Clock,
    guard: Guard,
    fake_api: FakeApi,
    samples: Samples,
    overrun: Callable[..., None],
) -> None:
    guard.recorder._faults.strict = False

    def broken(_: anthropic.APIRequest) -> None:
        raise RuntimeError("sk-ant-secret")

    guard.breaker(action="degrade", degrade=broken)
    overrun()
    client = anthropic.Anthropic(
        api_key="sk-ant-test", base_url=fake_api.base_url, middleware=[guard.recorder.middleware()]
    )
    with client, attribution(feature="chat"):
        assert client.messages.create(**ASK).model == MODEL
    assert samples("anthropic_exporter_record_errors_total", stage="degrade") == 1


def test_a_degrade_that_asks_the_client_itself_does_not_recurse(
    guard: Guard,
    client: anthropic.Anthropic,
    ask: Callable[..., Message],
    overrun: Callable[..., None],
    fake_api: FakeApi,
) -> None:
    def asking(request: anthropic.APIRequest) -> anthropic.APIRequest:
        with attribution(feature="chat"):
            client.messages.create(**ASK | {"max_tokens": 7})
        return cheaper(request)

    guard.breaker(action="degrade", degrade=asking)
    overrun()
    ask()
    assert sent(fake_api, "max_tokens") == [7, 50]


def test_a_closed_guard_stops_nobody(guard: Guard, ask: Callable[..., Message], overrun: Callable[..., None]) -> None:
    guard.breaker(action="block")
    overrun()
    guard.close()
    ask()
