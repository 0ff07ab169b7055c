"""Hours of traffic through real recorders, written into a real Prometheus as scrapes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from anthropic_exporter import Call, Inference, Recorder, Tokens
from anthropic_exporter.history import remote_write
from anthropic_exporter.stack.scratch import ScratchPrometheus
from support import Clock

SLICE_SECONDS = 1_800


class Fleet:
    """Processes with a recorder each, on a clock that only the history moves."""

    def __init__(self, start: float) -> None:
        self.clock = Clock(start)
        self._registries: dict[str, CollectorRegistry] = {}
        self._recorders: dict[str, Recorder] = {}
        self._alive: set[remote_write.Labels] = set()

    def start(self, name: str, **settings: Any) -> Recorder:
        """Start or restart a process."""
        registry = self._registries[name] = CollectorRegistry()
        self._recorders[name] = Recorder(registry=registry, strict=True, clock=self.clock, **settings)
        return self._recorders[name]

    def stop(self, name: str) -> None:
        del self._registries[name], self._recorders[name]

    def __getitem__(self, name: str) -> Recorder:
        return self._recorders[name]

    def scrape(self) -> dict[remote_write.Labels, bytes]:
        """One sample of every series now; a marker where a series ended."""
        shown = {}
        for name, registry in self._registries.items():
            where = {"instance": name, "job": "anthropic"}
            shown[tuple(sorted({**where, "__name__": "up"}.items()))] = remote_write.value(1.0)
            for family in registry.collect():
                for sample in family.samples:
                    labels = tuple(sorted({**sample.labels, **where, "__name__": sample.name}.items()))
                    shown[labels] = remote_write.value(sample.value)
        ended = dict.fromkeys(self._alive - shown.keys(), remote_write.STALE)
        self._alive = set(shown)
        return shown | ended


def write(url: str, fleet: Fleet, end: float, every: float, step: Callable[[float, float], None]) -> None:
    """Let `step(since, now)` make calls until `end`, and scrape the fleet every `every` seconds."""
    found: dict[remote_write.Labels, list[bytes]] = {}
    now, began = fleet.clock.now, fleet.clock.now
    while now < end:
        fleet.clock.now = now + every
        step(now, fleet.clock.now)
        now = fleet.clock.now
        when = remote_write.moment(round(now * 1000))
        for labels, value in fleet.scrape().items():
            found.setdefault(labels, []).append(remote_write.sample(value, when))
        if now - began >= SLICE_SECONDS or now >= end:
            remote_write.write(url, found.items())
            found, began = {}, now


@contextlib.contextmanager
def prometheus(folder: Path) -> Iterator[str]:
    with ScratchPrometheus(folder) as running:
        yield running.url


def call(model: str, at: float, tokens: Tokens, **fields: Any) -> Call:
    return Call(model, started_at=at, duration_seconds=1.5, inferences=(Inference(model, tokens),), **fields)


def write_series(url: str, series: Iterable[tuple[dict[str, str], list[tuple[float, float]]]]) -> None:
    """Write series that are given as labels and pairs of seconds and value."""
    remote_write.write(
        url,
        (
            (
                tuple(sorted(labels.items())),
                [
                    remote_write.sample(remote_write.value(value), remote_write.moment(round(at * 1000)))
                    for at, value in points
                ],
            )
            for labels, points in series
        ),
    )
