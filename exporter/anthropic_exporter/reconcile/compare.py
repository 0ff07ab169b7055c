"""Finds out why both sides differ: compares tokens first, then dollars, so that the verdict names the cause. Pure.

Equal tokens but different dollars a token: the price book. Fewer tokens recorded than billed: calls that no recorder
saw. They belong to other callers if they are exactly what one or several callers of the bill sent. Batches are billed
when they run and recorded when their results are read.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from anthropic_exporter.reconcile.lines import (
    COMPARED_TYPES,
    HOUR,
    Amount,
    BilledLine,
    BilledSpan,
    Caller,
    LineKey,
    Recorded,
    by_hour,
)

AGREES = "agrees"
PRICE_BOOK = "price_book"
OTHER_CALLERS = "other_callers"
COVERAGE = "coverage"
BATCHES_IN_FLIGHT = "batches_in_flight"
BILLED_ELSEWHERE = "billed_elsewhere"
BILL_INCOMPLETE = "bill_incomplete"
#: Causes that need no action.
EXPECTED = (AGREES, BATCHES_IN_FLIGHT, BILL_INCOMPLETE)
BATCH = "batch"
#: Most batches end within an hour, all within 24 (Message Batches, read 2026-11-30).
_BATCH_SECONDS = 24 * HOUR
_MOST_CALLERS = 12
_CONCENTRATED = 0.9

Group = tuple[str, str]
Vector = dict[str, Amount]


class Tolerances(NamedTuple):
    """Tolerances: a share of the bill, and an amount in dollars too small to matter."""

    ratio: float = 0.01
    usd: float = 0.01


class BillVerdict(NamedTuple):
    """The verdict on one model and tier.

    `types` are its token types, `callers` those whose calls are missing, `hours` the first and last hour (Unix seconds)
    of what is missing, if that is a part of the span. `rates` are dollars per million tokens, ours and the bill's, by
    type.
    """

    cause: str
    model: str
    tier: str
    recorded: Amount
    billed: Amount
    types: tuple[str, ...] = ()
    callers: tuple[Caller, ...] = ()
    hours: tuple[int, int] | None = None
    rates: Mapping[str, tuple[float, float]] = {}

    @property
    def is_drift(self) -> bool:
        """Whether it needs action."""
        return self.cause not in EXPECTED


class Comparison(NamedTuple):
    """Both sides, and the verdicts on each model and tier, the most expensive difference first.

    `edges` are hours that what was recorded covers in part; None where it is known by hour.
    """

    start: int
    end: int
    recorded: Mapping[tuple[int, LineKey], Amount]
    bill: BilledSpan
    verdicts: tuple[BillVerdict, ...]
    not_compared_usd: Mapping[str, float]
    edges: frozenset[int] | None = None

    @property
    def has_drift(self) -> bool:
        """Whether any verdict is drift."""
        return any(verdict.is_drift for verdict in self.verdicts)


def compare(
    recorded: Recorded,
    bill: BilledSpan,
    span: tuple[int, int],
    limits: Tolerances = Tolerances(),  # noqa: B008 - frozen
    edges: frozenset[int] | None = None,
) -> Comparison:
    """Compare recorded usage with the bill of the same hours.

    Args:
        recorded: by hour; with `edges`, one sum for the whole span.
        bill: of the hours of the span.
        span: full hours, in Unix seconds.
        limits: what still agrees.
        edges: hours of which an unknown part was recorded: of what they were billed, as much counts as fits best.
    """
    start, end = span
    lines = [line for line in bill.lines if line.place.type in COMPARED_TYPES]
    judge = _Judge(recorded, bill._replace(lines=tuple(lines)), end, limits, edges)
    groups = {(place.model, place.tier) for _, place in recorded} | {_group(line.place) for line in lines}
    verdicts = sorted((one for group in sorted(groups) for one in judge.verdicts(group)), key=_weight, reverse=True)
    others = [line for line in bill.lines if line.place.type not in COMPARED_TYPES]
    rest = {kind: sum(one.amount.usd for one in others if one.place.type == kind) for kind in _types(others)}
    return Comparison(start, end, recorded, bill, tuple(verdicts), rest, edges)


def _weight(verdict: BillVerdict) -> tuple[bool, float, float]:
    dollars = abs(verdict.billed.usd - verdict.recorded.usd)
    return verdict.is_drift, dollars, abs(verdict.billed.tokens - verdict.recorded.tokens)


def _types(lines: Iterable[BilledLine]) -> set[str]:
    return {line.place.type for line in lines}


def _group(place: LineKey) -> Group:
    return place.model, place.tier


class _Judge:
    """Holds both sides while each model and tier is judged."""

    def __init__(
        self, recorded: Recorded, bill: BilledSpan, end: int, limits: Tolerances, edges: frozenset[int] | None = None
    ) -> None:
        self._recorded, self._bill, self._end, self._limits = recorded, bill, end, limits
        self._billed = by_hour(bill.lines)
        self._has_hours = edges is None
        self._at_edges = {key: amount for key, amount in self._billed.items() if key[0] in (edges or ())}
        self._has_billed_something = bool(bill.lines)

    def verdicts(self, group: Group) -> Iterator[BillVerdict]:
        ours = _vector(self._recorded, group)
        theirs = _fitting(ours, _vector(self._billed, group), _vector(self._at_edges, group))
        blank = BillVerdict(AGREES, *group, _total(ours), _total(theirs))
        unequal = [kind for kind in COMPARED_TYPES if not self._same_tokens(ours, theirs, kind)]
        found = [self._cause(blank._replace(types=tuple(unequal)), ours, theirs)] if unequal else []
        rates = self._unequal_rates(ours, theirs) if self._bill.has_list_price else {}
        if rates:
            found.append(blank._replace(cause=PRICE_BOOK, types=tuple(rates), rates=rates))
        yield from found or [blank]

    def _same_tokens(self, ours: Vector, theirs: Vector, kind: str) -> bool:
        a, b = ours.get(kind, Amount()), theirs.get(kind, Amount())
        if abs(a.tokens - b.tokens) <= self._limits.ratio * max(a.tokens, b.tokens):
            return bool(a.tokens or b.tokens) or self._near(a.usd, b.usd)
        return a.usd + b.usd > 0 and max(a.usd, b.usd) <= self._limits.usd

    def _near(self, a: float, b: float) -> bool:
        return not self._bill.has_list_price or abs(a - b) <= max(self._limits.usd, self._limits.ratio * max(a, b))

    def _unequal_rates(self, ours: Vector, theirs: Vector) -> dict[str, tuple[float, float]]:
        found = {}
        for kind in COMPARED_TYPES:
            a, b = ours.get(kind, Amount()), theirs.get(kind, Amount())
            if not (a.tokens and b.tokens):
                continue
            rate, billed = a.usd / a.tokens, b.usd / b.tokens
            if abs(rate - billed) > self._limits.ratio * max(rate, billed) and not self._near(rate * b.tokens, b.usd):
                found[kind] = (rate * 1e6, billed * 1e6)
        return found

    # -- unequal tokens

    def _cause(self, verdict: BillVerdict, ours: Vector, theirs: Vector) -> BillVerdict:
        if any(self._exceeds(ours, theirs, kind) for kind in verdict.types):
            return self._more_recorded(verdict)
        if verdict.tier == BATCH and self._is_recent(
            _group_of(verdict), verdict.billed.tokens - verdict.recorded.tokens
        ):
            return verdict._replace(cause=BATCHES_IN_FLIGHT)
        callers = self._callers_of(_group_of(verdict), ours, theirs)
        if callers:
            return verdict._replace(cause=OTHER_CALLERS, callers=callers)
        return verdict._replace(cause=COVERAGE, hours=self._hours(_group_of(verdict)))

    @staticmethod
    def _exceeds(ours: Vector, theirs: Vector, kind: str) -> bool:
        a, b = ours.get(kind, Amount()), theirs.get(kind, Amount())
        return (a.tokens, a.usd) > (b.tokens, b.usd) if a.tokens or b.tokens else a.usd > b.usd

    def _more_recorded(self, verdict: BillVerdict) -> BillVerdict:
        refreshed = self._bill.refreshed_at
        if refreshed is not None and refreshed < self._end:
            return verdict._replace(cause=BILL_INCOMPLETE)
        if verdict.tier == BATCH:
            return verdict._replace(cause=BATCHES_IN_FLIGHT)
        return verdict._replace(cause=BILLED_ELSEWHERE)

    def _recent_covers(self, group: Group, missing: float) -> bool:
        """Whether at least as much was billed in the last 24 h."""
        recent = {key: one for key, one in self._billed.items() if key[0] >= self._end - _BATCH_SECONDS}
        return missing <= (1 + self._limits.ratio) * _total(_vector(recent, group)).tokens

    def _missing(self, group: Group) -> dict[int, float]:
        """Tokens that were billed and not recorded, by hour."""
        found: dict[int, float] = {}
        for sign, side in ((1, self._billed), (-1, self._recorded)):
            for (hour, place), amount in side.items():
                if _group(place) == group:
                    found[hour] = found.get(hour, 0.0) + sign * amount.tokens
        return found

    def _is_recent(self, group: Group, tokens_missing: float) -> bool:
        """Whether everything missing was billed in the last 24 h, the time in which a batch may still be read."""
        if not self._has_hours:
            return self._recent_covers(group, tokens_missing)
        missing = self._missing(group)
        old = sum(tokens for hour, tokens in missing.items() if hour < self._end - _BATCH_SECONDS)
        return old <= self._limits.ratio * _total(_vector(self._billed, group)).tokens

    def _hours(self, group: Group) -> tuple[int, int] | None:
        """The shortest run of hours with nearly all missing tokens; None if that is most of the span."""
        if not self._has_hours:
            return None
        missing = sorted((hour, tokens) for hour, tokens in self._missing(group).items() if tokens > 0)
        total = sum(tokens for _, tokens in missing)
        runs = [
            (last - first, first, last)
            for index, (first, _) in enumerate(missing)
            for last in _reaching(missing[index:], _CONCENTRATED * total)
        ]
        all_hours = {hour for hour, place in self._billed if _group(place) == group}
        if not runs or (min(runs)[0] / HOUR + 1) * 2 > len(all_hours):
            return None
        return min(runs)[1:]

    def _callers_of(self, group: Group, ours: Vector, theirs: Vector) -> tuple[Caller, ...]:
        """The fewest callers, or otherwise whole workspaces, whose usage is exactly the missing amount."""
        vectors = _by_caller(self._bill.lines, group)
        single = self._smallest(vectors, group, ours, theirs)
        whole = self._smallest(_by_workspace(vectors), group, ours, theirs)
        return whole if whole and len(whole) < (len(single) or len(vectors)) else single

    def _smallest(
        self, vectors: Mapping[Caller, dict[str, float]], group: Group, ours: Vector, theirs: Vector
    ) -> tuple[Caller, ...]:
        at_edges = _vector(self._at_edges, group)
        if len(vectors) > _MOST_CALLERS:
            return ()
        for count in range(1, len(vectors) + 1):
            for chosen in itertools.combinations(sorted(vectors), count):
                if self._explains([vectors[one] for one in chosen], ours, theirs, at_edges):
                    return chosen
        return ()

    def _explains(self, vectors: list[dict[str, float]], ours: Vector, theirs: Vector, at_edges: Vector) -> bool:
        for kind in COMPARED_TYPES:
            billed, recorded = theirs.get(kind, Amount()).tokens, ours.get(kind, Amount()).tokens
            sent = sum(vector.get(kind, 0.0) for vector in vectors)
            unsure = at_edges.get(kind, Amount()).tokens
            if abs(billed - recorded - sent) > self._limits.ratio * billed + unsure:
                return False
        return True


def _group_of(verdict: BillVerdict) -> Group:
    return verdict.model, verdict.tier


def _reaching(missing: list[tuple[int, float]], enough: float) -> Iterator[int]:
    total = 0.0
    for hour, tokens in missing:
        total += tokens
        if total >= enough:
            yield hour
            return


def _vector(amounts: Recorded, group: Group) -> Vector:
    found: Vector = {}
    for (_, place), amount in amounts.items():
        if _group(place) == group:
            found[place.type] = found.get(place.type, Amount()).plus(amount)
    return found


def _fitting(ours: Vector, billed: Vector, at_edges: Vector) -> Vector:
    """Of what was billed at the edges, as much as fits ours; all of what was billed elsewhere."""
    return {kind: _nearest(ours.get(kind, Amount()), whole, at_edges.get(kind)) for kind, whole in billed.items()}


def _nearest(own: Amount, whole: Amount, edge: Amount | None) -> Amount:
    if edge is None:
        return whole
    if not whole.tokens:
        return Amount(0.0, min(max(own.usd, whole.usd - edge.usd), whole.usd))
    tokens = min(max(own.tokens, whole.tokens - edge.tokens), whole.tokens)
    return Amount(tokens, whole.usd * tokens / whole.tokens)


def _by_caller(lines: Iterable[BilledLine], group: Group) -> dict[Caller, dict[str, float]]:
    found: dict[Caller, dict[str, float]] = {}
    for line in lines:
        if _group(line.place) == group and line.amount.tokens:
            vector = found.setdefault(line.caller, {})
            vector[line.place.type] = vector.get(line.place.type, 0.0) + line.amount.tokens
    return found


def _by_workspace(vectors: Mapping[Caller, dict[str, float]]) -> dict[Caller, dict[str, float]]:
    """The same, with the callers of a named workspace as one."""
    found: dict[Caller, dict[str, float]] = {}
    for caller, vector in vectors.items():
        whole = Caller(workspace_id=caller.workspace_id) if caller.workspace_id else caller
        of_all = found.setdefault(whole, {})
        for kind, tokens in vector.items():
            of_all[kind] = of_all.get(kind, 0.0) + tokens
    return found


def _total(vector: Vector) -> Amount:
    return Amount(sum(one.tokens for one in vector.values()), sum(one.usd for one in vector.values()))
