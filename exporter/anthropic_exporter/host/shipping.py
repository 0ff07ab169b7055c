"""Which process of a service sends the cells of all of them to a queue.

The sender holds a lock; when it ends, another process takes over. What a successor needs is in the folder of the
service: the last epoch, and the identities whose cells are now in the folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
import zlib
from collections.abc import Iterable

from anthropic_exporter.host import locks
from anthropic_exporter.host.cell_folder import CellFolder
from anthropic_exporter.transport.cells_message import MOST_REPLACED

#: Bytes of the lock file: for each queue one that its sender locks, and one that every process locks that may send.
_FIRST_BYTE, _QUEUES = 1 << 16, 1 << 20
_EPOCH_AT, _EPOCH_BYTES = 256, 24
#: A clock beyond this (in the year 2116) is ignored.
_MOST_EPOCH = 1 << 62
_SUFFIX = ".replaced"
_IDENTITY = re.compile(r"[0-9a-f]{1,64}")
#: A queue keeps messages for some days at most.
_REPLACED_SECONDS = 8 * 86_400.0


class Shipping:
    """This process's part in sending the cells of a folder to one queue.

    Args:
        folder: of the service.
        queue: names the queue, the same in every process that publishes to it.
    """

    def __init__(self, folder: CellFolder, queue: str) -> None:
        self.folder = folder
        self._sending = _FIRST_BYTE + 2 * (zlib.crc32(queue.encode()) % _QUEUES)
        self._ready = self._sending + 1

    def take(self, *, ready: bool = True) -> bool:
        """Whether this process is the sender; it becomes it if there is none. `ready` to be one later, if not now."""
        fd = self.folder.lock_file()
        if fd is None:
            return False
        if ready:
            locks.share(fd, self._ready)
        return locks.take(fd, self._sending)

    def retire(self) -> None:
        """Withdraw as a candidate."""
        self._give_up(self._ready)

    def is_last(self) -> bool:
        """Whether no other process may send; called by a process that has withdrawn."""
        fd = self.folder.lock_file()
        if fd is None or not locks.take(fd, self._ready):
            return False
        locks.give_up(fd, self._ready)
        return True

    def give_up(self) -> None:
        """Let another process send."""
        self._give_up(self._sending)

    def _give_up(self, byte: int) -> None:
        fd = self.folder.lock_file()
        if fd is not None:
            locks.give_up(fd, byte)

    def next_epoch(self) -> int:
        """A number above all earlier ones of this folder, even if the clock was set back."""
        fd = self.folder.lock_file()
        before = 0 if fd is None else _read_epoch(fd)
        epoch = max(time.time_ns(), before + 1)
        if fd is not None:
            with contextlib.suppress(OSError):  # a full disk: the time alone is above it as well
                os.pwrite(fd, f"{epoch:<{_EPOCH_BYTES}}".encode(), _EPOCH_AT)
        return epoch

    def replaced(self, identity: str) -> tuple[str, ...]:
        """The identities whose cells are now part of those of `identity`, newest last."""
        found = sorted((at, name) for name, at in _replaced_in(self.folder).items() if name != identity)
        return tuple(name for _, name in found[-MOST_REPLACED:])


def _read_epoch(fd: int) -> int:
    text = os.pread(fd, _EPOCH_BYTES, _EPOCH_AT).strip(b" \0")
    return int(text) if text.isdigit() and int(text) < _MOST_EPOCH else 0


def _replaced_in(folder: CellFolder) -> dict[str, float]:
    """Identities that were replaced recently, with the time. Removes older ones."""
    found = {}
    with contextlib.suppress(OSError), os.scandir(folder.path) as entries:
        for entry in entries:
            name = entry.name.removesuffix(_SUFFIX)
            if name != entry.name and _IDENTITY.fullmatch(name):
                found[name] = entry.stat(follow_symlinks=False).st_mtime
    for name, at in list(found.items()):
        if time.time() - at > _REPLACED_SECONDS:
            del found[name]
            with contextlib.suppress(OSError):
                (folder.path / f"{name}{_SUFFIX}").unlink()
    return found


def note_replaced(folder: CellFolder, identities: Iterable[str]) -> None:
    """Note that cells sent under other identities are in a folder; called before other processes see them there.

    Raises:
        OSError: the folder is gone, or the disk full.
    """
    for identity in identities:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(folder.path / f"{identity}{_SUFFIX}", flags, 0o600))


def hand_over(old: CellFolder, new: CellFolder) -> None:
    """Note the same for all cells of a folder that move into another one.

    Raises:
        OSError: the folder is gone, or the disk full.
    """
    fd, life = old.lock_file(), old.written_life()
    if fd is not None and life is not None and _read_epoch(fd):
        note_replaced(new, (life.name, *_replaced_in(old)))
