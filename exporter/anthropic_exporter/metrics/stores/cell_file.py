"""The file that one process maps its cells into; only that process writes to it.

Space is reserved on the disk before it is mapped: a page that cannot be backed would end the process (SIGBUS). The
file grows by whole extents, each mapped on its own, so that no block ever moves.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from pathlib import Path
from typing import Any

from anthropic_exporter.metrics.cells import ExactSums
from anthropic_exporter.metrics.stores import file_format as fmt
from anthropic_exporter.metrics.stores.file_format import Header, Record, StoredSeries

_EXTENT_BYTES = 64 << 10
_LARGEST_EXTENT_BYTES = 1 << 20
_ZEROS = bytes(_EXTENT_BYTES)


class CellFile:
    """A new cell file at `path`, readable and writable by this user alone.

    Raises:
        OSError: the file cannot be made, or its space cannot be reserved.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.header = header
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._size = 0
        #: The records that were added, oldest first.
        self.records: list[Record] = []
        try:
            text = fmt.encode_header(header)
            self._map_extent(_EXTENT_BYTES * -(-fmt.header_bytes(len(text)) // _EXTENT_BYTES))
        except OSError:
            self.close()
            raise
        self._header_words = self._words
        self._write_header(text)

    def _write_header(self, text: bytes) -> None:
        words = self._words
        self._bytes[fmt.TEXT_AT : fmt.TEXT_AT + len(text)] = text
        words[fmt.TEXT_LENGTH], words[fmt.VERSION_WORD] = len(text), fmt.VERSION
        self._used = words[fmt.COMMITTED] = fmt.header_bytes(len(text))
        words[fmt.MAGIC_WORD] = fmt.MAGIC

    def _map_extent(self, length: int) -> None:
        """Reserve and map `length` further bytes."""
        start = self._size
        _reserve(self.fd, start, length)
        mapped = mmap.mmap(self.fd, length, offset=start)
        self._base, self._size = start, start + length
        self._bytes = memoryview(mapped)
        self._words, self._floats = self._bytes.cast("Q"), self._bytes.cast("d")

    def add(
        self,
        series: tuple[StoredSeries, ...],
        created: float,
        floats: int,
        *,
        sums: ExactSums | None = None,
        low_parts: bool = False,
    ) -> Record:
        """Add a record of `floats` zeros, visible to readers from now on.

        Raises:
            OSError: the disk is full; nothing has changed.
        """
        return self.add_filled(series, created, [0.0] * floats, sums=sums, low_parts=low_parts)

    def add_filled(
        self,
        series: tuple[StoredSeries, ...],
        created: float,
        values: list[float],
        *,
        sums: ExactSums | None = None,
        low_parts: bool = False,
    ) -> Record:
        """Add a record that holds `values` from the moment that readers see it.

        Raises:
            OSError: the disk is full; nothing has changed.
        """
        text = fmt.encode_meaning(series, sums, low_parts=low_parts)
        text_bytes = fmt.padded(len(text))
        length = fmt.RECORD_WORDS * fmt.WORD + text_bytes + len(values) * fmt.WORD
        at = self._room_for(length) - self._base
        first_word = at // fmt.WORD
        first_float = first_word + fmt.RECORD_WORDS + text_bytes // fmt.WORD
        text_at = at + fmt.RECORD_WORDS * fmt.WORD
        self._words[first_word + fmt.FLOATS], self._words[first_word + fmt.TEXT] = len(values), len(text)
        self._floats[first_word + fmt.CREATED] = created
        self._bytes[text_at : text_at + len(text)] = text
        block: Any = self._floats[first_float : first_float + len(values)]
        for index, value in enumerate(values):
            block[index] = value
        record = fmt.record_of(series, created, block, sums, low_parts=low_parts)
        self.records.append(record)
        self._commit(first_word, length)
        return record

    def _room_for(self, length: int) -> int:
        """The offset of `length` free bytes that are mapped in one piece."""
        if self._used + length > self._size:
            self._grow(length)
        return self._used

    def _grow(self, length: int) -> None:
        wanted = min(self._size, _LARGEST_EXTENT_BYTES)
        while wanted < length:
            wanted *= 2
        left, words, first_word = self._size - self._used, self._words, (self._used - self._base) // fmt.WORD
        self._map_extent(wanted)
        if left:
            words[first_word + fmt.LENGTH] = left  # a record without floats: readers pass over it
            self._used += left

    def _commit(self, first_word: int, length: int) -> None:
        """Show the record to readers. What is left of the extent must have room for a record without floats."""
        left = self._size - self._used - length
        if left < fmt.RECORD_WORDS * fmt.WORD:
            length += left
        self._words[first_word + fmt.LENGTH] = length
        self._used += length
        self._header_words[fmt.COMMITTED] = self._used

    def mark_copied(self) -> None:
        """Note that the process counts elsewhere, and copies its numbers to this file."""
        self._header_words[fmt.COPIED] = 1

    def say_goodbye(self) -> None:
        """Note that the process shuts down cleanly, so that its file does not look like a crash."""
        self._header_words[fmt.EXITED] = 1

    def close(self) -> None:
        """Close the descriptor, which gives the lock up. Blocks stay usable."""
        with contextlib.suppress(OSError):
            os.close(self.fd)


def _reserve(fd: int, start: int, length: int) -> None:
    reserve: Any = getattr(os, "posix_fallocate", None)
    if reserve is not None:
        reserve(fd, start, length)
        return
    for at in range(start, start + length, len(_ZEROS)):  # macOS: written zeros are backed too
        os.pwrite(fd, _ZEROS, at)
