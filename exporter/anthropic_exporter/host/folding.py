"""Folds the files of ended processes into one, safe against a crash at any moment.

The new file is written beside the old one and replaces it by a rename. It names the processes that it contains, and
readers skip those. Only then are their files marked and removed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.stores import file_format as fmt
from anthropic_exporter.metrics.stores.cell_file import CellFile
from anthropic_exporter.metrics.stores.cell_reader import CellReader
from anthropic_exporter.metrics.stores.file_format import Header, Record, StoredSeries
from anthropic_exporter.metrics.stores.merged_bounds import MergedBounds

NAME = "ended.cells"
#: How long the file lists a process after its own file was removed: a slow reader may still have that open.
_NAMED_SECONDS = 120.0
#: Gauges without meaning once their process has ended.
_OF_THE_LIVING = (f.INFLIGHT.name, f.OLDEST_INFLIGHT.name, f.LONGEST_SILENCE.name)

Key = tuple[StoredSeries, ...]


def fold(
    folder: Path,
    before: CellReader | None,
    ended: Sequence[CellReader],
    bounds: MergedBounds,
    now: float,
) -> None:
    """Add the files of ended processes to the file of all that have ended.

    Args:
        folder: where the files are.
        before: the file of those that ended earlier; None for the first.
        ended: the files to add; no process writes to them.
        bounds: of labels and series, still empty.
        now: seconds since the epoch.

    Raises:
        OSError: the disk is full, or the folder is gone; everything is as before.
    """
    header = _header(before, ended, now)
    path = folder / f"{NAME}.{os.getpid()}.new"
    path.unlink(missing_ok=True)
    file = CellFile(path, header)
    try:
        _write(file, [record for one in _oldest_first(before, ended) for record in one.refresh()], bounds)
        os.fsync(file.fd)
        path.replace(folder / NAME)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        file.close()
    for one in ended:
        one.mark_folded()
    for one in ended:
        (folder / f"{one.header.identity}.cells").unlink(missing_ok=True)


def move(ended: CellReader, old: Path, new: Path, identity: str, bounds: MergedBounds) -> None:
    """Move the file of all that have ended to another folder, where it is the file of one more that has ended.

    Args:
        ended: the file.
        old: its folder.
        new: the other folder.
        identity: a name that no other file there has.
        bounds: of labels and series, still empty.

    Raises:
        OSError: the disk is full, or a folder is gone; everything is as before.
    """
    path = new / f"{identity}.new"
    file = CellFile(path, ended.header._replace(identity=identity, folded={}))
    try:
        _write(file, ended.refresh(), bounds)
        os.fsync(file.fd)
        (old / NAME).unlink()
        path.rename(new / f"{identity}.cells")
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        file.close()


def count_ended(reader: CellReader) -> tuple[int, int]:
    """How many processes of a file shut down cleanly, and how many did not; nobody counts in it any more."""
    header = reader.header
    if header.exited or header.lost:
        return header.exited, header.lost
    return int(reader.exited), int(not reader.exited)


def _oldest_first(before: CellReader | None, ended: Sequence[CellReader]) -> list[CellReader]:
    return [*([before] if before is not None else []), *ended]


def _header(before: CellReader | None, ended: Sequence[CellReader], now: float) -> Header:
    earlier = Header("ended") if before is None else before.header
    recent = {identity: at for identity, at in earlier.folded.items() if now - at < _NAMED_SECONDS}
    counts = [count_ended(one) for one in ended]
    return earlier._replace(
        folded={**recent, **{one.header.identity: now for one in ended}},
        exited=earlier.exited + sum(exited for exited, _ in counts),
        lost=earlier.lost + sum(lost for _, lost in counts),
    )


def _write(file: CellFile, records: Iterable[Record], bounds: MergedBounds) -> None:
    sums: dict[Key, tuple[float, list[list[float]]]] = {}
    gauges: dict[Key, list[float]] = {}
    for record in sorted(records, key=lambda one: (one.created, one.series)):
        key = bounds.fold(record.series)
        if fmt.gauge_of(record) is not None:
            _keep_gauge(gauges, key, list(record.values))
        else:
            sums.setdefault(key, (record.created, []))[1].extend(_rows(record))
    for key, (created, rows) in sums.items():
        file.add_filled(key, created, _exact_sums(rows), low_parts=True)
    for key, values in gauges.items():
        file.add_filled(key, 0.0, values)


def _rows(record: Record) -> list[list[float]]:
    shown = fmt.read_shown(record)
    return [shown, fmt.read_low_parts(record)] if record.low_parts else [shown]


def _exact_sums(rows: Sequence[Sequence[float]]) -> list[float]:
    """The sums of columns, then their rounding errors: together they are exact."""
    columns = list(zip(*rows, strict=True))
    sums = [math.fsum(column) for column in columns]
    return [*sums, *(math.fsum((*column, -total)) for column, total in zip(columns, sums, strict=True))]


def _keep_gauge(gauges: dict[Key, list[float]], key: Key, values: list[float]) -> None:
    """Keep the largest of a minute, and the newest of everything else."""
    name, kept = key[0].family, gauges.get(key)
    if name in _OF_THE_LIVING:
        return
    by_size = name in (f.REQUEST_OUTPUT_TOKENS_MAX.name, f.REQUEST_COST_MAX.name)
    if kept is None or (values > kept if by_size and abs(values[1] - kept[1]) < 60 else values[1] > kept[1]):  # noqa: PLR2004
        gauges[key] = values
