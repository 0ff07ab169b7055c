"""Finds spending by jobs that nobody waits for: it starts and stops abruptly, and its rate is steady. Pure.

People come and go: their requests ramp up in the morning, dip at noon and thin out at night. A job sends as fast as it
may until it is done. So these are jobs:

- a floor: on one whole day no hour differs from the others, and the rest of the time has at least as much;
- a run of steps, or a plateau in what people send, that begins and ends within a step and keeps its pace between;
- a run too short for that, if it has many requests and runs like it come at the same time of other days, or at equal
  intervals. A team that meets to try something sends as many, but not by the clock.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence

#: A pause of more than this many empty steps ends a run.
_PAUSE_STEPS = 1
#: Steps that are averaged, so that chance does not look like a rhythm: more where single steps differ more.
_AVERAGED, _NOISE = 3, 0.2
#: A mean of this many steps may differ from the median of all of them by these factors.
_LEAST, _MOST = 0.4, 2.5
_LEAST_OF_PLATEAU = 0.55
#: A run is short up to an hour. One of a day and more is people around the world, if it has no floor.
_SHORT_STEPS, _LONGEST_SECONDS = 12, 64_800.0
_REQUESTS_A_STEP, _REQUESTS_A_SHORT_STEP = 10, 20
_DAY, _HOUR = 86_400.0, 3_600.0
#: A flat day: its hours differ from their median by no more than these parts. Its floor is worth a tenth of all.
_FLAT, _FLOOR_SHARE, _ALWAYS = 0.15, 0.1, 0.7
#: Runs by the clock: at the same time, to a quarter of an hour, of three days or more and two thirds of all; or eight
#: of them at equal intervals.
_SAME_TIME, _OF_DAYS, _FEWEST_DAYS, _EQUAL = 900.0, 2 / 3, 3, 8
#: A plateau begins where the requests rise by this factor within a step, and by more than chance (in standard
#: deviations). It ends where they fall by so much of that rise.
_EDGE, _BEYOND_CHANCE, _OF_RISE = 5.0, 4.0, 0.7
#: The shortest plateau.
_PLATEAU_STEPS = 6

Amounts = Mapping[float, float]


def job_usd(usd: Amounts, requests: Amounts, step: float) -> float:
    """Dollars that a job spent; both mappings are by the end of each step, in Unix seconds."""
    times = sorted(at for at, amount in usd.items() if amount > 0)
    if not times:
        return 0.0
    floor, sent = _floor(usd, requests, times, step)
    count = round((times[-1] - times[0]) / step) + 1
    rest = {at: max(0.0, amount - floor) for at, amount in usd.items()} if floor else usd
    above = {at: max(0.0, amount - sent) for at, amount in requests.items()} if floor else requests
    return floor * count + _above_floor(rest, above, step)


def _above_floor(usd: Amounts, requests: Amounts, step: float) -> float:
    runs = list(_runs(sorted(at for at, amount in usd.items() if amount > 0), step))
    short = [run for run in runs if len(run) <= _SHORT_STEPS and _sent(run, requests) >= _REQUESTS_A_SHORT_STEP]
    found = sum(_sum(run, usd) for run in short if _is_by_the_clock(run[0], [one[0] for one in short], step))
    for run in (run for run in runs if len(run) > _SHORT_STEPS):
        is_whole = _sent(run, requests) >= _REQUESTS_A_STEP and run[-1] - run[0] <= _LONGEST_SECONDS
        is_whole = is_whole and _keeps_its_pace(run[1:-1], usd, step)
        found += _sum(run, usd) if is_whole else sum(_plateaus(run, usd, requests, step, is_first=run is runs[0]))
    return found


def _runs(times: Iterable[float], step: float) -> Iterator[list[float]]:
    run: list[float] = []
    for at in times:
        if run and at - run[-1] > (_PAUSE_STEPS + 1.5) * step:
            yield run
            run = []
        run.append(at)
    if run:
        yield run


def _sum(run: Iterable[float], usd: Amounts) -> float:
    return sum(usd[at] for at in run)


def _sent(run: Sequence[float], requests: Amounts) -> float:
    """Requests of a step of a run."""
    return statistics.fmean(requests.get(at, 0.0) for at in run)


# --- runs and plateaus


def _keeps_its_pace(inner: Sequence[float], usd: Amounts, step: float, least: float = _LEAST) -> bool:
    """Whether the means of several steps are near their median. `inner` is without the ends, which are parts."""
    amounts = _levels(inner[0], inner[-1], usd, step)
    averaged = _averaged(amounts)
    if len(amounts) < averaged:
        return False
    averages = [statistics.fmean(amounts[first : first + averaged]) for first in range(len(amounts) - averaged + 1)]
    usual = statistics.median(averages)
    return least * usual <= min(averages) and max(averages) <= _MOST * usual


def _averaged(amounts: Sequence[float]) -> int:
    """How many steps are averaged: enough that single ones hardly matter, and at most a third of all."""
    mean = statistics.fmean(amounts)
    noise = statistics.fmean(abs(one - other) for one, other in itertools.pairwise(amounts)) if len(amounts) > 1 else 0
    wanted = math.ceil((noise / (_NOISE * mean)) ** 2 / 2) if mean else _AVERAGED
    return max(_AVERAGED, min(wanted, len(amounts) // 3))


def _levels(since: float, until: float, usd: Amounts, step: float) -> list[float]:
    return [usd.get(since + number * step, 0.0) for number in range(round((until - since) / step) + 1)]


def _plateaus(run: Sequence[float], usd: Amounts, requests: Amounts, step: float, *, is_first: bool) -> Iterator[float]:
    """Dollars of each plateau above what surrounds it. Nobody knows how the first run of the history began."""
    amounts, sent = _levels(run[0], run[-1], usd, step), _levels(run[0], run[-1], requests, step)
    begin = _AVERAGED if is_first else 0
    while begin < len(amounts):
        end = _end_of_plateau(begin, sent)
        inner = [run[0] + number * step for number in range(begin + 1, end)]
        end = end if inner and _keeps_its_pace(inner, usd, step, _LEAST_OF_PLATEAU) else 0
        if end:
            around = math.sqrt(statistics.fmean(_before(begin, amounts)) * statistics.fmean(_after(end, amounts)))
            yield sum(amounts[begin : end + 1]) - around * (end + 1 - begin)
        begin = (end or begin) + 1


def _end_of_plateau(begin: int, sent: Sequence[float]) -> int:
    """The last step of a plateau of requests that begins at a step; 0 if none does."""
    if not _is_edge(_before(begin, sent), _after(begin, sent)):
        return 0
    level = statistics.fmean(_after(begin, sent))
    rise = level - statistics.fmean(_before(begin, sent))
    for end in range(begin + _PLATEAU_STEPS, len(sent) - _AVERAGED):
        inner = _before(end, sent)
        fall = statistics.fmean(inner) - statistics.fmean(_after(end, sent))
        if fall >= _OF_RISE * rise and _is_beyond_chance(_after(end, sent), inner):  # its last step is a part
            return min(range(end, end + _AVERAGED), key=lambda one: statistics.fmean(_after(one, sent)))
        if not _LEAST * level <= statistics.fmean(inner) <= 2 * _MOST * level:
            return 0
    return 0


def _before(at: int, amounts: Sequence[float]) -> Sequence[float]:
    return [0.0] * (_AVERAGED - at) + [*amounts[max(0, at - _AVERAGED) : at]]


def _after(at: int, amounts: Sequence[float]) -> Sequence[float]:
    return amounts[at + 1 : at + 1 + _AVERAGED] or [0.0]


def _is_edge(low: Sequence[float], high: Sequence[float]) -> bool:
    """Whether the requests rise from `low` to `high`, by more than chance."""
    return statistics.fmean(high) >= _EDGE * statistics.fmean(low) and _is_beyond_chance(low, high)


def _is_beyond_chance(low: Sequence[float], high: Sequence[float]) -> bool:
    few, many = statistics.fmean(low) * _AVERAGED, statistics.fmean(high) * _AVERAGED
    return many - few >= _BEYOND_CHANCE * math.sqrt(many + few + 1)


# --- by the clock


def _is_by_the_clock(at: float, others: Sequence[float], step: float) -> bool:
    """Whether runs begin at the same time of most days, or several in a row at equal intervals.

    `others` are the beginnings of all runs, in order.
    """
    days = {round((one - at) / _DAY) for one in others if _from_full_days(one - at) <= _SAME_TIME}
    seen = round((others[-1] - others[0]) / _DAY) + 1
    is_daily = len(days) >= max(_FEWEST_DAYS, _OF_DAYS * seen)
    here = others.index(at)
    around = (others[first : first + _EQUAL] for first in range(max(0, here - _EQUAL + 1), here + 1))
    return is_daily or any(_is_even(some, step) for some in around)


def _from_full_days(seconds: float) -> float:
    rest = abs(seconds) % _DAY
    return min(rest, _DAY - rest)


def _is_even(some: Sequence[float], step: float) -> bool:
    gaps = [later - earlier for earlier, later in itertools.pairwise(some)]
    return len(some) == _EQUAL and max(gaps) - min(gaps) <= step


# --- the floor


def _floor(usd: Amounts, requests: Amounts, times: Sequence[float], step: float) -> tuple[float, float]:
    """Dollars and requests of each step that a job without an end spends; 0 if there is none."""
    hourly = _hourly(usd, times, step)
    by_hour = int(_HOUR / step)
    for first in range(len(hourly) - 23):
        day = hourly[first : first + 24]
        usual = statistics.median(day)
        if all(abs(one - usual) <= _FLAT * usual for one in day) and min(hourly) >= _ALWAYS * usual:
            if usual < _FLOOR_SHARE * statistics.fmean(hourly):
                return 0.0, 0.0
            sent = _hourly(requests, times, step)[first : first + 24]
            level = statistics.fmean(sent) / by_hour
            return (statistics.fmean(day) / by_hour, level) if level >= _REQUESTS_A_STEP else (0.0, 0.0)
    return 0.0, 0.0


def _hourly(amounts: Amounts, times: Sequence[float], step: float) -> list[float]:
    """The sums of whole hours from the second step on."""
    by_hour = int(_HOUR / step)
    levels = _levels(times[0] + step, times[-1] - step, amounts, step)
    return [sum(levels[first : first + by_hour]) for first in range(0, len(levels) - by_hour + 1, by_hour)]


def by_place(steps: Iterable[tuple[tuple[str, str], float, float]]) -> dict[tuple[str, str], dict[float, float]]:
    """Amounts by place and end of step, from (place, end of step, amount)."""
    found: dict[tuple[str, str], dict[float, float]] = {}
    for place, group in itertools.groupby(sorted(steps), lambda one: one[0]):
        amounts = found.setdefault(place, {})
        for _, at, amount in group:
            amounts[at] = amounts.get(at, 0.0) + amount
    return found
