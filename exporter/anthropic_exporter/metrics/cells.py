"""Where the numbers live: plain blocks of floats, and which series reads which of them.

`Cells` knows nothing of calls. A later store can hand out blocks of a memory-mapped file in place of lists: whoever
writes only does `block[i] += x`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableSequence, Sequence
from typing import NamedTuple

from anthropic_exporter.metrics.families import HISTOGRAM, Family

Block = MutableSequence[float]


class Series(NamedTuple):
    """One label set of a family: the floats from `start` to `end` of the block with the number `block`.

    A counter has one. A histogram has one a bucket (not cumulative), then +Inf, then the sum of what was observed.
    """

    labels: tuple[str, ...]
    block: int
    start: int
    end: int
    created: float


class Reading(NamedTuple):
    """One series at the moment of a scrape."""

    labels: tuple[str, ...]
    values: list[float]
    created: float


class Snapshot(NamedTuple):
    """All numbers at the moment of a scrape.

    `blocks` are copies. `series` are those of each family, in an order that never changes; of a family that grew since,
    only those whose block was copied belong to it. `gauges` are readings that nobody stores, by family name.
    """

    blocks: list[list[float]]
    series: Mapping[str, Sequence[Series]]
    gauges: Mapping[str, Sequence[Reading]]

    def series_of(self, family: str) -> Sequence[Series]:
        """The stored series of a family."""
        series = self.series.get(family, ())
        return series if not series or series[-1].block < len(self.blocks) else self._older(series)

    def _older(self, series: Sequence[Series]) -> list[Series]:
        return [one for one in series if one.block < len(self.blocks)]

    def readings(self) -> dict[str, list[Reading]]:
        """Every series with its numbers, by family name."""
        found = {name: [self._reading(one) for one in self.series_of(name)] for name in list(self.series)}
        found.update({name: list(readings) for name, readings in self.gauges.items()})
        return found

    def _reading(self, one: Series) -> Reading:
        return Reading(one.labels, self.blocks[one.block][one.start : one.end], one.created)


def width(family: Family) -> int:
    """How many floats one series of the family takes."""
    return len(family.buckets) + 2 if family.kind == HISTOGRAM else 1


class Cells:
    """All stored series, by family. Writers and `copy()` are serialised by the recorder's lock.

    Args:
        clock: seconds since the epoch, for `_created`.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._blocks: list[Block] = []
        #: The series of each family, oldest first. They only ever grow.
        self.series: dict[str, list[Series]] = {}

    def block(self, series: Sequence[tuple[Family, tuple[str, ...]]], spare: int = 0) -> Block:
        """Make one block for several new series, laid out one after the other in the order given.

        `spare` floats more stand behind them; no series shows those.
        """
        block: Block = [0.0] * (sum(width(family) for family, _ in series) + spare)
        created, number, start = self._clock(), len(self._blocks), 0
        self._blocks.append(block)
        for family, labels in series:
            end = start + width(family)
            self.series.setdefault(family.name, []).append(Series(labels, number, start, end, created))
            start = end
        return block

    def copy(self) -> list[list[float]]:
        """Copy every block. Nothing is formatted here: the lock is held only for the copy."""
        return [list(block) for block in self._blocks]
