"""What tests and fixtures share: the usual model and moment, a clock, a reader of samples."""

from __future__ import annotations

import threading

from prometheus_client import CollectorRegistry

MODEL = "claude-opus-5-5"
NOON = 1_795_262_400.0  # 2026-11-21T12:00:00Z


class Clock:
    """Seconds since the epoch, as the test wants them."""

    def __init__(self, now: float = NOON) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def wait_for_prices() -> None:
    """Wait until no thread looks up prices. A scrape waits for one second, too short for a busy machine."""
    for thread in threading.enumerate():
        if thread.name == "anthropic-exporter-prices":
            thread.join(60)


class Samples:
    """`samples("anthropic_tokens_total", type="output")`: the sum over all samples with these labels; None for none."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

    def __call__(self, name: str, **labels: str) -> float | None:
        found = [
            sample.value
            for family in self.registry.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None
