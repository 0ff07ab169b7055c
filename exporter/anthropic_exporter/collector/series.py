"""The series that the collector shows: each family with the label `service`, bounded, in one flat list of totals."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from anthropic_exporter.metrics.bounded_labels import OTHER, Bounded
from anthropic_exporter.metrics.cells import Series, width
from anthropic_exporter.metrics.families import AGE, FAMILIES, GAUGE, LEDGER, STARTED, Family
from anthropic_exporter.transport.cells_message import Layout

SERVICE = "service"
#: Each process bounds its labels; these bound many processes together, for each service.
_LIMITS = {"model": 100, "feature": 200, "user": 500}
_OTHER_LABELS_LIMIT = 200
_MOST_SERVICES = 50
MOST_SERIES = 20_000
#: The order in which labels fold when a service has too many series.
_FOLDED_FIRST = ("user", "feature")

#: Computed from the totals of all services at a scrape, not sent by publishers.
COMPUTED = (LEDGER, STARTED, AGE)
SHOWN = tuple(family._replace(labels=(*family.labels, SERVICE)) for family in FAMILIES if family not in COMPUTED)
_BY_NAME = {family.name: family for family in SHOWN}


class SeriesTotals(NamedTuple):
    """A shown series: its family, and where its cells begin among the totals."""

    family: Family
    start: int


class ShownSeries:
    """Finds or makes the series that a publisher's series adds to.

    Args:
        most_series: for each service.
    """

    def __init__(self, most_series: int = MOST_SERIES) -> None:
        self.totals: list[float] = []
        #: The rounding error of each total.
        self.rests: list[float] = []
        #: By family, oldest first; block `n` holds the cells of the n-th series of `targets`.
        self.stored: dict[str, list[Series]] = {}
        self.targets: list[SeriesTotals] = []
        #: Folded label values, by label; counted once a series of a publisher. From 0, so that the first one is growth.
        self.overflow: dict[str, int] = dict.fromkeys((SERVICE, *_LIMITS), 0)
        self._most_series = most_series
        self._services = Bounded(_MOST_SERVICES)
        self._bounds: dict[tuple[str, str], Bounded] = {}
        self._known: dict[tuple[str, tuple[str, ...]], int] = {}
        self._counts: dict[str, int] = {}
        self._labels: list[tuple[str, ...]] = []
        self._created: list[float] = []
        #: Where the cells of each series with cells begin, ascending, and its number.
        self._starts: list[int] = []
        self._numbers: list[int] = []

    def target_of(self, service: str, layout: Layout, labels: tuple[str, ...], created: float) -> int | None:
        """The number of the series in `targets`; None for a family, or buckets, that this version does not know."""
        family = _BY_NAME.get(layout.family)
        if family is None or family.kind != layout.kind or not _same_buckets(family, layout):
            return None
        named = dict(zip(layout.labels, labels, strict=True))
        service = self.fold(SERVICE, "", service)
        wanted = {name: self.fold(name, service, named.get(name, "")) for name in family.labels[:-1]}
        return self._find(family, service, wanted, created)

    def fold(self, label: str, service: str, value: str) -> str:
        """The value, or `other` if there are too many; counted."""
        if label == SERVICE:
            folded = self._services.fold(value)
        else:
            limit = _LIMITS.get(label, _OTHER_LABELS_LIMIT)
            bound = self._bounds.setdefault((service, label), Bounded(limit))
            folded = bound.fold(value)
        if folded != value:
            self.overflow[label] = self.overflow.get(label, 0) + 1
        return folded

    def _find(self, family: Family, service: str, wanted: dict[str, str], created: float) -> int:
        for fold_next in ("", *_FOLDED_FIRST):
            if fold_next:
                self._fold_label(wanted, fold_next)
            key = (family.name, (*wanted.values(), service))
            if key in self._known:
                return self._known[key]
            if self._counts.get(service, 0) < self._most_series:
                return self._make(family, key, created)
        key = (family.name, (*[OTHER] * len(wanted), service))  # one more series a family, and no more
        return self._known[key] if key in self._known else self._make(family, key, created)

    def _fold_label(self, wanted: dict[str, str], label: str) -> None:
        if label in wanted:
            wanted[label] = OTHER
            self.overflow[label] = self.overflow.get(label, 0) + 1

    def _make(self, family: Family, key: tuple[str, tuple[str, ...]], created: float) -> int:
        number, start, cells = len(self.targets), len(self.totals), width(family)
        service = key[1][-1]
        self._counts[service] = self._counts.get(service, 0) + 1
        self.targets.append(SeriesTotals(family, start))
        self._known[key] = number
        self._labels.append(key[1])
        self._created.append(created)
        if family.kind != GAUGE:
            self._starts.append(start)
            self._numbers.append(number)
            self.totals += [0.0] * cells
            self.rests += [0.0] * cells
            self.stored.setdefault(family.name, []).append(Series(key[1], number, 0, cells, created))
        return number

    def add(self, cell: int, grown: float) -> None:
        """Add to one of the totals; its rounding error is kept and added later. A total never falls."""
        totals, rests = self.totals, self.rests
        total = totals[cell]
        amount = grown + rests[cell]
        after = total + amount
        if after > total:
            totals[cell] = after
            rests[cell] = amount - (after - total)
        else:
            rests[cell] = amount

    def number_at(self, cell: int) -> int:
        """The number of the series that a total belongs to."""
        return self._numbers[bisect_right(self._starts, cell) - 1]

    def width_of(self, number: int) -> int:
        """How many cells a series has."""
        return width(self.targets[number].family)

    def labels_of(self, number: int) -> tuple[str, ...]:
        """The label values of a series."""
        return self._labels[number]

    def dump(self) -> dict[str, Any]:
        """The series as plain values, in their order; totals are saved beside it."""
        layouts = {family: place for place, family in enumerate(dict.fromkeys(one.family for one in self.targets))}
        return {
            "layouts": [[one.name, one.kind, one.labels, one.buckets] for one in layouts],
            "series": [
                [layouts[target.family], self._labels[number], self._created[number]]
                for number, target in enumerate(self.targets)
            ],
        }

    def load(self, dumped: Mapping[str, Any], totals: Sequence[float], rests: Sequence[float]) -> None:
        """Take over what `dump` gave, by label names: a later version may have other labels.

        A family that this version does not know, or knows with other buckets, keeps its place and is not shown.
        """
        layouts = [_loaded(*one) for one in dumped["layouts"]]
        for place, labels, created in dumped["series"]:
            layout, family = layouts[place]
            named = dict(zip(layout.labels, labels, strict=True))
            key = (family.name, tuple(named.get(name, "") for name in family.labels))
            for name, value in zip(family.labels, key[1], strict=True):
                self.fold(name, key[1][-1], value)
            self._make(family, key, created)
        self.totals[:], self.rests[:] = totals, rests

    def blocks(self, totals: Sequence[float], number: int) -> list[list[float]]:
        """The cells of the first `number` series; empty for gauges, which are read elsewhere."""
        return [
            [] if one.family.kind == GAUGE else list(totals[one.start : one.start + width(one.family)])
            for one in self.targets[:number]
        ]


def _loaded(name: str, kind: str, labels: Sequence[str], buckets: Sequence[float]) -> tuple[Layout, Family]:
    """A saved layout, and the family that shows it; one that is not shown if there is none."""
    layout = Layout(name, kind, tuple(labels), tuple(map(float, buckets)))
    family = _BY_NAME.get(name)
    if family is None or family.kind != kind or not _same_buckets(family, layout):
        family = Family(f"{name} of another version", kind, layout.labels, "", layout.buckets)
    return layout, family


def _same_buckets(family: Family, layout: Layout) -> bool:
    return tuple(map(float, family.buckets)) == layout.buckets
