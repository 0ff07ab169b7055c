"""What the page reads each second: the new steps of the history, and the current state. Bounded in size."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from anthropic_exporter.__about__ import __version__
from anthropic_exporter.live import history as h
from anthropic_exporter.live.feeds import Feed
from anthropic_exporter.live.guard_view import Watched
from anthropic_exporter.live.marks import MINUTE_SECONDS, QUARTER_SECONDS, STEP_SECONDS

#: Each point of a chart sums up the minute before it.
_SENT_STEPS = (QUARTER_SECONDS + MINUTE_SECONDS) // STEP_SECONDS
_SHOWN_NAMES = 12
_SHOWN_ALERTS = 20
_SEVERITIES = ("critical", "warning", "info")


class PageState:
    """Answers the page from a history that a feed fills.

    Args:
        feed: the calls to show.
        watched: open alerts and breakers, if there is a Guard.
        clock: monotonic seconds.
        wall: Unix seconds.
    """

    def __init__(
        self,
        feed: Feed,
        watched: Watched | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._feed = feed
        self._watched = watched
        self._clock = clock
        self._wall = wall
        self._history = feed.history
        self._began_at = wall()
        self._closed: deque[tuple[int, str]] = deque(maxlen=_SENT_STEPS)
        self._next = self._history.total.steps.current
        self.close = feed.close

    def read(self, since: int = 0) -> bytes:
        """JSON of what holds now, with the closed steps from `since` on. Every list in it is bounded."""
        self._feed.take()
        with self._feed.lock:
            now = self._clock()
            self._history.advance(now)
            self._close_steps()
            steps = [text for number, text in self._closed if number >= since]
            found = self._figures(now)
        found.update(self._around(), next=self._next)
        return f'{json.dumps(found, allow_nan=False)[:-1]}, "steps": [{",".join(steps)}]}}'.encode()

    def _close_steps(self) -> None:
        current = self._history.total.steps.current
        for number in range(max(self._next, current - _SENT_STEPS), current):
            self._closed.append((number, _step(self._history.step(number))))
        self._next = current

    def _figures(self, now: float) -> dict[str, Any]:
        history = self._history
        minute = history.total.minute()
        return {
            "version": __version__,
            "now": self._wall(),
            "clock": now,
            "began_at": self._began_at,
            "minute": [_short(minute[: h.DURATION]), h.percentiles(minute)],
            "quarter": _short(history.total.quarter()[: h.DURATION]),
            "total": _short(history.total.totals[: h.DURATION]),
            "features": h.top(history.features, _SHOWN_NAMES),
            "feature_count": len(history.features),
            "users": h.top(history.users, _SHOWN_NAMES),
            "user_count": len(history.users),
        }

    def _around(self) -> dict[str, Any]:
        inflight = self._feed.inflight()
        alerts = None if self._watched is None else sorted(self._watched.alerts(), key=_urgency)
        breakers = None if self._watched is None else self._watched.breakers()
        return {
            "scope": self._feed.scope,
            "inflight": inflight.number,
            "oldest_seconds": inflight.oldest_seconds,
            "alerts": alerts and alerts[:_SHOWN_ALERTS],
            "alert_count": len(alerts or ()),
            "breakers": breakers and breakers[:_SHOWN_NAMES],
            "breaker_count": len(breakers or ()),
        }


def _urgency(alert: dict[str, Any]) -> int:
    severity = alert["severity"]
    return _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)


def _step(step: h.Step) -> str:
    spent = {name: float(f"{usd:.6g}") for name, usd in step.feature_usd.items()}
    return json.dumps([step.number, _short(step.counts), step.latency, spent], separators=(",", ":"), allow_nan=False)


def _short(values: list[float]) -> list[float]:
    """Nine digits say all that a screen can show."""
    return [float(f"{value:.9g}") if value else 0 for value in values]
