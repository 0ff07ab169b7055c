"""Merges the cells of many processes into one snapshot: the newest file of each process, then sums.

Sums never fall: each part only grows, the sum of the parts is rounded once, and moving a part from one file to another
does not change the exact sum. (To Prometheus, a counter that falls by one bit is a reset.)
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.cells import Series, SeriesSample, Snapshot, width
from anthropic_exporter.metrics.families import FAMILIES, GAUGE, Family
from anthropic_exporter.metrics.stores import file_format as fmt
from anthropic_exporter.metrics.stores.file_format import Record, StoredSeries
from anthropic_exporter.metrics.stores.merged_bounds import MergedBounds

_MAX_SECONDS = 60
_FAMILIES: Mapping[str, Family] = {family.name: family for family in FAMILIES}

Labels = tuple[str, ...]


class Source(Protocol):
    """The cells of one process, or those of all that have ended.

    Attributes:
        key: names the source for as long as the merge lives.
        alive: whether its process runs.
        records: its blocks, oldest first; they only ever grow in number.
    """

    @property
    def key(self) -> str:
        """See above."""
        ...

    @property
    def alive(self) -> bool:
        """See above."""
        ...

    @property
    def records(self) -> Sequence[Record]:
        """See above."""
        ...


class _Part(NamedTuple):
    """Where the floats of a record from `start` to `end` belong: behind `offset` floats of the merged block `block`."""

    block: int
    offset: int
    start: int
    end: int


class StoredGauge(NamedTuple):
    """A gauge of one process: its value, and a Unix time that says how it is merged."""

    value: float
    at: float
    alive: bool


class Merge:
    """Merges sources repeatedly; label sets keep their order and creation time.

    Args:
        bounds: of labels and series, still empty: many processes together exceed the limits of one.
    """

    def __init__(self, bounds: MergedBounds) -> None:
        self._bounds = bounds
        self._blocks: list[list[float]] = []
        #: What each block was summed from.
        self._rows: list[list[list[float]]] = []
        self._by_meaning: dict[tuple[tuple[str, Labels], ...], int] = {}
        self._places: dict[tuple[str, Labels], tuple[int, int]] = {}
        self._series: dict[str, list[Series]] = {}
        self._parts: dict[str, list[tuple[_Part, ...]]] = {}
        self._lock = threading.Lock()

    def folded(self) -> list[SeriesSample]:
        """How many series of processes were folded into `other`, by label."""
        return [SeriesSample((label,), [float(count)], 0.0) for label, count in self._bounds.folded.items()]

    def snapshot(self, sources: Sequence[Source], now: float) -> Snapshot:
        """All numbers of all sources. `now` is seconds since the epoch."""
        with self._lock:
            return self._snapshot(sources, now)

    def _snapshot(self, sources: Sequence[Source], now: float) -> Snapshot:
        records = {source.key: list(source.records) for source in sources}
        self._place_new(records)
        rows: list[list[list[float]]] = [[] for _ in self._blocks]
        gauges: dict[tuple[str, Labels], list[StoredGauge]] = {}
        for source in sources:
            for record, parts in zip(records[source.key], self._parts[source.key], strict=True):
                if parts:
                    self._add_rows(record, parts, rows)
                else:
                    self._add_gauge(record, gauges, alive=source.alive)
        for index, parts_of_block in enumerate(rows):
            # None: its file was deleted, and the shown values stay.
            if parts_of_block and parts_of_block != self._rows[index]:
                self._blocks[index] = _summed(parts_of_block)
                self._rows[index] = parts_of_block
        self._parts = {source.key: self._parts[source.key] for source in sources}
        return Snapshot(list(self._blocks), self._series, self._merged_gauges(gauges, now))

    # -- where a record belongs

    def _place_new(self, records: Mapping[str, Sequence[Record]]) -> None:
        """Find places for new records, the oldest first, so that every process lets the same label values in."""
        for key in records:
            self._parts.setdefault(key, [])
        new = [
            (record.created, record.series, key, number)
            for key, of_source in records.items()
            for number, record in enumerate(of_source)
            if number >= len(self._parts[key])
        ]
        for _, _, key, number in sorted(new, key=lambda one: one[:2]):
            parts = self._parts[key]
            parts.extend([()] * (number + 1 - len(parts)))
            parts[number] = self._parts_of(records[key][number])

    def _parts_of(self, record: Record) -> tuple[_Part, ...]:
        """The places of a record's series; none for a gauge, or for what this version does not know."""
        if not all(_is_summed(one) for one in record.series):
            return ()
        meaning = tuple((one.family, one.labels) for one in self._bounds.fold(record.series))
        block = self._by_meaning.get(meaning)
        if block is not None:
            return (_Part(block, 0, 0, record.shown),)
        if any(series in self._places for series in meaning) or len(set(meaning)) < len(meaning):
            return self._single_parts(record, meaning)
        return (_Part(self._new_block(meaning, record.created), 0, 0, record.shown),)

    def _single_parts(self, record: Record, meaning: tuple[tuple[str, Labels], ...]) -> tuple[_Part, ...]:
        """Another version of the library, or folded labels, put series into other blocks: each finds its own place."""
        parts, start = [], 0
        for series, stored in zip(meaning, record.series, strict=True):
            if series not in self._places:
                self._new_block((series,), record.created)
            block, offset = self._places[series]
            parts.append(_Part(block, offset, start, start + stored.width))
            start += stored.width
        return tuple(parts)

    def _new_block(self, meaning: tuple[tuple[str, Labels], ...], created: float) -> int:
        number, start = len(self._blocks), 0
        for family, labels in meaning:
            end = start + width(_FAMILIES[family])
            self._series.setdefault(family, []).append(Series(labels, number, start, end, created))
            self._places[family, labels] = (number, start)
            start = end
        self._blocks.append([0.0] * start)
        self._rows.append([])
        self._by_meaning[meaning] = number
        return number

    # -- numbers

    def _add_rows(self, record: Record, parts: tuple[_Part, ...], rows: list[list[list[float]]]) -> None:
        shown = fmt.read_shown(record)
        floats = [shown, fmt.read_low_parts(record)] if record.low_parts else [shown]
        for part in parts:
            size = len(self._blocks[part.block])
            for one in floats:
                row = one if len(one) == size else _padded(one[part.start : part.end], part.offset, size)
                rows[part.block].append(row)

    def _add_gauge(self, record: Record, gauges: dict[tuple[str, Labels], list[StoredGauge]], *, alive: bool) -> None:
        stored = record.series[0]
        family = _FAMILIES.get(stored.family)
        if family is None or family.kind != GAUGE or len(stored.labels) != len(family.labels):
            return
        value, at = record.values[0], record.values[-1]
        folded = self._bounds.fold_gauge(stored)
        gauges.setdefault((family.name, folded.labels), []).append(StoredGauge(value, at, alive))

    def _merged_gauges(
        self, gauges: Mapping[tuple[str, Labels], list[StoredGauge]], now: float
    ) -> dict[str, list[SeriesSample]]:
        found: dict[str, list[SeriesSample]] = {}
        for (name, labels), values in gauges.items():
            value = _GAUGE_MERGES.get(name, _newest)(values, now)
            if value is not None:
                found.setdefault(name, []).append(SeriesSample(labels, [value], 0.0))
        return found


