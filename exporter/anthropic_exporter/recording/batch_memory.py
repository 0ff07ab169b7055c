"""Remembers which batch results are counted, so that reading a batch twice counts it once."""

from __future__ import annotations

import threading

from anthropic_exporter.kept_text import kept

#: A batch has at most 100,000 requests (platform.claude.com/docs, batch processing, read 2026-11-30).
_MOST = 150_000
_MOST_BATCHES = 10_000


class SeenResults:
    """Results by (batch id, custom_id), as 64-bit hashes in two generations; the older is forgotten as a whole.

    At least the last `most` results are remembered, and at most twice as many. Only this process remembers them: two
    processes that read the same batch count it twice.

    Args:
        most: results of a generation; two of 150,000 take about 20 MB.
    """

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._lock = threading.RLock()  # a signal handler may read results too
        self._young: set[int] = set()
        self._old: set[int] = set()
        self._created: dict[str, float] = {}

    def first_time(self, batch: str, custom_id: str) -> bool:
        """Whether this result is new; marks it as seen. Never called by a finalizer: it locks."""
        result = hash((batch, custom_id))
        with self._lock:
            if result in self._young or result in self._old:
                return False
            if len(self._young) >= self._most:
                self._old, self._young = self._young, set()
            self._young.add(result)
            return True

    def created(self, batch: str, at: float) -> None:
        """Remember when a batch was made, in seconds since the epoch: its prices are of that day."""
        self._created[kept(batch)] = at
        while len(self._created) > _MOST_BATCHES:
            self._created.pop(next(iter(self._created)), None)

    def created_at(self, batch: str, default: float) -> float:
        """When a batch was made, in seconds since the epoch; `default` if unknown."""
        return self._created.get(kept(batch), default)
