"""Writes an export: each file at once or not at all, and never over edited thresholds."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from anthropic_exporter import bounded_files
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.export.plan import THRESHOLDS

#: `rules/*.yml` does not match it, so Prometheus does not load it.
_BESIDE = ".new"
#: Follows the scrape interval; it is the only text that differs between two exports of one version.
_INTERVAL = re.compile(r"(?m)^ +interval: \w+\n")
#: The largest dashboard has 130 kB.
_MOST_BYTES = 16_777_216


class FileOutcome(NamedTuple):
    """What happened to one file: `written`, `unchanged`, or `kept` with the new text in `beside`."""

    path: Path
    what: str
    beside: Path | None = None


def write(files: Mapping[str, str], folder: Path, advance: Callable[[], None] = lambda: None) -> list[FileOutcome]:
    """Write files below a folder, creating it if needed.

    An existing `thresholds.yml` that differs is kept, unless only its group's interval does; the new one is written
    beside it as `thresholds.yml.new`.

    Args:
        files: texts by path below the folder.
        folder: where to write.
        advance: called after each file.

    Raises:
        ConfigurationError: a path cannot be written; files before it are complete.
    """
    outcomes = []
    for name, text in files.items():
        outcomes.append(_written(folder / name, text))
        advance()
    return outcomes


def _written(path: Path, text: str) -> FileOutcome:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        existing = bounded_files.read_text(path, _MOST_BYTES) if path.exists() else None
        if existing == text:
            return FileOutcome(path, "unchanged")
        if existing is not None and path.name == THRESHOLDS and _has_edits(existing, text):
            beside = path.with_name(path.name + _BESIDE)
            _replace(beside, text)
            return FileOutcome(path, "kept", beside)
        _replace(path, text)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror or error}") from error
    return FileOutcome(path, "written")


def left_over(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Rule files in the folder of an export that are not part of it, such as those of an earlier one.

    They are not removed, because they may be the user's own; but whoever loads `rules/*.yml` loads them too.
    """
    return [path for path in sorted((folder / "rules").glob("*.yml")) if f"rules/{path.name}" not in files]


def _has_edits(existing: str, text: str) -> bool:
    return _INTERVAL.sub("", existing) != _INTERVAL.sub("", text)


def _replace(path: Path, text: str) -> None:
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")  # two containers may have the same process id
    try:
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