_RECENT_SECONDS = 15.0
#: A time that is further ahead was written before the clock was set back.
_AHEAD_SECONDS = 5.0


def _is_summed(stored: StoredSeries) -> bool:
    family = _FAMILIES.get(stored.family)
    return (
        family is not None
        and family.kind != GAUGE
        and stored.width == width(family)
        and len(stored.labels) == len(family.labels)
    )


def _padded(values: list[float], offset: int, size: int) -> list[float]:
    return [0.0] * offset + values + [0.0] * (size - offset - len(values))


def _summed(rows: Sequence[list[float]]) -> list[float]:
    return rows[0] if len(rows) == 1 else [math.fsum(column) for column in zip(*rows, strict=True)]


def _sum_of_living(values: Iterable[StoredGauge], _: float) -> float | None:
    return math.fsum(one.value for one in values if one.alive)


def _age_of_oldest(values: Iterable[StoredGauge], now: float) -> float | None:
    """Seconds since the earliest time that a living process gave; 0 if none gave one."""
    starts = [one.at for one in values if one.alive and one.at > 0.0]
    return max(0.0, now - min(starts)) if starts else 0.0


def _largest_of_a_minute(values: Iterable[StoredGauge], now: float) -> float | None:
    """The largest of the trailing 60 s; processes that ended in it count."""
    recent = (one for one in values if int(now) - _MAX_SECONDS < one.at <= now + _AHEAD_SECONDS)
    return max((one.value for one in recent), default=0.0)


def _latest_time(values: Iterable[StoredGauge], now: float) -> float | None:
    """The latest of several Unix times; what a clock said before it was set back counts only where nothing else is."""
    times = [one.value for one in values]
    return max((at for at in times if at <= now + _AHEAD_SECONDS), default=max(times))


def _newest(values: Iterable[StoredGauge], now: float) -> float | None:
    newest = max(values, key=lambda one: (one.at <= now + _AHEAD_SECONDS, one.at))
    return None if math.isnan(newest.value) else newest.value


def _oldest_recent(values: Iterable[StoredGauge], now: float) -> float | None:
    return min((one.value for one in values if one.alive and now - one.at < _RECENT_SECONDS), default=None)


def _any_recent(values: Iterable[StoredGauge], now: float) -> float | None:
    """The value if a running process gave it lately: facts such as versions come and go with their process."""
    return max((one.value for one in values if one.alive and now - one.at < _RECENT_SECONDS), default=None)


_GAUGE_MERGES: Mapping[str, Callable[[Iterable[StoredGauge], float], float | None]] = {
    f.INFLIGHT.name: _sum_of_living,
    f.OLDEST_INFLIGHT.name: _age_of_oldest,
    f.LONGEST_SILENCE.name: _age_of_oldest,
    f.REQUEST_OUTPUT_TOKENS_MAX.name: _largest_of_a_minute,
    f.REQUEST_COST_MAX.name: _largest_of_a_minute,
    f.LAST_RECORD.name: _latest_time,
    f.LAST_HEARTBEAT.name: _latest_time,
    f.BUILD_INFO.name: _any_recent,
    f.PRICE_SOURCE.name: _any_recent,
    f.PRICES_CHECKED.name: _oldest_recent,
    f.GUARD_FLEET_FOLLOWED.name: _oldest_recent,
}
