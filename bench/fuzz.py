"""Damaged responses through the real SDK: what the application sees is the same with and without the middleware.

Each case is a JSON body, a stream or an error, damaged in a few places (bytes flipped, cut out, doubled, swapped; words
of JSON replaced), chopped anywhere, sometimes gzip, sometimes cut off, read in one of several ways, sync. Everything
follows from `--seed`. Run by hand: `python bench/fuzz.py --count 100000`; a few thousand of it run in the tests.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import importlib
import json
import logging
import random
import sys
import time
import warnings

import anthropic
from prometheus_client import CollectorRegistry

from anthropic_exporter import Recorder

LIBRARY = "httpx2" if "httpx2" in anthropic._base_client.__dict__ else "httpx"  # noqa: SLF001 - which one it uses
http = importlib.import_module(LIBRARY)

MODEL = "claude-opus-5-5"
ASK = {"model": MODEL, "max_tokens": 500, "messages": [{"role": "user", "content": "hello"}]}
USAGE = {
    "input_tokens": 100,
    "cache_read_input_tokens": 2000,
    "cache_creation_input_tokens": 500,
    "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 200},
    "server_tool_use": {"web_search_requests": 2},
    "service_tier": "standard",
    "output_tokens": 50,
}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "content": [{"type": "text", "text": "Ünï 😀 there."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}
ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}
DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi 😀 "}}
EVENTS = [
    {"type": "message_start", "message": MESSAGE | {"content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    *[DELTA] * 5,
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 50}},
    {"type": "message_stop"},
]
WORDS = [b"null", b"-1", b"1e999", b"[]", b"{}", b'"x"', b"true", b"NaN", b"99999999999999999999", b"0.5"]
LINES = [b"\n", b"\r\n", b"\r", b"\n\n", b"event: error\n", b"data: {}\n\n", b": comment\n", b"data: [DONE]\n\n"]


def sse(events):
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode() for event in events
    )


BODIES = {
    "json": (200, "application/json", json.dumps(MESSAGE).encode()),
    "sse": (200, "text/event-stream; charset=utf-8", sse(EVENTS)),
    "sse error": (200, "text/event-stream", sse([*EVENTS[:6], ERROR])),
    "error": (529, "application/json", json.dumps(ERROR).encode()),
}


def damaged(chance, body):
    """The body with a few of its bytes, numbers or lines changed."""
    for _ in range(chance.randrange(4)):
        at, far = chance.randrange(len(body) + 1), chance.randrange(1, 40)
        kind = chance.randrange(7)
        if kind == 0:
            body = body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]
        elif kind == 1:
            body = body[:at] + body[at + far :]
        elif kind == 2:
            body = body[: at + far] + body[at:]
        elif kind == 3:
            body = body[:at] + chance.choice(LINES) + body[at:]
        elif kind == 4:
            body = body[:at]
        else:
            body = _another_value(chance, body, at)
    return body


def _another_value(chance, body, at):
    """Replace the value behind the next colon, up to the next comma or brace."""
    colon = body.find(b":", at)
    ends = [end for end in (body.find(mark, colon) for mark in (b",", b"}", b"\n")) if end > 0]
    if colon < 0 or not ends:
        return body
    return body[: colon + 1] + chance.choice(WORDS) + body[min(ends) :]


class Chunks(http.SyncByteStream):
    """A body in chunks; raises at the end where the connection breaks."""

    def __init__(self, chunks, broken):
        self.chunks = chunks
        self.broken = broken

    def __iter__(self):
        yield from self.chunks
        if self.broken:
            raise http.ReadError("cut")


class Case:
    """One damaged response, the same every time it is played."""

    def __init__(self, chance):
        self.name = chance.choice([*BODIES])
        self.status, kind, body = BODIES[self.name]
        self.headers = {"content-type": chance.choice([kind, kind, kind, kind, kind, "text/html", "application/json"])}
        body = damaged(chance, body)
        if chance.random() < 0.2:
            self.headers["content-encoding"] = "gzip"
            body = gzip.compress(body, mtime=0)
            body = damaged(chance, body) if chance.random() < 0.3 else body
        cuts = sorted(chance.randrange(len(body) + 1) for _ in range(chance.choice([0, 1, 5, 30, 200])))
        self.chunks = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        self.broken = chance.random() < 0.1
        self.read = chance.choice(READINGS)

    def response(self, _request):
        return http.Response(self.status, headers=self.headers, stream=Chunks(self.chunks, self.broken))


# -- ways to read


def create(client, seen):
    seen.append(repr(client.messages.create(**ASK)))


def events(client, seen):
    for event in client.messages.create(**ASK, stream=True):
        seen.append(repr(event))


def helper(client, seen):
    with client.messages.stream(**ASK) as stream:
        for event in stream:
            seen.append(repr(event))
        seen.append(repr(stream.get_final_message()))


def some_events(client, seen):
    with client.messages.create(**ASK, stream=True) as stream:
        for event in stream:
            seen.append(repr(event))
            if len(seen) == 3:
                break


def raw_bytes(client, seen):
    with client.messages.with_streaming_response.create(**ASK, stream=True) as response:
        for chunk in response.iter_bytes():
            seen.append(chunk)


def lines(client, seen):
    with client.messages.with_streaming_response.create(**ASK) as response:
        for line in response.iter_lines():
            seen.append(line)


READINGS = [create, events, helper, some_events, raw_bytes, lines]


def view(case, client):
    """All that the application gets to see of a case, its exception too."""
    seen = []
    try:
        case.read(client, seen)
    except Exception as error:  # noqa: BLE001 - whatever it is, it has to be the same
        seen.append((type(error).__name__, str(error), type(error.__cause__).__name__))
    return seen


class Fuzz:
    """Two clients that get the same answers: one plain, one recorded."""

    def __init__(self, seed):
        self.chance = random.Random(seed)
        self.registry = CollectorRegistry()
        self.recorder = Recorder(registry=self.registry)
        self.case = None
        transport = http.MockTransport(self._respond)
        options = {"api_key": "sk-ant-test", "base_url": "http://127.0.0.1:1", "max_retries": 0}
        self.plain = anthropic.Anthropic(**options, http_client=http.Client(transport=transport))
        self.recorded = self.plain.with_options(middleware=[self.recorder.middleware()])

    def _respond(self, request):
        return self.case.response(request)

    def run(self, count):
        """Play so many cases. Returns those whose view differs, as (number, case, plain, recorded)."""
        different = []
        for number in range(count):
            self.case = Case(self.chance)
            plain, recorded = view(self.case, self.plain), view(self.case, self.recorded)
            if plain != recorded:
                different.append((number, self.case, plain, recorded))
        return different

    def total(self, name, **labels):
        """The sum of our samples of this name with these labels."""
        found = (sample for family in self.registry.collect() for sample in family.samples)
        return sum(s.value for s in found if s.name == name and labels.items() <= s.labels.items())

    def by(self, name, label):
        """Our samples of this name, summed by one label; those at 0 are left out."""
        found = collections.Counter()
        for family in self.registry.collect():
            for sample in family.samples:
                if sample.name == name:
                    found[sample.labels[label]] += int(sample.value)
        return +found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    logging.getLogger("anthropic_exporter").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings")
    fuzz, began = Fuzz(asked.seed), time.perf_counter()
    different = fuzz.run(asked.count)
    failures = fuzz.by("anthropic_exporter_record_errors_total", "stage")
    print(f"{asked.count:,} cases of seed {asked.seed} in {time.perf_counter() - began:.0f} s")
    print(f"  seen differently by the application   {len(different):,}")
    print(f"  requests counted                      {fuzz.total('anthropic_requests_total'):,.0f}")
    print(f"  in flight at the end                  {fuzz.total('anthropic_inflight_requests'):,.0f}")
    print(f"  failures of ours, counted, not raised {dict(failures)}")
    outcomes = fuzz.by("anthropic_requests_total", "outcome")
    print(f"  outcomes                              {dict(outcomes.most_common(12))}")
    for number, case, plain, recorded in different[:3]:
        print(f"case {number}, {case.name}, {case.read.__name__}, {case.headers}, {case.chunks}\n{plain}\n{recorded}")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
