"""Sums spend since the day began, per feature and in total; remembered over restarts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from anthropic_exporter.guard.anomalies import DAILY_COST, DAILY_TOKENS, Measure
from anthropic_exporter.guard.thresholds import Limits

_DAY = 86_400
_KEPT_DAYS = 2
#: More than one process can spend in a day: larger numbers mean a damaged file. The recorder bounds labels.
_MOST_TOKENS, _MOST_USD, _MOST_FEATURES = 10**15, 1e12, 10_000


class SpendTotal:
    """Tokens and dollars of one feature on one day."""

    __slots__ = ("tokens", "usd")

    def __init__(self, tokens: int = 0, usd: float = 0.0) -> None:
        self.tokens = tokens
        self.usd = usd


class _Day:
    """One day's spend, by feature and in total. A call that is being added stays on its day, whatever `turn` does."""

    __slots__ = ("features", "total")

    def __init__(self, features: dict[str, SpendTotal]) -> None:
        self.features = features
        spent = features.values()
        self.total = SpendTotal(sum(one.tokens for one in spent), math.fsum(one.usd for one in spent))


class BudgetStore(Protocol):
    """Where the day's spend lives. In this process; a store shared by workers and hosts has the same three methods."""

    def turn(self, wall: float) -> None:
        """Advance to the day of `wall`, in Unix seconds."""

    def add(self, feature: str, tokens: int, usd: float) -> bool:
        """Add what a call spent. Returns True if it exceeded a budget."""

    def measures(self) -> Iterable[Measure]:
        """What was spent, against every budget."""


class Budgets(BudgetStore):
    """The daily spend of this process. A day that ended is kept for another day, in case the clock is set back.

    Args:
        limits: the budgets; the budget of a feature is additional to that of the total.
        utc_offset_minutes: how far the day is ahead of UTC.
    """

    def __init__(self, limits: Limits, utc_offset_minutes: int = 0) -> None:
        self._arguments = (limits, utc_offset_minutes)
        self._ahead_seconds = 60 * utc_offset_minutes
        self._usd, self._tokens = limits.of("cost_usd_per_day"), limits.of("tokens_per_day")
        self._usd_of, self._tokens_of = limits.own("cost_usd_per_day"), limits.own("tokens_per_day")
        self._own = self._usd_of.keys() | self._tokens_of.keys()
        self._days: dict[int, _Day] = {}
        self._today = _Day({})
        self._day = -1
        self._set_trips()

    def day_of(self, wall: float) -> int:
        """The number of the day of `wall`, seconds since the epoch."""
        return int((wall + self._ahead_seconds) // _DAY)

    def empty(self, wall: float) -> Budgets:
        """The same budgets with nothing spent, on the day of `wall`."""
        made = Budgets(*self._arguments)
        made.turn(wall)
        return made

    @property
    def version(self) -> tuple[int, int, float]:
        """A number that changes with every call that spent something."""
        return self._day, self._today.total.tokens, self._today.total.usd

    def turn(self, wall: float) -> None:
        """Advance to the day of `wall`, in Unix seconds; back to the previous day if the clock was set back."""
        day = self.day_of(wall)
        if day == self._day:
            return
        today = self._days.setdefault(day, _Day({}))
        while len(self._days) > _KEPT_DAYS:
            del self._days[min(key for key in self._days if key != day)]
        self._day, self._today = day, today
        self._set_trips()

    def add(self, feature: str, tokens: int, usd: float) -> bool:
        """Add what a call spent on the day set by `turn`. Returns True if it exceeded a budget."""
        day = self._today
        try:
            spent = day.features[feature]
        except KeyError:
            spent = day.features[feature] = SpendTotal()
        spent.tokens += tokens
        spent.usd += usd
        total = day.total
        total.tokens += tokens
        total.usd += usd
        if total.usd > self._usd_trip or total.tokens > self._tokens_trip:
            self._set_trips()
            return True
        return feature in self._own and self._used_up(feature, spent, tokens, usd)

    def spent(self) -> tuple[SpendTotal, Mapping[str, SpendTotal]]:
        """What was spent today: in total, and by feature."""
        day = self._today
        return day.total, dict(day.features)

    def _set_trips(self) -> None:
        """Set the next trip lines; none for a budget that is already exceeded, which every evaluation measures."""
        total = self._today.total
        self._usd_trip = self._usd if total.usd <= self._usd else math.inf
        self._tokens_trip = self._tokens if total.tokens <= self._tokens else math.inf

    def _used_up(self, feature: str, spent: SpendTotal, tokens: int, usd: float) -> bool:
        budget_usd, budget_tokens = self._usd_of.get(feature, math.inf), self._tokens_of.get(feature, math.inf)
        return spent.usd > budget_usd >= spent.usd - usd or spent.tokens > budget_tokens >= spent.tokens - tokens

    def measures(self) -> Iterator[Measure]:
        """What was spent today, against every budget."""
        total, by_feature = self.spent()
        yield Measure(DAILY_COST, "total", "", "", total.usd, self._usd)
        yield Measure(DAILY_TOKENS, "total", "", "", total.tokens, self._tokens)
        for feature, budget in self._usd_of.items():
            if feature in by_feature:
                yield Measure(DAILY_COST, "feature", feature, "", by_feature[feature].usd, budget)
        for feature, budget in self._tokens_of.items():
            if feature in by_feature:
                yield Measure(DAILY_TOKENS, "feature", feature, "", by_feature[feature].tokens, budget)

    def dump(self) -> dict[str, Any]:
        """As plain values for a file: features by day."""
        return {
            str(number): {feature: [spent.tokens, spent.usd] for feature, spent in list(day.features.items())}
            for number, day in list(self._days.items())
        }

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Take over what `dump` gave.

        Raises:
            ValueError: it is not what `dump` gives.
        """
        try:
            days = {int(number): _Day(dict(map(_spent, features.items()))) for number, features in dumped.items()}
        except (TypeError, AttributeError, OverflowError) as error:
            raise ValueError("not budgets") from error
        if len(days) > _KEPT_DAYS or any(len(day.features) > _MOST_FEATURES for day in days.values()):
            raise ValueError("not budgets")
        self._days, self._day = days, -1


def _spent(item: tuple[Any, Any]) -> tuple[str, SpendTotal]:
    feature, (tokens, usd) = item
    if type(tokens) is not int or type(usd) not in (int, float):
        raise TypeError("not numbers")
    if not (0 <= tokens <= _MOST_TOKENS and 0 <= usd <= _MOST_USD):  # NaN is neither
        raise ValueError("no spend")
    return str(feature), SpendTotal(tokens, float(usd))
