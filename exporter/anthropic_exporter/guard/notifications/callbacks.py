"""Sends alerts to callbacks, each in its own lane with a time limit and retries."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.guard.notifications.alerts import Alert
from anthropic_exporter.lanes import DROPPED, FAILED, OK, Lane, Outcome, close_all
from anthropic_exporter.logs import Log

_log = Log("anthropic_exporter.guard")

#: Seconds before the second attempt, doubled with each one, and seconds after which the alert is dropped.
_FIRST_RETRY_SECONDS, _LONGEST_RETRY_SECONDS, _GIVE_UP_SECONDS = 1.0, 60.0, 900.0
#: A retry may help after these statuses; other 4xx answers are final.
_TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
#: Mistakes in a callback or its settings: another attempt would fail the same way.
_MISTAKES = (
    *(ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NameError, TypeError, ValueError),
    *(NotImplementedError, ConfigurationError),
)
_LINE = "an alert to callback %s: %s"

Callback = Callable[[Alert], Any]
Count = Callable[[str, str], None]


def name_of(callback: Callback) -> str:
    """The label of a callback: its name in the code, never its values."""
    return str(getattr(callback, "__name__", type(callback).__name__))


class Callbacks:
    """Sends each alert to each callback, in order. What cannot be delivered is counted and logged, never silently lost.

    A callback that raises is called again with the same alert: after 1, 2, 4 ... 60 seconds, for a quarter of an hour.
    A programming mistake, a final 4xx status, or an exceeded time limit is not retried: in the last case the alert may
    have been delivered.

    Args:
        count: called with the callback's name and `ok`, `failed`, `timeout` or `dropped`: once an attempt, and once for
            each alert that is given up.
        timeout_seconds: how long a callback may take.
        most_waiting: alerts that may wait for one callback.
    """

    def __init__(self, count: Count, *, timeout_seconds: float = 10.0, most_waiting: int = 1000) -> None:
        self._count = count
        self._timeout_seconds = timeout_seconds
        self.most_waiting = most_waiting
        self._lanes: tuple[tuple[Callback, Lane[Alert]], ...] = ()
        #: Takes the alerts that still wait whenever one was delivered.
        self.delivered: Callable[[list[Alert]], None] | None = None
        self._unsaid: deque[Callback] = deque(maxlen=most_waiting)
        self._lock = threading.Lock()

    def reset(self) -> None:
        """Start from nothing, as a forked child must: threads stay in the parent."""
        self._lock = threading.Lock()
        self._unsaid.clear()
        for _, lane in self._lanes:
            lane.reset()

    def add(self, callbacks: Iterable[Callback]) -> None:
        """Call these too from now on."""
        with self._lock:
            self._lanes = (*self._lanes, *((callback, self._lane(callback)) for callback in callbacks))

    def _lane(self, callback: Callback) -> Lane[Alert]:
        def ended(alert: Alert, result: str) -> None:
            if result not in (OK, FAILED):
                _log.warning(_LINE, name_of(callback), result)
            self._count(name_of(callback), result)
            if result == OK and self.delivered is not None:
                self.delivered(self._waiting_besides(callback, alert))

        return Lane(
            "anthropic-guard-callback",
            lambda alert, attempt, age: _attempt(callback, alert, attempt, age),
            ended,
            timeout_seconds=self._timeout_seconds,
            most_waiting=self.most_waiting,
        )

    def send(self, alerts: Iterable[Alert]) -> None:
        """Queue alerts for every callback. Never waits, and never logs: the caller may hold somebody's lock."""
        for alert in alerts:
            for callback, lane in self._lanes:
                if not lane.put(alert, (alert.condition, alert.name, alert.feature, alert.model)):
                    self._count(name_of(callback), DROPPED)
                    self._unsaid.append(callback)

    @property
    def waiting(self) -> list[Alert]:
        """The alerts that a callback has yet to take."""
        return self._waiting_besides(None, None)

    def _waiting_besides(self, callback: Callback | None, delivered: Alert | None) -> list[Alert]:
        """The alerts that wait, except one that a callback has just taken."""
        found = ((one, alert) for one, lane in self._lanes for alert in lane.items)
        return list(dict.fromkeys(alert for one, alert in found if one is not callback or alert is not delivered))

    def watch(self) -> None:
        """Keep to the time limits, and start threads that could not be started. Called with each evaluation."""
        self._say_dropped()
        for _, lane in self._lanes:
            lane.watch()

    def flush(self, timeout: float) -> bool:
        """Wait until nothing is due; False if `timeout` seconds are not enough. Later retries may still wait."""
        return all(lane.flush(timeout) for _, lane in self._lanes)

    def close(self, timeout: float) -> None:
        """Attempt what waits once more, within `timeout` seconds; the rest is dropped. Idempotent."""
        close_all((lane for _, lane in self._lanes), timeout)
        self._say_dropped()

    def _say_dropped(self) -> None:
        while self._unsaid:
            try:
                callback = self._unsaid.popleft()
            except IndexError:  # another thread says it
                return
            _log.warning(_LINE, name_of(callback), DROPPED)


def _attempt(callback: Callback, alert: Alert, attempt: int, age: float) -> Outcome:
    try:
        callback(alert)
    except BaseException as error:  # noqa: BLE001 - not our code; only the type is logged
        _log.warning(_LINE, name_of(callback), type(error).__name__)
        pause = _retry_after(error, attempt)
        given_up = pause is not None and age + pause > _GIVE_UP_SECONDS
        return Outcome(DROPPED if given_up else FAILED, None if given_up else pause)
    return Outcome(OK)


def _retry_after(error: BaseException, attempt: int) -> float | None:
    """Seconds until the next attempt; None if it would fail the same way."""
    if isinstance(error, HTTPError) and error.code < HTTPStatus.INTERNAL_SERVER_ERROR and error.code not in _TRANSIENT:
        return None
    if not isinstance(error, Exception) or isinstance(error, _MISTAKES):
        return None
    return min(_FIRST_RETRY_SECONDS * 2.0 ** min(attempt - 1, 10), _LONGEST_RETRY_SECONDS)
