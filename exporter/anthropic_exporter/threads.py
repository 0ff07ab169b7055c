"""Threads that the system may refuse to start, as under a container's `pids_limit`."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any


def start(target: Callable[..., Any], *arguments: Any, name: str) -> threading.Thread | None:
    """Start a daemon thread. None if the system has no thread left: try again later, and never fail for it."""
    thread = threading.Thread(target=target, args=arguments, name=name, daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError):
        return None
    return thread


_waiting: deque[tuple[Callable[..., Any], tuple[Any, ...], str]] = deque()


def start_eventually(target: Callable[..., Any], *arguments: Any, name: str) -> None:
    """Start a daemon thread now, or when `retry` finds that the system has one again."""
    if start(target, *arguments, name=name) is None:
        _waiting.append((target, arguments, name))


def retry() -> None:
    """Start what could not be started; cheap if there is nothing. Called with calls, scrapes and alerts."""
    while _waiting:
        try:
            target, arguments, name = _waiting.popleft()
        except IndexError:  # another thread took it
            return
        if start(target, *arguments, name=name) is None:
            _waiting.append((target, arguments, name))
            return


def missing() -> int:
    """How many threads wait to be started."""
    return len(_waiting)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_waiting.clear)  # the parent's threads are not the child's
