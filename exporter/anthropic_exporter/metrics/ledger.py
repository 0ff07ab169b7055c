"""The coarse counters that the rules read, computed at a scrape from the fine ones.

`anthropic_ledger_total{life, of, feature, model, tier}` is the counters of one process, summed over user, type and
outcome. Counters at 0 are left out, except `requests`: the rules count a new series in full. `life` is random and new
whenever counters begin at 0, so that a restart is never mistaken for a growth or a fall (docs/ledger.md).
A collector's are those of all its publishers, and one life.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from itertools import zip_longest
from typing import NamedTuple

from anthropic_exporter.locking import SafeLock, this_frame
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.cells import Series, SeriesSample, Snapshot

Key = tuple[str, str, str, str]
SUCCESS = "success"
#: How long a scrape waits for another one to be summed.
_PATIENCE_SECONDS = 1.0
#: By how much two clocks may differ that are both right.
_DRIFT_SECONDS = 1.0


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
        self._life: Life | None = None
        self._shown: list[SeriesSample] = []
        #: The age of a life when it was first shown, and the monotonic time of that.
        self._first_age: tuple[Life, float, float] | None = None
        self._forget()

    def _forget(self) -> None:
        self._counted = dict.fromkeys(_KEYS, 0)
        self._numbers: dict[Key, int] = {}
        self._places: list[list[tuple[int, int]]] = []
        self._sums: list[SeriesSample] = []
        self._of_block: list[list[int]] = []
        self._blocks: list[list[float]] = []

    def readings(self, snapshot: Snapshot, life: Life, now: float) -> dict[str, list[SeriesSample]]:
        """The readings of the three families, by name, at `now` (seconds since the epoch)."""
        return {
            f.LEDGER.name: self._readings(snapshot, life),
            f.STARTED.name: [SeriesSample((life.name,), [life.started], 0.0)],
            f.AGE.name: [SeriesSample((life.name,), [self._age(life, now)], 0.0)],
        }

    def _age(self, life: Life, now: float) -> float:
        """Seconds since a life began. A clock that is set back makes no life young, which would count once more."""
        elapsed = time.monotonic()
        if self._first_age is None or self._first_age[0] != life:
            self._first_age = life, max(0.0, now - life.started), elapsed
        _, age, at = self._first_age
        steady = age + elapsed - at
        return steady if now - life.started < steady - _DRIFT_SECONDS else now - life.started

    def _readings(self, snapshot: Snapshot, life: Life) -> list[SeriesSample]:
        """The sums; the previous ones if another scrape takes too long, or is further up in this thread's stack."""
        try:
            if self._lock.wait(this_frame(), _PATIENCE_SECONDS):
                if snapshot.series is not self._store or life != self._life:  # other cells, or another life
                    self._forget()
                self._store = None  # if an exception interrupts, the next scrape starts over
                new = self._learn(snapshot, life)
                if self._update(snapshot.blocks, new):
                    self._shown = [one for one in self._sums if one.values[0] or one.labels[1] == "requests"]
                self._store, self._life = snapshot.series, life
            return self._shown
        finally:
            self._lock.release(this_frame())

    def _learn(self, snapshot: Snapshot, life: Life) -> set[int]:
        """Find the sums of new series. Returns their numbers."""
        found = set()
        for name, (labels, keys) in _KEYS.items():
            series = snapshot.series_of(name)
            for one in series[self._counted[name] :]:
                for key in keys(dict(zip(labels, one.labels, strict=False))):  # a collector's have their service last
                    found.add(self._placed(key, one, life))
            self._counted[name] = max(self._counted[name], len(series))
        return found

    def _placed(self, key: Key, series: Series, life: Life) -> int:
        """The number of the sum with this key, which the series now belongs to."""
        number = self._numbers.setdefault(key, len(self._sums))
        if number == len(self._sums):
            self._places.append([])
            self._sums.append(SeriesSample((life.name, *key), [0.0], 0.0))
        self._places[number].append((series.block, series.start))
        while len(self._of_block) <= series.block:
            self._of_block.append([])
        self._of_block[series.block].append(number)
        return number

    def _update(self, blocks: list[list[float]], new: set[int]) -> bool:
        """Add up again the new sums, and those that changed since the page before. Returns whether there are any."""
        before, self._blocks = self._blocks, blocks
        changed = [of for values, old, of in zip_longest(blocks, before, self._of_block) if of and values != old]
        numbers = new.union(*changed)
        sums = self._sums
        for number in numbers:
            total = _sum(self._places[number], blocks)
            if total != sums[number].values[0]:
                sums[number] = SeriesSample(sums[number].labels, [total], 0.0)
        return bool(numbers)


def _sum(places: list[tuple[int, int]], blocks: list[list[float]]) -> float:
    try:
        if len(places) == 1:
            block, at = places[0]
            return blocks[block][at]
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
