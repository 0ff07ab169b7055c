"""The whole Guard: its own thread, misuse, clocks that jump, forks."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import anthropic
import pytest
from prometheus_client import CollectorRegistry

from anthropic_exporter import Call, Recorder, SpendLimitExceeded, attribution
from anthropic_exporter.attribution import Attribution
from anthropic_exporter.guard import Alert, Guard, Timing
from anthropic_exporter.guard.measuring.budgets import SpendTotal
from anthropic_exporter.recording.inflight import Heard, Started
from anthropic_exporter.simulator.fake_api import FakeApi
from bodies import ASK
from support import Clock, Samples

pytest_plugins = ("fixtures_fake_api",)


def names(guard: Guard) -> list[str]:
    return [alert.name for alert in guard.alerts()]


def test_an_alert_reaches_a_callback_without_waiting_for_an_evaluation(
    recorder: Recorder, spend: Callable[..., None], clock: Clock
) -> None:
    told = threading.Event()
    with Guard(recorder, timing=Timing(evaluate_every_seconds=None)) as guard:
        guard.on_alert(lambda _: told.set())
        for _ in range(4):
            spend(0.6)
        assert told.wait(30)


def test_its_thread_sees_what_no_call_brings(recorder: Recorder, clock: Clock) -> None:
    told = threading.Event()
    with Guard(recorder, timing=Timing(evaluate_every_seconds=0.05)) as guard:
        guard.on_alert(lambda _: told.set())
        with attribution(feature="chat") as where:
            recorder.begin(1, "claude-opus-5-5", where)
        guard._gate.admit(None, where)  # the gate is asked before a request is sent; that starts the thread
        clock.now += 301
        assert told.wait(30)
        assert names(guard) == ["AnthropicRequestStuck"]
        recorder.inflight.end(1)


@pytest.mark.parametrize("jump", [-1, -3600, -90_000, 3600])
def test_a_clock_that_jumps_reports_nothing_by_itself_and_hides_nothing(
    guard: Guard, live: Callable[..., None], spend: Callable[..., None], clock: Clock, jump: int
) -> None:
    live(120, lambda _: spend(0.02))
    clock.now += jump
    live(60, lambda _: spend(0.02))
    assert names(guard) == []
    for _ in range(5):
        spend(0.9)
    assert names(guard) == ["AnthropicCostRateHigh"]


def test_a_clock_put_back_over_midnight_counts_on_the_day_that_it_shows(
    guard: Guard, spend: Callable[..., None], clock: Clock
) -> None:
    spend(0.5)
    clock.now += 86_400
    spend(0.25)
    clock.now -= 86_400
    spend(0.5)
    assert [one.usd for one in guard.today()] == [1.0]


def test_a_callback_that_asks_the_client_does_not_deadlock_and_is_counted(
    guard: Guard, recorder: Recorder, fake_api: FakeApi, spend: Callable[..., None], samples: Samples
) -> None:
    client = anthropic.Anthropic(
        api_key="sk-ant-test", base_url=fake_api.base_url, middleware=[recorder.middleware()], max_retries=0
    )

    def explain(_: Alert) -> None:
        with attribution(feature="explain"):
            client.messages.create(**ASK)

    guard.on_alert(explain)
    guard.breaker(action="block")
    with client:
        for _ in range(4):
            spend(0.6)
        assert guard._callbacks.flush(10.0)
    assert samples("anthropic_requests_total", feature="explain", outcome="success") == 1
    assert samples("anthropic_guard_callbacks_total", callback="explain", result="ok") == 1


def test_a_callback_that_raises_or_hangs_never_slows_a_call(
    recorder: Recorder, spend: Callable[..., None], samples: Samples
) -> None:
    end = threading.Event()

    def broken(_: Alert) -> None:
        raise RuntimeError

    def hanging(_: Alert) -> None:
        end.wait()

    timing = Timing(evaluate_every_seconds=None, callback_timeout_seconds=0.05)
    with Guard(recorder, timing=timing) as guard:
        guard.on_alert(broken, hanging)
        began = time.perf_counter()
        for number in range(200):
            spend(0.9, feature=f"f{number % 50}")
        assert time.perf_counter() - began < 30.0
        assert guard._callbacks.flush(10.0)
        end.set()
    assert samples("anthropic_guard_callbacks_total", callback="broken", result="failed") >= 1
    assert samples("anthropic_guard_callbacks_total", callback="hanging", result="timeout") >= 1
    assert samples("anthropic_exporter_record_errors_total") is None


def test_threads_lose_no_dollar(registry: CollectorRegistry, clock: Clock, call: Callable[..., Call]) -> None:
    recorder = Recorder(registry=None, clock=clock)
    with Guard(recorder, timing=Timing(evaluate_every_seconds=0.01)) as guard:
        one = call(input=1000, feature="chat")
        work = [threading.Thread(target=lambda: [recorder.record(one) for _ in range(500)]) for _ in range(8)]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()
        wait_until(lambda: recorder.drain() or [spent.tokens for spent in guard.today()] == [4_000_000])


class _Asked:
    json: ClassVar = {"model": "claude-opus-5-5"}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_and_its_parent_are_judged_together(
    recorder: Recorder, spend: Callable[..., None], tmp_path: Path
) -> None:
    guard = Guard(recorder, state_dir=tmp_path, timing=Timing(evaluate_every_seconds=0.05))
    guard.breaker(action="block")
    guard.open_breaker("search", reason="deploy 17")
    sent = tmp_path / "sent"
    sent.touch()
    guard.on_alert(lambda alert: sent.write_text(f"{sent.read_text()}{alert.name} {alert.status};"))
    spend(0.5)
    guard.tick()
    child = os.fork()
    if not child:  # pragma: no cover - runs in the child
        ok = False
        try:
            with pytest.raises(SpendLimitExceeded):
                guard._gate.admit(_Asked(), Attribution("search"))
            for _ in range(4):
                spend(0.6)
            wait_until(lambda: usd_today(guard) == 2.9 and sent.read_text())
            ok = guard._ticker.thread.is_alive()
        finally:
            os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    wait_until(lambda: usd_today(guard) == 2.9)
    guard.close()
    assert '"chat": [725000, 2.9]' in (tmp_path / "budgets.json").read_text()
    assert sent.read_text() == "AnthropicCostRateHigh firing;"


def usd_today(guard: Guard) -> float:
    return round(sum(one.usd for one in guard.today()), 6)


def wait_until(condition: Callable[..., Any]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_second_read_before_and_used_after_another_thread_is_not_a_clock_put_back(guard: Guard, clock: Clock) -> None:
    late = clock.now + 0.999
    guard._clock.turn(clock.now + 1.001)
    guard._clock.turn(late)
    assert guard._clock.ahead == 0
    clock.now += 2
    guard.tick()
    assert guard._clock.moment() == (clock.now, clock.now)


def test_times_are_those_of_the_clock_after_it_was_put_back(
    guard: Guard, spend: Callable[..., None], clock: Clock
) -> None:
    guard.tick()
    clock.now -= 86_400
    guard.breaker()
    for _ in range(4):
        spend(0.6)
    (alert,), (breaker,) = guard.alerts(), guard.breakers()
    assert alert.started_at == breaker.opened_at == clock.now
    assert breaker.retry_at == clock.now + 60


def test_a_call_at_midnight_is_on_one_day_in_full(guard: Guard, clock: Clock) -> None:
    ledger = guard._budgets

    class Midnight(dict[Any, Any]):
        def __getitem__(self, feature: str) -> SpendTotal:
            found = super().__getitem__(feature)
            ledger.turn(clock.now + 86_400)
            return found

    ledger.add("chat", 10, 0.25)
    today = ledger._today
    today.features = Midnight(today.features)
    ledger.add("chat", 10, 0.25)
    assert (today.total.tokens, today.total.usd) == (20, 0.5)
    assert guard.today() == ()


def test_a_log_handler_that_scrapes_is_never_called_while_calls_are_taken(
    guard: Guard, recorder: Recorder, spend: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    class Scraping(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            recorder.render()

    logger, handler = logging.getLogger("anthropic_exporter.guard"), Scraping()
    logger.addHandler(handler)
    try:
        guard.on_alert(lambda _: None)
        for _, lane in guard._callbacks._lanes:
            lane.most_waiting = 0
        spending = threading.Thread(target=lambda: [spend(0.6) for _ in range(4)], daemon=True)
        spending.start()
        spending.join(30)
        assert not spending.is_alive()
        guard.tick()
        assert "an alert to callback <lambda>: dropped" in caplog.text
    finally:
        logger.removeHandler(handler)


def test_a_look_that_finds_nothing_is_not_repeated_with_every_call(
    guard: Guard, spend: Callable[..., None], live: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        spend(3)  # above what 5 minutes may cost
    live(100)
    live(5, lambda _: spend(0.00004))  # from now on 30 s are measured
    looks = []
    look = guard._watch.evaluate
    monkeypatch.setattr(guard._watch, "evaluate", lambda place: (looks.append(place), look(place)))
    for _ in range(500):
        spend(0.00004)
    assert 1 <= len(looks) <= 5


def test_it_takes_a_tenth_of_a_core_at_most(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = []

    def wait(pause: float) -> bool:
        pauses.append(pause)
        return len(pauses) > 1

    def busy() -> None:
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass

    monkeypatch.setattr(guard._ticker, "_wait", wait)
    monkeypatch.setattr(guard._ticker, "_tick", busy)
    guard._ticker.run(0.05)
    assert pauses[0] == 0.05
    assert pauses[1] >= 0.2


def test_nothing_is_known_of_features_that_were_silent_for_five_minutes(
    guard: Guard, spend: Callable[..., None], live: Callable[..., None]
) -> None:
    for number in range(50):
        spend(0.001, feature=f"f{number}")
    assert len(guard._watch.windows.places()) == 50
    live(320)
    assert guard._watch.windows.places() == []


def refuse(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_thread_that_cannot_start_is_counted_and_started_later(
    registry: CollectorRegistry, clock: Clock, call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(registry=registry, clock=clock)
    told = threading.Event()
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        guard = Guard(recorder, timing=Timing(evaluate_every_seconds=0.02))
        guard.on_alert(lambda _: told.set())
        recorder.record(call(feature="chat", output=100_000))
        assert [(alert.name, alert.feature) for alert in guard.alerts()] == [
            ("AnthropicRequestUnusuallyExpensive", "chat")
        ]
    assert guard._ticker.thread is None
    samples = Samples(registry)
    assert samples("anthropic_exporter_record_errors_total", stage="guard_thread") >= 1
    clock.now += 1
    recorder.record(call(feature="chat", output=1))
    assert guard._ticker.thread.is_alive()  # type: ignore[attr-defined]
    assert told.wait(30)  # what waited for a thread is sent
    guard.close()
    assert samples("anthropic_requests_total", feature="chat") == 2


def test_no_call_is_lost_for_want_of_a_thread_that_reads_prices(
    registry: CollectorRegistry,
    clock: Clock,
    call: Callable[..., Call],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    prices = tmp_path / "prices.yml"
    prices.write_text("models: {}\n")
    recorder = Recorder(registry=registry, clock=clock, prices=prices)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    for _ in range(3):
        clock.now += 31
        recorder.record(call(feature="chat", output=10)._replace(started_at=clock.now))
    samples = Samples(registry)
    assert samples("anthropic_requests_total", feature="chat") == 3
    assert samples("anthropic_exporter_record_errors_total") is None


def test_a_long_stream_that_delivers_is_not_stuck_and_a_silent_one_is(
    guard: Guard, recorder: Recorder, clock: Clock
) -> None:
    received: list[Any] = []
    started = Started("claude-opus-5-5", "chat", "", clock.now, lambda: Heard(len(received), None))
    recorder.inflight.begin(1, started)
    for _ in range(10):
        clock.now += 100
        received.append(b"delta")
        guard.tick()
    assert names(guard) == []
    clock.now += 301
    guard.tick()
    (alert,) = guard.alerts()
    assert alert.name == "AnthropicRequestStuck"
    assert "no byte for 301 s; the threshold is 300 s" in alert.description
    recorder.inflight.end(1)
