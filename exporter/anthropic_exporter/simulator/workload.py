"""The sample application as data: features, prompts and incidents."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

_CHARACTERS_PER_TOKEN = 4
_SENTENCES = (
    "Answer in the language of the question. ",
    "Quote the paragraph of the contract that an answer rests on. ",
    "Say so where the handbook is silent, and name the team that decides. ",
    "Amounts are in euros unless the customer's account says otherwise. ",
    "A refund above the daily limit needs a second pair of eyes. ",
)


@dataclass(frozen=True)
class Feature:
    """One feature: its model, prompt length in tokens, arrivals per minute and users.

    For an agent an arrival is a task of several calls. `cached` marks the system prompt for the cache.
    """

    name: str
    model: str
    per_minute: float
    system_tokens: int
    question_tokens: int
    max_tokens: int
    users: tuple[str, ...]
    cached: bool = True


@dataclass(frozen=True)
class Workload:
    """The three features of the sample application."""

    chat: Feature
    summarise: Feature
    agent: Feature

    @property
    def features(self) -> tuple[Feature, ...]:
        """All features."""
        return self.chat, self.summarise, self.agent


@dataclass(frozen=True)
class Incident:
    """What a deploy breaks in one feature.

    `stamped`: a timestamp precedes the cached prompt, so no two prefixes are equal. `forgetful`: the agent drops its
    tool results and requests them again without end. `rush`: multiplies the arrivals of one user.
    """

    name: str
    feature: str
    cause: str
    stamped: bool = False
    forgetful: bool = False
    rush: float = 1.0
    user: str = ""


_CUSTOMERS = ("acme", "globex", "initech", "umbrella", "hooli")

WORKLOAD = Workload(
    chat=Feature("chat", "claude-opus-5-5", 24, 50_000, 60, 1_000, _CUSTOMERS),
    summarise=Feature("summarise", "claude-haiku-5-5", 20, 400, 6_000, 600, _CUSTOMERS[:3], cached=False),
    agent=Feature("agent", "claude-sonnet-5-5", 6, 3_000, 200, 1_000, _CUSTOMERS[2:]),
)

CACHE_LOST = Incident("prompt cache lost", "chat", "a deploy puts a timestamp before the cached prompt", stamped=True)
LOOP = Incident("agent loop", "agent", "a deploy drops the results of tools, so the agent asks again", forgetful=True)
RUSH = Incident(
    "one customer", "chat", "a script of one customer sends thirty times as many requests", rush=30, user="globex"
)
INCIDENTS = (CACHE_LOST, LOOP, RUSH)


def busy(workload: Workload, chat_per_minute: float) -> Workload:
    """The same application with another chat rate."""
    return replace(workload, chat=replace(workload.chat, per_minute=chat_per_minute))


def prose(tokens: int) -> str:
    """Text of exactly `tokens` tokens of the fake tokenizer."""
    length = tokens * _CHARACTERS_PER_TOKEN
    pieces, size = [], 0
    for number, sentence in enumerate(itertools.cycle(_SENTENCES), start=1):
        if size >= length:
            break
        pieces.append(f"{number}. {sentence}")
        size += len(pieces[-1])
    return "".join(pieces)[:length]
