"""What the page shows of a Guard, as plain values, so that the page does not depend on its internals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from anthropic_exporter.guard import BreakerState, Guard


class Watched(Protocol):
    """Something that knows open alerts and breakers."""

    def alerts(self) -> list[dict[str, Any]]:
        """Open alerts: `name`, `severity`, `feature`, `model`, `summary`, `description`, `started_at`."""

    def breakers(self) -> list[dict[str, Any]]:
        """Breakers: `scope`, `name`, `state`, `action`, `reason`, `retry_at` (since the epoch, or None), `blocked`."""


class _GuardView:
    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def alerts(self) -> list[dict[str, Any]]:
        return [alert._asdict() for alert in self._guard.alerts()]

    def breakers(self) -> list[dict[str, Any]]:
        return [_shown(state) for state in self._guard.breakers()]


def of(guard: Guard) -> Watched:
    """A Guard as the page sees it."""
    return _GuardView(guard)


def _shown(state: BreakerState) -> dict[str, Any]:
    why = f"{state.reason}: {state.limit} ({state.window})" if state.reason else ""
    name = state.name or f"every {state.scope}" if state.scope != "total" else "everything"
    return {
        "scope": state.scope,
        "name": name,
        "state": state.state,
        "action": state.action,
        "reason": why,
        "retry_at": state.retry_at,
        "blocked": state.blocked,
    }
