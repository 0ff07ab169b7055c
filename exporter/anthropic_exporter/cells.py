"""Where the numbers live: plain blocks of floats, and which series reads which of them.

`Cells` knows nothing of calls. A later store can hand out blocks of a memory-mapped file in place of lists: whoever
writes only does `block[i] += x`.
"""

from __future__ import annotations

from collections.abc import Callable, MutableSequence, Sequence
from typing import NamedTuple

from .families import HISTOGRAM, Family

Block = MutableSequence[float]


class Series(NamedTuple):
    """One label set of a family: `width` floats of `block` from `offset` on.

    A counter has one. A histogram has one a bucket (not cumulative), then +Inf, then the sum of what was observed.
    """

    labels: tuple[str, ...]
    block: Block
    offset: int
    created: float


class Reading(NamedTuple):
    """One series at the moment of a scrape."""

    labels: tuple[str, ...]
    values: list[float]
    created: float


def width(family: Family) -> int:
    """How many floats one series of the family takes."""
    return len(family.buckets) + 2 if family.kind == HISTOGRAM else 1


class Cells:
    """All stored series, by family. Writers and `read()` are serialised by the recorder's lock.

    Args:
        clock: seconds since the epoch, for `_created`.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._families: dict[str, Family] = {}
        self._series: dict[str, list[Series]] = {}

    def block(self, series: Sequence[tuple[Family, tuple[str, ...]]]) -> Block:
        """Make one block for several new series, laid out one after the other in the order given."""
        block: Block = [0.0] * sum(width(family) for family, _ in series)
        created, offset = self._clock(), 0
        for family, labels in series:
            self._families[family.name] = family
            self._series.setdefault(family.name, []).append(Series(labels, block, offset, created))
            offset += width(family)
        return block

    def read(self) -> dict[str, list[Reading]]:
        """Copy every series, by family name. Nothing is formatted here: the lock is held only for the copy."""
        return {name: _copies(width(self._families[name]), series) for name, series in self._series.items()}


def _copies(floats: int, series: list[Series]) -> list[Reading]:
    return [
        Reading(labels, list(block[offset : offset + floats]), created) for labels, block, offset, created in series
    ]
