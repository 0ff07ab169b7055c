"""Identifies this process, and the process that it was forked or spawned from."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_PROC = Path("/proc")
# Fields of /proc/<pid>/stat behind the name in parentheses, counted from 0. Source: proc_pid_stat(5), 2024-05-02.
_PPID, _START_TICKS, _START_STACK = 1, 19, 25
_MOST_GENERATIONS = 16


def boot_id() -> str:
    """The id of the machine's current boot; empty if unknown."""
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text().strip().replace("-", "")[:12]
    except OSError:
        return ""


def process_name(pid: int) -> str:
    """The process id and the ticks of its start, which distinguish it from another process with the same id."""
    fields = _stat(pid)
    return f"{pid}-{fields[_START_TICKS] if fields else 0}"


def family_root() -> int:
    """The first process of this program that this one is a copy of, over any number of forks and spawns.

    A forked process has its parent's memory layout, which the system chooses at random for each program that it
    starts: if both stacks start at the same address, no other program was started in between. For a process that
    `multiprocessing` spawned, its parent is known.
    """
    pid = os.getpid()
    for _ in range(_MOST_GENERATIONS):
        parent = _parent_of_copy(pid)
        if parent is None:
            break
        pid = parent
    return pid


def is_copy() -> bool:
    """Whether this process was forked or spawned from another process of the same program."""
    return _parent_of_copy(os.getpid()) is not None


def _parent_of_copy(pid: int) -> int | None:
    own = _stat(pid)
    if own is None:
        return _parent_that_spawned(pid)
    parent = int(own[_PPID])
    other = _stat(parent) if parent > 1 else None
    if other is not None and own[_START_STACK] == other[_START_STACK] != "0":
        return parent
    return _parent_that_spawned(pid)


def _parent_that_spawned(pid: int) -> int | None:
    module = sys.modules.get("multiprocessing.process")
    parent = module.parent_process() if module is not None and pid == os.getpid() else None
    return None if parent is None else parent.pid


def _stat(pid: int) -> list[str] | None:
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
