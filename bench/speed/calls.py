"""What recording adds to `messages.create` and to each event of a stream, beside the alternatives. `--quick`: a glance.

Everything runs in one process without a network: the real SDK on a transport that answers from memory. Each round runs
every variant in turn; the figure is the median of the differences to the plain client within a round.
"""

from __future__ import annotations

import contextlib
import json
import sys

import httpx2
from anthropic import Anthropic, Middleware
from prometheus_client import CollectorRegistry

from anthropic_exporter import Recorder, attribution
from bench.speed.measure import interleaved, paired, table
from bench.speed.record import by_hand

QUICK = "--quick" in sys.argv
EVENTS = 200
USAGE = {"input_tokens": 1234, "cache_read_input_tokens": 30_000, "cache_creation_input_tokens": 2048}
MESSAGE = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-opus-5-5",
    "content": [{"type": "text", "text": "Yes."}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {**USAGE, "output_tokens": 187},
}
ASKED = {"model": "claude-opus-5-5", "max_tokens": 1000, "messages": [{"role": "user", "content": "Is it?"}]}


def events():
    started = {**MESSAGE, "content": [], "stop_reason": None, "usage": {**USAGE, "output_tokens": 1}}
    yield "message_start", {"message": started}
    yield "content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}
    for _ in range(EVENTS):
        yield "content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "word "}}
    yield "content_block_stop", {"index": 0}
    yield "message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 187}}
    yield "message_stop", {}


JSON = json.dumps(MESSAGE).encode()
CHUNKS = [f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode() for name, data in events()]


#: As many headers as the API sends, so that looking through them has its price.
HEADERS = {
    "request-id": "req_1",
    "anthropic-organization-id": "org_1",
    **{
        f"anthropic-ratelimit-{resource}-{part}": value
        for resource in ("requests", "tokens", "input-tokens", "output-tokens")
        for part, value in (("limit", "400000"), ("remaining", "399000"), ("reset", "2026-11-25T00:00:00Z"))
    },
    **{f"x-other-{number}": "of the servers in between" for number in range(9)},
}


class Body(httpx2.SyncByteStream):
    def __iter__(self):
        yield from CHUNKS


def answer(request):
    if b'"stream":true' in request.content.replace(b" ", b""):
        return httpx2.Response(200, headers={**HEADERS, "content-type": "text/event-stream"}, stream=Body())
    return httpx2.Response(200, headers={**HEADERS, "content-type": "application/json"}, content=JSON)


class Kept(Middleware):
    """Keeps what passes last."""

    def handle(self, request, call_next):
        self.passed = request, call_next(request)
        return self.passed[1]


class Nothing(Middleware):
    def handle(self, request, call_next):
        return call_next(request)


def client(*middleware):
    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return Anthropic(api_key="none", middleware=list(middleware), http_client=http, max_retries=0)


@contextlib.contextmanager
def opentelemetry():
    """Metrics only, as its instrumentation of the SDK records them; nothing where it is not installed."""
    from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor

    instrumentor = AnthropicInstrumentor()
    instrumentor.instrument()
    try:
        yield
    finally:
        instrumentor.uninstrument()


def set_meter_provider():
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    metrics.set_meter_provider(MeterProvider(metric_readers=[InMemoryMetricReader()]))


def variants(run):
    recorder, hand = Recorder(registry=None), by_hand(CollectorRegistry())
    plain, empty, ours = client(), client(Nothing()), client(recorder.middleware())

    def by_hand_after():
        run(plain)
        hand()

    found = {
        "plain client": (lambda: run(plain), contextlib.nullcontext),
        "empty middleware": (lambda: run(empty), contextlib.nullcontext),
        "recorder": (lambda: run(ours), contextlib.nullcontext),
        "prometheus_client by hand": (by_hand_after, contextlib.nullcontext),
    }
    try:
        set_meter_provider()
        found["OpenTelemetry, metrics only"] = (lambda: run(plain), opentelemetry)
    except ImportError:
        print("without OpenTelemetry: `make bench` installs it")
    return found


def alone():
    """The recorder's middleware on one request and its response, without the SDK around it."""
    kept, middleware = Kept(), Recorder(registry=None).middleware()
    create(client(kept))
    request, response = kept.passed
    return lambda: middleware.handle(request, lambda _: response)


def create(one):
    one.messages.create(**ASKED)


def stream(one):
    for _ in one.messages.create(**ASKED, stream=True):
        pass


def main():
    rounds = 6 if QUICK else 40
    with attribution(feature="chat", user="acme"):
        found = paired(variants(create), 40, rounds, "plain client")
        table("µs added to messages.create (bar: 30, of which 12 to 15 are the SDK's own hook)", found, "recorder")
        again = interleaved({"recorder, its middleware alone again and again": alone()}, 1000, rounds)
        table("µs of it that are left where the processor's caches hold all of it", again, *again)
        streams = paired(variants(stream), 5, rounds, "plain client")
        each = {name: (value - found[name]) / EVENTS for name, value in streams.items()}
        table(f"µs added to each of {EVENTS} stream events beyond what a call adds (bar: 0.5)", each, "recorder")
        table(f"µs added to a stream of {EVENTS} events, all in all", streams, "recorder")


if __name__ == "__main__":
    main()
