"""A week of ordinary traffic as processes show it: daily and weekly rhythm, noise, deploys, a launch, a silent weekend.

Second 0 is a Thursday, 00:00 UTC, so that Monday morning has no Monday to look back on.
"""

from __future__ import annotations

import bisect
import functools
import math
import random
from collections import deque
from typing import NamedTuple

from anthropic_exporter.history import ledger
from anthropic_exporter.history.remote_write import Labels, value

DAY, HOUR = 86400, 3600
LAUNCH = 5 * DAY + 10 * HOUR  # Tuesday, 10:00
DEPLOYS = (1 * DAY + 14 * HOUR, 4 * DAY + 11 * HOUR, 5 * DAY + 16 * HOUR)  # Friday, Monday, Tuesday, in full traffic
# The cache is the API's, not the process's. A deploy that changes the prompt writes it anew with every request that is
# sent before the first answer to the new one has begun.
COLD_SECONDS = 5
INSTANCES = ("a", "b")
PROMETHEUS_RESTARTS = range(6 * DAY + 15 * HOUR, 6 * DAY + 15 * HOUR + 60)  # Wednesday: nothing is scraped for a minute
OUTCOMES = (("api_error", 0.004), ("overloaded_error", 0.004), ("rate_limit_error", 0.003), ("timeout", 0.002))


class Call(NamedTuple):
    """One call: when it ended, and what it used; one that failed used nothing. `first` is the time to first token."""

    at: float
    outcome: str
    missed: bool = False
    plain: int = 0
    output: int = 0
    usd: float = 0.0
    first: float = 0.0


class Feature(NamedTuple):
    """What one feature asks for; prices are dollars for a million tokens, `speed` is output tokens a second."""

    name: str
    model: str
    peak_per_minute: float
    cached_prompt: int
    plain_prompt: int
    output: int
    input_price: float
    output_price: float
    speed: float
    from_second: int = 0

    def tokens(self, call: Call) -> int:
        """Tokens of all kinds that a call used."""
        return call.plain + self.cached_prompt + call.output if call.outcome == "success" else 0


FEATURES = (
    Feature("chat", "claude-opus-5-5", 12, 7000, 1000, 400, 5, 25, 300),
    Feature("summarise", "claude-haiku-5-5", 60, 0, 1500, 300, 1, 5, 400),
    Feature("agent", "claude-sonnet-5-5", 3, 20000, 2000, 900, 3, 15, 100),
    Feature("search", "claude-haiku-5-5", 30, 3000, 500, 150, 1, 5, 400, LAUNCH),
)
HISTOGRAMS = {
    "anthropic_request_duration_seconds": (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600),
    "anthropic_time_to_first_token_seconds": (0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60),
    "anthropic_request_output_tokens": (64, 256, 1000, 2000, 4000, 8000, 10000, 16000, 32000, 64000, 128000),
}


