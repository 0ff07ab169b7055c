"""Finds the folder that the processes of a service share; only this user can read it."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

ENVIRONMENT = "ANTHROPIC_EXPORTER_RUNTIME_DIR"
_MEMORY = Path("/dev/shm")  # noqa: S108 - what is made there is 0700, and checked
_NETWORK = Path("/proc/self/ns/net")


def port_folder(port: int, chosen: str | os.PathLike[str] | None = None) -> Path:
    """The folder of the service that serves a port.

    In the default place its name holds the network namespace: a container that sees the place but not the port is
    another service.

    Raises:
        OSError: there is no place that only this user can write to.
    """
    place, is_chosen = _place(chosen)
    return private(_user_folder(place) / (f"port-{port}" if is_chosen else f"port-{port}{_network()}"))


def family_folder(root: str, ordinal: int) -> Path:
    """The folder of a process and its copies, for the recorder that each of them made as number `ordinal`.

    It is made with the first file in it.

    Raises:
        OSError: there is no place that only this user can write to.
    """
    return _user_folder(_place(None)[0]) / f"family-{root}-{ordinal}"


def port_folders() -> list[Path]:
    """The folders of all ports of this user."""
    try:
        return sorted(_user_folder(_place(None)[0]).glob("port-*"))
    except OSError:
        return []


def families() -> list[Path]:
    """The folders of all families of this user."""
    try:
        return sorted(_user_folder(_place(None)[0]).glob("family-*"))
    except OSError:
        return []


def _place(chosen: str | os.PathLike[str] | None) -> tuple[Path, bool]:
    named = chosen or os.environ.get(ENVIRONMENT)
    if named:
        return Path(named).absolute(), True  # the process may change its folder
    if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK | os.X_OK):
        return _MEMORY, False
    return Path(tempfile.gettempdir()), False


def _user_folder(place: Path) -> Path:
    return private(place / f"anthropic-exporter-{os.getuid()}")


def private(folder: Path) -> Path:
    """Make the folder if it is missing, and check that only this user can use it.

    Raises:
        OSError: it cannot be made, or is not of this user alone.
    """
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
            raise PermissionError(f"{folder} is not a folder of this user alone (mode 0700)") from None
    return folder


def _network() -> str:
    try:
        return "-" + _NETWORK.readlink().name.strip("net:[]")
    except OSError:
        return ""
