"""Notices that the heartbeat stopped. A rule cannot: without the heartbeat, alerts do not arrive."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Callable

from anthropic_exporter import threads
from anthropic_exporter.wire.alertmanager import FIRING, RESOLVED, IncomingAlert

HEARTBEAT_LOST = "AnthropicHeartbeatLost"
#: The shipped routing beats every 60 s: two beats may be lost.
SILENT_AFTER_SECONDS = 180.0
_LOOKS_PER_SILENCE = 60
_LAST_LOOK_SECONDS = 1.0


class Heartbeat:
    """Reports when the heartbeat stops, and when it returns. A heartbeat that never arrived is not missed.

    Args:
        silent_after_seconds: after the last beat.
        tell: receives the alert `AnthropicHeartbeatLost`, firing or resolved, in a separate thread.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        silent_after_seconds: float,
        tell: Callable[[IncomingAlert], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._silent_after_seconds = silent_after_seconds
        self._tell = tell
        self._clock = clock
        self._last: float | None = None
        self._lost: IncomingAlert | None = None
        self._stopped = threading.Event()
        self._ended = threading.Event()

    def start(self) -> None:
        """Start watching; `close` stops it."""
        threads.start_eventually(self._run, name="anthropic-heartbeat")

    def beat(self) -> None:
        """Record a heartbeat."""
        threads.retry()
        self._last = self._clock()

    def look(self) -> None:
        """Report the heartbeat if it stopped or returned."""
        last = self._last
        if last is None:
            return
        silent = self._clock() - last >= self._silent_after_seconds
        if silent and self._lost is None:
            self._lost = _alert()
            self._tell(self._lost)
        elif not silent and self._lost is not None:
            over, self._lost = self._lost._replace(status=RESOLVED), None
            self._tell(over)

    def _run(self) -> None:
        while not self._stopped.wait(self._silent_after_seconds / _LOOKS_PER_SILENCE):
            self.look()
        self._ended.set()

    def close(self) -> None:
        """Stop watching. Idempotent."""
        self._stopped.set()
        self._ended.wait(_LAST_LOOK_SECONDS)


def _alert() -> IncomingAlert:
    now = dt.datetime.now(dt.timezone.utc).isoformat()
    labels = {"alertname": HEARTBEAT_LOST, "severity": "critical"}
    summary = "The heartbeat stopped: Prometheus or Alertmanager is down, or cannot reach this process."
    return IncomingAlert(HEARTBEAT_LOST, FIRING, labels, {"summary": summary}, HEARTBEAT_LOST, now)
