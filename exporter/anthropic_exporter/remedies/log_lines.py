"""Log lines about remedies: noted under a lock and written outside of it, and few in a flood."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable

from anthropic_exporter.escaping import for_log
from anthropic_exporter.logs import Log
from anthropic_exporter.wire.alertmanager import IncomingAlert

_LONGEST_WORD = 80
_REPEATED_EVERY_SECONDS = 60.0
_MOST_NOTED = 10_000


class LogLines:
    """Log lines about the actions of remedies.

    A repetitive outcome of a remedy, such as that there is no room, is written once a minute with the number of alerts
    since: in a flood a slow log handler would hold the threads that take alerts.

    Args:
        log: where lines go.
        clock: monotonic seconds.
    """

    def __init__(self, log: Log, clock: Callable[[], float]) -> None:
        self._log, self._clock = log, clock
        self._noted: deque[tuple[str, ...]] = deque(maxlen=_MOST_NOTED)
        self._lock = threading.Lock()
        #: By remedy and outcome: when a line may be written again, and the alerts that had none since the last one.
        self._repeated: dict[tuple[str, str], tuple[float, int]] = {}

    def note(self, remedy: str, outcome: str, alert: IncomingAlert, *, is_repetitive: bool = False) -> None:
        """Keep a line for `write`."""
        unwritten = self._unwritten(remedy, outcome) if is_repetitive else 0
        if unwritten is not None:
            more = f" and {unwritten} more alerts" if unwritten else ""
            words = (remedy, outcome, alert.status, alert.name, alert.feature)
            self._noted.append((*(for_log(word, _LONGEST_WORD) for word in words), more))

    def _unwritten(self, remedy: str, outcome: str) -> int | None:
        """The alerts since the last line; None if it is too early for another line."""
        with self._lock:
            again_at, unwritten = self._repeated.get((remedy, outcome), (float("-inf"), 0))
            now = self._clock()
            if now < again_at:
                self._repeated[remedy, outcome] = again_at, unwritten + 1
                return None
            self._repeated[remedy, outcome] = now + _REPEATED_EVERY_SECONDS, 0
            return unwritten

    def write(self) -> None:
        """Write the lines collected until now. Call it without a lock."""
        for _ in range(len(self._noted)):
            with contextlib.suppress(IndexError):  # another thread took it
                self._log.warning("remedy %s %s: %s %s feature=%s%s", *self._noted.popleft())
