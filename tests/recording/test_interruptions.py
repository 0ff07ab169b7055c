"""An exception that somebody raises into our code at any instruction: nothing is lost, hangs, or is swallowed."""

from __future__ import annotations

import ctypes
import gc
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typing_extensions import Self

from anthropic_exporter import Call, Recorder
from anthropic_exporter.interruptions import is_interruption

OURS = "anthropic_exporter"


class Interrupted(Exception):  # noqa: N818 - as an application names its own
    """What a signal handler of an application raises."""


class Raising:
    """Raises in our code, at the instruction with this number."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, frame: Any, event: str, _: Any) -> Raising | None:
        if not frame.f_globals.get("__name__", "").startswith(OURS):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                raise Interrupted
        return self

    def __enter__(self) -> Self:
        self.before = sys.gettrace()
        sys._getframe().f_trace_opcodes = True  # Python 3.12 traces instructions only if a frame asks before
        sys.settrace(self)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(self.before)


def requests_of(recorder: Recorder) -> float:
    """How many requests are on the page; every family agrees, and no line is there twice."""
    lines = recorder.render().decode().splitlines()
    values = dict(line.rpartition(" ")[::2] for line in lines if line[0] != "#")
    assert len(values) == sum(line[0] != "#" for line in lines)
    list(text_string_to_metric_families("\n".join(lines) + "\n"))

    def total(name: str, label: str = "") -> float:
        return sum(float(value) for series, value in values.items() if series.startswith(name) and label in series)

    requests = total("anthropic_requests_total{")
    assert total("anthropic_tokens_total{", 'type="output"') == 171 * requests
    assert total("anthropic_cost_usd_total{") == pytest.approx(0.00342 * requests, rel=1e-9)
    assert total("anthropic_request_duration_seconds_count{") == requests
    assert total("anthropic_request_cost_usd_bucket{", 'le="+Inf"') == requests
    assert total("anthropic_stop_reasons_total{") == requests
    assert total("anthropic_exporter_record_errors_total{") == 0
    return requests


def interrupted(number: int, call: Callable[..., Call]) -> tuple[float, int] | None:
    """Requests and sink calls after the instruction with this number was interrupted; None where there is none."""
    recorder, seen = Recorder(registry=None), []  # type: ignore[var-annotated]
    recorder.subscribe(seen.append)
    one, raising = call(output=171, stop_reason="end_turn"), Raising(number)
    try:
        with raising:
            recorder.record(one)
            recorder.render()
    except Interrupted:
        pass
    if raising.left > 0:
        return None
    recorder.record(one)
    return requests_of(recorder), len(seen)


def test_a_call_is_written_once_wherever_recording_or_a_scrape_is_interrupted(call: Callable[..., Call]) -> None:
    numbers = [*range(1, 120), *range(120, 100_000, 701)]
    found = []
    for number in numbers:
        result = interrupted(number, call)
        if result is None:
            break
        found.append(result)
    requests = [one for one, _ in found]
    assert len(found) > 125
    # Before it was taken in, the call is not recorded, as if the exception had come before; afterwards it always is.
    assert requests == sorted(requests)
    assert set(requests) == {1, 2}
    assert requests.count(1) < 40
    assert {seen for _, seen in found} <= {1, 2}
    assert [seen for _, seen in found].count(1) < requests.count(1) + 6  # what a sink was given is not given again


@pytest.fixture
def _no_finalizers() -> Iterator[None]:
    """What is raised into the finalizer of somebody's garbage is ignored by Python itself."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("_no_finalizers")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
def test_signal_handlers_that_raise_lose_nothing_and_reach_the_application(call: Callable[..., Call]) -> None:
    recorder, one, raised, done = Recorder(registry=None), call(output=171, stop_reason="end_turn"), 0, 0
    recorder.render()  # the first one asks for the SDK's version; importlib.metadata swallows what is raised there

    def handler(*_: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    rng = random.Random(7)
    try:
        for _ in range(400):
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(2e-6, 1.5e-4))
                deadline = time.monotonic() + 10
                while time.monotonic() < deadline:
                    recorder.record(one)
                    done += 1
                    if done % 16 == 0:
                        recorder.render()
            except Interrupted:
                raised += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert raised == 400  # none was swallowed
    assert done <= requests_of(recorder) <= done + raised


@pytest.mark.usefixtures("_no_finalizers")
def test_an_exception_that_another_thread_raises_loses_nothing(call: Callable[..., Call]) -> None:
    recorder, one, done, raised = Recorder(registry=None), call(output=171, stop_reason="end_turn"), [0], [0]
    recorder.render()
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                while not stop.is_set():
                    recorder.record(one)
                    done[0] += 1
                    if done[0] % 16 == 0:
                        recorder.render()
            except Interrupted:
                raised[0] += 1

    worker = threading.Thread(target=work)
    worker.start()
    rng = random.Random(7)
    identity = ctypes.c_ulong(worker.ident)
    for _ in range(200):
        before = raised[0]
        ctypes.pythonapi.PyThreadState_SetAsyncExc(identity, ctypes.py_object(Interrupted))
        deadline = time.monotonic() + 10
        while raised[0] == before and time.monotonic() < deadline:
            time.sleep(rng.uniform(0, 1e-4))
    stop.set()
    worker.join(30)
    assert not worker.is_alive()
    assert raised[0] == 200  # none was swallowed
    assert done[0] <= requests_of(recorder) <= done[0] + raised[0]


def caught(function: Callable[..., Any]) -> Any:
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - any
        return error
    raise AssertionError("nothing was raised")


def test_what_comes_from_a_signal_handler_is_distinguished_from_a_failure_of_ours() -> None:
    def handler(*_: Any) -> None:
        raise TimeoutError("a limit of the application")

    def interrupted_here() -> None:
        before = signal.signal(signal.SIGUSR1, handler)
        try:
            signal.raise_signal(signal.SIGUSR1)
        finally:
            signal.signal(signal.SIGUSR1, before)

    assert is_interruption(caught(interrupted_here))
    assert is_interruption(KeyboardInterrupt())
    assert not is_interruption(caught(lambda: {}["a"]))  # type: ignore[index]
    assert not is_interruption(caught(lambda: 1 / 0))
    assert not is_interruption(ValueError())
