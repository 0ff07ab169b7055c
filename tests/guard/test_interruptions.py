"""Signal handlers of the application that raise while the Guard evaluates and sends alerts: nothing stays locked."""

from __future__ import annotations

import gc
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from anthropic_exporter import Call, Recorder
from anthropic_exporter.guard import Guard, Limits, Timing
from anthropic_exporter.guard.notifications.alerts import Alert
from support import NOON, Clock

#: With conditions of `threading` in the lanes, the Guard hung after about 50.
RAISED = 500


class Interrupted(Exception):  # noqa: N818 - as an application names its own
    """What a signal handler of an application raises."""


@pytest.fixture
def _raising() -> Iterator[None]:
    def handler(*_: Any) -> None:
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    gc.collect()
    gc.disable()  # what is raised into the finalizer of somebody's garbage is ignored by Python itself
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
    gc.enable()


@pytest.mark.usefixtures("_raising")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
# A thread that is about to start finds its entry gone where `Thread.start` was interrupted: another one is started.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_signal_handlers_that_raise_leave_nothing_locked_and_reach_the_application(call: Callable[..., Call]) -> None:
    clock, recorder, sent = Clock(NOON), Recorder(registry=None), list[Alert]()
    recorder.render()  # the first one asks for the SDK's version; importlib.metadata swallows what is raised there
    limits = Limits.shipped().replace(request_output_tokens=10)
    timing = Timing(evaluate_every_seconds=None, cooldown_seconds=0.0, resolve_seconds=0.0)
    guard = Guard(recorder, limits, timing=timing, clock=clock)
    guard.on_alert(sent.append)
    rng, raised, number = random.Random(7), 0, 0
    for _ in range(RAISED):
        try:
            signal.setitimer(signal.ITIMER_REAL, rng.uniform(2e-6, 6e-4))
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                number += 1
                clock.now += 7
                recorder.record(call(feature=f"f{number % 7}", output=20_000, started_at=clock.now))
                if number % 3 == 0:
                    guard.tick()
        except Interrupted:
            raised += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert raised == RAISED  # none was swallowed, and none became another exception
    before, flushed = len(sent), list[bool]()

    def go_on() -> None:
        clock.now += 3_600
        guard.tick()
        recorder.record(call(feature="f0", output=20_000, started_at=clock.now))
        guard.tick()
        flushed.append(guard._callbacks.flush(30))

    thread = threading.Thread(target=go_on, daemon=True)
    thread.start()
    thread.join(60)
    assert flushed == [True]
    assert len(sent) > before
    guard.close()
