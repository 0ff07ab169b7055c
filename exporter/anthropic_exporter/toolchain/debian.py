"""Downloads packages of the distribution and unpacks them in a private folder, without root.

apt-get gets its own lists, cache and state, so it works even if those of the machine are empty; its locks and its
sandbox user, which need root, are off.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE_SECONDS = 180.0


def available() -> bool:
    """Whether this is a machine with apt-get and dpkg."""
    return bool(shutil.which("apt-get") and shutil.which("dpkg"))


@contextlib.contextmanager
def exclusive(home: Path) -> Iterator[None]:
    """Lock the folder, so that no other thread or process unpacks into it."""
    import fcntl  # noqa: PLC0415 - there is none on Windows, where `check` uses the tools that PATH has

    home.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def unpack(package: str, home: Path) -> Path | None:
    """Download `package` and unpack it to `home/packages/<package>`; None if apt-get cannot download it.

    Dependencies that the machine does not have are unpacked into the same tree.
    """
    with tempfile.TemporaryDirectory(dir=home, prefix="unpack-") as scratch:
        tree = Path(scratch, "tree")
        archives = _download(package, home / "apt", Path(scratch))
        if not archives or not all(_run(["dpkg", "-x", str(archive), str(tree)]) for archive in archives):
            return None
        _mend_links(tree)
        return _publish(tree, home / "packages" / package)


def _download(package: str, state: Path, folder: Path) -> list[Path]:
    (state / "lists/partial").mkdir(parents=True, exist_ok=True)
    (folder / "archives/partial").mkdir(parents=True)
    apt_get = ["apt-get", "-q", *_private(state, folder)]
    _run([*apt_get, "update"])  # fails if a third-party source is broken; the download decides
    _run([*apt_get, "install", "--yes", "--no-install-recommends", "--download-only", package])
    if not list((folder / "archives").glob(f"{package}_*.deb")):  # installed already, or its dependencies are broken
        _run([*apt_get, "download", package], cwd=folder)
    return sorted(folder.glob("archives/*.deb")) + sorted(folder.glob("*.deb"))


def _mend_links(tree: Path) -> None:
    """Point links that lead into installed packages, which were not unpacked, to the machine's files."""
    for link in tree.rglob("*"):
        if link.is_symlink() and not link.exists():
            wanted = os.path.relpath(os.path.normpath(link.parent / link.readlink()), tree)
            if Path("/", wanted).exists():
                link.unlink()
                link.symlink_to(Path("/", wanted))


def _private(state: Path, folder: Path) -> list[str]:
    options = {
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": folder,
        "Debug::NoLocking": "true",
        "APT::Sandbox::User": "",
        "APT::Update::Post-Invoke::": "true",
        "Acquire::Languages": "none",
        "Acquire::Retries": "1",
        "Acquire::http::Timeout": "20",
        "Acquire::https::Timeout": "20",
    }
    return [part for name, value in options.items() for part in ("-o", f"{name}={value}")]


def _publish(tree: Path, target: Path) -> Path:
    target.parent.mkdir(exist_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    return tree.rename(target)


def _run(command: list[str], cwd: Path | None = None) -> bool:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    try:
        done = subprocess.run(  # noqa: S603
            command, cwd=cwd, env=environment, capture_output=True, check=False, timeout=_PATIENCE_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
