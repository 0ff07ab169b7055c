"""The error of dollars after 10,000,000 additions (`--quick`: 1,000,000), against the exact fraction. Bar: 1e-9."""

from __future__ import annotations

import sys
from fractions import Fraction

from prometheus_client import CollectorRegistry

from anthropic_exporter import Call, Inference, Recorder, Tokens

NUMBER = 1_000_000 if "--quick" in sys.argv else 10_000_000
MODEL, NOON, KINDS = "claude-haiku-5-5", 1_795_262_400.0, 1000


def main():
    registry = CollectorRegistry()
    recorder = Recorder(registry=registry)
    counts = [1 + number * 7919 % 50_000 for number in range(KINDS)]
    calls = [Call(MODEL, inferences=(Inference(MODEL, Tokens(input=n)),), started_at=NOON) for n in counts]
    for _ in range(NUMBER // KINDS):
        for call in calls:
            recorder.record(call)
    exact = Fraction(sum(counts) * (NUMBER // KINDS)) * Fraction(1, 10**7)
    labels = {"model": MODEL, "feature": "", "user": "", "tier": "standard", "type": "input"}
    shown = Fraction(registry.get_sample_value("anthropic_cost_usd_total", labels))
    print(f"{NUMBER:,} additions: relative error {float(abs(shown - exact) / exact):.2e} (bar: 1e-9)")


main()
