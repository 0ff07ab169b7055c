"""The catalogue of incidents played against the Guard on a clock of its own: when it tells, and what is lost by then.

"Condition holds" comes from a second reading of the rules that rescans every call, without windows or trip lines.
"Lost" are the dollars of the incident's requests until the breaker opens, with those that were on their way by then.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple

from anthropic_exporter import Call, Recorder
from anthropic_exporter.attribution import Attribution
from anthropic_exporter.guard import Alert, Guard, Limits, Timing
from anthropic_exporter.guard.anomalies import CONDITIONS
from anthropic_exporter.metrics.families import DURATION
from anthropic_exporter.metrics.quantiles import quantile
from bench.detection import incidents

START = 1_795_262_400.0  # 2026-11-21T12:00:00Z: second 0 of every incident
FEATURE = "shop"
STEP = 0.5  # seconds between two looks of the Guard's thread
DOLLARS = ("cost_rate", "request_cost", "cache_miss_cost", "cache_miss_rate", "cost_spike", "token_spike", "latency")
#: What the process cannot tell of itself: its death, and prices that it does not have.
METER = {"AnthropicExporterDown", "AnthropicUnpricedTokens"}


class Clock:
    now = START

    def __call__(self) -> float:
        return self.now


class Played(NamedTuple):
    """Seconds since the incident began; None where it never happened.

    `told` are the names of all alerts that were open meanwhile, `broken` the incident's requests: second and dollars.
    """

    name: str
    held_at: float | None
    told_at: float | None
    first: str
    opened_at: float | None
    usd_per_minute: float
    told: frozenset[str]
    broken: tuple[tuple[float, float], ...]

    def lost_usd(self, until: float | None) -> float:
        """Dollars of the incident's requests that were sent by then; of all of them where nobody ended it."""
        return sum(usd for at, usd in self.broken if until is None or at <= until)


def play(
    incident: incidents.Incident,
    *,
    warm: float = 2700.0,
    end: float = 420.0,
    seed: int = 1,
    watch: Callable[[float, Recorder], None] = lambda *_: None,
) -> Played:
    """Play one incident after `warm` seconds of ordinary traffic; `watch` is called with every look of the Guard."""
    clock = Clock()
    recorder = Recorder(registry=None, strict=True, clock=clock)
    limits = Limits.shipped().replace(tokens_per_day=1e12, cost_usd_per_day=1e9)
    guard = Guard(recorder, limits, timing=Timing(evaluate_every_seconds=None))
    guard.breaker(when=DOLLARS, action="block")
    priced: list[Call] = []
    recorder.subscribe(priced.append)
    sent = list(incidents.sent(incident, feature=FEATURE, seed=seed, start=-warm, end=end))
    world = World(recorder, sent, limits)
    held_at = told_at = opened_at = None
    told: dict[str, Alert] = {}
    events = sorted(
        [(one.seconds, 0, index) for index, one in enumerate(sent)]
        + [(one.ends, 1, index) for index, one in enumerate(sent) if one.ends < end]
        + [(-warm + STEP * number, 2, 0) for number in range(int((warm + end) / STEP)) if _looks(number, warm)]
    )
    for seconds, kind, index in events:
        clock.now = START + seconds
        if kind == 0:
            world.begin(index)
        elif kind == 1:
            world.end(index, seconds)
        else:
            guard.tick()
            watch(seconds, recorder)
        told |= {alert.name: alert for alert in guard.alerts() if seconds >= 0}
        if held_at is None and seconds >= 0 and kind and world.holds(seconds, incident.told_by):
            held_at = seconds
        if told_at is None and told:
            told_at = seconds
        if opened_at is None and seconds >= 0 and any(one.state == "open" for one in guard.breakers()):
            opened_at = seconds
    broken = tuple((one.seconds, world.usd(one.call)) for one in sent if one.broken)
    usual = sum(usd for at, usd in broken if end - 120 <= at < end - 60)
    first = min(told.values(), key=lambda alert: alert.started_at).name if told else ""
    guard.close()
    return Played(incident.name, held_at, told_at, first, opened_at, usual, frozenset(told), broken)


