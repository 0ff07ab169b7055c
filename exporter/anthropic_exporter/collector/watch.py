"""The Guard of the fleet: paces and budgets of all publishers together, with the thresholds of the rules.

It reads growth of the collector's totals. Conditions of single calls stay with the processes that make them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from anthropic_exporter.call import NO_FAILURE
from anthropic_exporter.collector.merge import Fleet
from anthropic_exporter.collector.series import SHOWN
from anthropic_exporter.guard.anomalies import COST_RATE, Measure
from anthropic_exporter.guard.measuring import levels
from anthropic_exporter.guard.measuring import windows as w
from anthropic_exporter.guard.measuring.budgets import Budgets
from anthropic_exporter.guard.measuring.levels import Sums
from anthropic_exporter.guard.telling.alerts import Alert, Alerts
from anthropic_exporter.guard.thresholds import Limits
from anthropic_exporter.metrics import families as f
from anthropic_exporter.transport.breakers_message import Holding

_LABELS = {family.name: family.labels for family in SHOWN}
_BATCH = "batch"
_TOKEN_FIELDS = {
    "input": (w.PROMPT,),
    "cache_read": (w.PROMPT, w.CACHE_READ),
    "cache_write_5m": (w.PROMPT,),
    "cache_write_1h": (w.PROMPT,),
    "output": (w.OUTPUT,),
}
_OUTCOMES = {"rate_limit_error": w.RATE_LIMITED, "overloaded_error": w.OVERLOADED}
_CACHE_FIELDS = {"hit": w.HITS, "miss": w.MISSES}


class _Role(NamedTuple):
    """What growth of a cell means: fields of a place's windows, and a share of a budget."""

    cell: int
    feature: str
    model: str
    fields: tuple[int, ...]
    tokens: bool = False
    usd: bool = False


class FleetWatch:
    """Evaluates the fleet.

    Args:
        fleet: whose totals grow; the caller holds its lock.
        limits: the thresholds.
        wall: seconds since the epoch.
    """

    def __init__(self, fleet: Fleet, limits: Limits, wall: Callable[[], float] = time.time) -> None:
        # Conditions of single calls cannot be measured from totals: no threshold is ever crossed.
        self._limits = limits.replace(request_cost_usd=math.inf, request_output_tokens=math.inf)
        self._fleet, self._wall = fleet, wall
        self._windows = w.Windows(self._limits)
        self._budgets = Budgets(self._limits)
        self._alerts = Alerts()
        self._roles: list[_Role] = []
        self._known_series = 0
        self._before, self._late_before = list(fleet.series.totals), dict(fleet.late)
        self._now = wall()
        self._held: list[Measure] = []

    def evaluate(self) -> list[Alert]:
        """Take what grew since the last time. Alerts that began or ended."""
        wall = self._wall()
        self._now = max(self._now, wall)  # a clock that is put back stops no window
        self._budgets.turn(wall)
        self._take_growth(int(self._now))
        measures = list(self._measures())
        self._alerts.settle(measures, self._now)
        news = self._alerts.news(self._now)
        self._windows.forget(int(self._now))
        self._held = [one for one in measures if self._alerts.holding(one.identity)]
        return news

    @property
    def holding(self) -> list[Holding]:
        """The conditions that hold, as they are published."""
        return [
            Holding(one.condition.key, one.scope, one.feature, one.model, one.value, one.threshold)
            for one in self._held
        ]

    def firing(self) -> list[Alert]:
        """The alerts that are open, the oldest first."""
        return self._alerts.firing()

    def _take_growth(self, second: int) -> None:
        series, late = self._fleet.series, self._fleet.late
        self._learn_series()
        before, totals, late_before = self._before, series.totals, self._late_before
        before += [0.0] * (len(totals) - len(before))
        for role in self._roles:
            grown = totals[role.cell] - before[role.cell]
            if grown > 0.0:
                self._add(role, grown, grown - late.get(role.cell, 0.0) + late_before.get(role.cell, 0.0), second)
        self._before, self._late_before = list(totals), dict(late)

    def _add(self, role: _Role, grown: float, fresh: float, second: int) -> None:
        """Count growth in budgets, and what of it happened just now in paces."""
        if role.tokens or role.usd:
            self._budgets.add(role.feature, round(grown) if role.tokens else 0, grown if role.usd else 0.0)
        if fresh > 0.0 and role.fields:
            place = self._windows[role.feature, role.model]
            if place.second != second:
                place.advance(second)
            for field in role.fields:
                place.totals[field] += fresh

    def _learn_series(self) -> None:
        series = self._fleet.series
        for number in range(self._known_series, len(series.targets)):
            target = series.targets[number]
            labels = dict(zip(target.family.labels, series.labels_of(number), strict=True))
            role = _role(target.family.name, target.start, labels)
            if role is not None:
                self._roles.append(role)
        self._known_series = len(series.targets)

    def _measures(self) -> Iterator[Measure]:
        all_sums = [Sums(place, self._now) for place in self._windows.places()]
        explained = False
        for sums in all_sums:
            for measure in levels.of_place(sums, None):
                explained = explained or (measure.condition is COST_RATE and measure.holds)
                yield measure
        if not explained:
            yield from levels.of_total(all_sums, self._limits)
        yield from levels.of_models(all_sums, self._limits)
        yield from self._budgets.measures()

    def dump(self) -> dict[str, Any]:
        """What was spent, by day, for the state file."""
        return self._budgets.dump()

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Take over what `dump` gave.

        Raises:
            ValueError: it is not that.
        """
        self._budgets.load(dumped)


def _role(family: str, cell: int, labels: Mapping[str, str]) -> _Role | None:
    """What growth of the first cell of a series means; None for what no condition of the fleet asks about."""
    where = (cell, labels.get("feature", ""), labels.get("model", ""))
    interactive = labels.get("tier") != _BATCH
    if family == f.COST.name:
        return _Role(*where, (w.COST,) if interactive else (), usd=True)
    if family == f.TOKENS.name:
        kind = labels["type"]
        return _Role(*where, _TOKEN_FIELDS.get(kind, ()) if interactive else (), tokens=kind != "cache_read")
    fields = _fields(family, labels)
    return _Role(*where, fields) if fields else None


def _fields(family: str, labels: Mapping[str, str]) -> tuple[int, ...]:
    if family == f.REQUESTS.name:
        outcome = labels["outcome"]
        return (w.REQUESTS,) if outcome in NO_FAILURE else (w.REQUESTS, _OUTCOMES.get(outcome, w.FAILED))
    if family == f.CACHE_REQUESTS.name:
        return (_CACHE_FIELDS.get(labels["result"], w.UNASKED),)
    return (w.MISS_COST,) if family == f.CACHE_MISS_COST.name else ()
