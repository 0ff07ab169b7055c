"""A lock that no exception can leave locked, and that two threads never hold at once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from anthropic_exporter.locking import SafeLock, this_frame


@pytest.fixture
def _switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switch_often")
def test_two_threads_never_hold_it_at_once() -> None:
    lock, inside, together = SafeLock(), [], []

    def once() -> None:
        try:
            if lock.acquire(this_frame()):
                inside.append(1)
                together.append(len(inside))
                inside.pop()
        finally:
            lock.release(this_frame())

    def work() -> None:
        for _ in range(10_000):
            once()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(together) > 10_000
    assert set(together) == {1}


def leave_locked(lock: SafeLock) -> None:
    assert lock.acquire(this_frame())


def test_a_holder_that_ended_without_a_release_is_succeeded_by_one() -> None:
    lock = SafeLock()
    leave_locked(lock)
    taken = []

    def take() -> None:
        if lock.acquire(this_frame()):
            taken.append(1)
            barrier.wait(20)
            barrier.wait(20)
        else:
            barrier.wait(20)
            barrier.wait(20)

    barrier = threading.Barrier(5)
    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    barrier.wait(20)
    assert len(taken) == 1
    barrier.wait(20)
    for thread in threads:
        thread.join()


def test_a_caller_that_holds_it_is_not_waited_for() -> None:
    lock = SafeLock()

    def inner() -> bool:
        return lock.wait(this_frame(), 60.0)

    assert lock.acquire(this_frame())
    assert not inner()
    lock.release(this_frame())
    assert inner()
