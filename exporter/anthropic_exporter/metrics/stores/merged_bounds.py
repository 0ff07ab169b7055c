"""Bounds labels and series over all processes of a service.

Every process bounds its own, but many processes together exceed the limits of one. Existing label sets stay; new ones
fold into `other`: first users, then features, then models. The same order of calls gives the same answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from anthropic_exporter.metrics.bounded_labels import OTHER, Bounded
from anthropic_exporter.metrics.families import FAMILIES, GAUGE
from anthropic_exporter.metrics.series_budget import DEFAULT_SERIES, SeriesBudget
from anthropic_exporter.metrics.stores.file_format import StoredSeries

_FAMILIES = {family.name: family for family in FAMILIES}
_FOLDED_FIRST = ("user", "feature", "model")


class MergedBounds:
    """Folds the labels of stored series.

    Args:
        bounds: of the labels, with nothing let in yet.
        most: series of all processes together, `_created` not counted.
    """

    def __init__(self, bounds: Mapping[str, Bounded], most: int = DEFAULT_SERIES) -> None:
        self._bounds = bounds
        self._budget = SeriesBudget(most)
        self._known: set[StoredSeries] = set()
        self._gauges: dict[StoredSeries, StoredSeries] = {}
        #: By label, how many series were folded for it.
        self.folded = dict.fromkeys(_FOLDED_FIRST, 0)

    def fold(self, block: Sequence[StoredSeries]) -> tuple[StoredSeries, ...]:
        """The series that those of a block are shown as. A family that this version does not know stays as it is."""
        full = {label for label in _FOLDED_FIRST if not self._budget.has_room(label)}
        found = tuple(self._fold(one, full) for one in block)
        for before, after in zip(block, found, strict=True):
            if before is not after:
                self._note(before, after)
        return found

    def _note(self, before: StoredSeries, after: StoredSeries) -> None:
        values = zip(_FAMILIES[before.family].labels, before.labels, after.labels, strict=True)
        for label in (name for name, old, new in values if old != new):
            self.folded[label] = self.folded.get(label, 0) + 1

    def fold_gauge(self, one: StoredSeries) -> StoredSeries:
        """The same for a gauge, which every scrape asks for; gauges do not count in the budget."""
        found = self._gauges.get(one)
        if found is None:
            found = self._gauges[one] = self._fold(one, set())
        return found

    def _fold(self, one: StoredSeries, full: set[str]) -> StoredSeries:
        family = _FAMILIES.get(one.family)
        if family is None or len(family.labels) != len(one.labels):
            return one
        pairs = list(zip(family.labels, one.labels, strict=True))
        found = one._replace(labels=tuple(self._fold_value(name, value) for name, value in pairs))
        if found in self._known or family.kind == GAUGE:
            return found
        if full:
            labels = zip(family.labels, found.labels, strict=True)
            found = found._replace(labels=tuple(OTHER if name in full and value else value for name, value in labels))
        if found not in self._known:
            self._known.add(found)
            self._budget.take([family])
        return found

    def _fold_value(self, label: str, value: str) -> str:
        return self._bounds[label].fold(value) if label in self._bounds else value
