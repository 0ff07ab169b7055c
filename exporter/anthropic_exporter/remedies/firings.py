"""What was already taken in: so that a repeated or replayed alert does nothing twice. Bounded. Pure."""

from __future__ import annotations

from anthropic_exporter.wire.alertmanager import FIRING, RESOLVED, IncomingAlert

_MOST = 10_000
_Key = tuple[str, str]


class Ledger:
    """Firings by fingerprint and start time; the oldest are forgotten when there are too many.

    Args:
        most: firings to remember.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._known: dict[_Key, str] = {}
        self._polled: dict[_Key, IncomingAlert] = {}

    def is_news(self, alert: IncomingAlert) -> bool:
        """Whether this firing begins now, or ends now after it was seen to begin. From now on it is no news."""
        before = self._known.get(alert.key)
        if before != (None if alert.status == FIRING else FIRING):
            return False
        self._known[alert.key] = alert.status
        while len(self._known) > self._most:
            self._known.pop(next(iter(self._known)))
        return True

    def forget(self, alert: IncomingAlert) -> None:
        """Take an alert for news again: nothing could be done about it."""
        self._known.pop(alert.key, None)
        if alert.status == RESOLVED:
            self._known[alert.key] = FIRING
            self._polled[alert.key] = alert

    def polled(self, active: list[IncomingAlert], *, complete: bool = True) -> list[IncomingAlert]:
        """What a look at all active alerts changes: those that begin, and as resolved those that are gone.

        An alert that comes back with the same start, as after a silence, begins anew.

        Args:
            active: the alerts.
            complete: whether one that is missing is over.
        """
        now = {alert.key: alert for alert in active}
        news = [alert for alert in active if self.is_news(alert)]
        gone = [alert for key, alert in self._polled.items() if key not in now] if complete else []
        self._polled = now if complete else self._polled | now
        for alert in gone:
            ended = alert._replace(status=RESOLVED)
            if self.is_news(ended):
                self._known.pop(alert.key)
                news.append(ended)
        return news
