"""Opens the breaker of an alert's feature, and closes it when the last alert that wanted it open is over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.wire.alertmanager import IncomingAlert

if TYPE_CHECKING:
    from anthropic_exporter.guard import Guard

OPEN_BREAKER = "open_breaker"
_MANUAL = "manual"


class Breakers:
    """The breakers of a Guard that alerts from outside hold open.

    Args:
        guard: whose breakers.
        seconds: after which one closes although nobody said that the alert is over.

    Raises:
        ConfigurationError: there is no Guard, or it has no breaker of scope "feature".
    """

    def __init__(self, guard: Guard | None, seconds: float) -> None:
        if guard is None:
            raise ConfigurationError("remedies.open_breaker: there is no Guard; give Remedies(guard=...)")
        if not any(state.scope in ("feature", "total") for state in guard.breakers()):
            raise ConfigurationError("remedies.open_breaker: the Guard has no breaker; make one with guard.breaker()")
        self._guard = guard
        self._seconds = seconds
        self._wanted: dict[str, set[tuple[str, str]]] = {}

    def open(self, alert: IncomingAlert) -> None:
        """Open the breaker of the alert's feature."""
        self._wanted.setdefault(alert.feature, set()).add(alert.key)
        self._guard.open_breaker(alert.feature, reason=alert.name, seconds=self._seconds)

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
