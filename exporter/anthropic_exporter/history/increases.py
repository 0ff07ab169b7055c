"""By how much counters grew, exactly: births and restarts of processes counted, nothing extrapolated.

`increase()` of PromQL extrapolates and misses the first value of a series. Here each step is the difference of stored
samples. A series that appears counts from 0, unless its `_created` says that it is older than what is read. Where a
counter was reset, the samples since the last known one are read one by one. A restart is also known by `_created`,
where that is stored: a counter may have regained its old value before it was scraped.

What was never scraped cannot be counted: what a process did between its last scrape and its end.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from anthropic_exporter.history.prometheus_api import Prometheus, TimeSeries
from anthropic_exporter.metrics.families import Family

_LOOK_BACK_SECONDS = 3_600
_CHUNK_STEPS = 288
Identity = frozenset[tuple[str, str]]


class Increase(NamedTuple):
    """Growth of one group of series in the step that ends at `until`; `labels` are the values of `by`, in order."""

    labels: tuple[str, ...]
    until: float
    amount: float


def increases(
    prometheus: Prometheus,
    family: Family,
    by: Sequence[str],
    span: tuple[float, float, float],
    advance: Callable[[float], None] = lambda _: None,
) -> Iterator[Increase]:
    """Growth of a counter from the first second of `span` to its second, in steps of its third.

    Args:
        prometheus: where the history is.
        family: the counter.
        by: labels to keep; the others of the family are summed over.
        span: start, end and step, in Unix seconds and seconds.
        advance: called with the number of seconds that were read.
    """
    start, end, step = span
    reader = _Reader(prometheus, family, by, start, step)
    for first in itertools.count(start, step * _CHUNK_STEPS):
        last = min(end, first + step * _CHUNK_STEPS)
        if first >= end:
            return
        yield from reader.read(first + step, last)
        advance(last - first)


class _Seen(NamedTuple):
    """The value of a group of series at a moment; it was stored after `since`."""

    at: float
    value: float
    since: float


class _Reader:
    """Remembers the last value of every series, and when its counters began, from chunk to chunk."""

    def __init__(self, prometheus: Prometheus, family: Family, by: Sequence[str], start: float, step: float) -> None:
        self._prometheus = prometheus
        self._by = tuple(by)
        self._start, self._step = start, step
        self._name = family.name
        self._created_name = f"{family.name.removesuffix('_total')}_created"
        summed = [label for label in family.labels if label not in by]
        self._without = f"sum without ({', '.join(summed)})"
        self._oldest = f"min without ({', '.join(summed)})"
        before = prometheus.vector(f"{self._without}(last_over_time({self._name}[{_LOOK_BACK_SECONDS}s]))", start)
        self._last = {_identity(one): _Seen(start, one.points[0][1], start - _LOOK_BACK_SECONDS) for one in before}
        began = prometheus.vector(f"{self._oldest}(last_over_time({self._created_name}[{_LOOK_BACK_SECONDS}s]))", start)
        self._began = {_identity(one): one.points[0][1] for one in began}

    def read(self, first: float, last: float) -> Iterator[Increase]:
        step = f"{self._step:g}s"
        grid = self._range(f"{self._without}(last_over_time({self._name}[{step}]))", first, last)
        resets = self._range(f"{self._without}(resets({self._name}[{2 * self._step:g}s])) > 0", first, last)
        reset = {(_identity(one), at) for one in resets for at, _ in one.points}
        created = self._created(first, last)
        for one in grid:
            yield from self._of_series(one, reset, created.get(_identity(one), {}))

    def _of_series(
        self, series: TimeSeries, reset: set[tuple[Identity, float]], created: dict[float, float]
    ) -> Iterator[Increase]:
        identity = _identity(series)
        labels = tuple(series.labels.get(label, "") for label in self._by)
        for at, value in series.points:
            before = self._last.get(identity)
            self._last[identity] = _Seen(at, value, at - self._step)
            began_anew = self._begins_anew(identity, created.get(at))
            if before is None:
                amount = value if self._is_born_here(at, created.get(at)) else 0.0
            elif (identity, at) in reset or value < before.value or began_anew:
                amount = self._sample_by_sample(series, at, before)
            else:
                amount = value - before.value
            if amount:
                yield Increase(labels, at, amount)

    def _begins_anew(self, identity: Identity, created: float | None) -> bool:
        """Whether the counters of a group began later than when they were read last."""
        if created is None:
            return False
        before = self._began.get(identity, created)
        self._began[identity] = created
        return created > before

    def _is_born_here(self, at: float, created: float | None) -> bool:
        if created is not None:
            return created >= self._start - self._step
        return at > self._start + self._step

    def _created(self, first: float, last: float) -> dict[Identity, dict[float, float]]:
        found = self._range(f"{self._oldest}(last_over_time({self._created_name}[{self._step:g}s]))", first, last)
        return {_identity(one): dict(one.points) for one in found}

    def _sample_by_sample(self, series: TimeSeries, at: float, before: _Seen) -> float:
        """Growth since `before`, from the samples of each process and label set."""
        seconds = at - before.since
        births = {_identity(one): one for one in self._samples(self._created_name, series, seconds, at)}
        raw = self._samples(self._name, series, seconds, at)
        return sum(growth(one, before.at, births.get(_identity(one))) for one in raw)

    def _samples(self, name: str, series: TimeSeries, seconds: float, at: float) -> Iterator[TimeSeries]:
        matchers = ",".join(
            f"{label}={json.dumps(value, ensure_ascii=False)}" for label, value in sorted(series.labels.items())
        )
        for one in self._prometheus.samples(f"{name}{{{matchers}}}", seconds, at):
            yield one._replace(labels={label: value for label, value in one.labels.items() if label != "__name__"})

    def _range(self, expression: str, first: float, last: float) -> list[TimeSeries]:
        return self._prometheus.range(expression, first, last, self._step)


def growth(series: TimeSeries, after: float, births: TimeSeries | None = None) -> float:
    """Growth of a counter after a moment, from its samples. The first sample of a new series counts in full.

    `births` are the samples of its `_created`: where that moves, the counter began at 0 again.
    """
    began = dict(births.points) if births else {}
    total, before, born = 0.0, 0.0, 0.0
    for at, value in series.points:
        is_new = value < before or began.get(at, born) > born
        if at > after:
            total += value if is_new else value - before
        before, born = value, began.get(at, born)
    return total


def _identity(series: TimeSeries) -> Identity:
    return frozenset(series.labels.items())
