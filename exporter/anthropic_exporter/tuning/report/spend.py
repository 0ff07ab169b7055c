"""Dollars of a span by day, feature and model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from anthropic_exporter.history import series
from anthropic_exporter.history.increases import increases
from anthropic_exporter.history.prometheus_api import Prometheus

_STEP_SECONDS = 3_600.0
DAY_SECONDS = 86_400


class Spend(NamedTuple):
    """Dollars at list price. The keys of `by_day` are the Unix second at which a UTC day begins, and a feature."""

    total: float
    by_day: Mapping[tuple[int, str], float]
    by_feature: Mapping[str, float]
    by_model: Mapping[str, float]


def read(prometheus: Prometheus, start: float, end: float, advance: Callable[[float], None] = lambda _: None) -> Spend:
    """The dollars between two Unix seconds; `advance` is called with the seconds that were read."""
    by_day: dict[tuple[int, str], float] = {}
    by_feature: dict[str, float] = {}
    by_model: dict[str, float] = {}
    for one in increases(prometheus, series.COST, ("feature", "model"), (start, end, _STEP_SECONDS), advance):
        feature, model = one.labels
        day = int(one.until - 1) // DAY_SECONDS * DAY_SECONDS
        by_day[day, feature] = by_day.get((day, feature), 0.0) + one.amount
        by_feature[feature] = by_feature.get(feature, 0.0) + one.amount
        by_model[model] = by_model.get(model, 0.0) + one.amount
    return Spend(sum(by_feature.values()), by_day, by_feature, by_model)
