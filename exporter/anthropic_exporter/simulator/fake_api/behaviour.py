"""The behaviour of the fake API as data: lengths, latencies, faults and limits."""

from __future__ import annotations

import math
import random
import threading
from dataclasses import dataclass, field
from typing import NamedTuple


class Draw(NamedTuple):
    """The random draws of one request; times are seconds, already scaled by the speed."""

    output_tokens: int
    first_token_after: float
    seconds_per_token: float
    fault: str


@dataclass(frozen=True)
class OrganizationLimits:
    """Rate limits of an organisation per minute and model; cache reads do not count as input."""

    requests: int = 4_000
    input_tokens: int = 200_000_000
    output_tokens: int = 4_000_000


@dataclass(frozen=True)
class Behaviour:
    """One scenario of the fake API.

    Output lengths are log-normal around `output_tokens`; `faults` are shares of requests by `error.type`; `speed`
    divides all latencies; the same seed draws the same answers in the same order of requests. The newest `remembered`
    requests are kept, for tests to look at.
    """

    seed: int = 1
    speed: float = 1.0
    output_tokens: int = 180
    output_sigma: float = 0.5
    first_token_seconds: float = 0.7
    tokens_per_second: float = 70.0
    tool_rounds: int = 3
    tokens_per_event: int = 24
    faults: tuple[tuple[str, float], ...] = ()
    limits: OrganizationLimits = field(default_factory=OrganizationLimits)
    api_keys: frozenset[str] = frozenset()
    remembered: int = 1000


class Chance:
    """The seeded draws of a behaviour; safe to share between threads."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._random = random.Random(behaviour.seed)  # noqa: S311 -- a simulation, repeatable on purpose
        self._lock = threading.Lock()

    def draw(self) -> Draw:
        """The next request's lengths and latencies."""
        with self._lock:
            length, spread, fault = self._random.gauss(0, 1), self._random.uniform(0.6, 1.6), self._random.random()
        behaviour = self._behaviour
        return Draw(
            output_tokens=max(1, round(behaviour.output_tokens * math.exp(behaviour.output_sigma * length))),
            first_token_after=behaviour.first_token_seconds * spread / behaviour.speed,
            seconds_per_token=spread / behaviour.tokens_per_second / behaviour.speed,
            fault=self._fault(fault),
        )

    def _fault(self, draw: float) -> str:
        for error_type, share in self._behaviour.faults:
            draw -= share
            if draw < 0:
                return error_type
        return ""
