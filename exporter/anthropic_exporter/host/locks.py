"""Locks that are released when their process ends in any way, and that a forked child does not inherit.

POSIX record locks. Closing any descriptor of a file gives up all locks that the process has on it. So a process opens
a file that it locks only once, and never opens its own cell file for reading.
Source: F_SETLK(2const) in fcntl(2), Linux man-pages 6.9.1.
"""

from __future__ import annotations

import contextlib
import fcntl
import os


def take(fd: int, byte: int = 0) -> bool:
    """Lock one byte for this process unless another process has it. Returns whether this process has it now."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte, os.SEEK_SET)
    except OSError:
        return False
    return True


def share(fd: int, byte: int) -> None:
    """Lock one byte together with other processes that share it; without effect while one of them has it alone."""
    with contextlib.suppress(OSError):
        fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, byte, os.SEEK_SET)


def give_up(fd: int, byte: int = 0) -> None:
    """Unlock one byte."""
    fcntl.lockf(fd, fcntl.LOCK_UN, 1, byte, os.SEEK_SET)


def is_taken(fd: int, byte: int = 0) -> bool:
    """Whether another process has the lock."""
    try:
        fcntl.lockf(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, byte, os.SEEK_SET)
    except OSError:
        return True
    give_up(fd, byte)
    return False
