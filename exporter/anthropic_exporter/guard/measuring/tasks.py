"""Tracks runs of work with their own limits: `with attribution(task="plan a trip", max_calls=15, max_usd=1)`."""

from __future__ import annotations

from collections.abc import Iterator

from anthropic_exporter.call import Task
from anthropic_exporter.guard.anomalies import RUNAWAY, RUNAWAY_COST, Measure

_MOST_TASKS = 10_000
_ACTIVE_SECONDS = 60.0


class _Run:
    __slots__ = ("calls", "feature", "seen_at", "task", "usd")

    def __init__(self, task: Task, feature: str) -> None:
        self.task = task
        self.feature = feature
        self.calls = 0
        self.usd = 0.0
        self.seen_at = 0.0


class Tasks:
    """What each task did so far. Of more than 10,000, the one idle for longest is forgotten."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget every task."""
        self._runs: dict[int, _Run] = {}
        self._beyond: dict[int, _Run] = {}

    def asks(self, task: Task, feature: str, now: float, *, again: bool) -> Measure | None:
        """Count a request before it is sent; `again` if the SDK retries it. Returns the exceeded limit, or None."""
        run = self._run(task, feature, now)
        if not again:
            run.calls += 1
        return self._exceeded(run)

    def spent(self, task: Task, feature: str, usd: float, now: float) -> Measure | None:
        """Count the cost of a call of a task. Returns the limit that it exceeds, or None."""
        run = self._run(task, feature, now)
        run.usd += usd
        return self._exceeded(run)

    def measures(self, now: float) -> Iterator[Measure]:
        """The tasks beyond their limits that did something within the last minute."""
        for number, run in list(self._beyond.items()):
            measure = _measure(run)
            if measure is None or now - run.seen_at > _ACTIVE_SECONDS:
                del self._beyond[number]
            else:
                yield measure

    def _run(self, task: Task, feature: str, now: float) -> _Run:
        run = self._runs.pop(task.number, None) or _Run(task, feature)
        self._runs[task.number] = run
        if len(self._runs) > _MOST_TASKS:
            del self._runs[next(iter(self._runs))]
        run.seen_at = now
        return run

    def _exceeded(self, run: _Run) -> Measure | None:
        measure = _measure(run)
        if measure is not None:
            self._beyond[run.task.number] = run
        return measure


def _measure(run: _Run) -> Measure | None:
    task = run.task
    note = f"Task {task.name}." if task.name else ""
    if task.max_calls is not None and run.calls > task.max_calls:
        return Measure(RUNAWAY, "task", run.feature, "", run.calls, task.max_calls, note)
    if task.max_usd is not None and run.usd > task.max_usd:
        return Measure(RUNAWAY_COST, "task", run.feature, "", run.usd, task.max_usd, note)
    return None
