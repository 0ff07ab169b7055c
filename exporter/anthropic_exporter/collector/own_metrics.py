"""The collector's own metrics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping

from anthropic_exporter.collector import families as f
from anthropic_exporter.collector.hosts import ages, find_hosts
from anthropic_exporter.collector.merge import Fleet
from anthropic_exporter.metrics.cells import SeriesSample
from anthropic_exporter.metrics.sliding_max import SlidingMax

_RESULTS = ("merged", "unreadable", "newer_format", "refused")
_STAGES = ("queue", "merge", "state", "breakers", "thresholds", "serve")
#: Hosts beyond this number are counted, but not listed.
_MOST_LISTED_HOSTS = 5_000


class Progress:
    """The progress of reading, merging and saving.

    Args:
        wall: Unix seconds.

    Attributes:
        results: messages by result.
        errors: failures by stage.
        queue_up: the last read worked.
        saved_at: when the state was last written; seconds of a clock that never goes back.
        waiting: something came since.
        holding: conditions of the fleet's Guard that hold, by key.
    """

    def __init__(self, saved_at: float, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._lags = SlidingMax()
        self.results: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.queue_up = False
        self.saved_at = saved_at
        self.waiting = False
        self.holding: Mapping[str, int] = {}

    def sent_at(self, at: float) -> None:
        """Note when a message that was merged just now was sent, in seconds since the epoch."""
        wall = self._wall()
        self._lags.add(int(wall), max(0.0, wall - at))

    @property
    def lag_seconds(self) -> float:
        """The longest time from sending to merging of the trailing 60 s."""
        return self._lags.max(self._wall())


def readings(progress: Progress, fleet: Fleet, now: float) -> dict[str, list[SeriesSample]]:
    """Readings of the collector's own families, by name."""
    hosts = find_hosts(fleet.members.values(), now)
    lost = sum(one.is_lost for one in hosts)
    counts = fleet.counts
    ignored = {"unknown": counts.ignored_cells, "undefined": counts.undefined_cells, "invalid": counts.invalid_cells}
    return {
        f.MESSAGES.name: _each({name: progress.results[name] for name in _RESULTS}),
        f.ERRORS.name: _each({name: progress.errors[name] for name in _STAGES}),
        f.IGNORED_CELLS.name: _each(ignored),
        f.OVERFLOW.name: _each(fleet.series.overflow),
        f.HOSTS.name: _each({"live": len(hosts) - lost, "lost": lost}),
        f.HOST_AGE.name: [
            SeriesSample(name, [age], 0.0) for name, age in list(ages(hosts).items())[:_MOST_LISTED_HOSTS]
        ],
        f.GAPS.name: _one(counts.gaps),
        f.REBASED.name: _one(counts.rebased),
        f.LAG.name: _one(progress.lag_seconds),
        f.QUEUE_UP.name: _one(progress.queue_up),
        f.STATE_AGE.name: _one(now - progress.saved_at if progress.waiting else 0.0),
        f.MEMBERS.name: _one(len(fleet.members)),
        f.HOLDING.name: _each(progress.holding),
    }


def _one(value: float) -> list[SeriesSample]:
    return [SeriesSample((), [float(value)], 0.0)]


def _each(values: Mapping[str, int]) -> list[SeriesSample]:
    return [SeriesSample((label,), [float(value)], 0.0) for label, value in values.items()]
