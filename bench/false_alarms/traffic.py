"""A week of ordinary traffic as counters: daily and weekly rhythm, noise, deploys, a launch, silence at the weekend.

Time 0 is a Thursday, 00:00 UTC, so that five days of history are the most that Monday's morning can look back on.
"""

from __future__ import annotations

import math
import random
from collections import deque
from typing import NamedTuple

DAY, HOUR = 86400, 3600
LAUNCH = 5 * DAY + 10 * HOUR  # Tuesday, 10:00
DEPLOYS = (1 * DAY + 14 * HOUR, 4 * DAY + 11 * HOUR, 5 * DAY + 16 * HOUR)  # Friday, Monday, Tuesday, in full traffic
INSTANCES = ("a", "b")
OUTCOMES = (("api_error", 0.004), ("overloaded_error", 0.004), ("rate_limit_error", 0.003), ("timeout", 0.002))


class Feature(NamedTuple):
    """What one feature asks for; prices are dollars for a million tokens."""

    name: str
    model: str
    peak_per_minute: float
    cached_prompt: int
    plain_prompt: int
    output: int
    input_price: float
    output_price: float
    from_second: int = 0


FEATURES = (
    Feature("chat", "claude-opus-5-5", 12, 7000, 1000, 400, 5, 25),
    Feature("summarise", "claude-haiku-5-5", 60, 0, 1500, 300, 1, 5),
    Feature("agent", "claude-sonnet-5-5", 3, 20000, 2000, 900, 3, 15),
    Feature("search", "claude-haiku-5-5", 30, 3000, 500, 150, 1, 5, LAUNCH),
)


def activity(second: float) -> float:
    """Part of the weekly peak: a ramp in the morning, a dip at noon, almost nothing at night and at the weekend."""
    hour = second % DAY / HOUR
    day = (int(second // DAY) + 3) % 7  # 0 is Monday
    working = 1 / (1 + math.exp(-(hour - 8.5) / 0.6)) / (1 + math.exp((hour - 18) / 0.8))
    lunch = 1 - 0.3 * math.exp(-(((hour - 12.5) / 0.6) ** 2))
    return 0.02 if day >= 5 else (0.05 + 0.95 * working * lunch) * (1.15 if day == 0 else 1.0)


class Process:
    """One instance of a feature: counts calls, restarts with a deploy, and misses the cache until it is warm again."""

    def __init__(self, feature: Feature, instance: str, chance: random.Random) -> None:
        self.feature = feature
        self.instance = instance
        self.chance = chance
        self.noise = 0.0
        self.restarts = [at + 60 * INSTANCES.index(instance) for at in DEPLOYS]
        self.created = float(feature.from_second)
        self.cold_until = 0.0
        self.counted: dict[tuple[str, str], float] = {}
        self.recent: deque[tuple[float, float, float]] = deque()

    def step(self, now: float, seconds: int) -> bool:
        """Count the calls of the last seconds; False where the process could not be scraped."""
        if now < self.feature.from_second:
            return False
        restarting = any(at <= now < at + seconds for at in self.restarts)
        if restarting:
            self.counted = dict.fromkeys(self.counted, 0.0)
            self.created, self.cold_until = now, now + 20
        self.noise = 0.999 * self.noise + self.chance.gauss(0, 0.008)
        rate = self.feature.peak_per_minute / len(INSTANCES) * activity(now) * math.exp(self.noise)
        for _ in range(poisson(self.chance, rate * seconds / 60)):
            self.call(now, rate)
        while self.recent and self.recent[0][0] <= now - 60:
            self.recent.popleft()
        return not restarting

    def call(self, now: float, per_minute: float) -> None:
        """One call as the recorder counts it."""
        feature, outcome = self.feature, self.outcome()
        self.add("anthropic_requests_total", outcome, 1)
        if outcome != "success":
            return
        missed = now < self.cold_until or self.chance.random() < 0.03 + math.exp(-5 * per_minute)
        written, read = (feature.cached_prompt, 0) if missed else (0, feature.cached_prompt)
        output = min(round(feature.output * math.exp(self.chance.gauss(0, 0.8))), 8192)
        plain = round(feature.plain_prompt * math.exp(self.chance.gauss(0, 0.3)))
        price = feature.input_price / 1e6
        cost = price * (plain + 1.25 * written + 0.1 * read) + feature.output_price / 1e6 * output
        for kind, tokens in (("input", plain), ("cache_read", read), ("cache_write_5m", written), ("output", output)):
            self.add("anthropic_tokens_total", kind, tokens)
        self.add("anthropic_cost_usd_total", "", cost)
        if feature.cached_prompt:
            self.add("anthropic_cache_miss_cost_usd_total", "", price * 1.15 * written)
            self.add("anthropic_cache_savings_usd_total", "", price * 0.9 * read)
            self.add("anthropic_cache_write_premium_usd_total", "", price * 0.25 * written)
        result = "unasked" if not feature.cached_prompt else "miss" if missed else "hit"
        self.add("anthropic_cache_requests_total", result, 1)
        self.recent.append((now, cost, output))

    def outcome(self) -> str:
        drawn = self.chance.random()
        for outcome, share in OUTCOMES:
            if (drawn := drawn - share) < 0:
                return outcome
        return "success"

    def add(self, name: str, kind: str, value: float) -> None:
        self.counted[name, kind] = self.counted.get((name, kind), 0.0) + value

    def largest(self) -> tuple[float, float]:
        """Dollars and output tokens of the largest calls of the trailing minute."""
        return max((call[1] for call in self.recent), default=0), max((call[2] for call in self.recent), default=0)


def poisson(chance: random.Random, mean: float) -> int:
    limit, count, product = math.exp(-mean), 0, chance.random()
    while product > limit:
        count += 1
        product *= chance.random()
    return count
