"""Finds the cells of a label set, and makes them.

All labels are bounded here: the first 100 features, 200 users, 50 models and 50 of each of the server's words, and all
label sets together by one budget of series.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from anthropic_exporter.call import (
    SUCCESS,
    TOKEN_TYPES,
    Call,
)
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.bounded_labels import OTHER, Bounded
from anthropic_exporter.metrics.cells import Block, Cells
from anthropic_exporter.metrics.families import Family
from anthropic_exporter.metrics.layout import CACHE_RESULTS, KINDS, SUMS
from anthropic_exporter.metrics.series_budget import SeriesBudget
from anthropic_exporter.metrics.sliding_max import SlidingMax

#: Outcomes whose first burst must be visible to `rate()`: their series exist at 0 from the first request on.
_EXPECTED_OUTCOMES = (SUCCESS, "rate_limit_error", "overloaded_error")
_PLACE_FAMILIES = (
    *(f.THINKING, f.CACHE_MISS_COST, f.CACHE_SAVINGS, f.CACHE_WRITE_PREMIUM, f.ESTIMATED_TOKENS),
    *(f.CACHE_REQUESTS for _ in CACHE_RESULTS),
    *(f.DURATION, f.CALL_DURATION, f.TTFT, f.REQUEST_OUTPUT_TOKENS, f.REQUEST_COST),
)
#: Computed at each scrape for each (model, feature).
_PLACE_GAUGES = (f.REQUEST_OUTPUT_TOKENS_MAX, f.REQUEST_COST_MAX, f.INFLIGHT, f.OLDEST_INFLIGHT, f.LONGEST_SILENCE)
_SPEND_FAMILIES = tuple(family for family in (f.TOKENS, f.COST) for _ in TOKEN_TYPES)
_USER_FAMILIES = (*_SPEND_FAMILIES, *(f.REQUESTS for _ in _EXPECTED_OUTCOMES))
_PLACED = ("model", "feature", "user")


class Place(NamedTuple):
    """What is kept per (model, feature): the block of its series and the largest responses of the last minute."""

    model: str
    feature: str
    block: Block
    output_tokens: SlidingMax
    cost_usd: SlidingMax


class Slot(NamedTuple):
    """Where a call of certain labels is written, found with one lookup. Its labels are bounded.

    `stop_reasons` are the blocks of those that such calls had.
    """

    place: Place
    user: str
    tier: str
    requests: Block
    spend: Block
    stop_reasons: dict[str, Block]


class LabelSets:
    """The label sets of one recorder and their cells.

    Args:
        cells: where they are made.
        bounds: of the labels; see `label_bounds`.
        max_series: series of all label sets together; see `SeriesBudget`.
        overflowed: called with the name of a label each time that a value of it is folded.

    Attributes:
        bounds: of the labels.
        budget: of the series.
        slots: where calls of certain labels are written, by model, feature, user, tier and outcome.
        spend: the blocks of tokens and dollars, by model, feature, user and tier.
        by_place: the state of each (model, feature).
    """

    def __init__(
        self, cells: Cells, bounds: dict[str, Bounded], max_series: int, overflowed: Callable[[str], None]
    ) -> None:
        self.cells, self.bounds, self.budget = cells, bounds, SeriesBudget(max_series)
        self._overflowed = overflowed
        self.slots: dict[tuple[str, str, str, str, str], Slot] = {}
        self.spend: dict[tuple[str, str, str, str], Block] = {}
        self.by_place: dict[tuple[str, str], Place] = {}
        self._speed: dict[str, Block] = {}
        self._counters: dict[tuple[str, tuple[str, ...]], Block] = {}

    def expect(self, model: str, feature: str, user: str) -> None:
        """Make the label set exist at 0, so that `rate()` sees its first burst. No record, so no overflow either."""
        model, feature = self.bounds["model"].fold(model), self.bounds["feature"].fold(feature)
        user = self.bounds["user"].fold(user)
        self._open_expected(*self.admitted(model, feature, user, "standard"))

    def _open_expected(self, model: str, feature: str, user: str) -> None:
        self.place(model, feature)
        self.spend_block(model, feature, user, "standard")
        for outcome in _EXPECTED_OUTCOMES:
            labels = (model, feature, user, outcome)
            if (f.REQUESTS.name, labels) not in self._counters:
                self._new_counter(f.REQUESTS, labels)

    def let_in(self, features: Iterable[str], users: Iterable[str] = ()) -> None:
        """Admit these names too."""
        self.bounds["feature"].let_in(features)
        self.bounds["user"].let_in(users)

    def place_of(self, model: str, feature: str) -> tuple[str, str]:
        """The labels under which a (model, feature) is shown."""
        model, feature = self.bounds["model"].fold(model), self.bounds["feature"].fold(feature)
        if (model, feature) in self.by_place:
            return model, feature
        return self._with_room("model", model), self._with_room("feature", feature)

    def admitted(self, model: str, feature: str, user: str, tier: str) -> tuple[str, str, str]:
        """The label set itself if it exists or fits into the budget; otherwise folded, users first."""
        if (model, feature, user, tier) in self.spend:
            return model, feature, user
        user = self._with_room("user", user)
        if (model, feature) not in self.by_place:
            feature, model = self._with_room("feature", feature), self._with_room("model", model)
        return model, feature, user

    def _with_room(self, label: str, value: str) -> str:
        return value if value in ("", OTHER) or self.budget.has_room(label) else OTHER

    @property
    def places(self) -> list[tuple[str, str]]:
        """Every (model, feature) seen."""
        return list(self.by_place)

    @property
    def models(self) -> list[str]:
        """Every admitted model label."""
        return self.bounds["model"].names

    def fold(self, label: str, value: str) -> str:
        """A value as it is shown: itself, or `other`, which is an overflow."""
        folded = self.bounds[label].fold(value)
        if folded != value:
            self._overflowed(label)
        return folded

    def folded(self, family: Family, labels: tuple[str, ...]) -> tuple[str, ...]:
        """The labels of a series as they are shown."""
        named = zip(family.labels, labels, strict=True)
        return tuple(self.fold(name, value) if name in self.bounds else value for name, value in named)

    def open(self, call: Call, key: tuple[str, str, str, str, str]) -> Slot:
        """Make the slot of a call. One whose labels were folded is not kept: each of its records is an overflow."""
        asked, tier, outcome = key[:3], key[3], key[4]
        bounded = [self.bounds[label].fold(value) for label, value in zip(_PLACED, asked, strict=True)]
        model, feature, user = labels = self.admitted(bounded[0], bounded[1], bounded[2], tier)
        for label, value, folded in zip(_PLACED, asked, labels, strict=True):
            if folded != value:
                self._overflowed(label)
        if call.requests:
            self._open_expected(model, feature, user)
            requests = self.counter(f.REQUESTS, (model, feature, user, outcome))
        else:
            requests = [0.0]
        place, spend = self.place(model, feature), self.spend_block(model, feature, user, tier)
        slot = Slot(place, user, tier, requests, spend, {})
        if call.requests and labels == asked and (f.REQUESTS.name, (*labels, outcome)) in self._counters:
            self.slots[key] = slot
        return slot

    def place(self, model: str, feature: str) -> Place:
        """What is kept of a (model, feature)."""
        labels = (model, feature)
        place = self.by_place.get(labels)
        if place is None:
            results = iter(CACHE_RESULTS)
            series = [
                (family, (*labels, next(results)) if family is f.CACHE_REQUESTS else labels)
                for family in _PLACE_FAMILIES
            ]
            self.budget.take((*_PLACE_FAMILIES, *_PLACE_GAUGES, *_USER_FAMILIES))  # the last for its user `other`
            place = self.by_place[labels] = Place(*labels, self.cells.block(series), SlidingMax(), SlidingMax())
        return place

    def spend_block(self, *key: str) -> Block:
        """The block of tokens and dollars of a (model, feature, user, tier)."""
        model, feature, user, tier = key
        block = self.spend.get((model, feature, user, tier))
        if block is None:
            series = [(family, (*key, kind)) for family in (f.TOKENS, f.COST) for kind in TOKEN_TYPES]
            if (user, tier) != (OTHER, "standard") or (model, feature) not in self.by_place:  # else counted with it
                self.budget.take(_SPEND_FAMILIES)
            block = self.spend[model, feature, user, tier] = self.cells.block(series, 2 * KINDS, SUMS)
        return block

    def speed_block(self, model: str) -> Block:
        """The block of the output speed of a model."""
        block = self._speed.get(model)
        if block is None:
            self.budget.take((f.TOKENS_PER_SECOND,))
            block = self._speed[model] = self.cells.block([(f.TOKENS_PER_SECOND, (model,))])
        return block

    def counter(self, family: Family, labels: tuple[str, ...]) -> Block:
        """The block of a single series."""
        block = self._counters.get((family.name, labels))
        return block if block is not None else self._open_counter(family, labels)

    def _open_counter(self, family: Family, labels: tuple[str, ...]) -> Block:
        """Make a counter. Words that a server chose, such as a stop reason, are bounded here, off the hot path."""
        word = family.labels[-1] if family.labels else ""
        if word in ("outcome", "stop_reason", "reason", "tool") and family is not f.REMEDY_ACTIONS:
            folded = self.fold(word, labels[-1])
            if folded != labels[-1]:
                return self.counter(family, (*labels[:-1], folded))
        named = zip(family.labels, labels, strict=True)
        admitted = tuple(self._with_room(name, value) if name in _PLACED else value for name, value in named)
        if admitted != labels:
            for name in (name for name, old, new in zip(family.labels, labels, admitted, strict=True) if old != new):
                self._overflowed(name)
            return self.counter(family, admitted)
        return self._new_counter(family, labels)

    def _new_counter(self, family: Family, labels: tuple[str, ...]) -> Block:
        spare = 1 if family is f.COST else 0  # what was rounded off
        self.budget.take((family,))
        block = self._counters[family.name, labels] = self.cells.block([(family, labels)], spare)
        return block

    def move_to(self, cells: Cells, moved: Mapping[int, Block]) -> None:
        """Make label sets in `cells` from now on; `moved` are its blocks by the `id` of those that they replace."""
        self.cells = cells
        self.slots.clear()  # each is created again from the following
        self.spend.update({key: moved[id(block)] for key, block in self.spend.items()})
        self._speed.update({key: moved[id(block)] for key, block in self._speed.items()})
        self._counters.update({key: moved[id(block)] for key, block in self._counters.items()})
        self.by_place.update(
            {key: place._replace(block=moved[id(place.block)]) for key, place in self.by_place.items()}
        )
