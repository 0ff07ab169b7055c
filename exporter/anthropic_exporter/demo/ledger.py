"""What the calls of the last minutes used and cost, for the live view and the arithmetic. One sink of the recorder."""

from __future__ import annotations

import collections
import itertools
import threading
from typing import TYPE_CHECKING, NamedTuple

from anthropic_exporter.call import TOKEN_TYPES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anthropic_exporter.call import Call

_MOST_ENTRIES = 20_000


class PricedCall(NamedTuple):
    """One priced call: when it ended, its feature, its cost. `lost_usd` is the additional cost of a cache miss."""

    at: float
    feature: str
    model: str
    requests: int
    cost_usd: float
    lost_usd: float
    cache_result: str
    tokens: tuple[int, ...]


class Sum(NamedTuple):
    """Several calls together; `tokens` by type, in the order of `TOKEN_TYPES`."""

    requests: int = 0
    cost_usd: float = 0.0
    lost_usd: float = 0.0
    hits: int = 0
    misses: int = 0
    tokens: tuple[int, ...] = (0,) * len(TOKEN_TYPES)

    @property
    def hit_ratio(self) -> float | None:
        """Share of the requests with caching that read from the cache; None if there are none."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else None


class CallLog:
    """Remembers calls; safe to share between threads.

    Args:
        clock: seconds that only go forward.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._entries: collections.deque[PricedCall] = collections.deque(maxlen=_MOST_ENTRIES)
        self._lock = threading.Lock()

    def __call__(self, call: Call) -> None:
        """Take one priced call."""
        entry = _entry(call, self._clock())
        with self._lock:
            self._entries.append(entry)

    def between(self, since: float, until: float) -> list[PricedCall]:
        """The calls that ended after `since` and not after `until`, newest first."""
        with self._lock:
            newest_first = list(itertools.takewhile(lambda entry: entry.at > since, reversed(self._entries)))
        return [entry for entry in newest_first if entry.at <= until]


def total(entries: Iterable[PricedCall]) -> Sum:
    """The sum of calls."""
    found = list(entries)
    return Sum(
        sum(entry.requests for entry in found),
        sum(entry.cost_usd for entry in found),
        sum(entry.lost_usd for entry in found),
        sum(entry.cache_result == "hit" for entry in found),
        sum(entry.cache_result == "miss" for entry in found),
        tuple(sum(entry.tokens[index] for entry in found) for index in range(len(TOKEN_TYPES))),
    )


def _entry(call: Call, at: float) -> PricedCall:
    bill = call.bill
    tokens = tuple(map(sum, zip(*(inference.tokens for inference in call.inferences), strict=True)))
    return PricedCall(
        at,
        call.feature,
        call.model,
        call.requests,
        bill.total_usd if bill else 0.0,
        bill.cache_miss_cost_usd if bill else 0.0,
        bill.cache_result if bill else "unasked",
        tokens or Sum().tokens,
    )
