"""Reads every firing of an alert from the series `ALERTS`, with its start and end to the evaluation."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from anthropic_exporter.history import series
from anthropic_exporter.history.prometheus_api import Prometheus, TimeSeries

_DAY_SECONDS = 86_400
_OF_PROMETHEUS = ("__name__", "alertstate")
#: The pause between two samples that ends a firing, in evaluations.
_PAUSE = 2.5
_USUAL_INTERVAL_SECONDS = 5.0
#: More than the longest interval between evaluations.
_LOOK_BACK_SECONDS = 300.0
_ID_CHARACTERS = 8


class Firing(NamedTuple):
    """One firing. Times are Unix seconds; `end` is that of the last evaluation at which it fired.

    `labels` are those of the alert without its name and severity. `is_cut` means that it still fired at the end of
    the span. `cost_usd` is what the incident cost above the baseline, None if the rules do not record it.
    """

    alert: str
    severity: str
    labels: Mapping[str, str]
    start: float
    end: float
    is_cut: bool = False
    cost_usd: float | None = None

    @property
    def id(self) -> str:
        """A short id, the same each time the same firing is read."""
        text = json.dumps([round(self.start), self.alert, sorted(self.labels.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:_ID_CHARACTERS]

    @property
    def seconds(self) -> float:
        """The duration of the firing."""
        return self.end - self.start

    @property
    def feature(self) -> str:
        """The feature of the alert; empty if it has none."""
        return self.labels.get("feature", "")

    @property
    def model(self) -> str:
        """The model of the alert; empty if it has none."""
        return self.labels.get("model", "")


def read(
    prometheus: Prometheus,
    start: float,
    end: float,
    advance: Callable[[float], None] = lambda _: None,
    *,
    with_cost: bool = True,
) -> list[Firing]:
    """All firings that began after `start` and until `end`, oldest first, with their dollars if they are asked for.

    Times are Unix seconds. Each firing belongs to one of two spans that follow each other.
    """
    joined: dict[frozenset[tuple[str, str]], list[float]] = {}
    since = start - _LOOK_BACK_SECONDS  # to know what had begun before
    while since < end:
        until = min(end, since + _DAY_SECONDS)
        for one in prometheus.samples(series.FIRING, until - since, until):
            joined.setdefault(frozenset(one.labels.items()), []).extend(at for at, _ in one.points)
        advance(until - max(since, start))
        since = until
    found = [firing for labels, times in joined.items() for firing in of_times(dict(labels), times, end)]
    began = [one for one in found if one.start > start]
    found = [_with_cost(prometheus, one) for one in began] if with_cost else began
    return sorted(found, key=lambda one: (one.start, one.alert))


def of_times(labels: Mapping[str, str], times: Iterable[float], end: float) -> Iterator[Firing]:
    """The firings of one alert that fired at these evaluations."""
    ordered = sorted(set(times))
    interval = min((b - a for a, b in itertools.pairwise(ordered)), default=_USUAL_INTERVAL_SECONDS)
    pause = _PAUSE * max(interval, _USUAL_INTERVAL_SECONDS)
    first = 0
    for index, at in enumerate(ordered):
        if index + 1 == len(ordered) or ordered[index + 1] - at > pause:
            yield _firing(labels, ordered[first], at, is_cut=end - at <= pause)
            first = index + 1


def _firing(labels: Mapping[str, str], start: float, end: float, *, is_cut: bool) -> Firing:
    rest = {name: value for name, value in labels.items() if name not in (*_OF_PROMETHEUS, "alertname", "severity")}
    return Firing(labels["alertname"], labels.get("severity", ""), rest, start, end, is_cut)


def _with_cost(prometheus: Prometheus, firing: Firing) -> Firing:
    """The largest sum that the rules recorded for the incident while it fired."""
    name = series.INCIDENT_COST.format(alert=firing.alert)
    # The sum is kept for the firing and reset after it; the evaluation before it is its first.
    length = max(round(firing.seconds) + 2 * int(_USUAL_INTERVAL_SECONDS), 2 * int(_USUAL_INTERVAL_SECONDS))
    found = prometheus.samples(name, length, firing.end + 1)
    amounts = [value for one in found if _is_about(one, firing) for _, value in one.points]
    return firing._replace(cost_usd=max(amounts, default=None))


def _is_about(one: TimeSeries, firing: Firing) -> bool:
    return all(one.labels.get(name, "") == firing.labels.get(name, "") for name in ("feature", "model"))
