"""A Guard that evaluates only when a test says so, what it sent, calls that cost what a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import Call, Recorder
from anthropic_exporter.guard import Guard, Limits, Timing
from support import MODEL, Clock

ON_DEMAND = Timing(evaluate_every_seconds=None)


@pytest.fixture
def start_guard(recorder: Recorder) -> Iterator[Callable[..., Guard]]:
    """Start a Guard with the shipped limits; `start_guard(cost_usd_per_day=5)` changes some."""
    started = []

    def start(*, state_dir: Path | None = None, timing: Timing = ON_DEMAND, feature: str = "", **limits: int) -> Guard:
        changed = Limits.shipped().replace(tokens_per_day=1e12, cost_usd_per_day=1e9)
        changed = changed.replace(feature=feature, **limits) if limits else changed  # type: ignore[arg-type]
        started.append(Guard(recorder, changed, state_dir=state_dir, timing=timing))
        return started[-1]

    yield start
    for guard in started:
        guard.close()


@pytest.fixture
def guard(start_guard: Callable[..., Guard]) -> Guard:
    return start_guard()


@pytest.fixture
def told(guard: Guard) -> Callable[..., list[tuple[str, str]]]:
    """The alerts that callbacks got so far: `told()`."""
    found: list[Any] = []

    def told_so_far() -> list[tuple[str, str]]:
        assert guard._callbacks.flush(5.0)
        return [(alert.name, alert.status) for alert in found]

    guard.on_alert(found.append)
    told_so_far.alerts = found  # type: ignore[attr-defined]
    return told_so_far


@pytest.fixture
def spend(recorder: Recorder, call: Callable[..., Call], clock: Clock) -> Callable[..., None]:
    """Record a call that costs so many dollars: input of the usual model is 4 dollars a million."""

    def record(usd: float, *, feature: str = "chat", **fields: Any) -> None:
        tokens = {"input": round(usd * 250_000)}
        recorder.record(call(model=MODEL, feature=feature, **tokens, **fields)._replace(started_at=clock.now))

    return record


@pytest.fixture
def live(clock: Clock, guard: Guard) -> Callable[..., None]:
    """Let so many seconds pass, with a look every second; `before(second)` is called first."""

    def pass_by(seconds: int, before: Callable[..., Any] = lambda _: None) -> None:
        for second in range(seconds):
            before(second)
            guard.tick()
            clock.now += 1

    return pass_by
