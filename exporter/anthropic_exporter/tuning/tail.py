"""How often a signal exceeds a threshold in a week, by its own history. Pure.

A page is an episode above the threshold: a pause of a few minutes does not begin another. Episodes that were seen are
counted. What was never seen is extrapolated: the peaks of hours above a high level have an exponential tail in the
logarithm (Pareto), and its slope is not known better than so many peaks tell. Both together give the predictive rate
`n / weeks * (1 + ln(T / u) / S) ** -n`, with n peaks above u and S the sum of their ln(peak / u): it falls slower than
the fitted tail, and the slower the fewer peaks there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

WEEK_SECONDS = 604_800.0
_HOUR_SECONDS = 3_600
#: `keep_firing_for` of the alerts, and two evaluations.
_PAUSE_SECONDS = 180.0
_PEAK_SHARE, _FEWEST_PEAKS, _MOST_PEAKS = 0.1, 8, 60
#: Of single days the highest third: the others are weekends and holidays. Never more than that of hours: a job of an
#: hour a night has as many hours in which it only begins or ends.
_MOST_SHARE = 1 / 3
DAY_SECONDS = 86_400
#: Of a single peak the tail is so heavy that a threshold exceeds every number.
_LARGEST_EXPONENT = 600.0

Points = Sequence[tuple[float, float]]


class Tail(NamedTuple):
    """The peaks of a signal above `level`: how many, the sum of their log excesses, and the weeks that hold them.

    `known` is how many peaks there are in all.
    """

    level: float
    peaks: int
    excess: float
    weeks: float
    known: int = 0

    def expected(self, threshold: float) -> float:
        """Pages a week above a threshold; infinite below the level, where nothing was fitted."""
        if threshold < self.level or not self.peaks:
            return math.inf if self.peaks else 0.0
        if not self.excess:
            return self.peaks / self.weeks if threshold <= self.level else 0.0
        log_rate = math.log(self.peaks / self.weeks)
        return math.exp(log_rate - self.peaks * math.log1p(math.log(threshold / self.level) / self.excess))

    def threshold(self, pages: float) -> float:
        """The least threshold at which no more than `pages` a week are expected."""
        if not self.peaks or self.peaks / self.weeks <= pages:
            return self.level
        ratio = (self.peaks / (self.weeks * pages)) ** (1 / self.peaks) - 1
        return self.level * math.exp(min(self.excess * ratio, _LARGEST_EXPONENT))


def fit(points: Points, seconds: float, *, is_daily: bool = False) -> Tail:
    """The tail of a signal whose history is `seconds` long. `is_daily`: it grows from 0 each day."""
    weeks = seconds / WEEK_SECONDS
    peaks = sorted(peaks_of(points, DAY_SECONDS if is_daily else _HOUR_SECONDS), reverse=True)
    most = max(round(_MOST_SHARE * len(peaks)), 0 if is_daily else 1)
    wanted = most if is_daily else min(most, max(round(_PEAK_SHARE * len(peaks)), _FEWEST_PEAKS))
    count = min(wanted, _MOST_PEAKS, max(len(peaks) - 1, 0))
    if not count:
        return Tail(peaks[0] if peaks else 0.0, len(peaks), 0.0, weeks, len(peaks))
    level = peaks[count]
    return Tail(level, count, sum(math.log(peak / level) for peak in peaks[:count]), weeks, len(peaks))


def peaks_of(points: Iterable[tuple[float, float]], every: int) -> list[float]:
    """The greatest value of each hour or day (`every` seconds) that has one above 0."""
    found: dict[int, float] = {}
    for at, value in points:
        if value > 0 and math.isfinite(value):
            number = int(at // every)
            found[number] = max(found.get(number, 0.0), value)
    return list(found.values())


def episodes(points: Points, threshold: float) -> int:
    """How often the signal went above a threshold."""
    count, last = 0, -math.inf
    for at, value in points:
        if value > threshold:
            count += at - last > _PAUSE_SECONDS
            last = at
    return count
