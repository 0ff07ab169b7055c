"""The short way of an answer against the general way: the same answers through both, and every series is the same.

One SDK client carries the middleware of two recorders; one of them may not use the short way. Answers are whole,
refused, damaged, of odd counts, labels and tiers, small and large; kinds repeat, so that the short way is used. In
between come errors, retries, hedged attempts, doubled middleware, edits of prices, sinks that come and go, and scrapes,
at which all families are compared. With `--advise` both recorders also watch requests for advice, of prompts that
repeat, grow and change. Everything follows from `--seed`.
Run by hand: `python -m bench.fuzz.two_ways --count 40000`; a part of it runs in the tests.
"""

from __future__ import annotations

import argparse
import contextlib
import contextvars
import json
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from anthropic import Anthropic, APIError

from anthropic_exporter import Recorder, attribution
from anthropic_exporter.capture import attempt, middleware, sent
from anthropic_exporter.pricing.reload import LivePrices
from anthropic_exporter.recording.advice import prefixes
from bench.fuzz.fuzz_bodies import http as http_library

_MODEL = "claude-opus-5-5"
_PRICES = "models: {%s: {prices: [{input: %d, output: 20, cache_write_5m: 5, cache_write_1h: 8, cache_read: 0.2}]}}\n"
_ODD_COUNTS = (0, 0, 1, 7, 30_000, 250_000, 2**29 - 1, 2**29, 10**9, 10**9 + 1, -1, "7", None, True, 1.5)
_SPLITS: tuple[Any, ...] = (None, 5, {}, {"ephemeral_5m_input_tokens": 40}, {"ephemeral_1h_input_tokens": 900})
_ODD_WORDS: dict[str, tuple[Any, ...]] = {
    "service_tier": ("standard", "batch", "priority", "flex", "new", None, 5, []),
    "speed": ("fast", "standard", None, {}),
    "inference_geo": ("us", "global", "us-gov", None, 3),
    "server_tool_use": (None, {}, {"web_search_requests": 2}, {"web_search_requests": True}, 3),
    "iterations": (None, [], 3, [{"input_tokens": 1, "output_tokens": 2}], [{"model": "claude-sonnet-4-6"}, 4]),
    "output_tokens_details": (None, {"thinking_tokens": 5}, 4),
    "fallback_credit": (None, {"status": "redeemed"}, {"status": {"type": "redeemed"}}),
}
_MODELS = (
    "claude-opus-5-5",
    "claude-sonnet-4-6",
    "claude-opus-5-5-20260101",
    "claude-haiku-5-5",
    "nope-1",
    None,
    "",
    7,
)
_ASKED = ("claude-opus-5-5", "claude-opus-latest", "us.anthropic.claude-opus-5-5-v1:0", "my-alias", "x" * 200)
_STOPS = ("end_turn", "max_tokens", "tool_use", "refusal", "refusal", "made up", None, 5, "")
_SYSTEMS: tuple[Any, ...] = (
    "You are a careful clerk. " * 400,
    "Short.",
    [{"type": "text", "text": "Rules: be brief. " * 600, "cache_control": {"type": "ephemeral"}}],
    [{"type": "text", "text": "One. " * 300}, {"type": "text", "text": "Two. " * 300}],
    [None, {"text": 7}],
    7,
)
_TOOLS: tuple[Any, ...] = ([{"name": "find"}], [{"name": "find"}, {"name": "book"}], [], None, 3)
_LIMITS = {"anthropic-ratelimit-requests-limit": "400", "anthropic-ratelimit-requests-reset": "2026-11-30T00:00:00Z"}


class Everything(dict[str, Any]):
    """A registry in which every attempt is under way already: nothing may use the short way."""

    def __contains__(self, _: object) -> bool:
        return True


class AtOnce(Recorder):
    """A recorder in which nothing waits."""

    def _decide_who_waits(self) -> None:
        super()._decide_who_waits()
        self.answers.most = 0


