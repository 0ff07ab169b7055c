"""A Guard that evaluates only when a test says so, what it sent, calls that cost what a test says."""

from __future__ import annotations

import pytest

from anthropic_exporter.guard import Guard, Limits, Timing
from support import MODEL

ON_DEMAND = Timing(evaluate_every_seconds=None)


@pytest.fixture
def start_guard(recorder):
    """Start a Guard with the shipped limits; `start_guard(cost_usd_per_day=5)` changes some."""
    started = []

    def start(*, state_dir=None, timing=ON_DEMAND, feature="", **limits):
        changed = Limits.shipped().replace(tokens_per_day=1e12, cost_usd_per_day=1e9)
        changed = changed.replace(feature=feature, **limits) if limits else changed
        started.append(Guard(recorder, changed, state_dir=state_dir, timing=timing))
        return started[-1]

    yield start
    for guard in started:
        guard.close()


@pytest.fixture
def guard(start_guard):
    return start_guard()


@pytest.fixture
def told(guard):
    """The alerts that callbacks got so far: `told()`."""
    found = []

    def told_so_far():
        assert guard._callbacks.flush(5.0)
        return [(alert.name, alert.status) for alert in found]

    guard.on_alert(found.append)
    told_so_far.alerts = found
    return told_so_far


@pytest.fixture
def spend(recorder, call, clock):
    """Record a call that costs so many dollars: input of the usual model is 4 dollars a million."""

    def record(usd, *, feature="chat", **fields):
        tokens = {"input": round(usd * 250_000)}
        recorder.record(call(model=MODEL, feature=feature, **tokens, **fields)._replace(started_at=clock.now))

    return record


@pytest.fixture
def live(clock, guard):
    """Let so many seconds pass, with a look every second; `before(second)` is called first."""

    def pass_by(seconds, before=lambda _: None):
        for second in range(seconds):
            before(second)
            guard.tick()
            clock.now += 1

    return pass_by
