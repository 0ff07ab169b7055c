"""The cell files of a service: this process's own, those of others, and that of all that have ended."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from anthropic_exporter.forking import in_child
from anthropic_exporter.host import folding, locks, runtime_dir
from anthropic_exporter.host.identity import boot_id, family_root, process_name
from anthropic_exporter.logs import Log
from anthropic_exporter.metrics.ledger import Life, from_text, to_text
from anthropic_exporter.metrics.stores.cell_file import CellFile
from anthropic_exporter.metrics.stores.cell_reader import CellReader
from anthropic_exporter.metrics.stores.file_format import Header, Record
from anthropic_exporter.metrics.stores.merged_bounds import MergedBounds

_log = Log("anthropic_exporter")
_LOCKS, _OWN = "locks", "own "
#: Bytes of the lock file: who holds the port, who folds the files of ended processes, who writes down the life.
_PORT, _CARETAKER, _LIFE = range(3)
#: The first of the bytes for the Guards of each process; a process seldom has more than one.
_GUARDS, _MOST_GUARDS = 8, 8
_HOLDER_AT = 16
_LIFE_AT, _LIFE_BYTES = 64, 128
_LIFE_SECONDS = 0.2
_UNFINISHED_SECONDS = 60.0
_POLL_SECONDS = 0.01


class Workers(NamedTuple):
    """The number of processes of a service: running, shut down cleanly, and lost."""

    alive: int
    exited: int
    lost: int


class CellSource(NamedTuple):
    """The cells of one process, for a merge."""

    key: str
    alive: bool
    records: Sequence[Record]

    @property
    def is_own(self) -> bool:
        """Whether they are this process's."""
        return self.key.startswith(_OWN)


class OwnCells(Protocol):
    """Cells of this process that have a file here, or a copy in one."""

    file: CellFile | None
    serial: int

    def records(self) -> Sequence[Record]:
        """Every block."""
        ...