class World:
    """The time that both recorders see, and the answers that a client gets."""

    def __init__(self, seed: int, *, advise: bool = False) -> None:
        self.rng = random.Random(seed)
        self.advise = advise
        self.now, self.counter = 1_795_262_400.0, 1_000.0
        self.scripted: list[Any] = []
        self.meanwhile: Any = None

    def likely(self, share: float) -> bool:
        return self.rng.random() < share

    def take(self, choices: Any) -> Any:
        return self.rng.choice(choices)

    def count(self) -> Any:
        return self.take(_ODD_COUNTS) if self.likely(0.04) else self.rng.randrange(5_000)

    def usage(self) -> Any:
        if self.likely(0.01):
            return self.take((None, 5, [], {}, {"prompt_tokens": 5}))
        found = {"input_tokens": self.count(), "output_tokens": self.count()}
        for key in ("cache_read_input_tokens", "cache_creation_input_tokens"):
            if self.likely(0.6):
                found[key] = self.count()
        if self.likely(0.4):
            both = {"ephemeral_5m_input_tokens": self.count(), "ephemeral_1h_input_tokens": self.count()}
            found["cache_creation"] = self.take((*_SPLITS, both, both, both))
        for key, words in _ODD_WORDS.items():
            if self.likely(0.05):
                found[key] = self.take(words)
        return found

    def message(self) -> dict[str, Any]:
        found = {
            "type": "message",
            "model": self.take(_MODELS) if self.likely(0.2) else _MODEL,
            "content": self.take(([], [{"type": "text", "text": "word " * self.take((1, 100, 2_000))}])),
            "stop_reason": self.take(_STOPS) if self.likely(0.2) else "end_turn",
            "usage": self.usage(),
        }
        if self.likely(0.03):
            found["diagnostics"] = self.take((None, {"cache_miss_reason": {"type": "tools_changed"}}, 4))
        if self.likely(0.03):
            found["stop_details"] = {"category": self.take(("bio", "cyber", None))}
        if self.likely(0.02):
            found["type"] = self.take(("error", None, "completion"))
        if self.likely(0.01):
            found["error"] = {"type": self.take(("overloaded_error", "odd"))}
        return found

    def body(self) -> bytes:
        text = json.dumps(self.message(), separators=self.take(((",", ":"), (", ", ": "))))
        if self.likely(0.02):
            text = self.take((text[:-3], "\ufeff" + text, " \n" + text, "[" + text + "]", text + "x", "", "null"))
        return text.encode(self.take(("utf-16", "latin-1")) if self.likely(0.005) else "utf-8", "replace")

    def headers(self) -> dict[str, str]:
        found = {"content-type": "application/json", "retry-after-ms": "1"}
        if self.likely(0.5):
            found |= _LIMITS | {"Anthropic-RateLimit-Requests-Remaining": str(self.rng.randrange(400))}
        return found

    def respond(self, request: Any) -> Any:
        """Answer after a while, in which something else may happen."""
        after, self.meanwhile = self.meanwhile, None
        if after:
            contextvars.Context().run(after)
        self.now += self.rng.random() * 2
        self.counter += self.take((0.05, 0.3, 1.0, 7.0, 700.0))
        if self.likely(0.02):
            raise self.take((http_library.ReadTimeout, http_library.ConnectError))("no", request=request)
        if self.likely(0.03):
            error = {"type": "error", "error": {"type": self.take(("overloaded_error", "api_error", "odd"))}}
            return http_library.Response(self.take((400, 429, 500, 529)), headers=self.headers(), json=error)
        return http_library.Response(self.take((200, 200, 200, 200, 201)), headers=self.headers(), content=self.body())

    def ask(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "model": self.take(_ASKED) if self.likely(0.15) else _MODEL,
            "max_tokens": 0 if self.likely(0.02) else 10,
            "messages": [{"role": "user", "content": "hello"}],
        }
        if self.likely(0.3):
            found["cache_control"] = {"type": "ephemeral"}
        elif self.likely(0.2):
            found["messages"][0]["content"] = [{"type": "text", "text": '"cache_control"'}]
        return found | self.prefix() if self.advise else found

    def prefix(self) -> dict[str, Any]:
        """What advice looks at: prompts that repeat, turns of conversations, and shapes that no API takes."""
        found: dict[str, Any] = {}
        if self.likely(0.8):
            found["system"] = f"{self.rng.random()} {_SYSTEMS[0]}" if self.likely(0.1) else self.take(_SYSTEMS)
        if self.likely(0.2):
            found["tools"] = self.take(_TOOLS)
        if self.likely(0.5):
            first = {"role": "user", "content": f"Question {self.rng.randrange(20)}"}
            found["messages"] = [first, *[{"role": "user", "content": "And?"}] * self.rng.randrange(4)]
        if self.likely(0.02):
            found["messages"] = self.take(([], 4, [None], [{"content": None}]))
        return found

    def labels(self) -> attribution:
        many = self.likely(0.05)
        return attribution(
            feature=f"feature-{self.rng.randrange(150)}" if many else self.take(("", "chat", "summarise")),
            user=f"user-{self.rng.randrange(300)}" if many else self.take(("", "acme")),
        )


