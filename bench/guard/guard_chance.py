"""Weeks of traffic without an incident, seen by the Guard on a simulated clock: what does it tell that is none?

    .venv/bin/python -m bench.guard.guard_chance                     six requests in 30 s, by chance; five weeks
    .venv/bin/python -m bench.guard.guard_chance --days-and-nights   four features with mornings, weekends, a launch
    .venv/bin/python -m bench.guard.guard_chance --seeds 7 8 --days 1
    .venv/bin/python -m bench.guard.guard_chance --all-count         as if no request came by chance

Thresholds are those shipped, but for budgets, and for the latency of the feature that writes long answers: 60 s. The
Guard looks after every call, so that no moment is missed at which a window is at its fullest. It begins to tell of
spikes after half an hour. Exit code 1 when it told of a warning or of anything critical.
"""

from __future__ import annotations

import argparse
import math
import random
import sys
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from anthropic_exporter import Call, Inference, Recorder, Tokens
from anthropic_exporter.guard import Alert, Guard, Limits, Timing
from anthropic_exporter.guard.measuring import spikes
from bench.false_alarms import traffic

START = 1_767_225_600.0  # 2026-01-01T00:00:00Z, a Thursday, as in bench/false_alarms
DAY, STEP = 86_400, 5


class Told(NamedTuple):
    """How many calls there were, which alerts began how often, and how many of them were no mere information."""

    calls: int
    alerts: Counter[str]
    wrong: int


class Clock:
    now = START

    def __call__(self) -> float:
        return self.now


def steady(seed: int, seconds: int) -> Iterator[Call]:
    """One feature whose requests come independently of each other, twelve a minute day and night."""
    chance, feature, now = random.Random(seed), traffic.FEATURES[0], 0.0
    while (now := now + chance.expovariate(12 / 60)) < seconds:
        yield call(feature, now, chance, missed=chance.random() < 0.03)


def days_and_nights(seed: int, seconds: int) -> Iterator[Call]:
    """The features of bench/false_alarms as one process has them: their rhythm, noise, deploys and the launch."""
    chance = random.Random(seed)
    noise = dict.fromkeys(traffic.FEATURES, 0.0)
    for second in range(0, seconds, STEP):
        step: list[Call] = []
        cold = any(at <= second < at + traffic.COLD_SECONDS for at in traffic.DEPLOYS)
        for feature in traffic.FEATURES:
            if second < feature.from_second:
                continue
            noise[feature] = 0.999 * noise[feature] + chance.gauss(0, 0.008)
            per_minute = feature.peak_per_minute * traffic.activity(second) * math.exp(noise[feature])
            for _ in range(traffic.poisson(chance, per_minute * STEP / 60)):
                missed = cold or chance.random() < 0.03 + math.exp(-5 * per_minute)
                step.append(call(feature, second + chance.random() * STEP, chance, missed=missed))
        yield from sorted(step, key=lambda one: one.started_at)


def call(feature: traffic.Feature, second: float, chance: random.Random, *, missed: bool) -> Call:
    """One call that ends at this second; sizes, waiting and failures vary as in bench/false_alarms."""
    made = Call(feature.model, feature=feature.name, started_at=START + second, cache_asked=feature.cached_prompt > 0)
    drawn = chance.random()
    for outcome, share in traffic.OUTCOMES:
        if (drawn := drawn - share) < 0:
            return made._replace(outcome=outcome, duration_seconds=1.0)
    output = min(round(feature.output * math.exp(chance.gauss(0, 0.8))), 8192)
    plain = round(feature.plain_prompt * math.exp(chance.gauss(0, 0.3)))
    cached = {"cache_write_5m" if missed else "cache_read": feature.cached_prompt}
    first = 0.6 * math.exp(chance.gauss(0, 0.4))
    return made._replace(
        inferences=(Inference(feature.model, Tokens(input=plain, output=output, **cached)),),
        time_to_first_token_seconds=first,
        duration_seconds=first + output / feature.speed,
    )


def watch(calls: Iterator[Call]) -> Told:
    """What a Guard tells of these calls."""
    clock, told, count = Clock(), list[Alert](), 0
    recorder = Recorder(registry=None, strict=True, clock=clock)
    limits = Limits.shipped().replace(tokens_per_day=1e15, cost_usd_per_day=1e12)
    limits = limits.replace(latency_p95_seconds=60, feature="agent")
    with Guard(recorder, limits, timing=Timing(evaluate_every_seconds=None)) as guard:
        guard.on_alert(told.append)
        for one in calls:
            while clock.now + 60 < one.started_at:  # what is usual is learned while nothing happens, too
                clock.now += 60
                guard.tick()
            clock.now = one.started_at
            recorder.record(one)
            guard.tick()
            count += 1
    began = [one for one in told if one.status == "firing"]
    wrong = sum(one.severity != "info" for one in began)
    return Told(count, Counter(f"{one.name} ({one.severity}) {one.feature or one.model}" for one in began), wrong)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    arguments.add_argument("--days", type=float, default=7.0)
    arguments.add_argument("--days-and-nights", action="store_true")
    arguments.add_argument("--all-count", action="store_true")
    given = arguments.parse_args()
    if given.all_count:
        spikes.CHANCE = 0.0
    draw = days_and_nights if given.days_and_nights else steady
    wrong = 0
    for seed in given.seeds:
        told = watch(draw(seed, round(given.days * DAY)))
        wrong += told.wrong
        said = ", ".join(f"{name} {times}" for name, times in sorted(told.alerts.items()))
        print(f"seed {seed}: {told.calls} calls, told: {said or 'nothing'}", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
