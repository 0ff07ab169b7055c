"""Budgets and baselines in small files that survive the process.

A file is replaced as a whole, and a damaged file never stops the application.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.guard.measuring.budgets import Budgets
from anthropic_exporter.guard.usual.baseline import Baselines

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows has no flock; two processes on one folder are not told apart there
    fcntl = None

_log = logging.getLogger("anthropic_exporter.guard")


class StateFolder:
    """A folder with the state of one Guard, held by one process at a time.

    Args:
        folder: made where it does not exist.

    Raises:
        ConfigurationError: the folder cannot be written, or another process holds it.
    """

    def __init__(self, folder: str | Path) -> None:
        self._folder = Path(folder)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = (self._folder / "lock").open("w", encoding="ascii")
        except OSError as error:
            raise ConfigurationError(
                f"{self._folder}: cannot be written: {error.strerror}; give another state_dir"
            ) from error
        self._take()

    def _take(self) -> None:
        if fcntl is None:
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise ConfigurationError(
                f"{self._folder}: another process keeps its state here; give each process a state_dir of its own"
            ) from error

    def read(self, name: str) -> dict[str, Any]:
        """What was written under this name; empty where nothing was, or where it is damaged, which is logged."""
        path = self._folder / f"{name}.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found
        self.damaged(name)
        return {}

    def damaged(self, name: str) -> None:
        """Put a file aside that cannot be used."""
        path = self._folder / f"{name}.json"
        try:
            path.replace(path.with_name(f"{path.name}.damaged"))
        except OSError as error:
            _log.warning("%s is damaged and starts from nothing; it cannot be put aside: %s", path, error.strerror)
        else:
            _log.warning("%s is damaged and starts from nothing; it was kept as %s.damaged", path, path.name)

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Replace the file at once: a reader, or a process killed meanwhile, has the old one or the new one.

        Nothing waits for the disk, which can take longer than the Guard may: a power cut can leave an empty file where
        the file system does not flush at a renaming. That is read as a damaged one.

        Raises:
            OSError: the disk does not take it.
        """
        path = self._folder / f"{name}.json"
        fresh = path.with_name(f".{path.name}.new")
        # One part after the other, so that other threads run in between.
        parts = (f"{json.dumps(key)}: {json.dumps(part)}" for key, part in value.items())
        fresh.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")
        fresh.replace(path)

    def close(self) -> None:
        """Let another process have the folder. Idempotent."""
        self._lock.close()


class Memory:
    """What one Guard keeps over restarts: budgets with every evaluation, baselines when something was learned.

    Args:
        folder: where; as in `StateFolder`.
        budgets: restored at once, and kept.
        baselines: restored at once, and kept.

    Raises:
        ConfigurationError: as `StateFolder`.
    """

    def __init__(self, folder: str | Path, budgets: Budgets, baselines: Baselines) -> None:
        self._folder = StateFolder(folder)
        self._budgets = budgets
        self._baselines = baselines
        self._kept: tuple[int, int, float] | None = None
        self._restore("budgets", budgets.load)
        self._restore("baselines", baselines.load)

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
