"""Fills the history of a page with the calls of a recorder. A collector has its own feed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from anthropic_exporter.live.history import History

if TYPE_CHECKING:
    from anthropic_exporter.call import Call
    from anthropic_exporter.recorder import Recorder

# The most calls that wait for a reader; also a bound in a forked child, which has no reader.
_MOST_PENDING = 10_000


class InFlight(NamedTuple):
    """Requests in flight: how many, and the age of the oldest in seconds."""

    number: int
    oldest_seconds: float | None


class Feed(Protocol):
    """Fills a history.

    Attributes:
        scope: the origin of the calls: `process` or `fleet`.
        history: the history to fill.
        lock: held by whoever touches the history.
    """

    scope: str
    history: History
    lock: threading.Lock

    def take(self) -> None:
        """Add the calls counted until now; called without the lock."""
        ...

    def inflight(self) -> InFlight:
        """Requests in flight now."""
        ...

    def close(self) -> None:
        """Stop filling the history."""
        ...


class CallFeed:
    """Subscribes to a recorder. Adding a call never waits for a reader.

    Args:
        recorder: the source of the calls.
        clock: monotonic seconds.
        wall: Unix seconds.
    """

    scope = "process"

    def __init__(
        self,
        recorder: Recorder,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._recorder, self._clock, self._wall = recorder, clock, wall
        self.history, self.lock = History(clock()), threading.Lock()
        self._pending: deque[tuple[float, Call]] = deque(maxlen=_MOST_PENDING)
        self.close = recorder.subscribe(self.add)

    def add(self, call: Call) -> None:
        """Take one priced call, on the thread that recorded it."""
        self._pending.append((self._clock(), call))
        if self.lock.acquire(blocking=False):
            try:
                self._drain()
            finally:
                self.lock.release()

    def _drain(self) -> None:
        pending, history = self._pending, self.history
        while pending:
            at, call = pending.popleft()
            history.add(call, at)

    def take(self) -> None:
        """Add the calls that wait."""
        self._recorder.drain()
        with self.lock:
            self._drain()

    def inflight(self) -> InFlight:
        """Requests in flight now."""
        started = self._recorder.inflight.snapshot()
        oldest = min((one.at for one in started), default=None)
        return InFlight(len(started), None if oldest is None else max(0.0, self._wall() - oldest))
