"""Small files in a service's folder that the Guards of its processes share.

`state` is the judge's: the day's spend, the counters it was computed from, open alerts. `held` has the conditions that
every process obeys; it changes rarely, so its inode tells. `mail` has the others' reports, one a line.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anthropic_exporter.bounded_files import read_bytes
from anthropic_exporter.errors import ConfigurationError

if TYPE_CHECKING:
    from anthropic_exporter.host.cell_folder import CellFolder  # its locks do not exist on Windows

_MOST_BYTES = 33_554_432
#: The judge empties the mail if it is longer; conditions that still hold are reported again.
_LONGEST_MAIL = 262_144

#: A value that differs between two versions of a file.
Version = tuple[int, int]


class ServiceFiles:
    """The files of the Guards that have one number, and the right to judge for them.

    Args:
        folder: of the service.
        number: of the Guard among those of its recorder.
    """

    def __init__(self, folder: CellFolder, number: int) -> None:
        self._folder, self._number = folder, number
        self.path = folder.path
        self._held = os.fspath(self._at("held"))
        self._mail_read = 0

    def _at(self, name: str) -> Path:
        return self.path / f"guard-{self._number}.{name}"

    def take(self) -> bool:
        """Become the judge, unless another process is."""
        return self._folder.take_guard(self._number)

    def give_up(self) -> None:
        """Let another process judge."""
        self._folder.give_up_guard(self._number)

    # -- the judge's

    def read(self, name: str) -> dict[str, Any]:
        """What was written under a name; empty if nothing was, or if it cannot be read."""
        try:
            found = json.loads(read_bytes(self._at(name), _MOST_BYTES, follow_links=False))
        except (ConfigurationError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Replace a file as a whole.

        Raises:
            OSError: the disk is full, or the folder is gone.
        """
        new = self._at(f"{name}.{os.getpid()}.new")
        new.unlink(missing_ok=True)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump(value, file, separators=(",", ":"))
            new.replace(self._at(name))
        except OSError:
            new.unlink(missing_ok=True)
            raise

    def beat(self) -> None:
        """Show that the judge is at work, though nothing changed."""
        with contextlib.suppress(OSError):
            os.utime(self._at("state"))

    # -- the others'

    def held_version(self) -> Version:
        """A value that changes whenever the held conditions do. One system call."""
        return _version(self._held)

    def state_version(self) -> Version:
        """A value that changes with every evaluation of the judge."""
        return _version(os.fspath(self._at("state")))

    def report(self, letter: dict[str, Any]) -> None:
        """Send a letter to the judge.

        Raises:
            OSError: the disk is full, or the folder is gone.
        """
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._at("mail"), flags, 0o600)
        try:
            os.write(descriptor, json.dumps(letter).encode() + b"\n")
        finally:
            os.close(descriptor)

    def skip_mail(self, length: int) -> None:
        """Skip reports that another judge has read."""
        self._mail_read = length

    def mail(self) -> tuple[list[dict[str, Any]], int]:
        """The reports since the last call, and the length of the mail that was read."""
        try:
            with self._at("mail").open("rb+") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(self._mail_read if self._mail_read <= size else 0)
                text = file.read(_MOST_BYTES)
                self._mail_read = file.tell()
                if self._mail_read > _LONGEST_MAIL:
                    file.truncate(0)
                    self._mail_read = 0
        except OSError:
            return [], self._mail_read
        return [letter for line in text.splitlines() if (letter := _letter(line)) is not None], self._mail_read


def _letter(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _version(path: str) -> Version:
    try:
        found = os.stat(path)  # noqa: PTH116 - on the way of every request
    except OSError:
        return (0, 0)
    return (found.st_ino, found.st_mtime_ns)
