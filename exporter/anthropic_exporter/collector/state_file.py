"""The collector's state (totals, publishers, position in the stream) in one file, written whole or not at all.

The envelope is that of messages (`docs/wire-format.md`); the header is JSON, numbers are behind it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any, NamedTuple

from anthropic_exporter.bounded_files import read_bytes
from anthropic_exporter.collector.members import Member
from anthropic_exporter.collector.merge import Fleet, MergeCounts
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.transport.container import UnreadableError, pack, unpack

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows has no flock: two collectors on one folder are not detected there
    fcntl = None

NAME = "collector.state"
_MOST_BYTES = 4 * 1024**3


class SavedState(NamedTuple):
    """What the file holds: the fleet, where to read on, what the Guard knows of the day; `saved_at` in Unix seconds.

    `source` names the queue's kind and stream, which the position belongs to; empty if an older version wrote it.
    """

    fleet: Fleet
    position: str
    guard: dict[str, Any]
    saved_at: float = 0.0
    source: str = ""


class CollectorFolder:
    """The folder of one collector. A second collector that waits for it is its standby.

    Args:
        folder: made if it does not exist, for this user alone.

    Raises:
        ConfigurationError: the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock: IO[str] = _opened(folder / "lock")
        except OSError as error:
            raise ConfigurationError(f"{folder}: cannot be written: {error.strerror}; give another --state") from error

    def take(self) -> bool:
        """Take the folder; returns False while another collector has it."""
        if fcntl is None:
            return True
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

    def read(self) -> SavedState | None:
        """What was saved; None if nothing was.

        Raises:
            ConfigurationError: the file is damaged, or of a newer version.
        """
        return read(self._folder / NAME)

    @property
    def path(self) -> Path:
        """The folder."""
        return self._folder

    def write(self, saved: SavedState) -> None:
        """Replace the file: after a crash at any moment the old one or the new one is there, whole.

        Raises:
            OSError: the disk is full or broken. The old file stays.
        """
        path, fresh = self._folder / NAME, self._folder / f".{NAME}.new"
        try:
            with open(fresh, "wb", opener=_private) as file:
                file.write(encode(saved))
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(path)
            self._sync_folder()
        except OSError:
            with contextlib.suppress(OSError):
                fresh.unlink()  # a partial file would keep a full disk full
            raise

    def _sync_folder(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Release the folder for another collector. Idempotent."""
        self._lock.close()


def read(path: Path) -> SavedState | None:
    """What a file holds; None if it does not exist.

    Raises:
        ConfigurationError: the file is damaged, of a newer version, or not a regular file.
    """
    if not path.exists():
        return None
    data = read_bytes(path, _MOST_BYTES)
    try:
        return decode(data)
    except (UnreadableError, KeyError, TypeError, ValueError, IndexError) as error:
        advice = "update the collector" if getattr(error, "reason", "") == "newer_format" else "move it away"
        raise ConfigurationError(f"{path}: is not a state of this version: {advice}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)


def _opened(path: Path) -> IO[str]:
    return open(path, "w", encoding="ascii", opener=_private)


def encode(saved: SavedState) -> bytes:
    """The bytes of the file."""
    fleet, series = saved.fleet, saved.fleet.series
    members = list(fleet.members.values())
    header = {
        "position": saved.position,
        "guard": saved.guard,
        "saved_at": saved.saved_at,
        "source": saved.source,
        "life": fleet.life.name,
        "started": fleet.life.started,
        "counts": fleet.counts._asdict(),
        "overflow": series.overflow,
        "forgotten": list(fleet.forgotten),
        "replaced": list(fleet.replaced),
        "cells": len(series.totals),
        **series.dump(),
        "members": [_member_header(one) for one in members],
    }
    parts = [array("d", series.totals), array("d", series.rests)]
    for member in members:
        parts += _member_arrays(member)
    return pack(header, b"".join(map(_little, parts)), compress=False)


def decode(data: bytes) -> SavedState:
    """What `encode` wrote.

    Raises:
        UnreadableError: it is not such a file, or of a newer version.
        KeyError, TypeError, ValueError, IndexError: it is damaged.
    """
    header, body = unpack(data, _MOST_BYTES)
    reader = _Reader(body)
    fleet = Fleet(str(header["life"]), float(header.get("started", 0.0)))
    series = fleet.series
    series.load(header, reader.take("d", header["cells"]), reader.take("d", header["cells"]))
    series.overflow |= {str(key): int(value) for key, value in header["overflow"].items()}
    fleet.counts = MergeCounts(**{key: value for key, value in header["counts"].items() if key in MergeCounts._fields})
    fleet.forgotten = dict.fromkeys(header["forgotten"])
    fleet.replaced = dict.fromkeys(header.get("replaced", ()))
    for one in header["members"]:
        member = _member(one, reader)
        fleet.members[member.identity] = member
    saved_at = float(header.get("saved_at", 0.0))  # a version before this one did not say
    return SavedState(fleet, str(header["position"]), dict(header["guard"]), saved_at, str(header.get("source", "")))


def _member_header(member: Member) -> dict[str, Any]:
    return {
        "identity": member.identity,
        "service": member.service,
        "host": member.host,
        "sequence": member.sequence,
        "machine": member.machine,
        "first_sent_at": member.first_sent_at,
        "sent_at": member.sent_at,
        "finished": member.finished,
        "lasting": member.lasting,
        "rebase": member.rebase,
        "cells": len(member.cells),
        "known": len(member.known),
        "epochs": [[epoch, len(numbering)] for epoch, numbering in member.epochs.items()],
        "gauges": list(member.gauges.items()),
    }


def _member_arrays(member: Member) -> list[array[Any]]:
    known = array("Q", member.known), array("q", member.known.values())
    return [member.cells, member.shown, *known, *member.epochs.values()]


def _member(header: dict[str, Any], reader: _Reader) -> Member:
    member = Member(header["identity"], header["service"], header["host"])
    member.sequence, member.sent_at = int(header["sequence"]), float(header["sent_at"])
    member.machine, member.first_sent_at = str(header.get("machine", "")), float(header.get("first_sent_at", 0.0))
    member.finished, member.rebase = bool(header["finished"]), bool(header["rebase"])
    member.lasting = bool(header.get("lasting"))
    member.cells, member.shown = reader.take("d", header["cells"]), reader.take("I", header["cells"])
    known = reader.take("Q", header["known"]), reader.take("q", header["known"])
    member.known = dict(zip(*known, strict=True))
    member.epochs = {int(epoch): reader.take("i", length) for epoch, length in header["epochs"]}
    member.gauges = {int(number): float(value) for number, value in header["gauges"]}
    return member


class _Reader:
    """Takes arrays off the body, one after the other."""

    def __init__(self, body: bytes) -> None:
        self._body = memoryview(body)
        self._at = 0

    def take(self, code: str, count: int) -> array[Any]:
        """The next `count` numbers."""
        found: array[Any] = array(code)
        end = self._at + count * found.itemsize
        if end > len(self._body):
            raise ValueError("cut off")
        found.frombytes(self._body[self._at : end])
        self._at = end
        if sys.byteorder == "big":
            found.byteswap()
        return found


def _little(values: Iterable[Any]) -> bytes:
    copied = values if isinstance(values, array) else array("d", values)
    if sys.byteorder == "big":
        copied = copied[:]
        copied.byteswap()
    return copied.tobytes()
