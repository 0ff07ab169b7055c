"""The error boundary's books: a failure of ours is counted and logged, never raised into the application."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anthropic_exporter.call import Bill, Call
from anthropic_exporter.interruptions import is_interruption
from anthropic_exporter.kept_text import kept
from anthropic_exporter.logs import Log

_log = Log("anthropic_exporter")
_LOG_EVERY_SECONDS = 60.0
_MOST_UNPRICED_LINES = 50


class Faults:
    """Failures by stage, and the log lines about them.

    Everything here only appends, because a finalizer may fail while its thread holds a lock: `log` writes the lines.

    Args:
        count: adds one to the failures of a stage.
        clock: seconds since the epoch.
        strict: raise each failure after it is counted, for tests.
    """

    def __init__(self, count: Callable[[str], None], clock: Callable[[], float], *, strict: bool) -> None:
        self._count, self._clock, self.strict = count, clock, strict
        self.lines: deque[tuple[Any, ...]] = deque()
        self._logged: dict[str, float] = {}
        self._unpriced: set[str] = set()
        self._unmetered: set[str] = set()

    def failed(self, stage: str, error: BaseException) -> None:
        """Count a failure, and log it at most once a minute and stage; with `strict`, raise it.

        An exception that a signal handler or another thread raised into our code is not our failure: it is raised
        again, and nothing is counted.
        """
        if is_interruption(error):
            raise error
        self.note(stage, error)
        if self.strict:
            raise error

    def note(self, stage: str, error: BaseException) -> None:
        """Count and log a failure; never raises it.

        The log line holds the error's type and place, never its text, which could carry a prompt.
        """
        self._count(stage)
        now = self._clock()
        if now - self._logged.get(stage, float("-inf")) >= _LOG_EVERY_SECONDS:
            self._logged[stage] = now
            line = "recording failed at stage %s: %s at %s; the application is not affected"
            self.lines.append((line, stage, type(error).__name__, _place(error)))

    def malformed(self, stage: str, fields: tuple[str, ...]) -> None:
        """Count fields of a response that no server should send; they were taken as 0."""
        if fields:
            self.failed(stage, ValueError(f"unusable values in usage fields {sorted(set(fields))}"))

    def unpriced(self, call: Call, bill: Bill) -> None:
        """Log a model without a price once; at most as many models as there are model labels."""
        for inference, cost in zip(call.inferences, bill.costs, strict=True):
            model = kept(inference.model)
            if cost is None and model not in self._unpriced and len(self._unpriced) < _MOST_UNPRICED_LINES:
                self._unpriced.add(model)
                line = (
                    "no price for model %.120r (tier %s): tokens are counted, dollars are not; add it to a price file"
                )
                self.lines.append((line, model, kept(call.tier)))

    def unmetered(self, call: Call) -> None:
        """Log a model whose answers came without usable usage once, and at most as many models as there are labels."""
        model = kept(call.model)
        if model not in self._unmetered and len(self._unmetered) < _MOST_UNPRICED_LINES:
            self._unmetered.add(model)
            line = "answers of model %.120r without usable usage (%s): their tokens and dollars are not counted"
            self.lines.append((line, model, call.unmetered))

    def prices_broken(self, line: str) -> None:
        """Count and log what is wrong with an edit of the price file: the user's mistake, so it is never raised."""
        self._count("prices")
        self.lines.append(("%s", line))

    def log(self) -> None:
        """Write the waiting lines. Never with a lock held: a log handler may be slow, or scrape."""
        for _ in range(len(self.lines)):
            with contextlib.suppress(IndexError):  # another thread logged it
                _log.warning(*self.lines.popleft())


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    if trace is None:
        return "unknown place"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
