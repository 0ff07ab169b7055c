"""The Guard of the fleet: rates and budgets of all publishers together, with the thresholds of the rules.

It reads growth of the collector's totals. Conditions of single calls stay with the processes that make them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from anthropic_exporter.collector.merge import Fleet
from anthropic_exporter.guard.anomalies import Measure
from anthropic_exporter.guard.clock import GuardClock
from anthropic_exporter.guard.measuring import levels
from anthropic_exporter.guard.measuring import windows as w
from anthropic_exporter.guard.measuring.budgets import Budgets
from anthropic_exporter.guard.measuring.growth import DAY_TOKENS, DAY_USD, columns_of
from anthropic_exporter.guard.measuring.levels import Sums
from anthropic_exporter.guard.notifications.alerts import Alert, Alerts
from anthropic_exporter.guard.thresholds import Limits
from anthropic_exporter.metrics.families import HISTOGRAM
from anthropic_exporter.transport.breakers_message import Holding


class _Role(NamedTuple):
    """Where a cell's growth counts: columns of a place's windows, and of the day's budgets."""

    cell: int
    feature: str
    model: str
    columns: tuple[int, ...]


class FleetWatch:
    """Evaluates the fleet.

    Args:
        fleet: whose totals grow; the caller holds its lock.
        limits: the thresholds.
        wall: Unix seconds.
    """

    def __init__(self, fleet: Fleet, limits: Limits, wall: Callable[[], float] = time.time) -> None:
        self._fleet = fleet
        self._clock = GuardClock(wall, lambda _: None)
        self._compare_with(limits)
        self._alerts = Alerts()
        self._roles: list[_Role] = []
        self._known_series = 0
        self._before, self._late_before = list(fleet.series.totals), dict(fleet.late)
        self._now = self._clock.moment().now
        self._held: list[Measure] = []

    def _compare_with(self, limits: Limits) -> None:
        # Conditions of single calls cannot be measured from totals: their thresholds are never crossed.
        self._limits = limits.replace(request_cost_usd=math.inf, request_output_tokens=math.inf)
        self._windows = w.Windows(self._limits)
        self._budgets = Budgets(self._limits)

    def change(self, limits: Limits) -> None:
        """Use other thresholds from now on. Budgets keep what was spent today; rates are measured anew."""
        spent = self.dump()
        self._compare_with(limits)
        self.load(spent)

    def evaluate(self) -> list[Alert]:
        """Take what grew since the last call. Returns alerts that began or ended."""
        at = self._clock.moment()
        self._now = max(self._now, at.now)
        self._budgets.turn(at.wall)
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
        for column in role.columns:
            if column == DAY_TOKENS:
                self._budgets.add(role.feature, round(grown), 0.0)
            elif column == DAY_USD:
                self._budgets.add(role.feature, 0, grown)
            elif fresh > 0.0:
                place = self._windows[role.feature, role.model]
                if place.second != second:
                    place.advance(second)
                place.totals[column] += fresh

    def _learn_series(self) -> None:
        series = self._fleet.series
        for number in range(self._known_series, len(series.targets)):
            target = series.targets[number]
            labels = dict(zip(target.family.labels, series.labels_of(number), strict=True))
            columns = columns_of(target.family.name, labels)
            if columns and target.family.kind != HISTOGRAM:
                self._roles.append(_Role(target.start, labels["feature"], labels["model"], columns))
        self._known_series = len(series.targets)

    def _measures(self) -> Iterator[Measure]:
        all_sums = [Sums(place, self._now) for place in self._windows.places()]
        yield from levels.of_all(all_sums, lambda _: None, self._limits)
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
