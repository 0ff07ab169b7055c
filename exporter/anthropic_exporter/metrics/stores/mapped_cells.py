"""Cells in a file that other processes of the service read: the same blocks and writes; kill -9 loses nothing."""

from __future__ import annotations

import array
import itertools
from collections.abc import Callable
from operator import methodcaller
from typing import Any

from anthropic_exporter.metrics import exact_sum
from anthropic_exporter.metrics.cells import Block, Cells, ExactSums, Meaning, width
from anthropic_exporter.metrics.families import Family
from anthropic_exporter.metrics.stores import file_format as fmt
from anthropic_exporter.metrics.stores.cell_file import CellFile
from anthropic_exporter.metrics.stores.file_format import Record, StoredSeries

_serials = itertools.count()


def next_serial() -> int:
    """A number that distinguishes the cells of one recorder from all others of this process."""
    return next(_serials)


class MappedCells(Cells):
    """Cells in a file that is made when the first block is wanted. Blocks that find no room there are plain lists.

    Args:
        clock: seconds since the epoch, for `_created`.
        make_file: makes the file, and shows it to other processes.
        failed: called with the reason if there is no file, or no room in it.
    """

    def __init__(
        self, clock: Callable[[], float], make_file: Callable[[], CellFile], failed: Callable[[OSError], None]
    ) -> None:
        super().__init__(clock)
        self.saved = methodcaller("tobytes")  # a list of the floats of a memoryview takes twenty times as long
        self._make_file, self._failed = make_file, failed
        self.file: CellFile | None = None
        #: Distinguishes these cells from all others of this process.
        self.serial = next_serial()
        self._unshared: list[Record] = []
        self._gauges: dict[tuple[str, tuple[str, ...]], Block] = {}

    @property
    def lacks_room(self) -> bool:
        """Whether other processes cannot see some of the blocks."""
        return bool(self._unshared)

    def make_file_by(self, make_file: Callable[[], CellFile], failed: Callable[[OSError], None]) -> None:
        """Make the file in this way if there is none yet, and report failures there."""
        self._make_file, self._failed = make_file, failed

    def open_file(self) -> None:
        """Make the file now, if that is possible."""
        try:
            if self.file is None:
                self.file = self._make_file()
        except OSError as error:
            self._failed(error)

    def records(self) -> list[Record]:
        """Every block of this process, those that other processes cannot see included."""
        return [*(self.file.records if self.file is not None else ()), *self._unshared]

    def gauge(self, family: Family, labels: tuple[str, ...]) -> Block:
        """The value and the time of a gauge as other processes see it."""
        block = self._gauges.get((family.name, labels))
        if block is None:
            stored = (StoredSeries(family.name, labels, fmt.GAUGE_FLOATS),)
            block = self._gauges[family.name, labels] = self._add(stored, self._clock(), [0.0] * fmt.GAUGE_FLOATS, None)
        return block

    def adopt(self, cells: Cells) -> dict[int, Block]:
        """Take over the blocks and numbers of other cells; returns the new blocks by the `id` of the old ones."""
        moved: dict[int, Block] = {}
        for meaning, block in zip(cells.meanings, cells.blocks, strict=True):
            floats = list(block)
            if meaning.sums is not None and not isinstance(cells, MappedCells):
                floats += [0.0] * fmt.journal_floats(meaning.sums)
            moved[id(block)] = new = self._add(stored(meaning), meaning.created, floats, meaning.sums)
            self._note(meaning, new)
        return moved

    def restore(self, block: Block, saved: Any) -> None:
        """Bring a block back to how it was when it was saved."""
        block[:] = array.array("d", saved)

    def settle(self, block: Block, sums: ExactSums) -> None:
        """Update the shown sums. No reader sees a sum fall, wherever this is interrupted.

        While the counter behind the journal is odd, readers take the journal, which holds the sums as they were.
        """
        start, number, counter = sums.totals, 3 * sums.number, len(block) - 1
        journal = counter - number
        if int(block[counter]) % 2:  # an exception came in between; the sums themselves are whole
            block[counter] += 1.0
        now = list(block[start : start + number])
        block[journal:counter] = array.array("d", now)
        after = array.array("d", exact_sum.settled(now, sums.number))
        block[counter] += 1.0
        block[start : start + number] = after
        block[counter] += 1.0

    def _make(self, meaning: Meaning, floats: int) -> Block:
        zeros = [0.0] * (floats + fmt.journal_floats(meaning.sums))
        return self._add(stored(meaning), meaning.created, zeros, meaning.sums)

    def _add(
        self, series: tuple[StoredSeries, ...], created: float, floats: list[float], sums: ExactSums | None
    ) -> Block:
        try:
            if self.file is None:
                self.file = self._make_file()
            return self.file.add_filled(series, created, floats, sums=sums).values
        except OSError as error:
            self._failed(error)
            values = array.array("d", floats)
            self._unshared.append(fmt.record_of(series, created, values, sums))
            return values


def stored(meaning: Meaning) -> tuple[StoredSeries, ...]:
    """The series of a block as a file names them."""
    return tuple(StoredSeries(family.name, labels, width(family)) for family, labels in meaning.series)
