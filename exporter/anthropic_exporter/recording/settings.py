"""How a recorder was asked to be."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from anthropic_exporter.metrics.series_budget import DEFAULT_SERIES

if TYPE_CHECKING:
    from pathlib import Path

    from anthropic_exporter.pricing.book import PriceBook

Names = tuple[str, ...]


class Settings(NamedTuple):
    """The keywords of `Recorder`, but for its registry."""

    prices: str | Path | PriceBook | None = None
    features: Names | None = None
    users: Names | None = None
    models: Names = ()
    max_series: int = DEFAULT_SERIES
    advise: bool = False
    strict: bool = False
    clock: Callable[[], float] = time.time

    def with_more(self, other: Settings) -> Settings:
        """These settings, with the names that the others admit as well."""
        return self._replace(
            features=_united(self.features, other.features),
            users=_united(self.users, other.users),
            models=_united(self.models, other.models) or (),
        )

    def not_followed(self, other: Settings) -> list[str]:
        """Which settings of the others differ from these and cannot be changed any more."""
        given = {
            "max_series": other.max_series not in (DEFAULT_SERIES, self.max_series),
            "strict": other.strict and not self.strict,
            "clock": other.clock not in (time.time, self.clock),
        }
        return [name for name, differs in given.items() if differs]


def _united(names: Names | None, more: Names | None) -> Names | None:
    return names if more is None else tuple(dict.fromkeys((*(names or ()), *more)))
