"""Callbacks that raise, hang or are too slow: the others get their alerts, and nothing is lost without a count."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from urllib.error import HTTPError

import pytest

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.guard.notifications.alerts import Alert
from anthropic_exporter.guard.notifications.callbacks import Callbacks, _attempt, _retry_after


def alert(number: int = 1) -> Alert:
    return Alert("AnthropicCostRateHigh", "critical", "cost", "firing", "chat", "opus", number, 2.0, "s", "d", 0.0)


@pytest.fixture
def results() -> Counter[Any]:
    return Counter()


@pytest.fixture
def start(results: Counter[Any]) -> Iterator[Callable[..., Callbacks]]:
    started = []

    def make(*callbacks: Callable[..., Any], **options: float) -> Callbacks:
        made = Callbacks(lambda name, result: results.update([(name, result)]), **options)  # type: ignore[arg-type]
        made.add(callbacks)
        started.append(made)
        return made

    yield make
    for callbacks in started:
        callbacks.close(0.0)


@pytest.fixture
def hang() -> Iterator[Callable[..., None]]:
    """A callback that does not return before the test ends."""
    end = threading.Event()

    def hang(_: Alert) -> None:
        end.wait()

    yield hang
    end.set()


def test_every_callback_gets_every_alert_in_order_on_another_thread(
    start: Callable[..., Callbacks], results: Counter[Any]
) -> None:
    first, second, threads = [], [], set()  # type: ignore[var-annotated]

    def keep(one: Alert) -> None:
        threads.add(threading.current_thread())
        first.append(one.value)

    callbacks = start(keep, second.append)
    callbacks.send([alert(number) for number in range(50)])
    assert callbacks.flush(5.0)
    assert first == [one.value for one in second] == list(range(50))
    assert threading.current_thread() not in threads
    assert results == {("keep", "ok"): 50, ("append", "ok"): 50}


def test_one_that_raises_is_counted_and_the_next_one_is_called(
    start: Callable[..., Callbacks], results: Counter[Any]
) -> None:
    def broken(_: Alert) -> None:
        raise RuntimeError("sk-ant-secret")

    def leaving(_: Alert) -> None:
        raise SystemExit

    found: list[Any] = []
    callbacks = start(broken, leaving, found.append)
    callbacks.send([alert()])
    assert callbacks.flush(5.0)
    assert len(found) == 1
    assert results == {("broken", "failed"): 1, ("leaving", "failed"): 1, ("append", "ok"): 1}


def test_the_log_names_the_callback_and_never_what_it_raised(
    start: Callable[..., Callbacks], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: Alert) -> None:
        raise RuntimeError("sk-ant-secret")

    callbacks = start(broken)
    callbacks.send([alert()])
    assert callbacks.flush(5.0)
    assert "callback broken: RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def test_one_that_hangs_is_left_behind_and_the_next_one_is_called(
    start: Callable[..., Callbacks], results: Counter[Any], hang: Callable[..., None]
) -> None:
    found: list[Any] = []
    callbacks = start(hang, found.append, timeout_seconds=0.05)
    callbacks.send([alert(1), alert(2)])
    assert callbacks.flush(5.0)
    assert [one.value for one in found] == [1, 2]
    assert results == {("hang", "timeout"): 2, ("append", "ok"): 2}


def test_one_that_hangs_for_ever_keeps_three_threads_and_the_rest_is_counted_as_dropped(
    start: Callable[..., Callbacks], results: Counter[Any], hang: Callable[..., None]
) -> None:
    before = threading.active_count()
    callbacks = start(hang, timeout_seconds=0.02)
    for _ in range(10):
        callbacks.send([alert()])
        assert callbacks.flush(5.0)
    assert results == {("hang", "timeout"): 3, ("hang", "dropped"): 7}
    assert threading.active_count() <= before + 4


def test_a_full_queue_drops_and_counts(
    start: Callable[..., Callbacks], results: Counter[Any], hang: Callable[..., None]
) -> None:
    callbacks = start(hang, most_waiting=5, timeout_seconds=60)
    callbacks.send([alert(number) for number in range(20)])
    assert 14 <= results["hang", "dropped"] <= 15


def test_what_fails_for_now_is_tried_again_and_counted(
    start: Callable[..., Callbacks], results: Counter[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anthropic_exporter.guard.notifications.callbacks._FIRST_RETRY_SECONDS", 0.01)
    tried, delivered = [], threading.Event()

    def down(one: Alert) -> None:
        tried.append(one.value)
        if len(tried) < 4:
            raise OSError
        delivered.set()

    callbacks = start(down)
    callbacks.send([alert(7)])
    assert delivered.wait(30)
    assert callbacks.flush(5.0)
    assert tried == [7, 7, 7, 7]
    assert results == {("down", "failed"): 3, ("down", "ok"): 1}


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (OSError(), True),
        (TimeoutError(), True),
        (RuntimeError(), True),
        (HTTPError("http://x", 500, "", None, None), True),
        (HTTPError("http://x", 429, "", None, None), True),
        (HTTPError("http://x", 404, "", None, None), False),
        (HTTPError("http://x", 302, "", None, None), False),
        (TypeError(), False),
        (ConfigurationError(), False),
        (SystemExit(), False),
    ],
    ids=lambda value: f"{type(value).__name__} {getattr(value, 'code', '')}",
)
def test_only_what_may_end_is_tried_again(error: Any, again: bool) -> None:
    assert _retry_after(error, 1) == (1.0 if again else None)


def test_retries_come_later_and_later_and_end() -> None:
    assert [_retry_after(OSError(), attempt) for attempt in (1, 2, 3, 4, 7, 2_000)] == [1, 2, 4, 8, 60, 60]

    def down(_: Alert) -> None:
        raise OSError

    assert _attempt(down, alert(), 20, 800.0) == ("failed", 60.0)
    assert _attempt(down, alert(), 20, 880.0) == ("dropped", None)


def test_one_that_hangs_delays_no_other(
    start: Callable[..., Callbacks], results: Counter[Any], hang: Callable[..., None]
) -> None:
    found = threading.Event()
    callbacks = start(hang, lambda _: found.set(), timeout_seconds=60)
    callbacks.send([alert()])
    assert found.wait(30)


def test_sending_never_waits_for_a_callback(start: Callable[..., Callbacks], hang: Callable[..., None]) -> None:
    callbacks = start(hang, timeout_seconds=60)
    told = threading.Thread(target=callbacks.send, args=([alert(number) for number in range(100)],))
    told.start()
    told.join(30)
    assert not told.is_alive()


def test_where_the_system_has_no_thread_left_what_waits_is_reported_later(
    start: Callable[..., Callbacks], results: Counter[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    callbacks = start(found.append)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        callbacks.send([alert()])
    callbacks.watch()
    assert callbacks.flush(5.0)
    assert len(found) == 1
    assert results == {("append", "ok"): 1}


def test_what_waits_at_the_end_is_reported_first_and_what_cannot_be_is_counted(
    start: Callable[..., Callbacks], results: Counter[Any], hang: Callable[..., None]
) -> None:
    found: list[Any] = []
    quick = start(found.append)
    quick.send([alert(number) for number in range(100)])
    quick.close(5.0)
    assert len(found) == 100
    stuck = start(hang, timeout_seconds=60)
    stuck.send([alert(), alert()])
    stuck.close(0.05)
    assert results["hang", "dropped"] >= 1
    quick.send([alert()])
    assert results["append", "dropped"] == 1
