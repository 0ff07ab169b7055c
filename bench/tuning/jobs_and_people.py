"""Does `advise` tell what a job sends from what people wait for? A family of simulated weeks whose truth is known.

    .venv/bin/python -m bench.tuning.jobs_and_people                       6 weeks of each, half a minute
    .venv/bin/python -m bench.tuning.jobs_and_people --only mixed --weeks 20

All requests are single messages without stream and tools. Jobs could all be sent as batches, people's requests could
not. Printed are the dollars of jobs that are found, as a part of the true ones, and the dollars of people that are
taken for a job's, as a part of theirs. Exit code 1 when, in the mean of the weeks, a job's dollars are not found within
10 %, or people's are found that amount to 2 % of a feature's dollars, from which on `advise` shows an item.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

from anthropic_exporter.tuning.advice import jobs
from bench.tuning.pages_by_shape import DAY, HOUR, MINUTE, WEEK, Feature, arrivals, dollars, office_hours, weekdays

STEP = 300
_WITHIN, _WORTH = 0.1, 0.02
_LABEL, _QUESTION = Feature(0, 0.002, 0.6), Feature(0, 0.01, 0.8)

Times = Iterator[float]


class Traffic(NamedTuple):
    """The seconds of a week in which a job and people send requests; one of both may send none."""

    job: list[float]
    people: list[float]


# --- jobs


def steady(chance: random.Random, begin: float, length: float, a_minute: float) -> Times:
    """As fast as the answers come: a Poisson process at one pace."""
    yield from arrivals(chance, a_minute / 60, lambda _: math.inf, (begin, begin + length))


def in_chunks(chance: random.Random, begin: float, length: float) -> Times:
    """Chunks of 50 to 400 requests in half a minute each, and up to seven minutes of other work between them."""
    at = begin
    while at < begin + length:
        yield from (at + chance.uniform(0, 30) for _ in range(chance.randint(50, 400)))
        at += chance.uniform(60, 450)


def limited(chance: random.Random, begin: float, length: float) -> Times:
    """Other jobs share the rate limit: the pace changes every half hour by up to a half."""
    for since in range(0, int(length), 1_800):
        yield from steady(chance, begin + since, min(1_800.0, length - since), 30 * chance.uniform(0.5, 1.0))


def cron(chance: random.Random, every: float, count: int) -> Times:
    """A few requests at every full interval, day and night."""
    for number in range(int(WEEK // every)):
        yield from (
            number * every + chance.uniform(1, 25) for _ in range(max(1, round(chance.gauss(count, count / 6))))
        )


def every_night(make: Callable[[float, float], Times], chance: random.Random, length: float) -> Times:
    for day in range(7):
        yield from make(day * DAY + 2 * HOUR + chance.uniform(0, 600), length * math.exp(chance.gauss(0, 0.2)))


# --- people


def office(chance: random.Random, a_minute: float, part: Callable[[float], float] = office_hours) -> Times:
    """Their rhythm, and noise that lasts for half an hour."""
    noise, level = [], 0.0
    for _ in range(WEEK // MINUTE + 1):
        level = 0.97 * level + chance.gauss(0, 0.05)
        noise.append(math.exp(level))
    peak = a_minute / 60
    yield from arrivals(chance, 3 * peak, lambda at: peak * part(at) * noise[int(at // MINUTE)], (0, WEEK))


def around_the_world(second: float) -> float:
    """Users on all continents: a third less at the quietest hour than at the busiest."""
    return 0.83 + 0.17 * math.sin(second / DAY * 2 * math.pi)


def opening_hours(second: float) -> float:
    """A help desk that opens at eight and closes at six; those who work there come and go within an hour."""
    hour = second % DAY / HOUR
    working = 1 / (1 + math.exp(-(hour - 8) / 0.25)) / (1 + math.exp((hour - 18) / 0.25))
    return working * (0.5 if 12 <= hour < 13 else 1.0) * (second // DAY % 7 < 5)


def meetings(chance: random.Random) -> Times:
    """A team tries the product together, twice a day, for a quarter of an hour."""
    for at in arrivals(chance, 4 / DAY, lambda now: 4 / DAY * office_hours(now), (0, WEEK)):
        yield from steady(chance, at, chance.uniform(300, 1_500), 6)


def fan_outs(chance: random.Random) -> Times:
    """Somebody asks about ten to a hundred documents at once, 40 times a day."""
    for at in arrivals(chance, 100 / DAY, lambda now: 100 / DAY * office_hours(now), (0, WEEK)):
        for _ in range(min(int(math.exp(chance.gauss(2.3, 0.7))), 200)):
            yield at + chance.expovariate(1 / 20)


# --- the family


def _job(make: Callable[[random.Random], Times]) -> Callable[[random.Random], Traffic]:
    return lambda chance: Traffic(sorted(at for at in make(chance) if at < WEEK), [])


def _people(make: Callable[[random.Random], Times]) -> Callable[[random.Random], Traffic]:
    return lambda chance: Traffic([], sorted(make(chance)))


def _both(
    job: Callable[[random.Random], Times], people: Callable[[random.Random], Times]
) -> Callable[[random.Random], Traffic]:
    return lambda chance: Traffic(_job(job)(chance).job, _people(people)(chance).people)


def _nightly(chance: random.Random) -> Times:
    return every_night(lambda begin, length: steady(chance, begin, length, 10), chance, 3 * HOUR)


def _every_five_minutes(chance: random.Random) -> Times:
    return cron(chance, 5 * MINUTE, 20)


def _chat(chance: random.Random) -> Times:
    return office(chance, 12)


FAMILY: dict[str, Callable[[random.Random], Traffic]] = {
    "job: three hours a night": _job(_nightly),
    "job: a quarter of an hour a night": _job(
        lambda chance: every_night(lambda begin, length: steady(chance, begin, length, 30), chance, 900)
    ),
    "job: in chunks, two hours a night": _job(
        lambda chance: every_night(lambda begin, length: in_chunks(chance, begin, length), chance, 2 * HOUR)
    ),
    "job: below a shared rate limit": _job(
        lambda chance: every_night(lambda begin, length: limited(chance, begin, length), chance, 5 * HOUR)
    ),
    "job: day and night": _job(lambda chance: steady(chance, 0, WEEK, 20)),
    "job: once, for ten hours": _job(lambda chance: steady(chance, 3 * DAY + 9 * HOUR, 10 * HOUR, 60)),
    "job: cron, every five minutes": _job(_every_five_minutes),
    "job: cron, every hour": _job(lambda chance: cron(chance, HOUR, 150)),
    "people: office hours, 2 a minute": _people(lambda chance: office(chance, 2)),
    "people: office hours, 12 a minute": _people(_chat),
    "people: office hours, 100 a minute": _people(lambda chance: office(chance, 100)),
    "people: around the world": _people(lambda chance: office(chance, 30, around_the_world)),
    "people: a help desk's opening hours": _people(lambda chance: office(chance, 12, opening_hours)),
    "people: meetings": _people(meetings),
    "people: many documents at once": _people(fan_outs),
    "mixed: chat, and a job at night": _both(_nightly, _chat),
    "mixed: chat on weekdays, and cron": _both(_every_five_minutes, lambda chance: office(chance, 12, weekdays)),
    "mixed: chat, and a job at noon": _both(
        lambda chance: steady(chance, 2 * DAY + 11 * HOUR, 4 * HOUR, 120), lambda chance: office(chance, 4)
    ),
}


# --- what advise makes of it


class Found(NamedTuple):
    """Dollars of a week: found as those of a job, and the true ones of jobs and of people."""

    usd: float
    job_usd: float
    people_usd: float

    @property
    def error(self) -> float:
        """What is found beside the true dollars, as a part of all."""
        return (self.usd - self.job_usd) / (self.job_usd or self.people_usd)

    @property
    def is_right(self) -> bool:
        """Within a tenth of a job's dollars; of people's alone so few that no item is shown."""
        return abs(self.error) <= _WITHIN if self.job_usd else self.error < _WORTH


def found(name: str, week: int) -> Found:
    """What `advise` finds in one week of a member of the family."""
    chance = random.Random(f"{name} {week}")
    traffic = FAMILY[name](chance)
    usd: dict[float, float] = {}
    requests: dict[float, float] = {}
    spent = []
    for times, feature in ((traffic.job, _LABEL), (traffic.people, _QUESTION)):
        amounts = [dollars(chance, feature) for _ in times]
        spent.append(sum(amounts))
        for at, amount in zip(times, amounts, strict=True):
            step = (at // STEP + 1) * STEP
            usd[step] = usd.get(step, 0.0) + amount
            requests[step] = requests.get(step, 0.0) + 1
    return Found(jobs.job_usd(usd, requests, STEP), *spent)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weeks", type=int, default=6)
    parser.add_argument("--only", default="", help="members of the family whose name contains this")
    options = parser.parse_args()
    holds = [shown(name, options.weeks) for name in FAMILY if options.only in name]
    return 0 if all(holds) else 1


def shown(name: str, weeks: int) -> bool:
    """Print what is found in some weeks. Returns whether their mean is right."""
    some = [found(name, week) for week in range(weeks)]
    mean = Found(*(statistics.fmean(amounts) for amounts in zip(*some, strict=True)))
    right, most = sum(week.is_right for week in some), max((week.error for week in some), key=abs)
    print(f"{name:42} mean {mean.error:+.0%}, at most {most:+.0%}; {right} of {weeks} weeks are right", flush=True)
    return mean.is_right


if __name__ == "__main__":
    sys.exit(main())