@functools.lru_cache(maxsize=64)
def activity(second: float) -> float:
    """Part of the weekly peak: a ramp in the morning, a dip at noon, almost nothing at night and at the weekend."""
    hour = second % DAY / HOUR
    day = (int(second // DAY) + 3) % 7  # 0 is Monday
    working = 1 / (1 + math.exp(-(hour - 8.5) / 0.6)) / (1 + math.exp((hour - 18) / 0.8))
    lunch = 1 - 0.3 * math.exp(-(((hour - 12.5) / 0.6) ** 2))
    return 0.02 if day >= 5 else (0.05 + 0.95 * working * lunch) * (1.15 if day == 0 else 1.0)


class Arrivals:
    """The calls of one instance of a feature, drawn scrape by scrape.

    Attributes:
        restarting: whether the process restarts at this scrape, and does not answer it.
        oldest: age in seconds of the oldest request in flight.
    """

    def __init__(self, feature: Feature, instance: str, chance: random.Random, step: int) -> None:
        self.feature = feature
        self.seconds = step
        self.chance = chance
        self.moments = random.Random(f"{feature.name} {instance}")
        self.noise = 0.0
        self.restarts = [at + 60 * INSTANCES.index(instance) for at in DEPLOYS]
        self.cold_until = 0.0
        self.restarting = False
        self.oldest = 0

    def until(self, now: float) -> list[Call]:
        """The calls since the last scrape."""
        if now < self.feature.from_second:
            return []
        self.restarting = any(at <= now < at + self.seconds for at in self.restarts)
        if self.restarting:
            self.cold_until = now - self.seconds + COLD_SECONDS
        self.noise = 0.999 * self.noise + self.chance.gauss(0, 0.008)
        rate = self.feature.peak_per_minute / len(INSTANCES) * activity(now) * math.exp(self.noise)
        count = poisson(self.chance, rate * self.seconds / 60)
        calls = [self.call(now - self.seconds * self.moments.random(), rate) for _ in range(count)]
        self.oldest = self.chance.randrange(30)
        return calls

    def call(self, now: float, per_minute: float) -> Call:
        """One call."""
        feature, outcome = self.feature, self.outcome()
        if outcome != "success":
            return Call(now, outcome)
        missed = now < self.cold_until or self.chance.random() < 0.03 + math.exp(-5 * per_minute)
        output = min(round(feature.output * math.exp(self.chance.gauss(0, 0.8))), 8192)
        plain = round(feature.plain_prompt * math.exp(self.chance.gauss(0, 0.3)))
        cached = feature.cached_prompt * (1.25 if missed else 0.1)
        usd = feature.input_price / 1e6 * (plain + cached) + feature.output_price / 1e6 * output
        return Call(now, outcome, missed, plain, output, usd, 0.6 * math.exp(self.chance.gauss(0, 0.4)))

    def outcome(self) -> str:
        drawn = self.chance.random()
        for outcome, share in OUTCOMES:
            if (drawn := drawn - share) < 0:
                return outcome
        return "success"


def arrivals(seed: int, step: int) -> list[Arrivals]:
    """Those of all instances of all features."""
    chance = random.Random(seed)
    return [
        Arrivals(feature, instance, random.Random(chance.random()), step)
        for feature in FEATURES
        for instance in INSTANCES
    ]


class Process:
    """One instance of a feature: counts calls, restarts with a deploy, and misses the cache until it is warm again.

    `shown` is what a scrape finds: the eight bytes of each series' value.
    """

    def __init__(self, arrivals: Arrivals, instance: str, epoch: int) -> None:
        self.arrivals = arrivals
        self.feature = arrivals.feature
        self.instance = f"{self.feature.name}-{instance}"
        self.epoch = epoch
        self.usd = 0.0
        self.recent: deque[Call] = deque()
        self.names: dict[tuple[str, str], Labels] = {}
        self.started(self.feature.from_second)

    def started(self, now: float) -> None:
        self.created = now
        self.life = f"life={self.instance}@{now:.0f}"
        self.answers = False
        self.counted: dict[ledger.Key, float] = {}
        self.values: dict[Labels, float] = {}
        self.shown: dict[Labels, bytes] = {}
        self.show("anthropic_exporter_build_info", "", 1)
        self.show("anthropic_exporter_prices_checked_timestamp_seconds", "", self.epoch)
        self.show("anthropic_exporter_start_timestamp_seconds", self.life, self.epoch + now)

    def step(self, now: float) -> dict[Labels, bytes]:
        """What a scrape finds after the calls of the last seconds."""
        if now < self.feature.from_second:
            return {}
        self.count(now)
        self.gauges(now)
        up = {self.series("up", ""): value(float(self.answers))}
        return self.shown | up if self.answers else up

    def skip(self, now: float) -> None:
        """Pass over the calls of the last seconds. Rules read differences, so a counter may stand still meanwhile."""
        self.arrivals.until(now)
        if self.arrivals.restarting:
            self.started(now)

    def count(self, now: float) -> None:
        """Count the calls of the last seconds."""
        calls = self.arrivals.until(now)
        if self.arrivals.restarting:
            self.started(now)
        for call in calls:
            self.call(call)
        while self.recent and self.recent[0].at <= now - 60:
            self.recent.popleft()
        self.answers = now >= self.feature.from_second and not self.arrivals.restarting

    def page(self, now: float) -> list[ledger.Page]:
        """What the ledger reads of the scrape that `step` answered, if it did."""
        if now < self.feature.from_second or not self.answers:
            return []
        place = ("anthropic", self.instance)
        age = now - self.created
        return [ledger.Page(self.epoch + now, place, self.life, self.epoch + self.created, age, dict(self.counted))]

    def gauges(self, now: float) -> None:
        self.show("anthropic_exporter_age_seconds", self.life, now - self.created)
        self.show("anthropic_request_cost_usd_max", "", max((call.usd for call in self.recent), default=0))
        self.show("anthropic_request_output_tokens_max", "", max((call.output for call in self.recent), default=0))
        self.show("anthropic_oldest_inflight_request_age_seconds", "", self.arrivals.oldest)
        self.show("anthropic_inflight_requests", "", float(bool(self.recent)))

    def call(self, call: Call) -> None:
        """Count one call as the recorder does."""
        feature, output = self.feature, call.output
        self.add("requests", 1)
        self.show("anthropic_exporter_last_record_timestamp_seconds", "", self.epoch + call.at)
        if call.outcome != "success":
            self.add(f"requests_{call.outcome}", 1)
            return
        written, read = (feature.cached_prompt, 0) if call.missed else (0, feature.cached_prompt)
        price = feature.input_price / 1e6
        for kind, tokens in (
            ("input", call.plain),
            ("cache_read", read),
            ("cache_write_5m", written),
            ("output", output),
        ):
            self.add(f"tokens_{kind}", tokens, "standard")
        self.add("cost_usd", call.usd, "standard")
        if feature.cached_prompt:
            self.add("cache_miss_cost_usd", price * 1.15 * written)
            self.add("cache_savings_usd", price * 0.9 * read)
            self.add("cache_write_premium_usd", price * 0.25 * written)
        result = "unasked" if not feature.cached_prompt else "miss" if call.missed else "hit"
        self.add(f"cache_requests_{result}", 1)
        self.observe("anthropic_time_to_first_token_seconds", call.first)
        self.observe("anthropic_request_duration_seconds", call.first + output / feature.speed)
        self.observe("anthropic_request_output_tokens", output)
        self.usd += call.usd
        self.recent.append(call)

    def add(self, of: str, amount: float, tier: str = "") -> None:
        """Count in the ledger's counters, the only ones of which the rules read a growth; those at 0 are not shown."""
        key = (of, self.feature.name, self.feature.model, tier)
        if amount:
            self.counted[key] = total = self.counted.get(key, 0.0) + amount
            self.show("anthropic_ledger_total", f"{self.life},of={of}" + (f",tier={tier}" if tier else ""), total)

    def observe(self, name: str, amount: float) -> None:
        bounds = HISTOGRAMS[name]
        kinds = [(f"{name}_bucket", f"le={bound:.12g}") for bound in bounds]
        kinds += [(f"{name}_bucket", "le=+Inf"), (f"{name}_count", "")]
        if self.series(f"{name}_count", "") not in self.values:
            for one in kinds:
                self.show(*one, 0.0)
        for one in kinds[bisect.bisect_left(bounds, amount) :]:
            self.show(*one, self.values[self.series(*one)] + 1)

    def show(self, name: str, kind: str, amount: float) -> None:
        series = self.series(name, kind)
        self.values[series] = amount
        self.shown[series] = value(amount)

    def series(self, name: str, kind: str) -> Labels:
        """The labels of a series; `kind` is those that are its own, as `type=input,tier=batch`."""
        if (name, kind) not in self.names:
            labels = {"__name__": name, "job": "anthropic", "instance": self.instance}
            if name != "up" and "exporter" not in name:
                labels |= {"feature": self.feature.name, "model": self.feature.model}
            labels |= dict(one.split("=") for one in kind.split(",") if one)
            self.names[name, kind] = tuple(sorted(labels.items()))
        return self.names[name, kind]


def poisson(chance: random.Random, mean: float) -> int:
    limit, count, product = math.exp(-mean), 0, chance.random()
    while product > limit:
        count += 1
        product *= chance.random()
    return count
