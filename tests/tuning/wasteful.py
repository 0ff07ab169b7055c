"""An application against an API that caches prompts as documented, on a clock that only the history moves.

What a change saves is known exactly: the same traffic runs once as it is and once with the change made, and both are
priced by the price book. Each text has a density of tokens of its own, so that lengths in characters mislead a little.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from anthropic_exporter import Recorder, attribution
from anthropic_exporter.capture.attempt import Attempt

DAY, HOUR, MINUTE = 86_400, 3_600, 60
LIFETIMES = {"5m": 300, "1h": 3_600}
CHARACTERS = "the quick brown fox jumps over a lazy dog and counts what it costs today "

Request = dict[str, Any]


def text(chance: random.Random, tokens: int) -> str:
    """Words of about so many tokens, 4 characters each, behind a number of its own."""
    length = round(tokens * chance.uniform(3.9, 4.1))
    return f"{chance.getrandbits(64):x} {CHARACTERS * (length // len(CHARACTERS) + 1)}"[:length]


#: With the tokenizer from before Claude 4.7.
OLDER = "claude-opus-4-1"


class Answer(NamedTuple):
    """What the API does with a request, beside reading it."""

    output: int = 200
    stop_reason: str = "end_turn"
    geo: str = "global"


class Api:
    """Counts tokens and keeps a cache of prefixes, each read refreshing its lifetime."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}
        self._tokens: dict[str, int] = {}

    def usage(self, request: Request, now: float, answer: Answer) -> dict[str, Any]:
        read = position = breakpoint_at = 0
        kind, prefix, ends = "5m", request["model"], []
        for content, ttl in _blocks(request):
            prefix, position = f"{prefix}|{hash(content)}", position + self._count(content, request["model"])
            ends.append((prefix, position, ttl))
            if ttl:
                kind, breakpoint_at = ttl, position
        for prefix, position, ttl in ends:
            if position <= breakpoint_at and self._until.get(prefix, 0.0) > now:
                read = position
                self._until[prefix] = now + LIFETIMES[kind]
            if ttl:
                self._until[prefix] = now + LIFETIMES[ttl]
        total, written = ends[-1][1], breakpoint_at - read
        fast = {"speed": "fast"} if request.get("speed") else {}
        return {
            "input_tokens": total - read - written,
            "cache_read_input_tokens": read,
            "cache_creation_input_tokens": written,
            "cache_creation": {
                "ephemeral_5m_input_tokens": written if kind == "5m" else 0,
                "ephemeral_1h_input_tokens": written if kind == "1h" else 0,
            },
            "output_tokens": answer.output,
            "service_tier": "standard",
            "inference_geo": answer.geo,
            **fast,
        }

    def _count(self, content: str, model: str) -> int:
        """Tokens of a text: a quarter of its characters, and a few per cent more or less; fewer on older models."""
        found = self._tokens.get(content)
        if found is None:
            density = 0.97 + 0.06 * (len(content) % 101) / 100
            found = self._tokens[content] = round(len(content) / 4 * density)
        return round(found / 1.3) if model == OLDER else found


def _blocks(request: Request) -> Iterator[tuple[str, str]]:
    """Texts in the order in which they are cached, with the lifetime of a breakpoint behind them."""
    messages = [block for message in request["messages"] for block in _listed(message["content"])]
    for block in (*_listed(request.get("system", "")), *messages):
        control = block.get("cache_control")
        yield block["text"], (control.get("ttl", "5m") if control else "")


def _listed(content: Any) -> list[dict[str, Any]]:
    return [{"text": content}] if isinstance(content, str) else content


class _Headers:
    raw = ((b"content-type", b"application/json"),)


class Application:
    """Sends requests through the attempts of a recorder, as the middleware does."""

    def __init__(self, recorder: Recorder, clock: Any) -> None:
        self.recorder, self._clock = recorder, clock
        self.api = Api()
        self.usd = 0.0
        recorder.subscribe(self._spent)

    def _spent(self, call: Any) -> None:
        self.usd += call.bill.total_usd

    def send(self, feature: str, request: Request, answer: Answer) -> None:
        usage = self.api.usage(request, self._clock.now, answer)
        message = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": request["model"],
            "content": [{"type": "text", "text": "ok"}],
            "stop_reason": answer.stop_reason,
            "usage": usage,
        }
        with attribution(feature=feature):
            attempt = Attempt(self.recorder, request, 0, None)
        attempt.head(200, _Headers, b"/v1/messages", buffered=True)
        attempt.body(_as_stream(message) if request.get("stream") else json.dumps(message).encode())


def _as_stream(message: dict[str, Any]) -> bytes:
    events = [
        {"type": "message_start", "message": {**message, "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "ok"}},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": message["stop_reason"]},
            "usage": {"output_tokens": message["usage"]["output_tokens"]},
        },
        {"type": "message_stop"},
    ]
    return "".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events).encode()  # type: ignore[index]


class Sent(NamedTuple):
    """A request that an application sends at a second of the day."""

    at: float
    feature: str
    request: Request
    answer: Answer = Answer()


#: Makes the requests of a day; with `tidy` the change is made that the advice asks for.
Feature = Callable[[random.Random, bool], Iterator[Sent]]


def cached(content: str, ttl: str = "") -> list[dict[str, Any]]:
    control = {"type": "ephemeral", **({"ttl": ttl} if ttl else {})}
    return [{"type": "text", "text": content, "cache_control": control}]


def ask(content: str, model: str = "claude-opus-5-5", **fields: Any) -> Request:
    return {"model": model, "max_tokens": 64_000, "messages": [{"role": "user", "content": content}], **fields}


