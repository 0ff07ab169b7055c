"""Nothing waits without a limit: sinks and log handlers run outside of locks, drains and scrapes are bounded."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import pytest
from prometheus_client import CollectorRegistry

from anthropic_exporter import Call, Recorder, serve
from anthropic_exporter.locking import SafeLock, this_frame
from anthropic_exporter.recording import intake, sinks, waiting
from anthropic_exporter.simulator.fake_api import FakeApi
from bodies import ASK, answer
from support import Samples

pytest_plugins = ("fixtures_fake_api", "fixtures_clients")


def test_a_sink_may_call_the_client(
    fake_api: FakeApi, client_options: dict[str, Any], registry: CollectorRegistry
) -> None:
    recorder, calls = Recorder(registry=registry), []
    fake_api.push(*[answer({"input_tokens": 100, "output_tokens": 7})] * 20)

    with anthropic.Anthropic(**client_options, middleware=[recorder.middleware()]) as client:

        def sink(call: Call) -> None:
            calls.append(call)
            if len(calls) < 10:
                client.messages.create(**ASK)

        recorder.subscribe(sink)
        client.messages.create(**ASK)
        assert len(calls) <= 3  # what a sink itself caused is for the next call or scrape
        for _ in range(12):
            recorder.drain()
    assert len(calls) == 10
    assert Samples(registry)("anthropic_requests_total", outcome="success") == 10


def test_a_sink_may_render_and_record(recorder: Recorder, samples: Samples, call: Callable[..., Call]) -> None:
    pages = []

    def sink(_: Call) -> None:
        pages.append(recorder.render())
        if len(pages) == 1:
            recorder.record(call(output=7))

    recorder.subscribe(sink)
    recorder.record(call(output=171))
    recorder.drain()
    assert [b'type="output",user=""} 171.0' in pages[0], b'type="output",user=""} 178.0' in pages[1]] == [True, True]
    assert samples("anthropic_exporter_stale_scrapes_total") == 0


def test_a_slow_sink_holds_up_no_scrape_and_no_other_thread(
    registry: CollectorRegistry, call: Callable[..., Call]
) -> None:
    recorder, samples = Recorder(registry=registry), Samples(registry)
    entered, release = threading.Event(), threading.Event()

    def sink(_: Call) -> None:
        entered.set()
        release.wait(30)

    recorder.subscribe(sink)
    one = call(output=171)
    slow = threading.Thread(target=recorder.record, args=(one,))
    slow.start()
    assert entered.wait(30)
    for _ in range(100):
        recorder.record(one)
    assert samples("anthropic_requests_total", outcome="success") == 101
    release.set()
    slow.join(30)
    assert not slow.is_alive()


def test_calls_beyond_what_a_slow_sink_can_take_are_dropped_and_counted(
    registry: CollectorRegistry, call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (sinks, waiting):
        monkeypatch.setattr(module, "MOST_CALLS", 10)
    recorder, samples, seen = Recorder(registry=registry), Samples(registry), []

    def sink(one: Call) -> None:
        seen.append(one)
        if len(seen) == 1:
            for _ in range(25):
                recorder.record(call(output=171))

    recorder.subscribe(sink)
    recorder.record(call(output=171))
    recorder.drain()
    assert len(seen) == 11
    assert samples("anthropic_exporter_sink_dropped_calls_total") == 15
    assert samples("anthropic_requests_total", outcome="success") == 26


def test_a_call_drains_only_a_portion_of_what_waits(recorder: Recorder, call: Callable[..., Call]) -> None:
    one = call(output=171)
    for _ in range(5_000):
        recorder.record_later(one)
    recorder.record(one)
    assert 0 < 5_001 - len(recorder.pending) <= 256
    assert b'outcome="success",user=""} 5001.0' in recorder.render()


def test_a_scrape_writes_only_what_waited_when_it_began(registry: CollectorRegistry, call: Callable[..., Call]) -> None:
    recorder, stop = Recorder(registry=registry), threading.Event()
    one = call(output=171)

    def flat_out() -> None:
        while not stop.is_set():
            recorder.record(one)

    workers = [threading.Thread(target=flat_out) for _ in range(4)]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        for worker in workers:
            worker.start()
        for _ in range(3):
            recorder.render()
    finally:
        stop.set()
        for worker in workers:
            worker.join()
        sys.setswitchinterval(before)
    assert Samples(registry)("anthropic_exporter_stale_scrapes_total") == 0


def test_a_scrape_that_cannot_read_the_cells_in_time_shows_the_page_before_and_is_counted(
    recorder: Recorder, samples: Samples, call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "PATIENCE_SECONDS", 0.02)
    recorder.record(call(output=171))
    page = recorder.render()
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        assert recorder._waiting.lock.acquire(this_frame())
        held.set()
        release.wait(30)
        recorder._waiting.lock.release(this_frame())

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(30)
    recorder.record(call(output=171))
    assert recorder.render() == page
    release.set()
    holder.join()
    assert samples("anthropic_tokens_total", type="output") == 342
    assert samples("anthropic_exporter_stale_scrapes_total") == 1


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
def test_a_signal_handler_may_render(recorder: Recorder, samples: Samples, call: Callable[..., Call]) -> None:
    one, pages = call(output=171), []

    def render(*_: Any) -> None:
        pages.append(recorder.render())
        signal.setitimer(signal.ITIMER_REAL, 0.0005)  # not sooner: a page may take longer than that

    before = signal.signal(signal.SIGALRM, render)
    signal.setitimer(signal.ITIMER_REAL, 0.0005)
    deadline, done = time.monotonic() + 30, 0
    try:
        while len(pages) < 50 and time.monotonic() < deadline:
            recorder.record(one)
            recorder.render()
            done += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert len(pages) >= 50
    assert samples("anthropic_requests_total", outcome="success") == done


class BetweenLines:
    """Does something before each line of ours that runs, or before one in `each`, as a signal handler may."""

    def __init__(self, do: Callable[..., None], each: int = 1) -> None:
        self.do = do
        self.each = each
        self.lines = self.times = 0

    def __call__(self, frame: Any, event: str, _: Any) -> BetweenLines | None:
        if not frame.f_globals.get("__name__", "").startswith("anthropic_exporter"):
            return None
        if event == "line":
            self.lines += 1
            if self.lines % self.each == 0:
                self.times += 1
                self.do()  # Python traces nothing meanwhile
        return self


@pytest.mark.parametrize(
    "is_shared", [False, pytest.param(True, marks=pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork"))]
)
def test_a_signal_handler_may_record_and_render_before_any_line(
    is_shared: bool,
    call: Callable[..., Call],
    samples: Samples,
    registry: CollectorRegistry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANTHROPIC_EXPORTER_RUNTIME_DIR", str(tmp_path))
    recorder = Recorder(registry=registry)
    one, pages = call(output=171), []
    if is_shared:
        recorder._about_to_fork()

    def handle() -> None:
        recorder.record(one)
        pages.append(recorder.render())

    each = 7 if is_shared else 3  # a copy of shared cells is read again where somebody wrote meanwhile
    between, before = BetweenLines(handle, each), sys.gettrace()
    sys.settrace(between)
    try:
        recorder.record(one)
        recorder.render()
        recorder.record(one)
        page = recorder.render()
    finally:
        sys.settrace(before)
    assert between.times > 100
    assert samples("anthropic_requests_total", outcome="success") == 2 + between.times
    assert samples("anthropic_ledger_total", of="requests") == 2 + between.times
    assert b"anthropic_ledger_total" in page
    shown = [
        float(re.search(rb'^anthropic_requests_total\{.*outcome="success".*\} (\S+)$', one, re.MULTILINE)[1])
        for one in pages[5:]
        if b'outcome="success"' in one
    ]
    assert shown == sorted(shown)


def test_a_log_handler_may_record_and_render(registry: CollectorRegistry, call: Callable[..., Call]) -> None:
    recorder, samples = Recorder(registry=registry), Samples(registry)

    class Handler(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            recorder.record(call(output=171))
            recorder.render()

    handler = Handler()
    logging.getLogger("anthropic_exporter").addHandler(handler)
    try:
        recorder.failed("begin", ValueError("x"))
        recorder.record(call(output=171))
    finally:
        logging.getLogger("anthropic_exporter").removeHandler(handler)
    assert samples("anthropic_requests_total", outcome="success") == 2


def test_a_lock_whose_holder_ended_without_releasing_it_is_taken_over_by_one() -> None:
    lock, winners = SafeLock(), []

    def abandon() -> None:
        assert lock.acquire(this_frame())

    def contend() -> None:
        if lock.acquire(this_frame()):
            winners.append(threading.get_ident())
            release.wait(30)
            lock.release(this_frame())

    for _ in range(20):
        release = threading.Event()
        abandon()
        contenders = [threading.Thread(target=contend) for _ in range(8)]
        for contender in contenders:
            contender.start()
        release.set() if winners else release.wait(0.01)
        release.set()
        for contender in contenders:
            contender.join()
    assert len(winners) >= 20
    assert lock.acquire(this_frame())
    lock.release(this_frame())


def test_a_lock_is_not_waited_for_by_a_function_that_its_holder_calls() -> None:
    lock = SafeLock()
    began = time.monotonic()

    def inner() -> bool:
        return lock.wait(this_frame(), 30.0)

    assert lock.acquire(this_frame())
    assert not inner()
    assert time.monotonic() - began < 10
    lock.release(this_frame())
    assert lock.acquire(this_frame())


class Ended(BaseException):
    """What ends a thread, unless somebody takes it."""


@pytest.mark.parametrize("error", [Ended(), SystemExit(3), GeneratorExit(), RecursionError("x")])
def test_a_sink_ends_no_thread_of_ours_and_takes_no_call_from_the_next_sink(
    call: Callable[..., Call], error: BaseException
) -> None:
    """The server's thread passes calls on as well: if the sink ended it, the port would hang for good."""
    recorder, seen = Recorder(registry=None), list[Call]()

    def raising(_: Call) -> None:
        raise error

    with serve(recorder, port=0) as server:
        recorder.subscribe(raising, may_wait=True)
        recorder.subscribe(seen.append, may_wait=True)
        recorder.record_later(call(output=171))
        deadline = time.monotonic() + 30
        while not seen and time.monotonic() < deadline:
            time.sleep(0.01)  # the server's thread comes by
        assert [one.output_tokens for one in seen] == [171]
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answered:
            page = answered.read().decode()
    assert 'anthropic_exporter_record_errors_total{stage="sink"} 1.0\n' in page


def test_a_sink_that_ends_the_applications_thread_takes_no_call_from_the_next_sink(call: Callable[..., Call]) -> None:
    recorder, seen = Recorder(registry=None), list[Call]()

    def raising(_: Call) -> None:
        raise Ended

    recorder.subscribe(raising)
    recorder.subscribe(seen.append)
    for _ in range(3):
        with pytest.raises(Ended):
            recorder.record(call(output=171))
    assert [one.output_tokens for one in seen] == [171, 171, 171]
