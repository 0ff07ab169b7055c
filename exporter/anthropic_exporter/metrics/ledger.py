"""The coarse counters that the rules read, computed at a scrape from the fine ones.

`anthropic_ledger_total{life, of, feature, model, tier}` is the counters of one process, summed over user, type and
outcome. Counters at 0 are left out, except `requests`: the rules count a new series in full. `life` is random and new
whenever counters begin at 0, so that a restart is never mistaken for a growth or a fall (docs/ledger.md).
A collector's are those of all its publishers, and one life.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from anthropic_exporter.locking import SafeLock, this_frame
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.cells import Reading, Snapshot

Key = tuple[str, str, str, str]
SUCCESS = "success"
#: How long a scrape waits for another one to be summed.
_PATIENCE_SECONDS = 1.0


class Life(NamedTuple):
    """The time during which counters only grow: of a process, a forked child, or a merged service.

    `started` is in seconds since the epoch, by the clock that also says when a scrape is.
    """

    name: str
    started: float


def to_text(life: Life) -> str:
    """A life as one line of text."""
    return f"{life.name} {life.started!r}"


def from_text(text: str) -> Life:
    """A life from its line.

    Raises:
        ValueError: it is not one.
    """
    name, started = text.split()
    return Life(name, float(started))


def new_life(now: float) -> Life:
    """A life that begins now."""
    return Life(os.urandom(8).hex(), now)


class Ledger:
    """Coarse sums of a snapshot. Remembers which series belong to which sum; series of one store only ever grow."""

    def __init__(self) -> None:
        self._lock = SafeLock()
        self._store: object = None
        self._last: list[tuple[Key, float]] = []
        self._forget()

    def _forget(self) -> None:
        self._counted = dict.fromkeys(_KEYS, 0)
        self._places: dict[Key, list[tuple[int, int]]] = {}

    def readings(self, snapshot: Snapshot, life: Life, now: float) -> dict[str, list[Reading]]:
        """The readings of the three families, by name, at `now` (seconds since the epoch)."""
        sums = self._sums(snapshot)
        return {
            f.LEDGER.name: [
                Reading((life.name, *key), [total], 0.0) for key, total in sums if total or key[0] == "requests"
            ],
            f.STARTED.name: [Reading((life.name,), [life.started], 0.0)],
            f.AGE.name: [Reading((life.name,), [max(0.0, now - life.started)], 0.0)],
        }

    def _sums(self, snapshot: Snapshot) -> list[tuple[Key, float]]:
        """The sums; the previous ones if another scrape takes too long, or is further up in this thread's stack."""
        try:
            if self._lock.wait(this_frame(), _PATIENCE_SECONDS):
                if snapshot.series is not self._store:  # the cells moved, or now include those of other processes
                    self._forget()
                self._store = None  # if an exception interrupts, the next scrape starts over
                self._learn(snapshot)
                self._store = snapshot.series
                self._last = [(key, _sum(places, snapshot.blocks)) for key, places in self._places.items()]
            return self._last
        finally:
            self._lock.release(this_frame())

    def _learn(self, snapshot: Snapshot) -> None:
        for name, (labels, keys) in _KEYS.items():
            series = snapshot.series_of(name)
            for one in series[self._counted[name] :]:
                for key in keys(dict(zip(labels, one.labels, strict=False))):  # a collector's have their service last
                    self._places.setdefault(key, []).append((one.block, one.start))
            self._counted[name] = max(self._counted[name], len(series))


def _sum(places: list[tuple[int, int]], blocks: list[list[float]]) -> float:
    try:
        return sum([blocks[block][at] for block, at in places])
    except IndexError:  # a snapshot that is older than the last one
        return sum(blocks[block][at] for block, at in places if block < len(blocks))


Labels = dict[str, str]


def _key(of: str, labels: Labels) -> Key:
    return of, labels.get("feature", ""), labels.get("model", ""), labels.get("tier", "")


def _requests(labels: Labels) -> Iterator[Key]:
    yield _key("requests", labels)
    if labels["outcome"] != SUCCESS:
        yield _key(f"requests_{labels['outcome']}", labels)


def _under(template: str) -> Callable[[Labels], Iterator[Key]]:
    """Keys by a template of the labels, such as `tokens_{type}`."""
    return lambda labels: iter((_key(template.format_map(labels), labels),))


_KEYS: dict[str, tuple[tuple[str, ...], Callable[[Labels], Iterator[Key]]]] = {
    family.name: (family.labels, keys)
    for family, keys in (
        (f.REQUESTS, _requests),
        (f.COST, _under("cost_usd")),
        (f.TOKENS, _under("tokens_{type}")),
        (f.CACHE_REQUESTS, _under("cache_requests_{result}")),
        (f.CACHE_MISS_COST, _under("cache_miss_cost_usd")),
        (f.CACHE_SAVINGS, _under("cache_savings_usd")),
        (f.CACHE_WRITE_PREMIUM, _under("cache_write_premium_usd")),
        (f.UNMETERED_RESPONSES, _under("unmetered_{reason}")),
        (f.UNPRICED_TOKENS, _under("unpriced_tokens")),
        (f.RECORD_ERRORS, _under("record_errors_{stage}")),
        (f.LABEL_OVERFLOW, _under("label_overflow_{label}")),
        (f.STALE_SCRAPES, _under("stale_scrapes")),
        (f.SINK_DROPPED, _under("sink_dropped_calls")),
        (f.LIMITS_REACHED, _under("limits_reached_{limit}")),
        (f.GUARD_CALLBACKS, _under("guard_callbacks_{result}")),
        (f.SESSION_COST_MISMATCHES, _under("session_cost_mismatches")),
    )
}
