"""Writes a file that people keep: completely or not at all, with its rights, and through a link."""

from __future__ import annotations

import os
from pathlib import Path

from anthropic_exporter.errors import ConfigurationError

_WRITABLE = 0o222


def write(path: Path, text: str) -> None:
    """Replace a file, or make it. A link stays one: the file that it leads to is replaced.

    Raises:
        ConfigurationError: it is read-only, or cannot be written.
    """
    target = Path(os.path.realpath(path))
    fresh = target.with_name(f".{target.name}.new")
    try:
        mode = target.stat().st_mode & 0o777 if target.exists() else None
        if mode is not None and not (mode & _WRITABLE and os.access(target, os.W_OK)):
            raise ConfigurationError(f"{path}: cannot be written: it is read-only")
        fresh.write_bytes(text.encode())
        if mode is not None:
            fresh.chmod(mode)
        fresh.replace(target)
    except OSError as error:
        fresh.unlink(missing_ok=True)
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error
