"""Hooks for `os.fork()`: objects that hold locks, threads or counters are reset in the child."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from typing import Any

_Hooks = list[weakref.WeakMethod[Callable[[], None]]]
_before: _Hooks = []
_in_parent: _Hooks = []
_in_child: _Hooks = []


def in_child(method: Callable[[], None], *, first: bool = False) -> None:
    """Call a bound method in every forked child as long as its object lives, in the order of registration.

    With `first`, before all others: for what the others use, such as locks that another thread of the parent held.
    """
    _in_child[:] = [kept for kept in _in_child if kept() is not None]
    _in_child.insert(0 if first else len(_in_child), weakref.WeakMethod(method))


def around(before: Callable[[], None], in_parent: Callable[[], None] | None = None) -> None:
    """Call bound methods in the parent before and after every fork, for as long as their objects live."""
    _before[:] = [kept for kept in _before if kept() is not None]
    _in_parent[:] = [kept for kept in _in_parent if kept() is not None]
    _before.append(weakref.WeakMethod(before))
    if in_parent is not None:
        _in_parent.append(weakref.WeakMethod(in_parent))


def _run(hooks: _Hooks) -> None:
    for kept in tuple(hooks):
        method = kept()
        if method is not None:
            method()


def _run_in_child() -> None:
    """Once in each child, whoever says that it is one."""
    global _process  # noqa: PLW0603 - of this process
    if _process != os.getpid():
        _process = os.getpid()
        _run(_in_child)


def _follow_uwsgi() -> None:
    """Run in the workers that uWSGI forks: it does not call Python's hooks, but `uwsgi.post_fork_hook`.

    Seen with uWSGI 2.0.31 on 2026-11-30, with and without `--enable-threads`.
    """
    uwsgi: Any = sys.modules.get("uwsgi")
    if not hasattr(uwsgi, "worker_id"):
        return
    others = getattr(uwsgi, "post_fork_hook", None)

    def post_fork() -> None:
        _run_in_child()
        if others is not None:
            others()

    uwsgi.post_fork_hook = post_fork


_process = os.getpid()
_follow_uwsgi()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _run(_before), after_in_parent=lambda: _run(_in_parent), after_in_child=_run_in_child
    )
