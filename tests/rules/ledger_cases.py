"""What processes do to their counters, as tests in promtool's format: births, restarts, gaps, crash loops, two scrapes.

A process is drawn as what its scrapes find, one value a step of 5 s; None where a scrape finds nothing. `life` is drawn
anew with each start. Amounts are dollars, literal, of one feature unless a case is about several.
"""

from __future__ import annotations

import itertools
import random
from typing import Any, NamedTuple

STEP = 5
Values = list[float | None]


class Process(NamedTuple):
    """One life of a process at a target: the step of its first scrape, when it started (s), and what scrapes find."""

    life: str
    first: int
    started: float
    values: Values
    instance: str = "a"
    feature: str = "chat"
    clock: float = 0  # how far its host's clock is ahead
    of: str = "cost_usd"
    tier: str = "standard"
    job: str = "anthropic"


def series(one: Process) -> list[dict[str, str]]:
    """What a Prometheus stores of it."""
    target = f'job="{one.job}", instance="{one.instance}", life="{one.life}"'
    labels = f'{target}, of="{one.of}", feature="{one.feature}", model="opus", tier="{one.tier}"'
    seconds = [STEP * (one.first + step) - one.started for step in range(len(one.values))]
    seen = [value is not None for value in one.values]
    ages = [age if there else None for age, there in zip(seconds, seen, strict=True)]
    starts = [one.started + one.clock if there else None for there in seen]
    counted = [value or None for value in one.values]  # what has counted nothing is not shown
    return [
        {"series": f"anthropic_exporter_start_timestamp_seconds{{{target}}}", "values": text(one.first, starts)},
        {"series": f"anthropic_exporter_age_seconds{{{target}}}", "values": text(one.first, ages)},
        {"series": f"anthropic_ledger_total{{{labels}}}", "values": text(one.first, counted)},
    ]


def text(first: int, values: Values) -> str:
    found = [f"_x{first}"] if first else []
    for value, group in itertools.groupby(values):
        count = len(list(group))
        found.append(f"_x{count}" if value is None else f"{value:.9g}x{count - 1}" if count > 1 else f"{value:.9g}")
    return " ".join([*found, "_x1000"])


def case(
    processes: list[Process], *expected: tuple[str, str, float | None], others: list[dict[str, str]] | None = None
) -> dict[str, Any]:
    """A test: at a time an expression has a value, or none."""
    drawn = {one["series"]: one for process in processes for one in series(process)}
    return {
        "interval": f"{STEP}s",
        "input_series": [*drawn.values(), *(others or [])],
        "promql_expr_test": [
            {
                "eval_time": at,
                "expr": f"round({expression}, 0.001)",
                "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
            }
            for at, expression, value in expected
        ],
    }


ALL = 'sum(anthropic_ledger:total{of="cost_usd"})'
PROMPT = 'sum(anthropic_ledger:total{of="cost_usd", when="prompt"})'
LATE = 'sum(anthropic_ledger:total{of="cost_usd", when="late"}) or vector(0)'
PACE = "sum(feature_model:anthropic_cost_usd_per_minute:rate_fast)"
PEAK = "max_over_time(sum(feature_model:anthropic_cost_usd_per_minute:rate_fast)[1h:5s])"
FALLS = 'sum(resets(anthropic_ledger:total{of="cost_usd"}[2h]))'
HOUR = 720


def steadily(start: float, a_step: float, steps: int) -> Values:
    return [start + a_step * step for step in range(steps)]


def loop(seconds: int, dollars: float, *, regained: bool = False) -> list[Process]:
    """An hour of lives of one length, each with the same dollars, 10 s after its start or before its first scrape."""
    steps = seconds // STEP
    spent: Values = [dollars if regained or step >= 2 else 0.0 for step in range(steps)]
    starts = range(0, HOUR, steps + 1)  # one scrape fails between two lives
    return [Process(f"life{number}", at, STEP * at - 2, spent) for number, at in enumerate(starts)]


