"""Stores the numbers: plain blocks of floats, and which series reads which of them.

`Cells` knows nothing of calls. Writers only do `block[i] += x`, so a block may be a list or part of a mapped file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableSequence, Sequence
from typing import Any, NamedTuple

from anthropic_exporter.metrics import exact_sum
from anthropic_exporter.metrics.families import HISTOGRAM, Family

Block = MutableSequence[float]


class ExactSums(NamedTuple):
    """Where a block keeps `number` sums that stay exact (`exact_sum`), each of the three side by side.

    `totals` is the place of the first shown sum, `added` that of what was added since it was settled, `rests` that of
    what was rounded off.
    """

    totals: int
    added: int
    rests: int
    number: int


class Series(NamedTuple):
    """One label set of a family: the floats from `start` to `end` of the block with the number `block`.

    A counter has one. A histogram has one a bucket (not cumulative), then +Inf, then the sum of what was observed.
    """

    labels: tuple[str, ...]
    block: int
    start: int
    end: int
    created: float


class Meaning(NamedTuple):
    """What the floats of a block are: its series in order, the Unix time since when they count, and its exact sums."""

    series: tuple[tuple[Family, tuple[str, ...]], ...]
    created: float
    sums: ExactSums | None


class SeriesSample(NamedTuple):
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
    gauges: Mapping[str, Sequence[SeriesSample]]

    def series_of(self, family: str) -> Sequence[Series]:
        """The stored series of a family."""
        series = self.series.get(family, ())
        return series if not series or series[-1].block < len(self.blocks) else self._older(series)

    def _older(self, series: Sequence[Series]) -> list[Series]:
        return [one for one in series if one.block < len(self.blocks)]

    def readings(self) -> dict[str, list[SeriesSample]]:
        """Every series with its numbers, by family name."""
        found = {name: [self._reading(one) for one in self.series_of(name)] for name in list(self.series)}
        found.update({name: list(readings) for name, readings in self.gauges.items()})
        return found

    def _reading(self, one: Series) -> SeriesSample:
        return SeriesSample(one.labels, self.blocks[one.block][one.start : one.end], one.created)


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
        #: Copies a block, as `restore` takes it. No method of ours, because each call that is recorded copies some.
        self.saved: Callable[[Any], Any] = list
        self.blocks: list[Block] = []
        self.meanings: list[Meaning] = []
        self._made: dict[tuple[str, tuple[str, ...]], tuple[Meaning, Block]] = {}
        #: The series of each family, oldest first. They only ever grow.
        self.series: dict[str, list[Series]] = {}

    def block(
        self, series: Sequence[tuple[Family, tuple[str, ...]]], spare: int = 0, sums: ExactSums | None = None
    ) -> Block:
        """The block of several series, made if it does not exist; laid out one after the other in the order given.

        An exception may interrupt it at any instruction; calling it again completes the work.
        `spare` floats more stand behind them; no series shows those. `sums` are the sums of the block that `settle`
        brings up to date.
        """
        family, labels = series[0]
        made = self._made.get((family.name, labels))
        if made is None:
            meaning = Meaning(tuple(series), self._clock(), sums)
            block = self._make(meaning, sum(width(family) for family, _ in series) + spare)
            made = self._made.setdefault((family.name, labels), (meaning, block))
        self._note(*made)
        return made[1]

    def _make(self, meaning: Meaning, floats: int) -> Block:  # noqa: ARG002 - a store that others read writes it down
        return [0.0] * floats

    def _note(self, meaning: Meaning, block: Block) -> None:
        if not self.blocks or self.blocks[-1] is not block:
            self.blocks.append(block)
        if len(self.meanings) < len(self.blocks):
            self.meanings.append(meaning)
        number, start = len(self.blocks) - 1, 0
        series, created, _ = meaning
        for family, labels in series:
            end = start + width(family)
            shown = self.series.setdefault(family.name, [])
            if not shown or (shown[-1].block, shown[-1].start) < (number, start):
                shown.append(Series(labels, number, start, end, created))
            start = end

    def restore(self, block: Block, saved: Any) -> None:
        """Bring a block back to how it was when it was saved."""
        block[:] = saved

    def settle(self, block: Block, sums: ExactSums) -> None:
        """Bring the shown sums of a block up to date."""
        exact_sum.settle(block, *sums)

    def copy(self) -> list[list[float]]:
        """Copy every block. Nothing is formatted here: the lock is held only for the copy."""
        return [list(block) for block in self.blocks]
