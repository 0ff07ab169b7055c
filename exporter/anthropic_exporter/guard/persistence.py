"""Keeps budgets and baselines in small files that survive the process.

A file is replaced as a whole, and a damaged file never stops the application.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anthropic_exporter import bounded_files
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.guard.measuring.budgets import Budgets
from anthropic_exporter.guard.usual.baseline import Baselines
from anthropic_exporter.logs import Log

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows has no flock: two processes on one folder are not detected there
    fcntl = None

_log = Log("anthropic_exporter.guard")
#: A hundred features on three models take about 3 MB.
_MOST_BYTES = 33_554_432
_OURS = re.compile(r"lock|\.?\w+\.json(\.new|\.damaged)?")


class FolderHeldError(ConfigurationError):
    """Another process keeps its state in the folder."""


class StateFolder:
    """A folder with the state of one Guard, held by one process at a time.

    Files are 0600 below a folder of 0700, and no symbolic link in it is followed: anyone who can write there could
    otherwise direct this process to another file.

    Args:
        folder: created if it does not exist.

    Raises:
        ConfigurationError: the folder cannot be written, or every user can write there.
        FolderHeldError: another process holds it.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        try:
            self._prepare()
            self._lock = os.fdopen(_opened(self._folder / "lock", os.O_RDWR | os.O_CREAT), "r+b")
        except OSError as error:
            raise ConfigurationError(
                f"{self._folder}: cannot be written: {error.strerror}; give another state_dir"
            ) from error
        self._take()

    def _prepare(self) -> None:
        """Create the folder, or make it private if it contains only our files."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        mode = stat.S_IMODE(self._folder.stat().st_mode)
        if mode & (stat.S_IRWXG | stat.S_IRWXO) and all(_OURS.fullmatch(one.name) for one in self._folder.iterdir()):
            with contextlib.suppress(OSError):  # another user's folder, such as a mounted volume
                self._folder.chmod(0o700)
                mode = 0o700
        if mode & stat.S_IWOTH and os.name == "posix":
            raise ConfigurationError(f"{self._folder}: every user can write to it; use a separate folder")

    def _take(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise FolderHeldError(
                f"{self._folder}: another process saves its state here; give each service its own state_dir"
            ) from error

    def read(self, name: str) -> dict[str, Any]:
        """Read a file; empty if it does not exist, or is damaged, which is logged."""
        path = self._folder / f"{name}.json"
        if not os.path.lexists(path):
            return {}
        try:
            found = json.loads(bounded_files.read_text(path, _MOST_BYTES, follow_links=False))
        except (ConfigurationError, ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found
        self.damaged(name)
        return {}

    def damaged(self, name: str) -> None:
        """Set a file aside that cannot be used."""
        path = self._folder / f"{name}.json"
        try:
            path.replace(path.with_name(f"{path.name}.damaged"))
        except OSError as error:
            _log.warning("%s is damaged, so its content is ignored; it cannot be renamed: %s", path, error.strerror)
        else:
            _log.warning("%s is damaged, so its content is ignored; it was kept as %s.damaged", path, path.name)

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Replace the file atomically: a reader, or a process that is killed, has the old one or the new one.

        Does not wait for the disk, which may be too slow for the Guard: after a power cut a file may be empty on file
        systems that do not flush when renaming. It is then treated as damaged.

        Raises:
            OSError: the disk does not take it.
        """
        path = self._folder / f"{name}.json"
        fresh = path.with_name(f".{path.name}.new")
        fresh.unlink(missing_ok=True)  # left by a killed process, or a planted link
        with os.fdopen(_opened(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w", encoding="utf-8") as file:
            # In parts, so that other threads run in between.
            parts = (f"{json.dumps(key)}: {json.dumps(part)}" for key, part in value.items())
            file.write("{" + ",\n".join(parts) + "}\n")
        fresh.replace(path)

    def close(self) -> None:
        """Release the folder for another process. Idempotent."""
        self._lock.close()


def _opened(path: Path, flags: int) -> int:
    """Open one of our files: a regular file that only we own, never through a link, without waiting for a reader.

    Raises:
        OSError: it cannot be opened, or is not a regular file.
    """
    for extra in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):
        flags |= getattr(os, extra, 0)
    descriptor = os.open(path, flags, 0o600)
    try:
        _make_private(descriptor, path.name)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _make_private(descriptor: int, name: str) -> None:
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        raise OSError(errno.EINVAL, f"{name} is not a regular file")
    if hasattr(os, "fchmod"):
        with contextlib.suppress(PermissionError):  # another user's file, which we may write
            os.fchmod(descriptor, 0o600)


class Memory:
    """What one Guard keeps over restarts: budgets at every evaluation, baselines when something was learned.

    Args:
        folder: where; as in `StateFolder`.
        budgets: kept.
        baselines: kept.
        restore: whether to restore them at once.

    Raises:
        ConfigurationError: as `StateFolder`.
    """

    def __init__(self, folder: str | Path, budgets: Budgets, baselines: Baselines, *, restore: bool = True) -> None:
        self._folder = StateFolder(folder)
        self._budgets = budgets
        self._baselines = baselines
        self._kept: tuple[int, int, float] | None = None
        if restore:
            self.restore()

    def restore(self) -> None:
        """Replace budgets and baselines with those in the folder."""
        self._restore("budgets", self._budgets.load)
        self._restore("baselines", self._baselines.load)

    def _restore(self, name: str, load: Callable[[dict[str, Any]], None]) -> None:
        try:
            load(self._folder.read(name))
        except ValueError:
            self._folder.damaged(name)

    def keep(self, *, learned: bool) -> None:
        """Write the budgets if a call changed them, and the baselines if `learned`.

        Raises:
            OSError: the disk does not take it.
        """
        version = self._budgets.version
        if version != self._kept:
            self._folder.write("budgets", self._budgets.dump())
            self._kept = version
        if learned:
            self._folder.write("baselines", self._baselines.dump())

    def close(self) -> None:
        """Release the folder. Idempotent."""
        self._folder.close()