class CellFolder:
    """The folder of a service; one object a process and folder, by `at()`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._own: dict[str, OwnCells] = {}
        self._readers: dict[int, CellReader] = {}
        self._ended: CellReader | None = None
        self._ended_inode = 0
        self._refused: set[tuple[int, str]] = set()
        self._lock_fd, self._lock_inode = -1, (0, 0)
        self._holds_port = False
        self._life: Life | None = None

    @staticmethod
    def at(path: Path) -> CellFolder:
        """The folder at a path. Its locks hold as long as the process runs."""
        return _folders.at(path)

    # -- this process's own file

    def make_file(self, token: str) -> CellFile:
        """Make a file, still hidden from other processes. `token` distinguishes the recorders of this process.

        Raises:
            OSError: the folder is gone, or the disk full.
        """
        self._make_folder()
        identity = _identity(token)
        path = self.path / f"{identity}.new"
        path.unlink(missing_ok=True)
        try:
            file = CellFile(path, Header(identity, os.getpid(), _program()))
        except OSError:
            path.unlink(missing_ok=True)
            raise
        locks.take(file.fd)
        return file

    def drop_file(self, file: CellFile) -> None:
        """Remove a file that no other process has seen."""
        file.close()
        with contextlib.suppress(OSError):
            (self.path / f"{file.header.identity}.new").unlink()

    def show_file(self, file: CellFile, owner: OwnCells) -> None:
        """Let other processes see a file, with all that is in it; here, its numbers are those of `owner`.

        It takes the place of an earlier file with the same token.

        Raises:
            OSError: the folder is gone.
        """
        new = self.path / f"{file.header.identity}.new"
        name = f"{file.header.identity}.cells"
        with self._lock:
            before = self._own.get(name)
            self._own[name] = owner
            try:
                new.rename(self.path / name)
            except OSError:
                if before is None:
                    del self._own[name]
                else:
                    self._own[name] = before
                raise

    def remove_file(self, file: CellFile) -> None:
        """Remove a file of this process after its numbers were copied to another file."""
        name = f"{file.header.identity}.cells"
        with self._lock:
            self._own.pop(name, None)
        with contextlib.suppress(OSError):
            (self.path / name).unlink()

    def end_file(self, file: CellFile) -> None:
        """Leave a file to be folded with those of ended processes: nothing is counted in it from now on."""
        name = f"{file.header.identity}.cells"
        with self._lock:
            if name in self._own and self._own[name].file is file:
                del self._own[name]
                file.say_goodbye()
                file.close()

    def own(self, token: str, owner: OwnCells) -> None:
        """Count cells of this process that have no file, or none yet. `token` is that of `make_file`."""
        with self._lock:
            self._own[f"{_identity(token)}.cells"] = owner

    def bring_to(self, path: Path, bounds: MergedBounds) -> None:
        """Move what ended processes, and the first process of the family, left here into another folder."""
        root = f"-{process_name(family_root())}-"
        with self._lock:
            readers = self._open_readers()
            self._read_ended()
            named = {} if self._ended is None else self._ended.header.folded
            for reader in readers:
                name = f"{reader.header.identity}.cells"
                if (root in name or not locks.is_taken(reader.fd)) and reader.header.identity not in named:
                    with contextlib.suppress(OSError):
                        (self.path / name).rename(path / name)
            if self._ended is not None:
                with contextlib.suppress(OSError):
                    folding.move(self._ended, self.path, path, _identity(secrets.token_hex(4)), bounds)

    def _make_folder(self) -> None:
        if not self.path.parent.exists():
            runtime_dir.private(self.path.parent)
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(mode=0o700)

    # -- locks

    def take_port(self) -> bool:
        """Take the right to serve the port, unless another process, or another server of this one, has it."""
        with self._lock:
            if not self._holds_port:
                fd = self.lock_file()
                self._holds_port = fd is not None and locks.take(fd, _PORT)
                return self._holds_port
            return False

    def give_up_port(self) -> None:
        """Leave the port to others."""
        with self._lock:
            if self._holds_port:
                self._holds_port = False
                locks.give_up(self._lock_fd, _PORT)

    def is_caretaker(self) -> bool:
        """Whether this is the one process of the service that folds files; the first that asks becomes it."""
        fd = self.lock_file()
        return fd is not None and locks.take(fd, _CARETAKER)

    def take_guard(self, number: int) -> bool:
        """Become the one process that judges for all Guards with this number, unless another process does."""
        fd = self.lock_file()
        return fd is not None and number < _MOST_GUARDS and locks.take(fd, _GUARDS + number)

    def give_up_guard(self, number: int) -> None:
        """Let another process judge."""
        if self._lock_fd >= 0 and number < _MOST_GUARDS:
            locks.give_up(self._lock_fd, _GUARDS + number)

    def name_holder(self, *, holds: bool) -> None:
        """Write down which process holds the port, for processes that it spawns."""
        fd = self.lock_file()
        if fd is not None:
            _write_holder(fd, process_name(os.getpid()) if holds else "")

    def holder(self) -> str:
        """The process that holds the port, or held it last."""
        fd = self.lock_file()
        return "" if fd is None else os.pread(fd, 40, _HOLDER_AT).decode(errors="replace").strip()

    def life(self, own: Life) -> Life:
        """The life of the service's counters: the stored one if it is still valid, else `own`, which is then stored.

        It is valid while there are cells, in which the counters outlive their process, or while its writer runs.
        """
        fd = self.lock_file()
        if fd is None:
            return own
        deadline = time.monotonic() + _LIFE_SECONDS
        while not locks.take(fd, _LIFE) and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
        try:
            life = self.written_life() or own
            if life is own:
                _write_life(fd, own)
        except OSError:
            life = own
        finally:
            locks.give_up(fd, _LIFE)
        self._life = life
        return life

    def written_life(self) -> Life | None:
        """The stored life of the service's counters, if it is still valid.

        Raises:
            OSError: the folder is gone.
        """
        fd = self.lock_file()
        if fd is None:
            return None
        written = _read_life(fd)
        if written is None:
            return None
        life, is_running = written
        return life if is_running or any(name.endswith(".cells") for name in self._names()) else None

    def lock_file(self) -> int | None:
        """The open lock file; a new one if the open one was deleted or closed. None if it cannot be made."""
        before = self._lock_fd
        try:
            is_open = before >= 0 and _inode(before) == self._lock_inode
            if not is_open or os.fstat(before).st_nlink == 0:
                self._make_folder()
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                self._lock_fd = os.open(self.path / _LOCKS, flags, 0o600)
                self._lock_inode = _inode(self._lock_fd)
                if is_open:
                    os.close(before)
                if before >= 0:
                    self._write_again(self._lock_fd)
        except OSError:
            return None
        return self._lock_fd

    def _write_again(self, fd: int) -> None:
        """Write down in a new lock file what this process knows: else processes that come later begin another life."""
        if self._holds_port and locks.take(fd, _PORT) and self.holder() != process_name(os.getpid()):
            _write_holder(fd, process_name(os.getpid()))
        if self._life is not None and _read_life(fd) is None:
            _write_life(fd, self._life)

    def remember(self) -> None:
        """Write down what a full disk had no room for."""
        fd = self.lock_file()
        if fd is not None:
            self._write_again(fd)

    def has_room(self, length: int) -> bool:
        """Whether the disk seems to have that many free bytes; a quota may still refuse them."""
        try:
            found = os.statvfs(self.path)
        except OSError:
            return False
        return found.f_bavail * found.f_frsize >= length

    # -- everybody's files

    def _names(self) -> list[str]:
        return [path.name for path in self.path.iterdir()]

    def has_company(self) -> bool:
        """Whether another process has a file here, and runs."""
        with self._lock:
            return any(locks.is_taken(reader.fd) for reader in self._open_readers())

    def has_others(self, own: CellFile) -> bool:
        """Whether there are numbers beside those of a file of this process."""
        if self._readers or self._ended is not None:
            return True
        try:
            return any(name.endswith(".cells") and name != f"{own.header.identity}.cells" for name in self._names())
        except OSError:
            return False

    def sources(self) -> tuple[list[CellSource], Workers]:
        """The cells of all processes, this one included, and how many processes there are.

        Files are opened before the file of ended processes is read: what is folded in between is found in one of them.
        """
        with self._lock:
            readers = self._open_readers()
            folded = [reader for reader in readers if reader.folded]
            self._read_ended()
            named = {} if self._ended is None else self._ended.header.folded
            kept = [one for one in readers if one not in folded and one.header.identity not in named]
            return self._sources_of(kept)

    def _sources_of(self, readers: Iterable[CellReader]) -> tuple[list[CellSource], Workers]:
        sources = [CellSource(f"{_OWN}{cells.serial}", True, cells.records()) for cells in self._own.values()]
        alive, exited, lost = sum(bool(one.records) for one in sources), 0, 0
        if self._ended is not None:
            exited, lost = self._ended.header.exited, self._ended.header.lost
            sources.append(CellSource(f"file {self._ended.serial}", False, self._ended.refresh()))
        for reader in readers:
            runs = locks.is_taken(reader.fd)
            alive += runs
            if not runs:
                of_file = folding.count_ended(reader)
                exited, lost = exited + of_file[0], lost + of_file[1]
            sources.append(CellSource(f"file {reader.serial}", runs, reader.refresh()))
        return sources, Workers(alive, exited, lost)

    def _open_readers(self) -> list[CellReader]:
        """Readers of the files of all other processes. A file that somebody deleted stays open, and counted."""
        listed: dict[int, str] = {}
        with contextlib.suppress(OSError), os.scandir(self.path) as entries:
            listed = {
                entry.inode(): entry.name
                for entry in entries
                if entry.name.endswith(".cells") and entry.name != folding.NAME and entry.name not in self._own
            }
        for inode, name in listed.items():
            if inode not in self._readers and (inode, name) not in self._refused:
                self._open(inode, name)
        identities = {self._readers[inode].header.identity for inode in listed if inode in self._readers}
        for inode, reader in list(self._readers.items()):
            if inode not in listed and (reader.folded or reader.header.identity in identities):
                self._readers.pop(inode).close()
        return list(self._readers.values())

    def _open(self, inode: int, name: str) -> None:
        try:
            self._readers[inode] = CellReader(self.path / name)
        except FileNotFoundError:
            return  # folded since it was listed
        except (OSError, ValueError) as error:
            self._refused.add((inode, name))
            _log.warning("the cell file %s cannot be read, so its process is not counted: %s", name, error)

    def _read_ended(self) -> None:
        """Read the file of ended processes again if another one has taken its place."""
        try:
            inode = (self.path / folding.NAME).stat().st_ino
            if inode != self._ended_inode:
                ended = CellReader(self.path / folding.NAME)
                ended.read_once()
                self._ended, old = ended, self._ended
                self._ended_inode = os.fstat(self._ended.fd).st_ino
                if old is not None:
                    old.close()
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            if (0, folding.NAME) not in self._refused:
                self._refused.add((0, folding.NAME))
                _log.warning("the file of ended processes in %s cannot be read: %s", self.path, error)

    # -- folding

    def fold_ended(self, bounds: MergedBounds) -> None:
        """Fold the files of ended processes, as the one process of the service that does so.

        Raises:
            OSError: the disk is full, or the folder is gone.
        """
        with self._lock:
            readers = self._open_readers()
            self._read_ended()
            named = {} if self._ended is None else self._ended.header.folded
            gone = [one for one in readers if not locks.is_taken(one.fd)]
            for one in gone:
                if one.header.identity in named:  # a crash came between the rename and this
                    one.mark_folded()
                    (self.path / f"{one.header.identity}.cells").unlink(missing_ok=True)
            new = [one for one in gone if one.header.identity not in named and not one.folded]
            self._remove_unfinished()
            deleted = self._ended is not None and os.fstat(self._ended.fd).st_nlink == 0
            if new or deleted:
                self._make_folder()
                folding.fold(self.path, self._ended, new, bounds, time.time())

    def _remove_unfinished(self) -> None:
        """Remove files whose process ended before it could show them."""
        for path in self.path.glob("*.new"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _UNFINISHED_SECONDS:
                    path.unlink()

    def remove_if_ended(self) -> None:
        """Remove the folder if no process has a file in it."""
        with self._lock:
            if self._own or any(locks.is_taken(reader.fd) for reader in self._open_readers()):
                return
            for path in self.path.iterdir():
                path.unlink()
            self.path.rmdir()

    def wait_for(self, process: str, seconds: float) -> None:
        """Wait until a process counts in a file here, which means that it noticed other processes."""
        deadline = time.monotonic() + seconds
        while process and time.monotonic() < deadline and not self._counts_here(process):
            time.sleep(_POLL_SECONDS)

    def _counts_here(self, process: str) -> bool:
        with self._lock:
            readers = self._open_readers()
        return any(f"-{process}-" in one.header.identity and not one.copied for one in readers)

    def forget(self) -> None:
        """In a forked child, which owns nothing here: drop everything."""
        for reader in [*self._readers.values(), *([self._ended] if self._ended is not None else [])]:
            reader.close()
        for cells in self._own.values():
            if cells.file is not None:
                cells.file.close()
        self._own.clear()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)


def _inode(fd: int) -> tuple[int, int]:
    """What a descriptor stands for: a daemon may have closed it, and a file of the application may have its number."""
    try:
        found = os.fstat(fd)
    except OSError:
        return (0, 0)
    return (found.st_dev, found.st_ino)


def _identity(token: str) -> str:
    return f"{boot_id()}-{process_name(os.getpid())}-{token}"


def _write_holder(fd: int, process: str) -> None:
    _write_down(fd, f"{process:<40}", _HOLDER_AT)


def _write_life(fd: int, life: Life) -> None:
    line = f"{process_name(os.getpid())} {to_text(life)}"
    _write_down(fd, f"{line:<{_LIFE_BYTES}}", _LIFE_AT)


def _write_down(fd: int, text: str, at: int) -> None:
    """Write into the lock file. A full disk may have no room for it; `remember` tries it again."""
    with contextlib.suppress(OSError):
        os.pwrite(fd, text.encode(), at)


def _read_life(fd: int) -> tuple[Life, bool] | None:
    """The life that is written down, and whether the process that did so runs."""
    writer, _, text = os.pread(fd, _LIFE_BYTES, _LIFE_AT).decode(errors="replace").strip().partition(" ")
    try:
        return from_text(text), process_name(int(writer.partition("-")[0])) == writer
    except ValueError:
        return None


def _program() -> str:
    """The name of the program, for people, without its arguments, which may contain secrets."""
    return re.sub(r"[^\w.-]", "_", Path(sys.argv[0] or "python").name)[:64]


class _Folders:
    """The folders of this process."""

    def __init__(self) -> None:
        self._by_path: dict[Path, CellFolder] = {}
        in_child(self.forget, first=True)

    def at(self, path: Path) -> CellFolder:
        return self._by_path.setdefault(path, CellFolder(path))

    def forget(self) -> None:
        for folder in self._by_path.values():
            folder.forget()
        self._by_path.clear()


_folders = _Folders()
