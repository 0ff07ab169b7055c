"""Alerts to callbacks: one worker, away from the application's threads, with a time limit and a bounded queue."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

from anthropic_exporter.guard.telling.alerts import Alert

_log = logging.getLogger("anthropic_exporter.guard")

OK, FAILED, TIMEOUT, DROPPED = "ok", "failed", "timeout", "dropped"
#: A callback that hangs keeps its thread; with so many of them it gets no further alert until one returns.
_MOST_HANGING = 3
_LINE = "an alert to callback %s: %s"

Callback = Callable[[Alert], Any]
Count = Callable[[str, str], None]


def name_of(callback: Callback) -> str:
    """The label of a callback: its name in the code, never its values."""
    return str(getattr(callback, "__name__", type(callback).__name__))


class _Worker:
    """A thread at work; `busy_since` is when it handed out what it is handing out, by the monotonic clock."""

    __slots__ = ("busy_since", "callback", "stale")

    def __init__(self) -> None:
        self.busy_since: float | None = None
        self.callback: Callback | None = None
        self.stale = False


class Callbacks:
    """Hands each alert to each callback, in order. What cannot be handed out is counted and logged, never just gone.

    Args:
        count: told the callback's name and `ok`, `failed`, `timeout` or `dropped`, once for each alert handed out.
        timeout_seconds: how long a callback may take before the next one gets its turn; it goes on in its own thread.
        most_waiting: alerts times callbacks that may wait.
    """

    def __init__(self, count: Count, *, timeout_seconds: float = 10.0, most_waiting: int = 1000) -> None:
        self._count = count
        self._timeout_seconds = timeout_seconds
        self._most_waiting = most_waiting
        self._callbacks: tuple[Callback, ...] = ()
        self.reset()

    def reset(self) -> None:
        """Start from nothing, as a forked child has to: threads stay in the parent."""
        self._changed = threading.Condition(threading.Lock())
        self._waiting: deque[tuple[Callback, Alert]] = deque()
        self._worker: _Worker | None = None
        self._hanging: Counter[int] = Counter()
        self._unsaid: deque[Callback] = deque(maxlen=self._most_waiting)
        self._closed = False

    def add(self, callbacks: Iterable[Callback]) -> None:
        """Call these too from now on."""
        self._callbacks = (*self._callbacks, *callbacks)

    def send(self, alerts: Iterable[Alert]) -> None:
        """Queue alerts for every callback. Never waits, and never logs: the caller may hold somebody's lock."""
        dropped = [self._queue(callback, alert) for alert in alerts for callback in self._callbacks]
        for callback in filter(None, dropped):
            self._count(name_of(callback), DROPPED)
            self._unsaid.append(callback)

    def watch(self) -> None:
        """Leave a callback that takes too long to its thread, and go on with the next one in another."""
        self._say()
        with self._changed:
            if self._waiting and self._worker is None:
                self._start()
            worker = self._worker
            if worker is None or worker.busy_since is None or worker.callback is None:
                return
            if time.monotonic() - worker.busy_since < self._timeout_seconds:
                return
            callback, worker.stale = worker.callback, True
            self._hanging[id(callback)] += 1
            self._worker = None
            if self._waiting:
                self._start()
        self._ended(callback, TIMEOUT)

    def flush(self, timeout: float) -> bool:
        """Wait until everything was handed out; False where the time was not enough."""
        deadline = time.monotonic() + timeout
        while not self._idle(min(0.05, max(0.0, deadline - time.monotonic()))):
            self.watch()
            if time.monotonic() >= deadline:
                return False
        return True

    def close(self, timeout: float) -> None:
        """Hand out what waits, for so many seconds at most; the rest is counted as dropped. Idempotent."""
        self.flush(timeout)
        with self._changed:
            self._closed = True
            left, self._waiting = list(self._waiting), deque()
            self._changed.notify_all()
        for callback, _ in left:
            self._ended(callback, DROPPED)
        self._say()

    def _queue(self, callback: Callback, alert: Alert) -> Callback | None:
        """The callback where there was no room for it."""
        with self._changed:
            if self._closed or len(self._waiting) >= self._most_waiting or self._hanging[id(callback)] >= _MOST_HANGING:
                return callback
            self._waiting.append((callback, alert))
            if self._worker is None:
                self._start()
            self._changed.notify_all()
            return None

    def _idle(self, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._waiting and (self._worker is None or self._worker.busy_since is None), timeout
            )

    def _start(self) -> None:
        worker = _Worker()
        thread = threading.Thread(target=self._work, args=(worker,), name="anthropic-guard-callbacks", daemon=True)
        with contextlib.suppress(RuntimeError):  # the system has no thread left; what waits is tried with the next look
            thread.start()
            self._worker = worker

    def _work(self, worker: _Worker) -> None:
        while (item := self._next(worker)) is not None:
            callback, alert = item
            result = _call(callback, alert)
            with self._changed:
                worker.callback = None
                if worker.stale:  # its time-out was counted; another thread does its work now
                    self._hanging[id(callback)] -= 1
                    return
            self._ended(callback, result)
            with self._changed:
                worker.busy_since = None
                self._changed.notify_all()

    def _next(self, worker: _Worker) -> tuple[Callback, Alert] | None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            if not self._waiting:
                return None
            worker.callback, alert = self._waiting.popleft()
            worker.busy_since = time.monotonic()
            return worker.callback, alert

    def _say(self) -> None:
        """Log what was dropped while nobody could be kept waiting."""
        while self._unsaid:
            with contextlib.suppress(IndexError):  # another thread says it
                _log.warning(_LINE, name_of(self._unsaid.popleft()), DROPPED)

    def _ended(self, callback: Callback, result: str) -> None:
        if result in (TIMEOUT, DROPPED):
            _log.warning(_LINE, name_of(callback), result)
        self._count(name_of(callback), result)


def _call(callback: Callback, alert: Alert) -> str:
    try:
        callback(alert)
    except BaseException as error:  # noqa: BLE001 - a callback is not ours; only the type is logged
        _log.warning(_LINE, name_of(callback), type(error).__name__)
        return FAILED
    return OK
