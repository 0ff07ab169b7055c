"""Ctrl-C, SIGTERM and a closed terminal stop a command in order; a second Ctrl-C does not interrupt the shutdown."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """The process received signal `number`."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

    @property
    def exit_code(self) -> int:
        """The exit code that a shell expects: 130 for Ctrl-C."""
        return 128 + self.number


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Raise `Stopped` in the main thread at the first of these signals; those that follow are ignored.

    For commands that start other processes: their `finally` and `with` blocks stop these.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        for one in _SIGNALS:
            signal.signal(one, signal.SIG_IGN)
        raise Stopped(number)

    with _handled(stop):
        yield


@contextlib.contextmanager
def noticed() -> Iterator[threading.Event]:
    """Return an event that these signals set. For servers, which exit normally on a signal."""
    event = threading.Event()
    with _handled(lambda *_: event.set()):
        yield event


@contextlib.contextmanager
def _handled(handler: object) -> Iterator[None]:
    before = {one: signal.signal(one, handler) for one in _SIGNALS}  # type: ignore[arg-type]
    try:
        yield
    finally:
        for one, previous in before.items():
            signal.signal(one, previous)
