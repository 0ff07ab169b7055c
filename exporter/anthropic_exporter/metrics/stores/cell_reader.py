"""Reads the cell file of another process, running or ended."""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import stat
import sys
from pathlib import Path
from typing import Any

from anthropic_exporter.metrics.stores import file_format as fmt
from anthropic_exporter.metrics.stores.file_format import Header, Record

_serials = itertools.count()


class CellReader:
    """An open cell file. It stays readable after it was unlinked.

    Attributes:
        serial: a number that is unique among the readers of this process.
        fd: its descriptor, open as long as the reader is.
        header: the process that it belongs to.
        records: the records committed at the last `refresh()`, oldest first.

    Raises:
        OSError: the file is not there, or not readable.
        ValueError: it is not a cell file of this user in a version that this library reads.
    """

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._size = _checked_size(self.fd)
            self._map()
            self.header = self._read_header()
        except (OSError, ValueError):
            self.close()
            raise
        self.serial = next(_serials)
        self.records: list[Record] = []
        self._read_to = fmt.header_bytes(self._words[fmt.TEXT_LENGTH])

    def _map(self) -> None:
        self._bytes = memoryview(mmap.mmap(self.fd, self._size, prot=mmap.PROT_READ))
        self._words, self._floats = self._bytes.cast("Q"), self._bytes.cast("d")

    def _read_header(self) -> Header:
        words = self._words
        if words[fmt.MAGIC_WORD] != fmt.MAGIC or words[fmt.VERSION_WORD] != fmt.VERSION:
            raise ValueError("not a cell file, or one of another version of this library")
        return fmt.decode_header(bytes(self._bytes[fmt.TEXT_AT : fmt.TEXT_AT + words[fmt.TEXT_LENGTH]]))

    @property
    def exited(self) -> bool:
        """Whether its process said goodbye."""
        return self._words[fmt.EXITED] == 1

    @property
    def folded(self) -> bool:
        """Whether its numbers are already part of the file of ended processes."""
        return self._words[fmt.FOLDED] == 1

    @property
    def copied(self) -> bool:
        """Whether its process counts elsewhere, and copies its numbers to this file."""
        return self._words[fmt.COPIED] == 1

    def mark_folded(self) -> None:
        """Note that its numbers are part of the file of ended processes."""
        os.pwrite(self.fd, (1).to_bytes(fmt.WORD, sys.byteorder), fmt.FOLDED * fmt.WORD)

    def refresh(self) -> list[Record]:
        """Read the records that were added since; returns all of them."""
        committed = self._words[fmt.COMMITTED]
        if committed > self._size:
            self._size = _checked_size(self.fd)
            self._map()
        while self._read_to < committed:
            self._read_to += self._read_record(self._read_to // fmt.WORD)
        return self.records

    def read_once(self) -> None:
        """Copy all numbers of a file that is no longer written: lists are read twenty times as fast."""
        self.records = [one._replace(values=list(one.values)) for one in self.refresh()]

    def _read_record(self, first: int) -> int:
        """Keep the record at a word; returns its length in bytes."""
        length, floats, text_length, _ = (int(word) for word in self._words[first : first + fmt.RECORD_WORDS])
        if length <= 0 or length % fmt.WORD or first * fmt.WORD + length > self._size:
            raise ValueError("a damaged cell file")
        if floats:
            text_at = first + fmt.RECORD_WORDS
            text = bytes(self._bytes[text_at * fmt.WORD : text_at * fmt.WORD + text_length])
            start = text_at + fmt.padded(text_length) // fmt.WORD
            series, sums, low_parts = fmt.decode_meaning(text)
            created = self._floats[first + fmt.CREATED]
            values: Any = self._floats[start : start + floats]
            self.records.append(fmt.record_of(series, created, values, sums, low_parts=low_parts))
        return length

    def close(self) -> None:
        """Close the descriptor. Records stay readable."""
        with contextlib.suppress(OSError):
            os.close(self.fd)


def _checked_size(fd: int) -> int:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
        raise ValueError("not a regular file of this user")
    if not fmt.HEADER_BYTES <= found.st_size <= fmt.MAX_BYTES:
        raise ValueError("not a cell file: too short or too long")
    return found.st_size
