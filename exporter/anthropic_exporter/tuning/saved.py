"""Computes dollars saved: a measured lower bound and a separate estimate."""

from __future__ import annotations

import datetime as dt
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
    "for each alert judged true: dollars a second above usual while it fired x seconds until 09:00 UTC of the next "
    "day, when a daily report would have been read, minus what it did cost"
)


class Saved(NamedTuple):
    """Dollars; `blocked` is the number of requests behind the measured part."""

    measured_usd: float
    blocked: int
    estimated_usd: float


def saved(prometheus: Prometheus, start: float, end: float, judged_true: Iterable[Firing]) -> Saved:
    """Return what breakers and people saved between two Unix seconds."""
    span = (start, end, _STEP_SECONDS)
    blocked: dict[str, float] = {}
    for one in increases(prometheus, series.GUARD_BLOCKED, ("feature", "mode"), span):
        feature, mode = one.labels
        if mode == "block":
            blocked[feature] = blocked.get(feature, 0.0) + one.amount
    usual = _usual_usd(prometheus, span) if blocked else {}
    measured = sum(count * usual.get(feature, 0.0) for feature, count in blocked.items())
    return Saved(measured, round(sum(blocked.values())), sum(map(estimate, judged_true)))


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


def estimate(firing: Firing) -> float:
    """The additional dollars that an incident would have cost until a daily report."""
    if not firing.cost_usd or firing.seconds <= 0:
        return 0.0
    return max(0.0, firing.cost_usd / firing.seconds * (report_at(firing.start) - firing.start) - firing.cost_usd)


def report_at(at: float) -> float:
    """When the next daily report is read, in Unix seconds."""
    day = dt.datetime.fromtimestamp(at, dt.timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    return (day + dt.timedelta(days=1, hours=_REPORT_HOUR)).timestamp()
