"""Fills the live page of a fleet from the growth of the collector's totals."""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from anthropic_exporter.call import NO_FAILURE, TOKEN_TYPES
from anthropic_exporter.collector import gauges
from anthropic_exporter.collector.merge import Fleet
from anthropic_exporter.collector.watch import FleetWatch
from anthropic_exporter.live import history as h
from anthropic_exporter.live.feeds import InFlight
from anthropic_exporter.live.history import History
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.bounded_labels import Bounded
from anthropic_exporter.metrics.families import HISTOGRAM

_EVERY_SECONDS = 0.5
#: A name takes 10 kB of history; beyond these it is shown as `other`.
_MOST_FEATURES, _MOST_USERS = 500, 1_000
_DURATIONS = {f.DURATION.name: h.DURATION, f.TTFT.name: h.TTFT}


class Part(NamedTuple):
    """A field of a history, and which part of a growth belongs to it."""

    field: int
    part: float = 1.0


class Role(NamedTuple):
    """What growth of a cell means: fields of the total, and of a feature and a user where the series has them."""

    cell: int
    total: tuple[Part, ...]
    feature: str | None = None
    user: str | None = None
    named: tuple[int, ...] = ()


class TotalsFeed:
    """Adds growth to a history, every half second; older events are in none of its minutes and totals.

    Args:
        fleet: whose totals grow; read under `fleet_lock`.
        fleet_lock: of the collector's totals.
        clock: monotonic seconds.
    """

    scope = "fleet"

    def __init__(
        self, fleet: Fleet, fleet_lock: threading.Lock, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fleet, self._fleet_lock, self._clock = fleet, fleet_lock, clock
        self.history, self.lock = History(clock()), threading.Lock()
        self._features, self._users = Bounded(_MOST_FEATURES), Bounded(_MOST_USERS)
        self._roles: list[Role] = []
        self._known_series = 0
        with fleet_lock:
            self._before, self._late = list(fleet.series.totals), dict(fleet.late)
        self._take_at = clock()

    def tick(self) -> None:
        """Take what grew, if it is time. Called between two reads of the queue."""
        if self._clock() >= self._take_at:
            self.take()

    def take(self) -> None:
        """Take what grew since the last time."""
        with self.lock:
            now = self._clock()
            self._take_at = now + _EVERY_SECONDS
            for role, grown in self._growth():
                self._add(role, grown, now)

    def _growth(self) -> list[tuple[Role, float]]:
        with self._fleet_lock:
            self._learn_series()
            totals, late = list(self._fleet.series.totals), dict(self._fleet.late)
        before, self._before = self._before, totals
        late_before, self._late = self._late, late
        before += [0.0] * (len(totals) - len(before))
        found = []
        for role in self._roles:
            cell = role.cell
            grown = totals[cell] - before[cell]
            if grown > 0.0:
                found.append((role, grown - late.get(cell, 0.0) + late_before.get(cell, 0.0)))
        return [(role, grown) for role, grown in found if grown > 0.0]

    def _learn_series(self) -> None:
        series = self._fleet.series
        for number in range(self._known_series, len(series.targets)):
            family, start = series.targets[number]
            labels = dict(zip(family.labels, series.labels_of(number), strict=True))
            self._roles += self._roles_of(family, start, labels)
        self._known_series = len(series.targets)

    def _roles_of(self, family: f.Family, start: int, labels: Mapping[str, str]) -> Iterator[Role]:
        if family.kind == HISTOGRAM:
            first = _DURATIONS.get(family.name)
            if first is not None:
                yield from _duration_roles(start, first, family.buckets)
            return
        total, named = _fields(family.name, labels)
        if total:
            feature, user = labels.get("feature"), labels.get("user")
            yield Role(
                start,
                tuple(map(Part, total)),
                None if feature is None else self._features.fold(feature),
                None if user is None else self._users.fold(user),
                named,
            )

    def _add(self, role: Role, grown: float, now: float) -> None:
        history = self.history
        history.total.advance(now)
        for field, part in role.total:
            history.total.totals[field] += grown * part
        for names, name in ((history.features, role.feature), (history.users, role.user)):
            if name is not None and role.named:
                counts = h.counts_of(names, name, now)
                for field in role.named:
                    counts.totals[field] += grown

    def inflight(self) -> InFlight:
        """Requests in flight of all publishers that live, as they said last."""
        now = self._clock()
        with self._fleet_lock:
            found = gauges.merged(self._fleet.series, self._fleet.members.values(), now)
        number = sum(one.values[0] for one in found.get(f.INFLIGHT.name, ()))
        oldest = max((one.values[0] for one in found.get(f.OLDEST_INFLIGHT.name, ())), default=0.0)
        return InFlight(round(number), oldest if number else None)

    def close(self) -> None:
        """There is nothing to release."""


class FleetView:
    """Open conditions of the fleet's Guard, as the page shows alerts. Breakers open in the processes that follow."""

    def __init__(self, watch: FleetWatch, fleet_lock: threading.Lock) -> None:
        self._watch, self._lock = watch, fleet_lock

    def alerts(self) -> list[dict[str, Any]]:
        """Open alerts, the oldest first."""
        with self._lock:
            return [alert._asdict() for alert in self._watch.firing()]

    def breakers(self) -> list[dict[str, Any]]:
        """Empty: the collector has no breaker of its own."""
        return []


def _fields(family: str, labels: Mapping[str, str]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Fields of the total, and of a feature and a user, that a series adds to."""
    if family in (f.COST.name, f.TOKENS.name):
        return _spend_fields(labels["type"], is_usd=family == f.COST.name)
    if family == f.REQUESTS.name:
        return _request_fields(labels["outcome"])
    if family == f.CACHE_REQUESTS.name:
        fields = {"hit": (h.HITS, h.NAME_HITS), "miss": (h.MISSES, h.NAME_MISSES)}.get(labels["result"])
        return ((), ()) if fields is None else ((fields[0],), (fields[1],))
    field = {f.CACHE_MISS_COST.name: h.MISS_USD, f.UNPRICED_TOKENS.name: h.UNPRICED}.get(family)
    return ((), ()) if field is None else ((field,), ())


def _spend_fields(kind: str, *, is_usd: bool) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if kind in TOKEN_TYPES:
        place = TOKEN_TYPES.index(kind)
        return ((h.USD + place,), (h.NAME_USD,)) if is_usd else ((h.TOKENS + place,), (h.NAME_TOKENS,))
    return ((h.TOOLS,), (h.NAME_USD,)) if is_usd else ((), ())


def _request_fields(outcome: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if outcome == "blocked":
        return (h.REQUESTS, h.BLOCKED), (h.NAME_REQUESTS,)
    return ((h.REQUESTS,) if outcome in NO_FAILURE else (h.REQUESTS, h.FAILED)), (h.NAME_REQUESTS,)


def _duration_roles(start: int, first: int, buckets: Sequence[float]) -> Iterator[Role]:
    """Each bucket of /metrics is spread evenly over the finer ones of the page, as its quantiles are estimated."""
    lower = 0.0
    for offset, upper in enumerate(buckets):
        yield Role(start + offset, tuple(_spread(first, lower, float(upper))))
        lower = float(upper)
    yield Role(start + len(buckets), (Part(first + bisect_left(h.BOUNDS, lower)),))


def _spread(first: int, lower: float, upper: float) -> Iterator[Part]:
    begin = lower
    for index in range(bisect_left(h.BOUNDS, lower), len(h.BOUNDS)):
        end = min(upper, h.BOUNDS[index])
        if end > begin:
            yield Part(first + index, (end - begin) / (upper - lower))
            begin = end
    if begin < upper:
        yield Part(first + len(h.BOUNDS), (upper - begin) / (upper - lower))
