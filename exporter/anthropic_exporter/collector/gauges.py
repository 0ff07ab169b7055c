"""Merges gauges of many publishers: the sum, maximum, minimum or newest, depending on the family."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from anthropic_exporter.collector.members import Member
from anthropic_exporter.collector.series import ShownSeries
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.cells import SeriesSample

#: A publisher sends once a second; after this silence it is lost.
LIVE_SECONDS = 30.0

_SUMMED = frozenset({f.INFLIGHT.name, f.WORKERS.name})
_SMALLEST = frozenset({f.PRICES_CHECKED.name, f.GUARD_FLEET_FOLLOWED.name})
_NEWEST = frozenset({f.RATELIMIT_LIMIT.name, f.RATELIMIT_REMAINING.name, f.RATELIMIT_RESET.name})
#: Gauges that stay valid after their publisher ended.
_LASTING = frozenset({f.LAST_RECORD.name, f.PRICES_CHECKED.name})
_Merge = Callable[[float, float], float]


def is_live(member: Member, now: float) -> bool:
    """Whether the publisher sent a message recently and has not ended."""
    return not member.finished and now - member.heard_at <= LIVE_SECONDS


def merged(series: ShownSeries, members: Iterable[Member], now: float) -> dict[str, list[SeriesSample]]:
    """The gauges to show, by family name."""
    values: dict[int, float] = {}
    for member in sorted(members, key=lambda one: one.heard_at):
        live = is_live(member, now)
        for number, value in member.gauges.items():
            name = series.targets[number].family.name
            if live or _is_lasting(name, series.labels_of(number)):
                values[number] = _merge_of(name)(values[number], value) if number in values else value
    found: dict[str, list[SeriesSample]] = {}
    for number, value in sorted(values.items()):
        name = series.targets[number].family.name
        found.setdefault(name, []).append(SeriesSample(series.labels_of(number), [value], 0.0))
    return found


def _is_lasting(name: str, labels: tuple[str, ...]) -> bool:
    """Whether a gauge stays valid when its publisher is silent.

    Workers that ended stay ended: a host that is cut off and comes back must not look like many that are lost at once.
    """
    return name in _LASTING or (name == f.WORKERS.name and labels[0] != "alive")


def _merge_of(name: str) -> _Merge:
    if name in _SUMMED:
        return float.__add__
    if name in _SMALLEST:
        return min
    return _newer if name in _NEWEST else max


def _newer(_: float, value: float) -> float:
    return value
