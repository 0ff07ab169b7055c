"""Turns measurements into alerts and breakers. Knows neither requests nor windows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet

from anthropic_exporter.call import BLOCKED, Call
from anthropic_exporter.errors import ConfigurationError, SpendLimitExceeded
from anthropic_exporter.guard.anomalies import Identity, Measure
from anthropic_exporter.guard.breaker import Breaker, Held, Labels, exceeded
from anthropic_exporter.guard.clock import Moment
from anthropic_exporter.guard.notifications.alerts import Alert, Alerts
from anthropic_exporter.guard.notifications.callbacks import Callbacks


class Judge:
    """The alerts and breakers of one Guard. Hold `lock` around its methods; `send` needs no lock and never waits.

    Args:
        alerts: makes an empty set of alerts.
        callbacks: what receives alerts.

    Attributes:
        lock: guards everything that measurements change.
        alerts: the alerts.
        breakers: the breakers.
        shut: whether a breaker is not closed, so that requests must be checked.
    """

    def __init__(self, alerts: Alerts, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self.breakers: tuple[Breaker, ...] = ()
        #: Conditions beyond this process, by who measures them: the service's judge, the fleet's collector.
        self.elsewhere: dict[str, Held] = {}
        #: Takes what only this process can measure while another process judges and sends the alerts.
        self.report: Callable[[Measure], None] | None = None
        #: Called when this process also sends alerts for others.
        self.sent: Callable[[], None] | None = None
        self.reset(alerts)

    def reset(self, alerts: Alerts) -> None:
        """Start with these alerts; breakers stay as they are. For a forked child, whose parent may hold the lock."""
        self.lock = threading.RLock()
        self.alerts = alerts
        self.update_shut()

    def add(self, breaker: Breaker) -> None:
        """Ask this breaker too."""
        self.breakers = (*self.breakers, breaker)

    def of_scope(self, scope: str) -> list[Breaker]:
        """The breakers of a scope.

        Raises:
            ConfigurationError: there is none.
        """
        found = [one for one in self.breakers if one.scope == scope]
        if not found:
            raise ConfigurationError(f"no breaker has scope={scope!r}; create one with guard.breaker(scope={scope!r})")
        return found

    def take(self, measure: Measure, at: Moment) -> bool:
        """Take one measurement. True if its condition holds."""
        self.alerts.saw(measure, at.now)
        if measure.holds:
            self._trip(measure, at)
            if self.report is not None:
                self.report(measure)
        return measure.holds

    def settle(self, measures: list[Measure], at: Moment) -> list[Alert]:
        """Take the measurements of everything: conditions that were not measured do not hold. Returns what to send."""
        self.alerts.settle(measures, at.now)
        for measure in measures:
            if measure.holds:
                self._trip(measure, at)
                if self.report is not None:
                    self.report(measure)
        for breaker in self.breakers:
            breaker.advance(at, self._holds)
        self.update_shut()
        return self.news(at)

    def news(self, at: Moment) -> list[Alert]:
        """Alerts to send since the last time."""
        return self.alerts.news(at.now, at.ahead)

    def ended(self, call: Call, at: Moment) -> None:
        """A call ended: it may have been the probe of a half-open breaker."""
        if call.outcome != BLOCKED:
            for breaker in self.breakers:
                breaker.ended(call, at)
        self.update_shut()

    def stops(self, breaker: Breaker, labels: Labels, at: Moment) -> SpendLimitExceeded | None:
        """Why a breaker stops a request; None if it lets it pass."""
        circuit = breaker.stops(labels, at, self._holds)
        self.update_shut()
        return None if circuit is None else exceeded(circuit, at.ahead)

    def obey(self, who: str, held: Held, over: AbstractSet[Identity], at: Moment) -> None:
        """Take the conditions that `who` measures elsewhere; close breakers that only those in `over` keep open."""
        self.elsewhere[who] = held
        for breaker in self.breakers:
            for measure in held.values():
                breaker.trip(measure, at)
            breaker.release({identity for identity in over if not self._holds(identity)})
        self.update_shut()

    def _holds(self, identity: Identity) -> bool:
        """Whether a condition holds in this process or elsewhere."""
        return any(identity in held for held in self.elsewhere.values()) or self.alerts.holding(identity)

    def update_shut(self) -> None:
        """Note whether a breaker is not closed."""
        self.shut = any(not breaker.closed for breaker in self.breakers)

    def send(self, alerts: Sequence[Alert]) -> None:
        """Queue alerts for the callbacks, unless another process sends them. Call it without the lock."""
        if self.report is None and alerts:
            self._callbacks.send(alerts)
            if self.sent is not None:
                self.sent()

    def _trip(self, measure: Measure, at: Moment) -> None:
        for breaker in self.breakers:
            breaker.trip(measure, at)
