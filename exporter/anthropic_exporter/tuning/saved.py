"""Computes dollars saved: a measured lower bound and a separate estimate."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Iterable
from typing import NamedTuple

from anthropic_exporter.history import series
from anthropic_exporter.history.increases import increases
from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.tuning.firings import Firing

_STEP_SECONDS = 300.0
_REPORT_HOUR = 9
MEASURED_FORMULA = "requests that an open breaker blocked x mean dollars of a successful request of that feature"
ESTIMATED_FORMULA = (
    "for each alert judged true, the largest of those that fired together on a feature: dollars a second above usual "
    "while it fired x seconds until 09:00 UTC of the next day, when a daily report would have been read, minus "
    "what it did cost"
)


class Savings(NamedTuple):
    """Dollars; `blocked` is the number of requests behind the measured part."""

    measured_usd: float
    blocked: int
    estimated_usd: float


def saved(prometheus: Prometheus, start: float, end: float, judged_true: Iterable[Firing]) -> Savings:
    """Return what breakers and people saved between two Unix seconds."""
    span = (start, end, _STEP_SECONDS)
    blocked: dict[str, float] = {}
    for one in increases(prometheus, series.GUARD_BLOCKED, ("feature", "mode"), span):
        feature, mode = one.labels
        if mode == "block":
            blocked[feature] = blocked.get(feature, 0.0) + one.amount
    usual = _usual_usd(prometheus, span) if blocked else {}
    measured = sum(count * usual.get(feature, 0.0) for feature, count in blocked.items())
    return Savings(measured, round(sum(blocked.values())), estimated(judged_true))


def _usual_usd(prometheus: Prometheus, span: tuple[float, float, float]) -> dict[str, float]:
    """Mean dollars of a successful request, by feature."""
    dollars: dict[str, float] = {}
    requests: dict[str, float] = {}
    for one in increases(prometheus, series.COST, ("feature", "tier"), span):
        if one.labels[1] != "batch":
            dollars[one.labels[0]] = dollars.get(one.labels[0], 0.0) + one.amount
    for one in increases(prometheus, series.REQUESTS, ("feature", "outcome"), span):
        if one.labels[1] == "success":
            requests[one.labels[0]] = requests.get(one.labels[0], 0.0) + one.amount
    return {feature: dollars.get(feature, 0.0) / count for feature, count in requests.items() if count}


def estimated(judged_true: Iterable[Firing]) -> float:
    """The additional dollars of all incidents. Alerts that fired together are about the same dollars."""
    incidents: list[list[Firing]] = []
    for firing in sorted(judged_true, key=lambda one: one.start):
        together = [one for one in incidents if any(_is_same(firing, other) for other in one)]
        incidents = [one for one in incidents if one not in together]
        incidents.append([firing, *itertools.chain.from_iterable(together)])
    return sum(map(_of_incident, incidents))


def _of_incident(together: Iterable[Firing]) -> float:
    """The largest estimate of each feature, or that of an alert about all features, if it is larger than their sum."""
    features: dict[str, float] = {}
    for firing in together:
        features[firing.feature] = max(features.get(firing.feature, 0.0), estimate(firing))
    everything = features.pop("", 0.0)
    return max(everything, sum(features.values()))


def _is_same(a: Firing, b: Firing) -> bool:
    """Whether two firings overlap and are about the same feature, or one of them is about all features."""
    return a.start <= b.end and b.start <= a.end and (a.feature == b.feature or not (a.feature and b.feature))


def estimate(firing: Firing) -> float:
    """The additional dollars that an incident would have cost until a daily report."""
    if not firing.cost_usd or firing.seconds <= 0:
        return 0.0
    return max(0.0, firing.cost_usd / firing.seconds * (report_at(firing.start) - firing.start) - firing.cost_usd)


def report_at(at: float) -> float:
    """When the next daily report is read, in Unix seconds."""
    day = dt.datetime.fromtimestamp(at, dt.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    return (day + dt.timedelta(days=1, hours=_REPORT_HOUR)).timestamp()
