"""What goes wrong with Claude calls in production, as data: each incident before and after it began.

`recorded(incident)` yields `(seconds, Call)` in the order in which calls end; second 0 is when the incident begins.
Everything before it is ordinary traffic. The same seed draws the same calls. Nothing here knows who watches.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from typing import NamedTuple

from anthropic_exporter.call import SUCCESS, TIMEOUT, Call, Inference, Tokens

RATE_LIMITED = "rate_limit_error"
OVERLOADED = "overloaded_error"
SPREAD = (0.67, 1.33)  # how far output tokens and seconds vary
EVERYBODY = ("acme", "globex", "initech", "umbrella", "hooli")


class Requests(NamedTuple):
    """Requests of one kind that arrive independently of each other, so many a minute, each so many seconds long.

    Output tokens and seconds vary within SPREAD.
    """

    model: str
    per_minute: float
    tokens: Tokens = Tokens()
    seconds: float = 2.0
    outcome: str = SUCCESS
    cached: bool = False
    users: tuple[str, ...] = EVERYBODY


class Incident(NamedTuple):
    """Traffic of one feature until second 0 and from then on.

    `told_by`: the alerts that may tell of it, each with the value of its label `feature`, `model` or `instance`.
    `step`: whether it is there at once; a slow one grows over `ramp_seconds`, or becomes one only by lasting.
    `killed`: the process that measures dies at second 0. `models`: other models on which it may be played.
    """

    name: str
    cause: str
    ordinary: tuple[Requests, ...]
    broken: tuple[Requests, ...]
    told_by: tuple[str, ...]
    step: bool = True
    ramp_seconds: float = 0.0
    killed: bool = False
    models: tuple[str, ...] = ()

    def on(self, model: str) -> Incident:
        """The same incident on one of its other models."""
        first = self.models[0]
        ordinary, broken = (
            tuple(one._replace(model=model) if one.model == first else one for one in requests)
            for requests in (self.ordinary, self.broken)
        )
        return self._replace(ordinary=ordinary, broken=broken)


class Sent(NamedTuple):
    """One request: the second at which it is sent, and the call that it is when it ends."""

    seconds: float
    call: Call
    broken: bool

    @property
    def ends(self) -> float:
        """The second at which it is recorded."""
        return self.seconds + (self.call.duration_seconds or 0.0)


_CHAT = Requests("claude-opus-5-5", 57, Tokens(input=100, cache_read=20_000, output=300), cached=True)
_CHAT_COLD = _CHAT._replace(per_minute=3, tokens=Tokens(input=100, cache_write_5m=20_000, output=300))
_SEARCH = Requests("claude-sonnet-5-5", 60, Tokens(input=200, cache_read=20_000, output=200), cached=True)
_AGENT = Requests("claude-sonnet-5-5", 60, Tokens(input=1_000, cache_read=5_000, output=200), cached=True)
_SUMMARY = Requests("claude-haiku-5-5", 60, Tokens(input=6_000, output=400))
_LABEL = Requests("claude-haiku-4-5", 60, Tokens(input=500, output=200), seconds=1.0)
_REPORT = Requests("claude-sonnet-5-5", 60, Tokens(input=2_000, output=900), seconds=3.0)

INCIDENTS = (
    Incident(
        "cache lost",
        "a deploy puts a timestamp in front of the cached prompt: every request writes it anew",
        (_CHAT, _CHAT_COLD),
        (_CHAT_COLD._replace(per_minute=60),),
        ("AnthropicCostRateHigh", "AnthropicCacheMissWaste", "AnthropicCacheMissRateHigh", "AnthropicCostSpike"),
    ),
    Incident(
        "cache_control removed",
        "a deploy drops cache_control: no request asked for caching any more",
        (_SEARCH,),
        (_SEARCH._replace(tokens=Tokens(input=20_200, output=200), cached=False),),
        ("AnthropicCostRateHigh", "AnthropicCacheMissRateHigh", "AnthropicCostSpike"),
    ),
    Incident(
        "runaway agent loop",
        "tasks forget the results of their tools and ask for them for ever, with a prompt that grows",
        (_AGENT,),
        (_AGENT, _AGENT._replace(per_minute=300, tokens=Tokens(input=3_000, cache_read=40_000, output=400))),
        ("AnthropicCostRateHigh", "AnthropicCostSpike", "AnthropicTokenSpike"),
    ),
    Incident(
        "one user exploding",
        "a script of one customer asks twenty times as much as all others together",
        (_CHAT._replace(per_minute=30),),
        (_CHAT._replace(per_minute=30), _CHAT._replace(per_minute=600, users=("globex",))),
        ("AnthropicCostRateHigh", "AnthropicCostSpike", "AnthropicTokenSpike"),
    ),
    Incident(
        "model misrouted",
        "a configuration sends the summaries of the smallest model to the largest",
        (_SUMMARY,),
        (_SUMMARY._replace(model="claude-opus-5-5"),),
        ("AnthropicCostRateHigh", "AnthropicCostSpike"),
    ),
    Incident(
        "output explosion",
        "a changed prompt makes answers fifteen times as long",
        (_LABEL,),
        (_LABEL._replace(tokens=Tokens(input=500, output=3_000), seconds=12.0),),
        ("AnthropicCostRateHigh", "AnthropicCostSpike", "AnthropicTokenSpike"),
    ),
    Incident(
        "latency spike",
        "answers take ten times as long",
        (_LABEL,),
        (_LABEL._replace(seconds=10.0),),
        ("AnthropicLatencyHigh",),
    ),
    Incident(
        "429 storm",
        "a batch job shares the rate limit: four attempts of five are refused and retried",
        (_LABEL._replace(model="claude-opus-5"),),
        (
            _LABEL._replace(model="claude-opus-5", per_minute=20),
            Requests("claude-opus-5", 80, seconds=0.1, outcome=RATE_LIMITED),
        ),
        ("AnthropicRateLimited",),
        models=("claude-opus-5", "claude-opus-4-8", "claude-opus-4-7", "claude-opus-4-6", "claude-opus-4-5"),
    ),
    Incident(
        "529 storm",
        "the API is overloaded: four attempts of five are refused and retried",
        (_LABEL._replace(model="claude-sonnet-5"),),
        (
            _LABEL._replace(model="claude-sonnet-5", per_minute=20),
            Requests("claude-sonnet-5", 80, seconds=0.1, outcome=OVERLOADED),
        ),
        ("AnthropicOverloaded",),
        models=("claude-sonnet-5", "claude-sonnet-4-6", "claude-sonnet-4-5", "claude-fable-5", "claude-fable-5-1"),
    ),
    Incident(
        "hung requests",
        "the network swallows answers: no request ends before the SDK's timeout of 600 s",
        (_LABEL,),
        (_LABEL._replace(seconds=600.0, tokens=Tokens(), outcome=TIMEOUT),),
        ("AnthropicRequestStuck",),
        step=False,
    ),
    Incident(
        "unknown model",
        "a deploy moves to a model that came out after the price book",
        (_LABEL,),
        (_LABEL._replace(model="claude-nova-1"),),
        ("AnthropicUnpricedTokens",),
        models=("claude-nova-1", "claude-nova-2", "claude-nova-3", "claude-nova-4", "claude-nova-5"),
    ),
    Incident(
        "exporter killed",
        "the process that measures is killed by the kernel",
        (_LABEL,),
        (_LABEL,),
        ("AnthropicExporterDown",),
        killed=True,
    ),
    Incident(
        "slow creep",
        "prompts and traffic grow to 2.8 times the usual within five minutes, which is below the spike ratio of 3",
        (_REPORT,),
        (_REPORT._replace(per_minute=168),),
        ("AnthropicCostRateHigh", "AnthropicCostSpike", "AnthropicTokenSpike"),
        step=False,
        ramp_seconds=300.0,
    ),
)


def sent(
    incident: Incident, *, feature: str = "", seed: int = 1, start: float = -60.0, end: float = 60.0
) -> Iterator[Sent]:
    """Every request that is sent from second `start` until second `end`, in that order."""
    chance = random.Random(f"{seed} {incident.name} {feature}")
    kinds = [(one, False) for one in incident.ordinary] + [(one, True) for one in incident.broken]
    streams = [
        _arrivals(one, broken, incident, feature, random.Random(chance.random()), start, end) for one, broken in kinds
    ]
    return heapq.merge(*streams, key=lambda one: one.seconds)


def recorded(
    incident: Incident, *, feature: str = "", seed: int = 1, start: float = -60.0, end: float = 60.0
) -> Iterator[tuple[float, Call]]:
    """Every call that ends until second `end`, of those sent from `start` on, in the order in which they end."""
    running: list[tuple[float, int, Call]] = []
    for number, one in enumerate(sent(incident, feature=feature, seed=seed, start=start, end=end)):
        while running and running[0][0] <= one.seconds:
            yield running[0][0], heapq.heappop(running)[2]
        heapq.heappush(running, (one.ends, number, one.call))
    while running and running[0][0] < end:
        yield running[0][0], heapq.heappop(running)[2]


def _arrivals(
    requests: Requests, broken: bool, incident: Incident, feature: str, chance: random.Random, start: float, end: float
) -> Iterator[Sent]:
    """Requests of one kind; before second 0 only the ordinary ones, after it the share that the ramp leaves."""
    now = start
    while (now := now + chance.expovariate(requests.per_minute / 60.0)) < end:
        if chance.random() < _share(now, broken, incident.ramp_seconds):
            yield Sent(now, _call(requests, feature, chance), broken)


def _share(now: float, broken: bool, ramp_seconds: float) -> float:
    arrived = 0.0 if now < 0 else min(1.0, now / ramp_seconds) if ramp_seconds else 1.0
    return arrived if broken else 1.0 - arrived


def _call(requests: Requests, feature: str, chance: random.Random) -> Call:
    size = chance.uniform(*SPREAD)
    tokens = requests.tokens._replace(output=round(requests.tokens.output * size))
    served = requests.outcome == SUCCESS
    return Call(
        model=requests.model,
        outcome=requests.outcome,
        inferences=(Inference(requests.model, tokens),) if served else (),
        feature=feature,
        user=chance.choice(requests.users),
        duration_seconds=requests.seconds * (size if served else 1.0),
        cache_asked=requests.cached,
        stop_reason="end_turn" if served else "",
        billable=served,
    )
