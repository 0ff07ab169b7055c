"""The error of dollars after 10,000,000 additions (`--quick`: 1,000,000), against the exact fraction. Bar: 1e-9.

Mixes of calls: of varied size; all alike; and the worst that a search over prices and sums found: tiny calls on top of
a large sum, where each addition rounds the same way by almost half of the sum's last bit.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from typing import Any

from prometheus_client import CollectorRegistry

from anthropic_exporter import Call, Inference, Recorder, Tokens

NUMBER = 1_000_000 if "--quick" in sys.argv else 10_000_000
MODEL, NOON = "claude-haiku-5-5", 1_795_262_400.0
#: Dollars of one token read from the cache, of a prompt up to 100,000 tokens.
READ = Fraction(1, 10**8)
#: mix: tokens of each call of a round, tokens of the calls before.
MIXES = {
    "varied": ([1 + number * 7919 % 50_000 for number in range(1000)], []),
    "all alike": ([1], []),
    "tiny calls on top of 512 dollars": ([7], [100_000] * 512_001),
}


def reading(tokens: Any) -> Any:
    """A call that read so many tokens from the cache."""
    return Call(MODEL, inferences=(Inference(MODEL, Tokens(cache_read=tokens)),), started_at=NOON)


def error(counts: Any, before: Any) -> Any:
    """The relative error of the dollars that a registry shows."""
    registry = CollectorRegistry()
    recorder = Recorder(registry=registry)
    calls = {tokens: reading(tokens) for tokens in {*counts, *before}}
    for tokens in before:
        recorder.record(calls[tokens])
    for call in [calls[tokens] for tokens in counts] * (NUMBER // len(counts)):
        recorder.record(call)
    exact = (sum(counts) * (NUMBER // len(counts)) + sum(before)) * READ
    labels = {"model": MODEL, "feature": "", "user": "", "tier": "standard", "type": "cache_read"}
    shown = Fraction(registry.get_sample_value("anthropic_cost_usd_total", labels) or 0.0)
    return float(abs(shown - exact) / exact)


for name, mix in MIXES.items():
    print(f"{NUMBER:,} additions, {name}: relative error {error(*mix):.2e} (bar: 1e-9)", flush=True)
