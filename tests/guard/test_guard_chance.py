"""A few hours of `bench/guard/guard_chance.py`: what chance and mornings bring is not a spike."""

from __future__ import annotations

from typing import Any

import pytest
from bench.guard import guard_chance

from anthropic_exporter.guard.measuring import spikes

HOURS = 12_100  # seconds; at 12,020 twenty requests came in 30 s, where six are usual


def test_what_came_by_chance_is_not_a_spike(monkeypatch: pytest.MonkeyPatch) -> None:
    assert guard_chance.watch(guard_chance.steady(5, HOURS)).wrong == 0
    monkeypatch.setattr(spikes, "CHANCE", 0.0)
    told = guard_chance.watch(guard_chance.steady(5, HOURS))
    assert told.wrong == 2
    assert {"AnthropicCostSpike (warning) chat", "AnthropicTokenSpike (warning) chat"} <= told.alerts.keys()


@pytest.mark.parametrize("seed", [3, 4])
def test_a_morning_is_not_a_spike(seed: Any) -> None:
    """Until ten o'clock on a first day: from almost nothing to the day's traffic within two hours."""
    assert guard_chance.watch(guard_chance.days_and_nights(seed, 36_000)).wrong == 0
