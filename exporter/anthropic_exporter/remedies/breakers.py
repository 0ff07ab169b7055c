"""Opens the breaker of an alert's feature, and closes it when the last alert that opened it resolves."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.wire.alertmanager import IncomingAlert

if TYPE_CHECKING:
    from anthropic_exporter.guard import Guard

OPEN_BREAKER = "open_breaker"
_MANUAL = "manual"
_SCOPE = "feature"


class AlertBreakers:
    """The breakers of a Guard that alerts from outside hold open.

    Args:
        guard: the owner of the breakers.
        seconds: after which one closes even if its alert still fires.
        features: the only features that are stopped; None: every feature, if the alert's sender proved who it is.

    Raises:
        ConfigurationError: there is no Guard, or it has no breaker of scope "feature".
    """

    def __init__(self, guard: Guard | None, seconds: float, features: Collection[str] | None) -> None:
        if guard is None:
            raise ConfigurationError("remedies.open_breaker: there is no Guard; give Remedies(guard=...)")
        if not any(state.scope == _SCOPE for state in guard.breakers()):
            raise ConfigurationError("remedies.open_breaker: the Guard has no breaker; create one with guard.breaker()")
        self._guard = guard
        self._seconds = seconds
        self._features = features
        self._wanted: dict[str, set[tuple[str, str]]] = {}

    def concerns(self, alert: IncomingAlert) -> bool:
        """Whether the alert is about a feature that may be stopped."""
        return bool(alert.feature) and (self._features is None or alert.feature in self._features)

    def trusts(self, alert: IncomingAlert) -> bool:
        """Whether the alert may open a breaker: anybody may have sent it, unless its sender is known."""
        return self._features is not None or alert.authenticated

    def open(self, alert: IncomingAlert) -> None:
        """Open the breaker of the alert's feature.

        Raises:
            ConfigurationError: no breaker takes this feature.
        """
        self._guard.open_breaker(alert.feature, reason=alert.name, seconds=self._seconds)
        self._wanted.setdefault(alert.feature, set()).add(alert.key)

    def close(self, alert: IncomingAlert) -> bool:
        """Close it, unless another alert wants it open or the Guard itself holds it open."""
        wanted = self._wanted.get(alert.feature, set())
        wanted.discard(alert.key)
        if wanted:
            return False
        self._wanted.pop(alert.feature, None)
        if not any(one.name == alert.feature and one.reason == _MANUAL for one in self._guard.breakers()):
            return False
        self._guard.close_breaker(alert.feature)
        return True
