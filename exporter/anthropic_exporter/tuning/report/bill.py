"""Reads the output of `reconcile --json` for the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from anthropic_exporter import bounded_files
from anthropic_exporter.errors import ConfigurationError

_MOST_BYTES = 64 << 20
_AMOUNTS, _VERDICT = ("tokens", "usd"), ("model", "tier", "cause", "heading", "found", "action")


def read(path: Path) -> Mapping[str, Any]:
    """The comparison.

    Raises:
        ConfigurationError: the file cannot be read, or is not what `reconcile --json` prints.
    """
    try:
        found = json.loads(bounded_files.read_text(path, _MOST_BYTES))
        amounts = [float(found[side][name]) for side in ("recorded", "billed") for name in _AMOUNTS]
        texts = [one[name] for one in found["verdicts"] for name in _VERDICT]
        is_whole = bool(amounts) and isinstance(found["drift"], bool) and all(isinstance(one, str) for one in texts)
    except (ValueError, KeyError, TypeError, RecursionError):
        is_whole = False
    if not is_whole:
        raise ConfigurationError(f"{path}: is not what `anthropic-exporter reconcile --json` prints")
    result: Mapping[str, Any] = found
    return result
