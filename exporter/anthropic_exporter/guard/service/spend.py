"""The windows and budgets of all processes of a service together, read from their merged counters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from anthropic_exporter.guard.measuring import windows as w
from anthropic_exporter.guard.measuring.budgets import Budgets
from anthropic_exporter.guard.measuring.growth import DAY_TOKENS, DAY_USD, WIDTH, PlaceTotals, Totals, grown
from anthropic_exporter.guard.measuring.windows import Windows
from anthropic_exporter.metrics.cells import Snapshot


class ServiceSpend:
    """Adds what grew since the last time to windows and budgets.

    Args:
        windows: of all processes; they may hold what one process did before others came.
        budgets: the day's spend of all processes.
        before: the counters that windows and budgets contain already; None: those of the first snapshot.
    """

    def __init__(self, windows: Windows, budgets: Budgets, before: Totals | None) -> None:
        self.windows, self.budgets, self.before = windows, budgets, before
        self._totals = PlaceTotals()
        self._series: object = None

    def read(self, snapshot: Snapshot) -> Totals:
        """The counters of every feature on every model."""
        if snapshot.series is not self._series:  # of another merge
            self._series, self._totals = snapshot.series, PlaceTotals()
        return self._totals.read(snapshot)

    def take(self, snapshot: Snapshot, second: int, *, is_fresh: bool = True) -> None:
        """Add what grew. `is_fresh`: it happened just now, so that it counts in paces as well."""
        now = self.read(snapshot)
        before, self.before = self.before, now
        for (feature, model), columns in grown(now, now if before is None else before).items():
            self.budgets.add(feature, round(columns[DAY_TOKENS]), columns[DAY_USD])
            if is_fresh:
                place = self.windows[feature, model]
                if place.second != second:
                    place.advance(second)
                place.grow(columns)
                # No request of this half second cost more: enough to know what a spike is without its largest request.
                place.peak_usd = max(place.peak_usd, columns[w.COST])


def dump(totals: Totals | None) -> list[list[Any]] | None:
    """Counters as plain values: feature, model, then pairs of a column and its value."""
    if totals is None:
        return None
    return [[*place, *((at, value) for at, value in enumerate(columns) if value)] for place, columns in totals.items()]


def load(dumped: Sequence[Sequence[Any]] | None) -> Totals | None:
    """What `dump` was given.

    Raises:
        ValueError: it is not what `dump` gives.
    """
    if dumped is None:
        return None
    try:
        return {(str(feature), str(model)): _columns(dict(pairs)) for feature, model, *pairs in dumped}
    except (TypeError, IndexError, KeyError) as error:
        raise ValueError("not totals") from error


def _columns(values: Mapping[int, float]) -> list[float]:
    return [float(values.get(at, 0.0)) for at in range(WIDTH)]


def added(first: Totals, second: Totals) -> Totals:
    """The sums of two sets of counters."""
    both = {place: list(columns) for place, columns in first.items()}
    for place, columns in second.items():
        both[place] = [sum(pair) for pair in zip(both.get(place, [0.0] * WIDTH), columns, strict=True)]
    return both
