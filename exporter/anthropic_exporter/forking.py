"""One hook for `os.fork()`: objects that hold locks, threads or counters start anew in the child."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

_in_child: list[weakref.WeakMethod[Callable[[], None]]] = []


def in_child(method: Callable[[], None]) -> None:
    """Call a bound method in every forked child, for as long as its object lives; in the order of registration."""
    _in_child[:] = [kept for kept in _in_child if kept() is not None]
    _in_child.append(weakref.WeakMethod(method))


def _run() -> None:
    for kept in _in_child:
        method = kept()
        if method is not None:
            method()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_run)
