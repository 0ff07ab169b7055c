"""Attempts that were sent and have not ended. No lock: an entry may be taken out by a finalizer at any moment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Started(NamedTuple):
    """One attempt in flight; `at` is seconds since the epoch."""

    model: str
    feature: str
    at: float


class Inflight:
    """A registry of attempts in flight, by the identity of the attempt."""

    def __init__(self) -> None:
        self._started: dict[int, Started] = {}

    def begin(self, key: int, started: Started) -> None:
        """Note an attempt."""
        self._started[key] = started

    def end(self, key: int) -> None:
        """Forget an attempt; unknown keys are ignored."""
        self._started.pop(key, None)

    def snapshot(self) -> list[Started]:
        """All attempts in flight."""
        while True:
            try:
                return list(self._started.values())
            except RuntimeError:  # a finalizer took an entry out while the list was being made
                continue


def by_place(
    started: Iterable[Started], now: float, places: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], tuple[int, float]]:
    """Number in flight and age of the oldest in seconds, per (model, feature); 0 for `places` that have none."""
    found = dict.fromkeys(places, (0, 0.0))
    for model, feature, at in started:
        count, oldest = found.get((model, feature), (0, 0.0))
        found[model, feature] = (count + 1, max(oldest, now - at))
    return found
