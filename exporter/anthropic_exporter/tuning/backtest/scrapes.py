"""Turns stored samples of a Prometheus into scrapes, with the markers that end series, which its API leaves out."""

from __future__ import annotations

import bisect
import itertools
import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from anthropic_exporter.history import remote_write
from anthropic_exporter.history.prometheus_api import Prometheus, TimeSeries
from anthropic_exporter.history.remote_write import Labels

_TARGET = ("job", "instance")
_USUAL_SCRAPE_SECONDS = 5.0
_LONGEST_LOOK_BACK_SECONDS = 600.0
#: Names in one question.
_TOGETHER = 40


class Slice(NamedTuple):
    """What was stored between two moments."""

    series: list[TimeSeries]

    def written(self, alive: dict[Labels, float]) -> Iterator[tuple[Labels, list[bytes]]]:
        """The samples, and a marker at each scrape of a target that a series of it was missing from.

        `alive` are series with their newest sample that are not ended, of this slice and those before; it is changed.
        """
        scrapes = _scrapes(self.series)
        shown = {tuple(sorted(one.labels.items())): dict(one.points) for one in self.series}
        for labels in sorted(shown.keys() | alive.keys()):
            points = shown.get(labels, {})
            times = sorted({*points, *scrapes.get(_target(labels), ())})
            samples = list(_with_ends(points, times, is_alive=labels in alive))
            if points and times[-1] in points:
                alive[labels] = times[-1]
            elif times:
                alive.pop(labels, None)
            if samples:
                yield labels, samples


def _with_ends(points: dict[float, float], times: Sequence[float], *, is_alive: bool) -> Iterator[bytes]:
    for at in times:
        moment = remote_write.moment(round(at * 1000))
        if at in points:
            yield remote_write.sample(remote_write.value(points[at]), moment)
        elif is_alive:
            yield remote_write.sample(remote_write.STALE, moment)
        is_alive = at in points


def _target(labels: Labels) -> tuple[str, ...]:
    known = dict(labels)
    return tuple(known.get(name, "") for name in _TARGET)


def _scrapes(found: Iterable[TimeSeries]) -> dict[tuple[str, ...], set[float]]:
    """When each target was scraped, and once more after its last scrape, when service discovery ends its series."""
    ups = [one for one in found if one.labels.get("__name__") == "up" and one.points]
    newest = max((one.points[-1][0] for one in ups), default=0.0)
    scrapes: dict[tuple[str, ...], set[float]] = {}
    for one in ups:
        times = [at for at, _ in one.points]
        interval = _interval(times)
        key = _target(tuple(sorted(one.labels.items())))
        ended = [a + interval for a, b in itertools.pairwise(times) if b - a > 2.5 * interval]
        if newest - times[-1] > 2.5 * interval:
            ended.append(times[-1] + interval)
        scrapes.setdefault(key, set()).update(times, ended)
    return scrapes


def _interval(times: Sequence[float]) -> float:
    steps = [b - a for a, b in itertools.pairwise(times)]
    return statistics.median(steps) if steps else _USUAL_SCRAPE_SECONDS


def read(prometheus: Prometheus, names: Iterable[str], start: float, end: float) -> Slice:
    """Everything of these names that was stored after `start`, until `end` (Unix seconds)."""
    ordered = sorted(names)
    found: list[TimeSeries] = []
    for first in range(0, len(ordered), _TOGETHER):
        pattern = "|".join(ordered[first : first + _TOGETHER])
        for one in prometheus.samples(f'{{__name__=~"{pattern}"}}', end - start, end):
            index = bisect.bisect_right(one.points, (start, float("inf")))
            if one.points[index:]:
                found.append(one._replace(points=one.points[index:]))
    return Slice(found)


def interval(prometheus: Prometheus, name: str, at: float) -> float:
    """Seconds between scrapes, by the newest samples of a series; 5 if there are none."""
    found = prometheus.samples(name, _LONGEST_LOOK_BACK_SECONDS, at)
    steps = [_interval([when for when, _ in one.points]) for one in found if len(one.points) > 1]
    return min(steps, default=_USUAL_SCRAPE_SECONDS)


def phase(prometheus: Prometheus, name: str, every: float, at: float) -> float | None:
    """How many seconds after a multiple of `every` a series is recorded; None if it never was."""
    found = prometheus.samples(name, max(_LONGEST_LOOK_BACK_SECONDS, 2 * every), at)
    newest = max((one.points[-1][0] for one in found if one.points), default=None)
    return None if newest is None else newest % every
