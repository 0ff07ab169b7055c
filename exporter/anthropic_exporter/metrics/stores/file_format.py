"""The format of a cell file: a header page, then records, each with the label sets of one block and its floats.

All numbers are native 8-byte words. The word `COMMITTED` says how many bytes readers may read; it is stored last, so
that a record is whole or invisible whatever happens to its writer. Floats change in place, one store at a time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from anthropic_exporter.metrics.cells import Block, ExactSums

MAGIC = int.from_bytes(b"AXCELLS\x01", "little")
VERSION = 1
HEADER_BYTES = 4096
WORD = 8
#: Words of the header: what the file is, its version, the bytes that readers may read, whether its process said
#: goodbye, the length of the JSON text about the process that follows at `TEXT_AT`, whether the numbers are part of
#: the file of ended processes by now, and whether they are a copy, which is behind what the process has counted.
MAGIC_WORD, VERSION_WORD, COMMITTED, EXITED, TEXT_LENGTH, FOLDED, COPIED = range(7)
TEXT_AT = 64
#: Words at the start of a record: its length in bytes, the number of its floats, the length of its text, and the Unix
#: time since when it counts, a float.
LENGTH, FLOATS, TEXT, CREATED = range(4)
RECORD_WORDS = 4
#: A stored gauge: its value, and the Unix time that decides between the values of several processes.
GAUGE_FLOATS = 2
#: A file above this size is not one of these: the largest recorder needs a tenth of it.
MAX_BYTES = 256 << 20


class StoredSeries(NamedTuple):
    """One label set as a file names it; its family may be unknown to the reader, so it says how many floats it has."""

    family: str
    labels: tuple[str, ...]
    width: int


class Record(NamedTuple):
    """One block of floats and their meaning.

    The first `shown` floats belong to `series`, one series after the other. `sums` says where dollars gather before
    they are settled; such a block ends with a journal of three floats a sum and a counter of half settlements. With
    `low_parts`, each shown float has a second one, `shown` further on, that holds what did not fit into the first.
    """

    series: tuple[StoredSeries, ...]
    created: float
    values: Block
    shown: int
    sums: ExactSums | None = None
    low_parts: bool = False


def record_of(
    series: tuple[StoredSeries, ...],
    created: float,
    values: Block,
    sums: ExactSums | None = None,
    *,
    low_parts: bool = False,
) -> Record:
    """A record of `series` in `values`."""
    return Record(series, created, values, sum(one.width for one in series), sums, low_parts)


class Header(NamedTuple):
    """The process that a file belongs to. `pid` is the number in its own process namespace.

    Of the file of ended processes, `folded` are the identities of those that were added to it not long ago, with the
    Unix time of it, and `exited` and `lost` say how many ended with and without a goodbye.
    """

    identity: str
    pid: int = 0
    program: str = ""
    folded: Mapping[str, float] = MappingProxyType({})
    exited: int = 0
    lost: int = 0


def encode_header(header: Header) -> bytes:
    """The JSON text of a header."""
    return json.dumps({**header._asdict(), "folded": dict(header.folded)}).encode()


def decode_header(text: bytes) -> Header:
    """A header from its text.

    Raises:
        ValueError: the text is not a header.
    """
    try:
        return Header(**json.loads(text))
    except TypeError as error:
        raise ValueError("not the header of a cell file") from error


def encode_meaning(series: Sequence[StoredSeries], sums: ExactSums | None, *, low_parts: bool) -> bytes:
    """The text of a record: what its floats mean. A lone surrogate of a label value survives."""
    return json.dumps([list(series), sums, low_parts]).encode()


def decode_meaning(text: bytes) -> tuple[tuple[StoredSeries, ...], ExactSums | None, bool]:
    """The meaning of a record's floats from its text."""
    series, sums, low_parts = json.loads(text)
    stored = tuple(StoredSeries(family, tuple(labels), width) for family, labels, width in series)
    return stored, None if sums is None else ExactSums(*sums), low_parts


def padded(length: int) -> int:
    """The next multiple of a word."""
    return -(-length // WORD) * WORD


def header_bytes(text_length: int) -> int:
    """The length of a header with a text of so many bytes: whole pages."""
    return -(-(TEXT_AT + text_length) // HEADER_BYTES) * HEADER_BYTES


def journal_floats(sums: ExactSums | None) -> int:
    """How many floats the journal of a block takes."""
    return 0 if sums is None else 3 * sums.number + 1


def read_shown(record: Record) -> list[float]:
    """The numbers that a record shows now, while another process may write to it.

    Never smaller than at an earlier time: a settlement shows the numbers before it until it is complete.
    """
    values, shown = record.values, record.shown
    if record.sums is None:
        return list(values[:shown])
    floats = _stable_copy(values)
    totals, number = record.sums.totals, record.sums.number
    settling = int(floats[-1]) % 2
    base = len(floats) - 1 - 3 * number if settling else totals
    for index in range(number):
        at = base + index
        floats[totals + index] = floats[at] + (floats[at + number] + floats[at + 2 * number])
    return floats[:shown]


def gauge_of(record: Record) -> StoredSeries | None:
    """The series of a record that holds a gauge and the time that goes with it; None for sums."""
    return record.series[0] if len(record.series) == 1 and record.series[0].width == GAUGE_FLOATS else None


def read_low_parts(record: Record) -> list[float]:
    """What did not fit into the shown numbers of a record."""
    return list(record.values[record.shown : 2 * record.shown])


def _stable_copy(values: Block) -> list[float]:
    """The floats at a moment at which no settlement began or ended. Settlements are rare: seconds apart."""
    while True:
        before = values[-1]
        floats = list(values)
        if values[-1] == before:
            return floats
