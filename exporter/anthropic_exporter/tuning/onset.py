"""Finds when an incident began, and how long it took to notice. Pure except for the samples that it reads.

The onset is the change point of the signal behind the alert: the moment from which it grew at the pace of the incident
and not at its usual one, found as the minimum of a cumulative sum (CUSUM, Page 1954).
"""

from __future__ import annotations

import itertools
import json
import statistics
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from anthropic_exporter.history import series
from anthropic_exporter.history.prometheus_api import Prometheus, TimeSeries
from anthropic_exporter.tuning.firings import Firing

_LOOK_BACK_SECONDS = 900.0
#: An alert that has a signal fires within this time.
_SEARCHED_SECONDS = 300.0
_FAST_SECONDS = 30.0
_LONGEST_DELIVERY_SECONDS = 120.0

Steps = list[tuple[float, float, float]]


class Detection(NamedTuple):
    """Seconds from the onset to the firing, and from there to the webhook receiver; None if unknown."""

    to_firing: float | None
    to_delivery: float | None

    @property
    def total(self) -> float | None:
        """Seconds from the onset to the delivery; without a receiver, to the firing."""
        return None if self.to_firing is None else self.to_firing + (self.to_delivery or 0.0)


class Summary(NamedTuple):
    """Mean and 95th percentile of the time to detection, in seconds, and of how many firings."""

    alerts: int
    mean: float
    p95: float


def detection(prometheus: Prometheus, firing: Firing, before: float | None = None) -> Detection:
    """Return how long it took to notice the incident behind a firing.

    `before` is when the same alert last ended. An alert that fires again soon after is about an incident that was
    noticed: no usual pace lies between, so it has no onset.
    """
    is_again = before is not None and before > firing.start - _LOOK_BACK_SECONDS
    began = None if is_again else onset(prometheus, firing)
    to_firing = None if began is None else max(0.0, firing.start - began)
    return Detection(to_firing, _delivery(prometheus, firing))


def summarise(detections: Iterable[Detection]) -> Summary | None:
    """Mean and 95th percentile; None if nothing is known."""
    known = sorted(one.total for one in detections if one.total is not None)
    if not known:
        return None
    return Summary(len(known), statistics.fmean(known), known[min(len(known) - 1, round(0.95 * len(known) - 0.5))])


def onset(prometheus: Prometheus, firing: Firing) -> float | None:
    """The Unix second at which the signal of a firing changed; None if the alert has no such signal."""
    signal = series.SIGNALS.get(firing.alert)
    if signal is None:
        return None
    where = [f"{name}={json.dumps(firing.labels[name])}" for name in ("feature", "model") if firing.labels.get(name)]
    matchers = ",".join(filter(None, [signal.matchers, *where]))
    found = prometheus.samples(f"{signal.name}{{{matchers}}}", _LOOK_BACK_SECONDS, firing.start)
    return last_rise(found) if signal.is_gauge else change_point(growth_by_time(found), firing.start)


def last_rise(found: Sequence[TimeSeries]) -> float | None:
    """The middle of the two samples between which a gauge last rose."""
    rises = [
        (before + at) / 2 for one in found for (before, low), (at, high) in itertools.pairwise(one.points) if high > low
    ]
    return max(rises, default=None)


def growth_by_time(found: Iterable[TimeSeries]) -> Steps:
    """The growth of all counters together, as (since, until, amount) of each scrape, oldest first."""
    grown: dict[tuple[float, float], float] = {}
    for one in found:
        before = 0.0
        for index, (at, value) in enumerate(one.points):
            since = one.points[index - 1][0] if index else at
            if index:
                step = (since, at)
                grown[step] = grown.get(step, 0.0) + (value - before if value >= before else value)
            before = value
    return sorted((since, until, amount) for (since, until), amount in grown.items())


def change_point(steps: Steps, firing: float) -> float | None:
    """The middle of the scrape in which the pace changed from the usual one to that of the incident."""
    if not steps:
        return None
    usual = _usual_pace(steps, firing)
    incident = _pace(steps, firing - _FAST_SECONDS, firing)
    between = (usual + incident) / 2
    total, least, began = 0.0, 0.0, steps[0]
    searched = [step for step in steps if step[1] > firing - _SEARCHED_SECONDS] or steps
    began = searched[0]
    for index, (since, until, amount) in enumerate(searched):
        total += amount - between * _share(searched, index, since, until)
        if total <= least:
            least, began = total, searched[min(index + 1, len(searched) - 1)]
    return (began[0] + began[1]) / 2


def _share(steps: Steps, index: int, since: float, until: float) -> float:
    """Seconds that a step adds to the clock: processes scraped at other moments overlap."""
    return until - (since if index == 0 else max(since, min(until, steps[index - 1][1])))


def _usual_pace(steps: Steps, firing: float) -> float:
    """The median pace of the half minutes from the first sample on: the incident is the smaller part of them."""
    first = max(steps[0][0], firing - _LOOK_BACK_SECONDS)
    count = int((firing - first) // _FAST_SECONDS) - 1
    windows = [firing - (number + 1) * _FAST_SECONDS for number in range(1, count + 1)]
    return statistics.median([_pace(steps, since, since + _FAST_SECONDS) for since in windows] or [0.0])


def _pace(steps: Steps, since: float, until: float) -> float:
    inside = [amount for _, at, amount in steps if since < at <= until]
    return sum(inside) / (until - since)


def _delivery(prometheus: Prometheus, firing: Firing) -> float | None:
    """Seconds from the firing until the standalone exporter counted its notification."""
    name = series.NOTIFICATIONS.name
    matchers = f'alertname={json.dumps(firing.alert)},status="firing"'
    end = firing.start + _LONGEST_DELIVERY_SECONDS
    born = (end - 2 * _LONGEST_DELIVERY_SECONDS, 0.0)
    found = prometheus.samples(f"{name}{{{matchers}}}", 2 * _LONGEST_DELIVERY_SECONDS, end)
    rises = [
        (before + at) / 2 - firing.start if before > born[0] else at - firing.start
        for one in found
        for (before, low), (at, high) in itertools.pairwise((born, *one.points))
        if high > low and at > firing.start
    ]
    return max(0.0, min(rises)) if rises else None