def moments(chance: random.Random, mean: float, begin: float = 8 * HOUR, end: float = 18 * HOUR) -> Iterator[float]:
    now = begin
    while (now := now + chance.expovariate(1 / mean)) < end:
        yield now


def uncached_prefix(chance: random.Random, tidy: bool) -> Iterator[Sent]:
    """A long system prompt, a question of any length, an answer that streams; nothing is cached."""
    system = text(chance, 6_000)
    for at in moments(chance, 40):
        question = text(chance, chance.choice((30, 200, 2_000)))
        yield Sent(at, "support", ask(question, system=cached(system) if tidy else system, stream=True))


def uncached_history(chance: random.Random, tidy: bool) -> Iterator[Sent]:
    """Conversations that send all of their history again, each turn a minute after the last."""
    for begin in moments(chance, 300):
        system, messages = text(chance, 3_000), []
        for turn in range(chance.randint(6, 12)):
            messages += [{"role": "user", "content": text(chance, 400)}]
            shown = [*messages[:-1], {"role": "user", "content": cached(messages[-1]["content"])}] if tidy else messages
            request = {**ask("", model="claude-sonnet-5-5"), "system": cached(system) if tidy else system}
            yield Sent(begin + MINUTE * turn, "agent", {**request, "messages": [*shown], "stream": True})
            messages += [{"role": "assistant", "content": text(chance, 300)}]


def short_lifetime(chance: random.Random, tidy: bool) -> Iterator[Sent]:
    """A cached prompt that is needed every quarter of an hour."""
    system = text(chance, 20_000)
    for number in range(4 * 24):
        at = 900 * number + chance.uniform(0, 120)
        yield Sent(at, "poll", ask(text(chance, 50), system=cached(system, "1h" if tidy else ""), stream=True))


def long_lifetime(chance: random.Random, tidy: bool) -> Iterator[Sent]:
    """A cache of an hour for documents that are asked about for some minutes."""
    for begin in moments(chance, 400):
        system = text(chance, 8_000)
        for number in range(5):
            request = ask(text(chance, 50), system=cached(system, "" if tidy else "1h"), stream=True)
            yield Sent(begin + 45 * number, "documents", request)


def unread_writes(chance: random.Random, tidy: bool) -> Iterator[Sent]:
    """The time of the request stands at the top of a prompt that is cached."""
    system = text(chance, 5_000)
    for at in moments(chance, 60):
        content = f"It is {at:.0f}. {system}"
        yield Sent(at, "clock", ask(text(chance, 50), system=content if tidy else cached(content), stream=True))


def nightly(chance: random.Random, tidy: bool) -> Iterator[Sent]:
    """Thousands of labels that are needed in the morning; batches are not requests."""
    for at in () if tidy else moments(chance, 10, 1 * HOUR, 4 * HOUR):
        yield Sent(at, "labels", ask(text(chance, 900), "claude-sonnet-5-5"), Answer(output=60))


def interactive(chance: random.Random, _tidy: bool) -> Iterator[Sent]:
    """People whose requests are answered whole, 6 a minute at their peak: a ramp, a dip at noon, few at night."""
    for at in moments(chance, 10, 0, 24 * HOUR):
        hour = at / HOUR
        working = 1 / (1 + math.exp(-(hour - 8.5) / 0.6)) / (1 + math.exp((hour - 18) / 0.8))
        if chance.random() < 0.03 + 0.97 * working * (1 - 0.3 * math.exp(-(((hour - 12.5) / 0.6) ** 2))):
            yield Sent(at, "classify", ask(text(chance, 900), "claude-sonnet-5-5"), Answer(output=60))


def long_prompts(chance: random.Random, tidy: bool) -> Iterator[Sent]:
    """Some prompts of a model with a limit are above it."""
    for at in moments(chance, 600):
        tokens = 120_000 if chance.random() < 0.5 else 60_000
        length = min(tokens, 95_000) if tidy else tokens
        yield Sent(at, "minutes", ask(text(chance, length), "claude-haiku-5-5", stream=True))


def fast(chance: random.Random, tidy: bool) -> Iterator[Sent]:
    fields: dict[str, Any] = {} if tidy else {"speed": "fast"}
    for at in moments(chance, 120):
        yield Sent(at, "quick", ask(text(chance, 500), stream=True, **fields), Answer(output=800))


def older_model(chance: random.Random, tidy: bool) -> Iterator[Sent]:
    """An older model that costs several times as much; the newest counts 1.3 times the tokens for the same text."""
    for at in moments(chance, 90):
        request = ask(text(chance, 2_000), "claude-opus-5-5" if tidy else OLDER, stream=True)
        yield Sent(at, "legacy", request, Answer(390 if tidy else 300))


def region(chance: random.Random, tidy: bool) -> Iterator[Sent]:
    for at in moments(chance, 90):
        answer = Answer(output=900, geo="global" if tidy else "us")
        yield Sent(at, "at home", ask(text(chance, 3_000), stream=True), answer)


def cut_off(chance: random.Random, tidy: bool) -> Iterator[Sent]:
    """One answer in five runs into max_tokens and is thrown away."""
    for at in moments(chance, 120):
        fails = chance.random() < 0.2
        if not (tidy and fails):
            answer = Answer(4_096, "max_tokens") if fails else Answer(chance.randint(300, 900))
            yield Sent(at, "essay", ask(text(chance, 20), stream=True), answer)


def overlong(chance: random.Random, tidy: bool) -> Iterator[Sent]:
    """One answer in fifty loops until the model's own limit."""
    for at in moments(chance, 60):
        output = 60_000 if chance.random() < 0.02 else chance.randint(250, 450)
        yield Sent(at, "loop", ask(text(chance, 100), stream=True), Answer(min(output, 2_750) if tidy else output))
