"""Attempts that were sent and have not ended. No lock: an entry may be taken out by a finalizer at any moment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

from anthropic_exporter.attribution import Attribution


class Heard(NamedTuple):
    """The progress of a response: `received` grows with every byte.

    `at` is when the last byte came, in Unix seconds; None if unknown, because a long stream is not read as it passes.
    """

    received: int
    at: float | None


class Started(NamedTuple):
    """One attempt in flight; `at` is in Unix seconds. `heard` is the progress of its response."""

    model: str
    feature: str
    user: str
    at: float
    heard: Callable[[], Heard] | None = None


class Sending(Protocol):
    """An attempt on the short way, before its response."""

    model: str
    at: float
    call_next: Any

    @property
    def where(self) -> Attribution:
        """Who it is for."""


class Inflight:
    """A registry of attempts in flight, by the identity of the attempt.

    Attributes:
        sending: attempts on the short way, by the SDK's idempotency key.
    """

    def __init__(self) -> None:
        self.sending: dict[str, Sending] = {}
        self._started: dict[int, Started] = {}
        self._noticed: dict[int, Heard] = {}

    def begin(self, key: int, started: Started) -> None:
        """Note an attempt."""
        self._started[key] = started

    def end(self, key: int) -> None:
        """Forget an attempt; unknown keys are ignored."""
        self._started.pop(key, None)
        self._noticed.pop(key, None)

    def snapshot(self) -> list[Started]:
        """All attempts in flight."""
        return [started for _, started in self._items()]

    def quiet_since(self, now: float) -> list[Started]:
        """All attempts in flight, `at` being when the last byte came of each; when it was sent where none came.

        Bytes that came in the middle of a long stream are noticed here and count as of `now`: they may be as old as the
        last time somebody asked, which is a scrape or a step of the Guard.
        """
        found = [self._quiet(key, one, now) for key, one in self._items()]
        for key in self._noticed.keys() - self._started.keys():  # ended while it was asked
            self._noticed.pop(key, None)
        return found

    def _quiet(self, key: int, started: Started, now: float) -> Started:
        heard = started.heard() if started.heard is not None else Heard(0, None)
        noticed = self._noticed.get(key) or Heard(0, started.at)
        if heard.received != noticed.received:
            noticed = self._noticed[key] = Heard(heard.received, now if heard.at is None else heard.at)
        return started._replace(at=noticed.at or started.at)

    def _items(self) -> list[tuple[int, Started]]:
        while True:
            try:
                sending, started = list(self.sending.values()), list(self._started.items())
            except RuntimeError:  # a finalizer or another thread took an entry out while the list was being made
                continue
            short = [(id(one), Started(one.model, *one.where[:2], one.at)) for one in sending]
            return [*started, *short]


def by_place(
    started: Iterable[Started], now: float, places: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], tuple[int, float]]:
    """Number in flight and age of the oldest in seconds, per (model, feature); 0 for `places` that have none."""
    found = dict.fromkeys(places, (0, 0.0))
    for model, feature, _, at, _ in started:
        count, oldest = found.get((model, feature), (0, 0.0))
        found[model, feature] = (count + 1, max(oldest, now - at))
    return found
