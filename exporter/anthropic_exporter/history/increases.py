"""By how much counters grew, exactly: births and restarts of processes counted, nothing extrapolated.

`increase()` of PromQL extrapolates and misses the first value of a series. Here each step is the difference of stored
samples. A series that appears counts from 0, unless its `_created` says that it is older than what is read. Where a
counter was reset, the samples of that step are read one by one.

What was never scraped cannot be counted: what a process did between its last scrape and its end.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from anthropic_exporter.history.prometheus_api import Prometheus, Series
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


class _Reader:
    """Remembers the last value of every series from chunk to chunk."""

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
        self._last = {_identity(one): one.points[0][1] for one in before}

    def read(self, first: float, last: float) -> Iterator[Increase]:
        step = f"{self._step:g}s"
        grid = self._range(f"{self._without}(last_over_time({self._name}[{step}]))", first, last)
        resets = self._range(f"{self._without}(resets({self._name}[{2 * self._step:g}s])) > 0", first, last)
        reset = {(_identity(one), at) for one in resets for at, _ in one.points}
        born = any(_identity(one) not in self._last for one in grid)
        created = self._created(first, last) if born else {}
        for one in grid:
            yield from self._of_series(one, reset, created.get(_identity(one)))

    def _of_series(
        self, series: Series, reset: set[tuple[Identity, float]], created: float | None
    ) -> Iterator[Increase]:
        identity = _identity(series)
        labels = tuple(series.labels.get(label, "") for label in self._by)
        for at, value in series.points:
            before = self._last.get(identity)
            self._last[identity] = value
            if before is None:
                amount = value if self._is_born_here(at, created) else 0.0
            elif (identity, at) in reset or value < before:
                amount = self._sample_by_sample(series, at)
            else:
                amount = value - before
            if amount:
                yield Increase(labels, at, amount)

    def _is_born_here(self, at: float, created: float | None) -> bool:
        if created is not None:
            return created >= self._start - self._step
        return at > self._start + self._step

    def _created(self, first: float, last: float) -> dict[Identity, float]:
        found = self._range(f"{self._oldest}(last_over_time({self._created_name}[{self._step:g}s]))", first, last)
        return {_identity(one): one.points[0][1] for one in found}

    def _sample_by_sample(self, series: Series, at: float) -> float:
        matchers = ",".join(
            f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(series.labels.items())
        )
        raw = self._prometheus.samples(f"{self._name}{{{matchers}}}", 2 * self._step, at)
        return sum(growth(one, at - self._step) for one in raw)

    def _range(self, expression: str, first: float, last: float) -> list[Series]:
        return self._prometheus.range(expression, first, last, self._step)


def growth(series: Series, after: float) -> float:
    """Growth of a counter after a moment, from its samples. The first sample of a new series counts in full."""
    total, before = 0.0, 0.0
    for at, value in series.points:
        if at > after:
            total += value - before if value >= before else value
        before = value
    return total


def _identity(series: Series) -> Identity:
    return frozenset(series.labels.items())
