"""A few real calls: short versions of the sample application's features, on the cheapest model, below a hard cap."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import anthropic
from rich.table import Table

from anthropic_exporter.attribution import attribution
from anthropic_exporter.call import SUCCESS, Call
from anthropic_exporter.errors import ConfigurationError, SpendLimitExceeded
from anthropic_exporter.recorder import Recorder
from anthropic_exporter.serving import serve_alone
from anthropic_exporter.simulator.prompts import SEARCH, Prompts, results
from anthropic_exporter.simulator.workload import WORKLOAD

if TYPE_CHECKING:
    from anthropic import APIRequest
    from rich.console import Console

    from anthropic_exporter.attribution import Attribution
    from anthropic_exporter.pricing.book import PriceBook
    from anthropic_exporter.simulator.workload import Feature

#: The lowest price of input and of output in prices.yml; a test compares.
MODEL = "claude-haiku-5-5"
_KEY, _ADDRESS = "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"
_MAX_TOKENS = 200
_TOOL_ROUNDS = 2
#: An allowance for the tokens that the API adds to a request with tools. The largest published count is 530, for
#: Claude 3 (docs.anthropic.com, tool use pricing and tokens, read 2026-11-24); none is published for this model.
_ADDED_TOKENS = 1_000


@dataclass(frozen=True)
class LiveOptions:
    """`cap_usd` holds while a prompt has at most one token per byte plus `_ADDED_TOKENS`; `base_url` may be empty."""

    cap_usd: float = 0.05
    base_url: str = ""
    port: int = 0


class Cap:
    """Stop a call that could exceed the remaining budget. For sequential calls.

    Until its response arrives, a call counts as the most it could cost: one token per byte, all of it written to the
    1-hour cache, and an answer of the maximum length.
    """

    def __init__(self, usd: float, prices: PriceBook) -> None:
        self._usd = usd
        self._prices = prices
        self._counted = 0.0
        self._unsettled = 0.0

    def __call__(self, request: APIRequest, _where: Attribution) -> APIRequest:
        """Let a request through, or stop it.

        Raises:
            SpendLimitExceeded: the call could exceed the cap.
        """
        worst = self._worst(request.json)
        if self._counted + worst > self._usd:
            limit = f"{self._counted:.4f} USD counted, up to {worst:.4f} more; the cap is {self._usd:g}"
            raise SpendLimitExceeded("total", "", "cap", limit, "this run", None)
        self._counted += worst
        self._unsettled = worst
        return request

    def settle(self, call: Call) -> None:
        """Replace the worst case of a finished call by its cost. A failed call keeps its worst case."""
        if call.outcome == SUCCESS and call.bill:
            self._counted += call.bill.total_usd - self._unsettled
            self._unsettled = 0.0

    def _worst(self, body: Any) -> float:
        card = self._prices.card(MODEL, Call(MODEL))
        if card is None:
            return float("inf")
        rates = card.long_rates or card.rates
        prompt = len(json.dumps(body).encode()) + _ADDED_TOKENS
        return prompt * max(rates[:4]) + _MAX_TOKENS * rates.output


def run(settings: LiveOptions, console: Console) -> int:
    """Make the calls and show their cost. Returns 0 if at least one succeeded.

    Raises:
        ConfigurationError: `ANTHROPIC_API_KEY` is not set.
    """
    key = os.environ.get(_KEY, "")
    if not key:
        raise ConfigurationError(f"--live makes real calls: set {_KEY}")
    recorder, calls = Recorder(registry=None), list[Call]()
    cap = Cap(settings.cap_usd, recorder.prices)
    recorder.admit_by(cap)
    recorder.subscribe(cap.settle)
    recorder.subscribe(calls.append)
    address = settings.base_url or os.environ.get(_ADDRESS) or None
    options: dict[str, Any] = {
        "api_key": key,
        "base_url": address,
        "max_retries": 0,
        "middleware": [recorder.middleware()],
    }
    with serve_alone(recorder, port=settings.port) as server:
        console.print(f"Real calls on {MODEL}, at most {settings.cap_usd:g} USD; {server.url}/metrics", soft_wrap=True)
        for work in (_chat, _chat, _summarise, _agent):
            if not _done(work, options, console):
                break
        console.print(_table(calls))
    return 0 if any(call.outcome == SUCCESS for call in calls) else 1


def _done(work: Any, options: dict[str, Any], console: Console) -> bool:
    try:
        work(options)
    except SpendLimitExceeded as error:
        console.print(f"stopped below the cap: {error.limit}", soft_wrap=True)
        return False
    except anthropic.APIError as error:
        console.print(f"the API refused: {type(error).__name__}", soft_wrap=True)
        return False
    return True


def _short(feature: Feature, system_tokens: int, question_tokens: int) -> Feature:
    return replace(
        feature, model=MODEL, max_tokens=_MAX_TOKENS, system_tokens=system_tokens, question_tokens=question_tokens
    )


def _chat(options: dict[str, Any]) -> None:
    """Async and streaming, with a prompt long enough to be cached: the second call reads it."""
    feature = _short(WORKLOAD.chat, 6_000, 60)
    prompts = Prompts(feature)

    async def stream() -> None:
        async with anthropic.AsyncAnthropic(**options) as client:
            with attribution(feature=feature.name, user="demo"):
                async with client.messages.stream(**prompts.body(prompts.first(1))) as answer:
                    await answer.until_done()

    asyncio.run(stream())


def _summarise(options: dict[str, Any]) -> None:
    feature = _short(WORKLOAD.summarise, 100, 1_000)
    prompts = Prompts(feature)

    async def create() -> None:
        async with anthropic.AsyncAnthropic(**options) as client:
            with attribution(feature=feature.name, user="demo"):
                await client.messages.create(**prompts.body(prompts.first(2)))

    asyncio.run(create())


def _agent(options: dict[str, Any]) -> None:
    feature = _short(WORKLOAD.agent, 300, 100)
    prompts = Prompts(feature)
    messages = prompts.first(3)
    with anthropic.Anthropic(**options) as client, attribution(feature=feature.name, user="demo"):
        for _ in range(_TOOL_ROUNDS):
            message = client.messages.create(**prompts.body(messages), tools=[SEARCH])
            if message.stop_reason != "tool_use":
                return
            content = [block.model_dump(exclude_none=True) for block in message.content]
            messages = [*messages, {"role": "assistant", "content": content}]
            messages = [*messages, {"role": "user", "content": results(message.content)}]


def _table(calls: list[Call]) -> Table:
    table = Table(box=None, header_style="bright_black", padding=(0, 2, 0, 0))
    for name in ("feature", "outcome", "input", "cache read", "cache write", "output", "USD"):
        table.add_column(name, justify="left" if name in ("feature", "outcome") else "right")
    for call in calls:
        tokens = call.inferences[0].tokens if call.inferences else (0, 0, 0, 0, 0)
        counts = (tokens[0], tokens[1], tokens[2] + tokens[3], tokens[4])
        usd = call.bill.total_usd if call.bill else 0.0
        table.add_row(call.feature, call.outcome, *(f"{count:,}" for count in counts), f"{usd:.6f}")
    total = sum(call.bill.total_usd for call in calls if call.bill)
    table.add_row("all", "", "", "", "", "", f"{total:.6f}", style="bold")
    return table
