"""What the page shows of a Guard: plain values, so that the page knows nothing of its inside."""

from __future__ import annotations

from typing import Any, Protocol


class Watched(Protocol):
    """Something that knows open alerts and breakers."""

    def alerts(self) -> list[dict[str, Any]]:
        """Open alerts: `name`, `severity`, `feature`, `model`, `summary`, `description`, `started_at`."""

    def breakers(self) -> list[dict[str, Any]]:
        """Breakers: `scope`, `name`, `state`, `action`, `reason`, `blocked`."""