class TwoWays:
    """A client that both recorders see."""

    def __init__(self, seed: int, prices: Path, *, advise: bool = False) -> None:
        self.world, self.prices = World(seed, advise=advise), prices
        self.edit()
        options: dict[str, Any] = {"registry": None, "clock": lambda: self.world.now, "prices": prices}
        with mock.patch(f"{prefixes.__name__}.os.urandom", bytes):  # both recorders know a prompt by the same hash
            self.short, self.general = Recorder(**options, advise=advise), AtOnce(**options, advise=advise)
        self.general.inflight.sending = self.general.answers.sending = Everything()
        self.general.life = self.short.life
        http = http_library.Client(transport=http_library.MockTransport(self.world.respond))
        both = [self.short.middleware(), self.general.middleware()]
        self.client = Anthropic(api_key="none", middleware=both, http_client=http, max_retries=1)
        self.doubled = self.client.with_options(middleware=[*both, *both])
        self.sunk: tuple[list[Any], list[Any]] = ([], [])
        self.leave: list[Any] = []
        self.seen: Counter[str] = Counter()
        self.advised = 0
        is_kept = sent.is_kept
        self.is_kept = lambda *answered: self._counted(is_kept(*answered))

    def _counted(self, was_kept: bool) -> bool:
        self.seen["kept" if was_kept else "not kept"] += 1
        return was_kept

    def edit(self) -> None:
        """Edit the price file."""
        self.prices.write_text(_PRICES % (_MODEL, self.world.rng.randrange(1, 2_000)))

    def call(self) -> None:
        """Make one call, whatever it ends with."""
        world = self.world
        client = self.doubled if world.likely(0.05) else self.client
        key = f"stainless-python-retry-{world.rng.random()}"  # as the SDK makes them
        if world.likely(0.02):
            world.meanwhile = lambda: self.post(client, key)
        with world.labels():
            self.post(client, key)

    def post(self, client: Anthropic, key: str) -> None:
        """Send a request under an idempotency key; another one under the same key hedges it."""
        with contextlib.suppress(APIError, ValueError, TypeError, AttributeError):
            client.post("/v1/messages", body=self.world.ask(), cast_to=object, options={"idempotency_key": key})

    def compare(self) -> None:
        """Scrape both.

        Raises:
            AssertionError: a family is not the same.
        """
        one, other = self.short.read(), self.general.read()
        assert one.keys() == other.keys()
        for name in one:
            found = {reading.labels: reading.values for reading in one[name]}
            expected = {reading.labels: reading.values for reading in other[name]}
            assert found == expected, f"{name}: {dict(_differences(found, expected))}"
            self.advised += name.startswith("anthropic_advice") * sum(any(values) for values in found.values())
        assert self.sunk[0] == self.sunk[1]

    def sink(self) -> None:
        """Subscribe to both, or leave."""
        if self.leave:
            while self.leave:
                self.leave.pop()()
        else:
            may_wait = self.world.likely(0.5)
            for recorder, calls in zip((self.short, self.general), self.sunk, strict=True):
                self.leave.append(
                    recorder.subscribe(_without_limits(calls) if may_wait else calls.append, may_wait=may_wait)
                )

    def step(self) -> None:
        """One call, and at times something around it."""
        world = self.world
        if world.likely(0.02):
            self.compare()
        if world.likely(0.01):
            self.edit()
        if world.likely(0.005):
            world.now += 40
            self.compare()
        if world.likely(0.004):
            self.sink()
        self.call()
        world.now += world.rng.random()


def _without_limits(calls: list[Any]) -> Callable[[Any], None]:
    """A sink of which calls may wait: answers that waited have no rate-limit headers."""
    return lambda call: calls.append(call._replace(rate_limit_headers={}))


def _differences(found: dict[Any, Any], expected: dict[Any, Any]) -> Iterator[tuple[Any, Any]]:
    for key in [*found, *expected]:
        if found.get(key) != expected.get(key):
            yield key, (found.get(key), expected.get(key))


def run(count: int, seed: int, *, advise: bool = False) -> Counter[str]:
    """Compare `count` calls. Returns how many went each way, and how many series of advice were compared.

    Raises:
        AssertionError: the two ways differ.
    """
    with tempfile.TemporaryDirectory() as folder:
        both = TwoWays(seed, Path(folder) / "prices.yml", advise=advise)
        counter = SimpleNamespace(perf_counter=lambda: both.world.counter)
        with (
            mock.patch.object(attempt, "time", counter),
            mock.patch.object(sent, "perf_counter", counter.perf_counter),
            mock.patch.object(middleware, "is_kept", both.is_kept),
            mock.patch.object(LivePrices, "refresh_soon"),  # scrapes read the price file, no thread at its own time
        ):
            for _ in range(count):
                both.step()
            both.compare()
        return both.seen + Counter(advised=both.advised)


def main() -> None:
    """Run by hand."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--advise", action="store_true")
    arguments = parser.parse_args()
    print(dict(run(arguments.count, arguments.seed, advise=arguments.advise)), "no difference")


if __name__ == "__main__":
    main()
