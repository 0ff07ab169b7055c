"""Which spending looks like a job that nobody waits for: it begins and ends at once, and keeps its pace between. Pure.

People come and go: their requests ramp up in the morning, dip at noon and thin out at night. A job sends as fast as it
may until it is done. So a run of steps is that of a job if its quarters of an hour keep near their median; a run too
short for that is one if it has many requests.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence

#: A pause of more than this many empty steps ends a run.
_PAUSE_STEPS = 1
#: Steps that are averaged, so that chance does not look like a rhythm.
_AVERAGED = 3
_LEAST, _MOST = 0.4, 2.5
_SHORT_STEPS = 4
_REQUESTS_A_STEP, _REQUESTS_A_SHORT_STEP = 10, 20


def job_usd(usd: Mapping[float, float], requests: Mapping[float, float], step: float) -> float:
    """Dollars that were spent in runs of a job; both mappings are by the end of each step, in Unix seconds."""
    runs = _runs(sorted(at for at, amount in usd.items() if amount > 0), step)
    return sum(sum(usd[at] for at in run) for run in runs if _is_job(run, usd, requests, step))


def _runs(times: Iterable[float], step: float) -> Iterator[list[float]]:
    run: list[float] = []
    for at in times:
        if run and at - run[-1] > (_PAUSE_STEPS + 1.5) * step:
            yield run
            run = []
        run.append(at)
    if run:
        yield run


def _is_job(run: Sequence[float], usd: Mapping[float, float], requests: Mapping[float, float], step: float) -> bool:
    sent = statistics.fmean(requests.get(at, 0.0) for at in run)
    if len(run) <= _SHORT_STEPS:
        return sent >= _REQUESTS_A_SHORT_STEP
    count = round((run[-1] - run[0]) / step)
    inner = [usd.get(run[0] + number * step, 0.0) for number in range(1, count)]  # the first and the last are parts
    averages = [statistics.fmean(inner[first : first + _AVERAGED]) for first in range(len(inner) - _AVERAGED + 1)]
    usual = statistics.median(averages)
    is_steady = _LEAST * usual <= min(averages) and max(averages) <= _MOST * usual
    return is_steady and sent >= _REQUESTS_A_STEP


def by_place(steps: Iterable[tuple[tuple[str, str], float, float]]) -> dict[tuple[str, str], dict[float, float]]:
    """Amounts by place and end of step, from (place, end of step, amount)."""
    found: dict[tuple[str, str], dict[float, float]] = {}
    for place, group in itertools.groupby(sorted(steps), lambda one: one[0]):
        amounts = found.setdefault(place, {})
        for _, at, amount in group:
            amounts[at] = amounts.get(at, 0.0) + amount
    return found
