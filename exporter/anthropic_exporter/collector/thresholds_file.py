"""The file of thresholds, read again after an edit: Prometheus takes one within seconds, so the Guard does too."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from anthropic_exporter import bounded_files
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.guard.thresholds import Limits
from anthropic_exporter.logs import Log

_log = Log("anthropic_exporter.collect")
_LOOK_SECONDS = 1.0


class ThresholdsFile:
    """Notices edits.

    Args:
        path: a Prometheus rule file of thresholds.
        broken: called when an edit cannot be used; the previous thresholds stay in use.
        clock: seconds of a clock that never goes back.

    Attributes:
        limits: what the file said when it was opened.

    Raises:
        ConfigurationError: the file is not one of thresholds.
    """

    def __init__(
        self, path: Path, broken: Callable[[], None] = lambda: None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path, self._clock = path, clock
        self.broken = broken
        self._stamp = bounded_files.stamp(path)
        self.limits = Limits.from_file(path)
        self._looks_at = clock() + _LOOK_SECONDS

    def read_edit(self) -> Limits | None:
        """The thresholds of an edit since the last call; None if there is none that can be used."""
        if self._clock() < self._looks_at:
            return None
        self._looks_at = self._clock() + _LOOK_SECONDS
        stamp = bounded_files.stamp(self._path)
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        try:
            found = Limits.from_file(self._path)
        except ConfigurationError as error:
            self.broken()
            _log.warning("%s; the previous thresholds stay in effect", error)
            return None
        _log.info("%s: read again", self._path)
        return found
