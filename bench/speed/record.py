"""`record()` with pricing and the scrape of 10,000 lines, beside prometheus_client by hand. `--quick`: a glance."""

from __future__ import annotations

import sys
from typing import Any

from anthropic.types import CacheCreation, Usage
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from anthropic_exporter import Call, Inference, Recorder, Tokens
from bench.speed.measure import after, interleaved, table

QUICK = "--quick" in sys.argv
MODEL, NOON = "claude-opus-5-5", 1_795_262_400.0
KINDS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
TOKENS = Tokens(1234, 30_000, 2048, 0, 187)


def by_hand(registry: Any) -> Any:
    """One call in nine prometheus_client operations, as an application would write them; prices looked up before."""
    tokens = Counter("hand_tokens", "tokens", ("model", "feature", "type"), registry=registry)
    cost = Counter("hand_cost", "dollars", ("model", "feature"), registry=registry)
    requests = Counter("hand_requests", "requests", ("model", "feature", "outcome"), registry=registry)
    seconds = Histogram("hand_seconds", "seconds", ("model", "feature"), registry=registry)
    dollars = Histogram("hand_dollars", "dollars", ("model", "feature"), registry=registry)

    def record() -> None:
        for kind, count in zip(KINDS, TOKENS, strict=True):
            tokens.labels(model=MODEL, feature="chat", type=kind).inc(count)
        cost.labels(model=MODEL, feature="chat").inc(0.0249)
        requests.labels(model=MODEL, feature="chat", outcome="success").inc()
        seconds.labels(model=MODEL, feature="chat").observe(1.5)
        dollars.labels(model=MODEL, feature="chat").observe(0.0249)

    return record


def main() -> None:
    registry = CollectorRegistry()
    recorder, hand = Recorder(registry=registry), by_hand(CollectorRegistry())
    call = Call(MODEL, inferences=(Inference(MODEL, TOKENS),), feature="chat", started_at=NOON, duration_seconds=1.5)
    rounds = 5 if QUICK else 25
    split = CacheCreation(ephemeral_5m_input_tokens=TOKENS.cache_write_5m, ephemeral_1h_input_tokens=0)
    usage = Usage(
        input_tokens=TOKENS.input,
        cache_read_input_tokens=TOKENS.cache_read,
        cache_creation_input_tokens=TOKENS.cache_write_5m,
        cache_creation=split,
        output_tokens=TOKENS.output,
        service_tier="standard",
    )
    variants = {
        "record(), priced": lambda: recorder.record(call),
        "record_usage() of the SDK's object": lambda: recorder.record_usage(
            model=MODEL, usage=usage, duration=1.5, feature="chat"
        ),
        "by hand": hand,
    }
    found = interleaved(variants, 5000, rounds)
    table("one call recorded (bar: at most 3 µs)", found, "record(), priced")
    number = 0
    while recorder.render().count(b"\n") < 10_000:
        recorder.record(call._replace(feature=f"feature-{number}", user=f"user-{number}"))
        number += 1
    lines = recorder.render().count(b"\n")
    native = CollectorRegistry()
    of_prometheus_client(native, lines)

    def all_changed() -> None:
        for one in range(number):
            recorder.record(call._replace(feature=f"feature-{one}", user=f"user-{one}"))

    scrapes = {
        "own renderer, no series changed": recorder.render,
        "generate_latest, its own metrics": lambda: generate_latest(native),
        "generate_latest, our collector": lambda: generate_latest(registry),
    }
    found = interleaved(scrapes, 1, 7 if QUICK else 31)
    found["own renderer, each feature called again"] = after(all_changed, recorder.render, 7 if QUICK else 31)
    table(f"scrape of {lines:,} lines (bar: 20 times faster)", found, "own renderer, each feature called again")


def of_prometheus_client(registry: Any, lines: Any) -> None:
    """As many lines of counters and histograms as prometheus_client keeps them itself."""
    tokens = Counter("hand_tokens", "tokens", ("model", "feature", "user", "type"), registry=registry)
    seconds = Histogram("hand_seconds", "seconds", ("model", "feature"), registry=registry)
    number = 0
    while generate_latest(registry).count(b"\n") < lines:
        for _ in range(20):
            seconds.labels(MODEL, f"feature-{number}").observe(1.5)
            for kind in KINDS:
                tokens.labels(MODEL, f"feature-{number}", "acme", kind).inc(number)
            number += 1


if __name__ == "__main__":
    main()
