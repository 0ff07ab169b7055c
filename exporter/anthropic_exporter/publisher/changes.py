"""Finds the cells that changed since the queue last accepted a message. Pure: snapshots in, messages out.

What the queue did not accept stays changed, so nothing is buffered while a queue is down: memory is one copy of the
cells, however long the outage.
"""

from __future__ import annotations

import functools
import math
import operator
from array import array
from collections.abc import Iterator
from typing import NamedTuple

from anthropic_exporter.metrics.cells import Snapshot
from anthropic_exporter.metrics.families import FAMILIES, Family
from anthropic_exporter.transport.cells_message import CellsMessage, Definition, Layout

#: NATS and Kafka refuse messages above 1 MB by default; such a part takes 600 kB at most.
_MOST_DEFINITIONS = 2_000
_MOST_CELLS = 20_000
_FAMILY = {family.name: family for family in FAMILIES}
_GONE = math.nan


class Origin(NamedTuple):
    """The fields that every message of a publisher has."""

    identity: str
    epoch: int
    service: str
    host: str
    period_seconds: float
    version: str
    lasting: bool = False
    machine: str = ""


class Changed(NamedTuple):
    """What a snapshot has that the queue has not accepted yet.

    `blocks`, `gauges` and `defined` are what the queue knows once it has accepted the message.
    """

    definitions: list[Definition]
    numbers: list[int]
    values: list[float]
    full: bool
    blocks: list[list[float]]
    gauges: dict[int, float]
    defined: int


class Changes:
    """Numbers the cells of one epoch and remembers which of them the queue accepted.

    Args:
        origin: of the messages.
    """

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self._sequence = self._accepted_sequence = 0
        self._next = 0
        self._definitions: list[Definition] = []
        self._defined = 0
        self._firsts: list[int] = []
        self._lengths: list[int] = []
        self._taken: list[list[float]] = []
        self._gauge_numbers: dict[tuple[str, tuple[str, ...]], int] = {}
        self._gauges_taken: dict[int, float] = {}

    def find(self, snapshot: Snapshot, *, full: bool = False) -> Changed:
        """What changed since the last `accepted`; everything if `full`."""
        self._number_blocks(snapshot)
        gauges = self._read_gauges(snapshot)
        blocks = [block[:length] for block, length in zip(snapshot.blocks, self._lengths, strict=True)]
        pairs = [*self._changed_cells(blocks, full=full), *self._changed_gauges(gauges, full=full)]
        return Changed(
            self._definitions[0 if full else self._defined :],
            [number for number, _ in pairs],
            [value for _, value in pairs],
            full,
            blocks,
            gauges,
            len(self._definitions),
        )

    def accepted(self, changed: Changed) -> None:
        """The queue accepted it."""
        self._taken, self._gauges_taken, self._defined = changed.blocks, changed.gauges, changed.defined
        self._accepted_sequence = self._sequence

    def messages(
        self, changed: Changed, now: float, *, final: bool = False, replaces: tuple[str, ...] = ()
    ) -> Iterator[CellsMessage]:
        """The messages that say it, in order; at least one, which says that this publisher lives."""
        # Cells come with the last definitions, or later: a reader drops cells without a definition.
        before = max(0, math.ceil(len(changed.definitions) / _MOST_DEFINITIONS) - 1)
        parts = before + max(1, math.ceil(len(changed.numbers) / _MOST_CELLS))
        unsent = self._sequence - self._accepted_sequence
        for part in range(parts):
            self._sequence += 1
            last = part == parts - 1
            own = slice(max(0, part - before) * _MOST_CELLS, max(0, part - before + 1) * _MOST_CELLS)
            yield CellsMessage(
                identity=self.origin.identity,
                epoch=self.origin.epoch,
                sequence=self._sequence,
                service=self.origin.service,
                host=self.origin.host,
                sent_at=now,
                period_seconds=self.origin.period_seconds,
                version=self.origin.version,
                full=changed.full and last,
                final=final and last,
                lasting=self.origin.lasting,
                replaces=replaces,
                machine=self.origin.machine,
                unsent=0 if part else unsent,
                definitions=tuple(changed.definitions[part * _MOST_DEFINITIONS : (part + 1) * _MOST_DEFINITIONS]),
                numbers=array("I", changed.numbers[own]),
                values=array("d", changed.values[own]),
            )

    def _number_blocks(self, snapshot: Snapshot) -> None:
        """Give numbers to the cells of new blocks, and define their series."""
        known, new = len(self._firsts), len(snapshot.blocks)
        if known == new:
            return
        series = [
            (one, name) for name in list(snapshot.series) for one in snapshot.series_of(name) if one.block >= known
        ]
        lengths = [0] * (new - known)
        for one, _ in series:
            lengths[one.block - known] = max(lengths[one.block - known], one.end)
        for length in lengths:
            self._firsts.append(self._next)
            self._lengths.append(length)
            self._next += length
        for one, name in sorted(series, key=operator.itemgetter(0, 1)):
            first = self._firsts[one.block] + one.start
            self._definitions.append(Definition(first, _layout(name), one.labels, one.created))

    def _read_gauges(self, snapshot: Snapshot) -> dict[int, float]:
        found = dict.fromkeys(self._gauges_taken, _GONE)
        for name, readings in snapshot.gauges.items():
            for one in readings:
                found[self._gauge_number(name, one.labels)] = one.values[0]
        return found

    def _gauge_number(self, name: str, labels: tuple[str, ...]) -> int:
        key = (name, labels)
        number = self._gauge_numbers.get(key)
        if number is None:
            number = self._gauge_numbers[key] = self._next
            self._next += 1
            self._definitions.append(Definition(number, _layout(name), labels, 0.0))
        return number

    def _changed_cells(self, blocks: list[list[float]], *, full: bool) -> Iterator[tuple[int, float]]:
        taken = [] if full else self._taken
        for index, block in enumerate(blocks):
            before = taken[index] if index < len(taken) else []
            if block == before:
                continue
            first = self._firsts[index]
            if len(before) != len(block):
                before = [0.0] * len(block)  # a cell that was never sent is 0
            for offset, value in enumerate(block):
                if value != before[offset]:
                    yield first + offset, value

    def _changed_gauges(self, gauges: dict[int, float], *, full: bool) -> Iterator[tuple[int, float]]:
        for number, value in gauges.items():
            before = self._gauges_taken.get(number)
            # NaN does not equal itself: a removed gauge is sent once.
            if full or before is None or (value != before and not (math.isnan(value) and math.isnan(before))):
                yield number, value


@functools.cache
def _layout(name: str) -> Layout:
    family: Family = _FAMILY[name]
    return Layout(family.name, family.kind, family.labels, tuple(map(float, family.buckets)))
