"""Bounds the series of a recorder: the product of label values, not only each label.

100 features of 200 users on 50 models are a million series although each label is bounded. When the budget runs out,
new label sets fold into `other`: first users, then features, then models. Label sets that exist stay, and totals stay
exact.
"""

from __future__ import annotations

from collections.abc import Iterable

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.metrics.families import HISTOGRAM, Family

DEFAULT_SERIES = 20_000
#: Kept for the label sets of `other`, which always have room: a few tiers, every documented outcome, reason and tool.
_RESERVE = 1_500
_FEATURE_RESERVE = 2_000
_LEAST_SERIES = 3_000
_USER_SHARE = 0.7


def series_of(family: Family) -> int:
    """Series of one label set, without `_created`: a histogram has one a bucket, then +Inf, sum and count."""
    return len(family.buckets) + 3 if family.kind == HISTOGRAM else 1


class SeriesBudget:
    """Counts series, and decides which labels still accept new values.

    Args:
        most: series of the recorder, `_created` not counted.

    Raises:
        ConfigurationError: fewer than 3,000 series.
    """

    def __init__(self, most: int = DEFAULT_SERIES) -> None:
        if isinstance(most, bool) or not isinstance(most, int) or most < _LEAST_SERIES:
            raise ConfigurationError(f"Recorder(max_series={most!r}): give a whole number of {_LEAST_SERIES:,} or more")
        features = most - _FEATURE_RESERVE
        self._limits = {"user": int(_USER_SHARE * features), "feature": features, "model": most - _RESERVE}
        self.used = 0

    def take(self, families: Iterable[Family]) -> None:
        """Count one new label set of each family."""
        self.used += sum(map(series_of, families))

    def has_room(self, label: str) -> bool:
        """Whether a new value of `user`, `feature` or `model` may open series."""
        return self.used < self._limits[label]
