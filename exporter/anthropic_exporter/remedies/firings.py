"""Remembers firings, so that a repeated, replayed or old alert does nothing. Bounded. Pure."""

from __future__ import annotations

from collections import OrderedDict

from anthropic_exporter.wire.alertmanager import FIRING, RESOLVED, IncomingAlert

#: The results of `Firings.take`.
NEWS, KNOWN, REFUSED = "news", "known", "refused"
#: Disappeared from Alertmanager's API without an end, as in a silence: it may return with the same start.
_GONE = "gone"
_MOST = 10_000
_MOST_REFUSED = 1_000
#: Firings that started longer ago than this, or as far in the future, are refused: replays, and wrong clocks.
MAX_AGE_SECONDS = 86_400.0
_Key = tuple[str, str]


class Firings:
    """Firings by fingerprint and start time.

    Beyond `most` firings those that began first are forgotten. From then on, an unknown firing that began as early is
    refused: it may be one of them.

    Args:
        most: firings to remember.
        max_age_seconds: a firing that began longer ago, or that long ahead of now, is refused.
    """

    def __init__(self, most: int = _MOST, max_age_seconds: float = MAX_AGE_SECONDS) -> None:
        self._most = most
        self._max_age_seconds = max_age_seconds
        self._known: dict[_Key, tuple[float, str]] = {}
        self._refused: OrderedDict[_Key, None] = OrderedDict()
        self._polled: dict[_Key, IncomingAlert] = {}
        self._forgotten_until = float("-inf")

    def take(self, alert: IncomingAlert, now: float) -> str:
        """Whether this firing begins now, or ends now after it began: `NEWS`, and from then on `KNOWN`.

        `REFUSED` is returned once, then the alert is known too.

        Args:
            alert: the alert.
            now: seconds since the epoch.
        """
        started, status = self._known.get(alert.key, (0.0, ""))
        if alert.status == RESOLVED:
            if status == FIRING:
                self._known[alert.key] = started, RESOLVED
            return NEWS if status == FIRING else KNOWN
        return KNOWN if status else self._begins(alert, now)

    def _begins(self, alert: IncomingAlert, now: float) -> str:
        started = alert.started_seconds
        if started is None or abs(now - started) > self._max_age_seconds or started <= self._forgotten_until:
            return self._refuse(alert.key)
        self._known[alert.key] = started, FIRING
        if len(self._known) > self._most:
            self._forget_oldest()
        return NEWS

    def _refuse(self, key: _Key) -> str:
        said = key in self._refused
        self._refused[key] = None
        if len(self._refused) > _MOST_REFUSED:
            self._refused.popitem(last=False)
        return KNOWN if said else REFUSED

    def _forget_oldest(self) -> None:
        """Forget a tenth at once, so that sorting costs little a firing."""
        by_start = sorted(self._known, key=lambda key: self._known[key][0])
        for key in by_start[: max(1, self._most // 10)]:
            self._forgotten_until = max(self._forgotten_until, self._known.pop(key)[0])

    def polled(self, active: list[IncomingAlert], *, complete: bool = True) -> list[IncomingAlert]:
        """The alerts to handle after reading all active ones: these, and as resolved those that have disappeared.

        An alert that comes back with the same start, as after a silence, begins anew.

        Args:
            active: the alerts.
            complete: whether a missing alert has resolved.
        """
        now = {alert.key: alert for alert in active}
        gone = [alert for key, alert in self._polled.items() if key not in now] if complete else []
        for key in now:
            if self._known.get(key, (0.0, ""))[1] == _GONE:
                del self._known[key]
        self._polled = now if complete else self._polled | now
        return active + [alert._replace(status=RESOLVED) for alert in gone]

    def gone(self, alert: IncomingAlert) -> None:
        """Let this firing start again if a later poll finds it; a replayed webhook does not start it."""
        started, status = self._known.get(alert.key, (0.0, ""))
        if status == RESOLVED:
            self._known[alert.key] = started, _GONE
