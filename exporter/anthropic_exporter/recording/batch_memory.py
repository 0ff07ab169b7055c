"""Which batch results were counted already, so that reading a batch twice counts it once."""

from __future__ import annotations

import threading

_MOST = 500_000


class SeenResults:
    """Results by (batch id, custom_id), as 64-bit hashes; the oldest batches are forgotten when there are too many.

    Remembers for this process alone: two processes that read the same batch count it twice.

    Args:
        most: results to remember; half a million take about 40 MB.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._held = 0
        self._lock = threading.Lock()
        self._batches: dict[str, set[int]] = {}
        self._created: dict[str, float] = {}

    def first_time(self, batch: str, custom_id: str) -> bool:
        """Whether this result was not seen before; from now on it was. Never called by a finalizer: it locks."""
        with self._lock:
            return self._first_time(batch, custom_id)

    def _first_time(self, batch: str, custom_id: str) -> bool:
        seen = self._batches.setdefault(batch, set())
        before = len(seen)
        seen.add(hash((batch, custom_id)))
        if len(seen) == before:
            return False
        self._held += 1
        while self._held > self._most and len(self._batches) > 1:
            oldest = next(iter(self._batches))
            self._held -= len(self._batches.pop(oldest))
            self._created.pop(oldest, None)
        return True

    def created(self, batch: str, at: float) -> None:
        """Remember when a batch was made, in seconds since the epoch: its prices are of that day."""
        self._created[batch] = at
        while len(self._created) > self._most:
            self._created.pop(next(iter(self._created)), None)

    def created_at(self, batch: str, default: float) -> float:
        """When a batch was made, in seconds since the epoch; `default` where nobody said."""
        return self._created.get(batch, default)