def _looks(number: int, warm: float) -> bool:
    """While it is quiet, one look in five seconds is enough."""
    return STEP * number > warm - 30 or number % 10 == 0


class World:
    """Every call as it was, and the rules asked of all of them again each time."""

    def __init__(self, recorder: Recorder, sent: list[incidents.Sent], limits: Limits) -> None:
        self.recorder = recorder
        self.sent = sent
        self.limits = limits
        self.ended: list[tuple[float, Call]] = []
        self.began: dict[int, float] = {}

    def begin(self, index: int) -> None:
        one = self.sent[index]
        self.recorder.begin(index, one.call.model, Attribution(feature=FEATURE))
        self.began[index] = one.seconds

    def end(self, index: int, seconds: float) -> None:
        call = self.sent[index].call._replace(started_at=START + self.began.pop(index))
        self.recorder.inflight.end(index)
        self.recorder.record(call)
        self.ended.append((seconds, call))

    def usd(self, call: Call) -> float:
        return self.recorder.prices.bill(call._replace(started_at=START)).total_usd

    def holds(self, now: float, alerts: tuple[str, ...]) -> bool:
        """Whether one of these alerts should be told; spikes, which need a baseline, are left out."""
        return any(_HOLDS[name](self, now) for name in alerts if name in _HOLDS)

    def last(self, now: float, seconds: float) -> dict[str, list[Call]]:
        found: dict[str, list[Call]] = {}
        for at, call in reversed(self.ended):
            if at <= now - seconds:
                break
            found.setdefault(call.model, []).append(call)
        return found

    def cost_rate(self, now: float) -> bool:
        fast, slow = self.last(now, 30), self.last(now, 300)
        paces = [
            2 * sum(map(self.usd, fast[model])) if len(fast.get(model, ())) >= 3 else sum(map(self.usd, calls)) / 5
            for model, calls in slow.items()
        ]
        together = [call for calls in fast.values() for call in calls]
        return max([*paces, 2 * sum(map(self.usd, together)) if len(together) >= 3 else 0.0]) > 2

    def cache(self, now: float) -> bool:
        for window in (30, 300):
            for calls in self.last(now, window).values():
                asked = [call for call in calls if call.cache_asked]
                missed = sum(call.inferences[0].tokens.cache_read == 0 for call in asked)
                if len(asked) >= 20 and missed / len(asked) > 0.5:
                    return True
        return False

    def latency(self, now: float) -> bool:
        for window, rank, least in ((300, 0.95, 20), (30, 0.7, 10)):
            for calls in self.last(now, window).values():
                counts = [0.0] * (len(DURATION.buckets) + 1)
                for call in calls:
                    counts[bisect_left(DURATION.buckets, call.duration_seconds or 0.0)] += 1
                if len(calls) >= least and quantile(rank, counts, DURATION.buckets) > 5:
                    return True
        return False

    def refused(self, now: float, outcome: str) -> bool:
        fast, slow = self.last(now, 30), self.last(now, 300)
        for model in slow:
            calls = fast[model] if len(fast.get(model, ())) >= 20 else slow[model]
            refused = sum(call.outcome == outcome for call in calls)
            if len(calls) >= 20 and refused >= 6 and refused / len(calls) > 0.1:
                return True
        return False

    def stuck(self, now: float) -> bool:
        return now - min(self.began.values(), default=now) > 300


_HOLDS = {
    "AnthropicCostRateHigh": World.cost_rate,
    "AnthropicCacheMissRateHigh": World.cache,
    "AnthropicLatencyHigh": World.latency,
    "AnthropicRateLimited": lambda world, now: world.refused(now, incidents.RATE_LIMITED),
    "AnthropicOverloaded": lambda world, now: world.refused(now, incidents.OVERLOADED),
    "AnthropicRequestStuck": World.stuck,
}


assert set(DOLLARS) <= CONDITIONS.keys()