def lives(seconds: int) -> int:
    return len(range(0, HOUR, seconds // STEP + 1))


def rolling(count: int) -> list[Process]:
    """Each of several processes is replaced, a minute after the one before."""
    old = [Process(f"old{i}", 0, -7200, steadily(500, 0.1, 60 + 12 * i), f"i{i}") for i in range(count)]
    new = [
        Process(f"new{i}", 62 + 12 * i, STEP * (62 + 12 * i) - 4, steadily(0.5, 0.1, 300 - 12 * i), f"i{i}")
        for i in range(count)
    ]
    return old + new


def interrupted(steps: int) -> list[Process]:
    """A process at a dollar and a quarter a minute that cannot be scraped for a while."""
    values: Values = steadily(100, 0.1, 60) + [None] * steps + steadily(106 + 0.1 * steps, 0.1, 120)
    return [Process("one", 0, -7200, values)]


def alternating(seed: int) -> list[Process]:
    """Two processes behind one address: each scrape finds one of them, by chance."""
    chance = random.Random(seed)
    found = [chance.random() < 0.5 for _ in range(360)]
    first: Values = [0.25 * step if one else None for step, one in enumerate(found)]
    second: Values = [0.5 * step if not one else None for step, one in enumerate(found)]
    return [Process("one", 0, -1, [*first, 90.0]), Process("two", 0, -1, [*second, None, 180.5])]


CASES: dict[str, dict[str, Any]] = {
    "a process that is born with dollars in its first scrape counts in full": case(
        [Process("old", 0, -9000, [3.0] * 120), Process("new", 24, 118, [2.5] * 90, "b")],
        ("115s", ALL, 0),
        ("120s", ALL, 2.5),
        ("120s", PACE, 5),
        ("400s", ALL, 2.5),
        ("400s", LATE, 0),
    ),
    "a feature that is born in a process that was idle counts in full": case(
        [
            Process("old", 0, -9000, [*[0.0] * 24, *[7.0] * 60]),
            Process("old", 0, -9000, [*[0.0] * 24, *[4.0] * 60], feature="search"),
        ],
        ("115s", ALL, None),
        ("120s", ALL, 11),
        ("120s", 'sum(feature_model:anthropic_cost_usd_per_minute:rate_fast{feature="search"})', 8),
    ),
    "a process older than this Prometheus begins with what it shows": case(
        [Process("old", 0, -9000, steadily(900, 0.25, 60))],
        ("0s", ALL, 0),
        ("60s", ALL, 3),
        ("4m", PEAK, 3),
    ),
    "an old process that is added later begins with what it shows": case(
        [Process("one", 0, -10, steadily(0, 0.25, 100)), Process("old", 20, -9000, [900.0] * 80, "b")],
        ("6m", ALL, 18),
        ("6m", PEAK, 3),
        ("6m", LATE, 0),
    ),
    "an instance that is found minutes after its start counts late, and in no pace": case(
        [Process("one", 0, -7200, [1.0] * 200), Process("new", 60, 100, [30.0] * 100, "b")],
        ("10m", LATE, 30),
        ("10m", PROMPT, 0),
        ("10m", PEAK, 0),
    ),
    "a process that is not scraped for a while in its first minute counts once": case(
        [Process("new", 20, 95, [1.0, 1.0, *[None] * 6, *[3.0] * 40])],
        ("5m", ALL, 3),
        ("5m", LATE, 2),
    ),
    "a restart that has regained its value before the next scrape": case(
        [Process("one", 0, -100, [*[0.0] * 6, *[5.0] * 6]), Process("two", 12, 57, [5.0] * 60)],
        ("55s", ALL, 5),
        ("60s", ALL, 10),
        ("5m", ALL, 10),
        ("5m", LATE, 0),
    ),
    "a crash loop of 25 s": case(
        loop(25, 5), ("1h", ALL, 5 * lives(25)), ("1h", LATE, 0), ("1h", FALLS, 0), ("55m", PACE, 10)
    ),
    "a crash loop of 50 s": case(loop(50, 5), ("1h", ALL, 5 * lives(50)), ("1h", LATE, 0), ("1h", FALLS, 0)),
    "a crash loop of 85 s": case(loop(85, 5), ("1h", ALL, 5 * lives(85)), ("1h", LATE, 0), ("1h", FALLS, 0)),
    "a crash loop that spends at once": case(
        loop(50, 5, regained=True), ("1h", ALL, 5 * lives(50)), ("1h", LATE, 0), ("1h", FALLS, 0)
    ),
    "lives of one scrape": case(
        loop(5, 2, regained=True), ("1h", ALL, 2 * lives(5)), ("1h", LATE, 0), ("55m", PACE, 12)
    ),
    "a rolling deploy of ten": case(
        rolling(10), ("5m", ALL, 59.9), ("25m", ALL, 302), ("25m", LATE, 0), ("25m", FALLS, 0), ("4m", PACE, 12)
    ),
    "one failed scrape": case(interrupted(1), ("10m", ALL, 12), ("10m", LATE, 0), ("10m", PEAK, 1.4)),
    "no scrape for a minute": case(interrupted(12), ("15m", ALL, 18), ("15m", LATE, 1.3), ("15m", PEAK, 1.2)),
    "no scrape for half an hour": case(
        interrupted(360), ("44m", ALL, 52.8), ("44m", LATE, 36.1), ("44m", PEAK, 1.2), ("44m", FALLS, 0)
    ),
    "a restart inside of a gap": case(
        [Process("one", 0, -7200, steadily(100, 0.1, 60)), Process("two", 120, 400, steadily(9, 0.1, 60))],
        ("14m", ALL, 19.7),
        ("14m", LATE, 9),
        ("14m", PEAK, 1.2),
    ),
    "two scrapes of one process count once": case(
        [
            Process("one", 0, -10, steadily(0, 0.25, 240)),
            Process("one", 0, -10, steadily(0, 0.25, 240), "b", job="shop/checkout"),
        ],
        ("10m", ALL, 30),
        ("10m", PACE, 3),
    ),
    "two processes behind one address": case(alternating(7), ("30m10s", ALL, 270.5), ("30m10s", FALLS, 0)),
    "a host whose clock is an hour behind, and one that is an hour ahead": case(
        [
            Process("one", 0, -7200, [1.0] * 200),
            Process("behind", 24, 118, [2.5] * 90, "b", clock=-3600),
            Process("ahead", 24, 118, [3.5] * 90, "c", clock=3600),
            Process("old ahead", 30, -9000, [700.0] * 90, "d", clock=3600),
        ],
        ("120s", ALL, 6),
        ("8m", ALL, 6),
        ("8m", LATE, 0),
    ),
    "results of a batch count, and make no pace": case(
        [Process("one", 0, -9000, [*[50.0] * 12, *[53.0] * 60], tier="batch")],
        ("2m", ALL, 3),
        ("60s", PACE, 0),
    ),
    "a process that ends keeps what it spent, and its pace ends with it": case(
        [Process("one", 0, -10, steadily(0, 0.25, 60)), Process("two", 0, -10, [1.0] * 300, "b", feature="other")],
        ("20m", ALL, 15.75),
        ("20m", 'sum(feature_model:anthropic_cost_usd_per_minute:rate_fast{feature="chat"})', None),
    ),
}
