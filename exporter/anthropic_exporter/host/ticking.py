"""One thread per process for the upkeep of a service, a few times a second."""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable

from anthropic_exporter import threads
from anthropic_exporter.forking import in_child
from anthropic_exporter.logs import Log

_log = Log("anthropic_exporter")
#: How often a worker looks whether the port is free, and whether other processes share its service; and how often a
#: process that is alone copies what it counted.
TICK_SECONDS = 0.1


class _Ticker:
    """Calls bound methods every tick, for as long as their objects live."""

    def __init__(self) -> None:
        self._methods: list[weakref.WeakMethod[Callable[[], None]]] = []
        self._forget_thread()
        in_child(self._forget_thread, first=True)

    def _forget_thread(self) -> None:
        self._is_started = False
        self._lock = threading.Lock()

    def add(self, method: Callable[[], None]) -> None:
        """Call a method at each tick; adding it again has no effect."""
        with self._lock:
            if not any(kept() == method for kept in self._methods):
                self._methods.append(weakref.WeakMethod(method))
            self._start()

    def remove(self, method: Callable[[], None]) -> None:
        """Stop calling a method."""
        with self._lock:
            self._methods = [kept for kept in self._methods if kept() not in (None, method)]

    def _start(self) -> None:
        if not self._is_started:
            self._is_started = True
            if not threads.start_eventually(self._run, name="anthropic-exporter-host"):
                _log.warning("the system cannot start a thread to share counts between processes; retrying")

    def _run(self) -> None:
        pause = threading.Event()
        while not pause.wait(TICK_SECONDS):
            threads.retry()
            for kept in self._methods:
                method = kept()
                if method is not None:
                    _call(method)


def _call(method: Callable[[], None]) -> None:
    try:
        method()
    except BaseException as error:  # noqa: BLE001 - the error boundary of this thread
        _log_once(f"{type(error).__name__}: {error.strerror}" if isinstance(error, OSError) else type(error).__name__)


@functools.cache
def _log_once(why: str) -> None:
    """Log one line for each cause, not one a tick."""
    _log.warning("sharing counts between processes failed, and is tried again: %s", why)


TICKER = _Ticker()
