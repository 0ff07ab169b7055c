"""Threads that the system may refuse to start, as under a container's `pids_limit`."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple


class OwnThread(threading.Thread):
    """A thread of this library: nothing that is raised in it can be meant for the application."""


def is_own() -> bool:
    """Whether the current thread is one of this library."""
    return isinstance(threading.current_thread(), OwnThread)


def start(target: Callable[..., Any], *arguments: Any, name: str) -> threading.Thread | None:
    """Start a daemon thread. Returns None if the system cannot start one: the caller tries again later.

    An exception that a signal handler raises meanwhile passes on; the thread may run then.
    """
    handled, thread = sys.exc_info()[1], OwnThread(target=target, args=arguments, name=name, daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError, KeyError) as error:
        # An interrupted `Thread.start` releases a lock that it does not hold, or removes an entry that it has removed.
        if error.__context__ is not handled and error.__context__ is not None:
            raise error.__context__ from None
        return None
    return thread


class Bell:
    """Wakes one thread. Each method is one operation of a lock, which nothing can interrupt.

    An exception that is raised into `threading.Event.set`, as a signal handler may, leaves the event locked for good.
    """

    def __init__(self) -> None:
        self._silence = threading.Lock()
        self._silence.acquire()

    def ring(self) -> None:
        """Wake the thread that waits, or the next one that does."""
        with contextlib.suppress(RuntimeError):  # it rings already
            self._silence.release()

    def wait(self, seconds: float) -> None:
        """Wait for a ring."""
        self._silence.acquire(timeout=seconds)


class _Waiting(NamedTuple):
    """A thread to be started by the process `pid`."""

    pid: int
    target: Callable[..., Any]
    arguments: tuple[Any, ...]
    name: str


#: What `retry` starts; usually empty.
waiting: deque[_Waiting] = deque()


def start_eventually(target: Callable[..., Any], *arguments: Any, name: str) -> bool:
    """Start a daemon thread now, or as soon as `retry` can. Returns whether it started now."""
    if start(target, *arguments, name=name) is not None:
        return True
    waiting.append(_Waiting(os.getpid(), target, arguments, name))
    return False


def retry() -> None:
    """Start what could not be started before; cheap if there is nothing. Called with calls, scrapes and alerts."""
    while waiting:
        try:
            one = waiting.popleft()
        except IndexError:  # another thread took it
            return
        if one.pid != os.getpid():  # the parent's threads are not the child's
            continue
        if start(one.target, *one.arguments, name=one.name) is None:
            waiting.append(one)
            return


def missing() -> int:
    """How many threads wait to be started."""
    return sum(one.pid == os.getpid() for one in tuple(waiting))


def give_up(target: Callable[..., Any]) -> bool:
    """Stop trying to start a thread for `target`. Returns whether one waited to be started."""
    found = [one for one in tuple(waiting) if one.target == target]
    for one in found:
        with contextlib.suppress(ValueError):  # another thread starts it at this moment
            waiting.remove(one)
            return True
    return False
