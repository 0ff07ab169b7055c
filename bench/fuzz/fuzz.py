"""Damaged responses through the real SDK: what the application sees is the same with and without the middleware.

Each case is a JSON body, a stream or an error, damaged in a few places (bytes flipped, cut out, doubled, swapped; words
of JSON replaced), chopped anywhere, sometimes gzip, sometimes cut off, read in one of several ways: by a sync or an
async client, of the API itself or of Bedrock, whose streams are AWS event streams. Everything follows from `--seed`.
Run by hand: `python -m bench.fuzz.fuzz --count 100000 --client async`; a few thousand of it run in the tests.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import gc
import logging
import random
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anthropic
from prometheus_client import CollectorRegistry

from anthropic_exporter import Recorder
from bench.fuzz.fuzz_bodies import BEDROCK_BODIES, BODIES, AsyncChunks, Chunks, chopped, damaged, http, packed
from bench.fuzz.fuzz_readings import ASYNC_READINGS, SYNC_READINGS

HERE = "http://127.0.0.1:1"
KEY = {"api_key": "sk-ant-test"}
AWS = {"aws_access_key": "AKIATEST", "aws_secret_key": "secret", "aws_region": "us-east-1"}
WRONG_TYPES = ("text/html", "application/json", "text/event-stream")
#: client: its class, what it needs, what it is answered with.
CLIENTS = {
    "sync": ("Anthropic", KEY, BODIES),
    "async": ("AsyncAnthropic", KEY, BODIES),
    "bedrock": ("AnthropicBedrock", AWS, BEDROCK_BODIES),
    "async bedrock": ("AsyncAnthropicBedrock", AWS, BEDROCK_BODIES),
}


class Case:
    """One damaged response and the way it is read, the same every time it is played."""

    def __init__(self, chance: Any, bodies: Any, readings: Any) -> None:
        self.name = chance.choice([*bodies])
        self.status, kind, body = bodies[self.name]
        self.headers = {"content-type": chance.choice([kind, kind, kind, kind, "", *WRONG_TYPES])}
        body = damaged(chance, body)
        if chance.random() < 0.2:
            self.headers["content-encoding"] = "gzip"
            body = packed(chance, body)
        self.chunks = chopped(chance, body)
        self.broken = chance.random() < 0.1
        self.read = chance.choice(readings)
        self.steps, self.sent = chance.randrange(40), None

    def response(self, chunks: Any) -> Any:
        """The response, its body of the given class."""
        if self.sent is not None:
            self.sent.set()  # type: ignore[unreachable]
        return http.Response(self.status, headers=self.headers, stream=chunks(self.chunks, self.broken))


class Fuzz:
    """Two clients that get the same answers: one plain, one recorded.

    Attributes:
        escaped: what was raised where nobody could catch it: in a finalizer, in a task of the event loop.
        escaped_without: the same of the client without the middleware, where the generator that was finalized says so:
            Python 3.12 may finalize a generator of httpx while it runs.
    """

    def __init__(self, seed: Any, client: Any = "sync") -> None:
        name, options, self.bodies = CLIENTS[client]
        self.is_async = name.startswith("Async")
        self.chance = random.Random(seed)
        self.registry = CollectorRegistry()
        self.recorder = Recorder(registry=self.registry)
        self.case: Any = None
        self.escaped: list[Any] = []
        self.escaped_without: list[Any] = []
        self.playing = None
        transport = http.MockTransport(self._respond)
        http_client = (http.AsyncClient if self.is_async else http.Client)(transport=transport)
        options = options | {"base_url": HERE, "max_retries": 0, "http_client": http_client}
        self.plain = getattr(anthropic, name)(**options)
        self.recorded = getattr(anthropic, name)(**options, middleware=[self.recorder.middleware()])

    def _respond(self, _request: Any) -> Any:
        response = self.case.response(AsyncChunks if self.is_async else Chunks)
        response.stream.client = self.playing
        return response

    def run(self, count: Any) -> Any:
        """Play so many cases. Returns those whose view differs, as (number, case, plain, recorded)."""
        readings = ASYNC_READINGS if self.is_async else SYNC_READINGS
        different = []
        with self._viewer() as view:
            for number in range(count):
                self.case = Case(self.chance, self.bodies, readings)
                plain, recorded = self._viewed(view, self.plain), self._viewed(view, self.recorded)
                if plain != recorded:
                    different.append((number, self.case, plain, recorded))
            gc.collect()  # what was dropped in a cycle
        return different

    def _viewed(self, view: Any, client: Any) -> Any:
        self.playing = client
        return view(self.case, client)

    @contextmanager
    def _viewer(self) -> Iterator[Any]:
        """What plays a case by a client; nothing of it is left when the block ends."""
        hook, sys.unraisablehook = sys.unraisablehook, self._unraisable
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda _, context: self.escaped.append(context["message"]))
        try:
            yield (lambda *case: loop.run_until_complete(async_view(*case))) if self.is_async else sync_view
            gc.collect()
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()
            sys.unraisablehook = hook

    def _unraisable(self, told: Any) -> None:
        frame = getattr(told.object, "ag_frame", None)
        played_by = None if frame is None else _client_of(frame.f_locals.get("self"))
        escaped = self.escaped_without if played_by is self.plain else self.escaped
        escaped.append(f"{told.err_msg or 'in'} {told.object!r}: {told.exc_value!r}")

    def total(self, name: Any, **labels: Any) -> Any:
        """The sum of our samples of this name with these labels."""
        found = (sample for family in self.registry.collect() for sample in family.samples)
        return sum(s.value for s in found if s.name == name and labels.items() <= s.labels.items())

    def by(self, name: Any, label: Any) -> Any:
        """Our samples of this name, summed by one label; those at 0 are left out."""
        found: Any = collections.Counter()
        for family in self.registry.collect():
            for sample in family.samples:
                if sample.name == name:
                    found[sample.labels[label]] += int(sample.value)
        return +found


def _client_of(stream: Any) -> Any:
    """The client that a stream of httpx was made for; None where that is not known."""
    while stream is not None and not hasattr(stream, "client"):
        stream = getattr(stream, "_stream", None)
    return None if stream is None else stream.client


def sync_view(case: Any, client: Any) -> Any:
    """All that the application gets to see of a case, its exception too."""
    seen: list[Any] = []
    try:
        case.read(client, seen)
    except Exception as error:  # noqa: BLE001 - whatever it is, it has to be the same
        seen.append(_told(error))
    return seen


async def async_view(case: Any, client: Any) -> Any:
    """The same of an async client."""
    seen, case.sent = [], asyncio.Event()  # type: ignore[var-annotated]
    try:
        await case.read(client, seen, case)
    except Exception as error:  # noqa: BLE001 - as above
        seen.append(_told(error))
    return seen


def _told(error: Any) -> Any:
    return type(error).__name__, str(error), type(error.__cause__).__name__


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--client", choices=CLIENTS, default="sync")
    asked = parser.parse_args()
    logging.getLogger("anthropic_exporter").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings")
    fuzz, began = Fuzz(asked.seed, asked.client), time.perf_counter()
    different = fuzz.run(asked.count)
    failures = fuzz.by("anthropic_exporter_record_errors_total", "stage")
    print(f"{asked.count:,} cases of seed {asked.seed}, {asked.client}, in {time.perf_counter() - began:.0f} s")
    print(f"  seen differently by the application   {len(different):,}")
    print(f"  raised where nobody could catch it    {len(fuzz.escaped):,}")
    print(f"  requests counted                      {fuzz.total('anthropic_requests_total'):,.0f}")
    print(f"  in flight at the end                  {fuzz.total('anthropic_inflight_requests'):,.0f}")
    print(f"  failures of ours, counted, not raised {dict(failures)}")
    outcomes = fuzz.by("anthropic_requests_total", "outcome")
    unmetered = fuzz.by("anthropic_exporter_unmetered_responses_total", "reason")
    print(f"  answers without usable usage          {dict(unmetered)}")
    print(f"  outcomes                              {dict(outcomes.most_common(12))}")
    for number, case, plain, recorded in different[:3]:
        print(f"case {number}, {case.name}, {case.read.__name__}, {case.headers}, {case.chunks}\n{plain}\n{recorded}")
    print("".join(f"{one}\n" for one in fuzz.escaped[:3]), end="")
    sys.exit(bool(different or fuzz.escaped))


if __name__ == "__main__":
    main()
