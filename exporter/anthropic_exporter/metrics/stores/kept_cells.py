"""Copies the plain cells of this process into a file that outlives it: what changed, a few times a second.

A process that is alone counts in plain lists; the next process of the service finds the copy, however this one ends.
"""

from __future__ import annotations

import array
from typing import NamedTuple

from anthropic_exporter.metrics.cells import Block, Cells, Meaning
from anthropic_exporter.metrics.families import Family
from anthropic_exporter.metrics.stores import file_format as fmt
from anthropic_exporter.metrics.stores.cell_file import CellFile
from anthropic_exporter.metrics.stores.file_format import Record, StoredSeries
from anthropic_exporter.metrics.stores.mapped_cells import next_serial, stored


class _Kept(NamedTuple):
    """One block: how it was when it was copied last, and its place in the file."""

    record: Record
    place: Block


class KeptCells:
    """The copy of one process. Blocks that find no room in the file are kept in memory alone.

    Attributes:
        file: where the copy is; None as long as it is not made.
        failure: why a block found no room in the file; None if all did, or once it was reported.
        lacks_room: whether there is such a block.
        serial: distinguishes these cells from all others of this process.
    """

    def __init__(self) -> None:
        self.file: CellFile | None = None
        self.failure: OSError | None = None
        self.lacks_room = False
        self.serial = next_serial()
        self._kept: list[_Kept] = []
        self._records: list[Record] = []
        self._gauges: dict[tuple[str, tuple[str, ...]], Block] = {}

    def records(self) -> list[Record]:
        """Every block as it was when it was copied last."""
        return list(self._records)

    def keep(self, cells: Cells) -> None:
        """Copy what changed. The sums of `cells` are settled.

        The file is written first: what a page shows is never more than what the next process finds.
        """
        for number, (meaning, block) in enumerate(zip(cells.meanings, cells.blocks, strict=False)):
            if number == len(self._kept):
                self._add(meaning)
            record, place = self._kept[number]
            if record.values != block:
                floats = list(block)
                place[:] = array.array("d", floats[: record.shown])
                record.values[:] = floats

    def _add(self, meaning: Meaning) -> None:
        """Add a block of zeros: if an exception interrupts this, zeros may be added again."""
        series = stored(meaning)
        floats = sum(one.width for one in series)
        place = self._place(series, meaning.created, floats)
        record = fmt.record_of(series, meaning.created, [0.0] * floats)
        self._records.append(record)
        self._kept.append(_Kept(record, place))

    def gauge(self, family: Family, labels: tuple[str, ...]) -> Block:
        """The value and the time of a gauge as other processes see it."""
        block = self._gauges.get((family.name, labels))
        if block is None:
            series = (StoredSeries(family.name, labels, fmt.GAUGE_FLOATS),)
            block = self._place(series, 0.0, fmt.GAUGE_FLOATS)
            self._records.append(fmt.record_of(series, 0.0, block))
            self._gauges[family.name, labels] = block
        return block

    def _place(self, series: tuple[StoredSeries, ...], created: float, floats: int) -> Block:
        """Zeros in the file."""
        try:
            assert self.file is not None  # noqa: S101 - it is made before anything is copied
            return self.file.add(series, created, floats).values
        except OSError as error:
            self.failure, self.lacks_room = error, True
            return array.array("d", bytes(floats * fmt.WORD))
