from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from anthropic_exporter.guard.limits import Limits
from anthropic_exporter.guard.windows import Peaks, Ring, Windows


@pytest.mark.parametrize("step", [1, 10])
def test_a_window_holds_what_a_rescan_of_every_call_finds(step):
    """Gaps of any length, windows of 30 s and 5 minutes, read a while after the last call too."""
    chance = random.Random(5)
    ring, calls, second = Ring([0], step, 300, 1000), [], 1000
    for _ in range(3000):
        second += chance.choice((0, 0, 0, 1, 1, 7, 40, 350))
        ring.advance(second)
        ring.totals[0] += (value := chance.randint(1, 9))
        calls.append((second // step, value))
        read = second + chance.choice((0, 0, 3, 29, 31, 299, 302))
        for window in (30, 300):
            inside = sum(value for at, value in calls[-500:] if at >= read // step - window // step)
            assert ring.sums(window, read) == [inside]


def test_a_place_is_not_forgotten_while_a_call_is_being_added():
    windows = Windows(Limits.shipped())
    place = windows["chat", "claude-opus-5-5"]
    answers = iter([True, False])
    windows["chat", "claude-opus-5-5"] = SimpleNamespace(idle=lambda _: next(answers))
    windows.forget(1000)
    assert len(windows) == 1
    windows["chat", "claude-opus-5-5"] = place
    windows.forget(1000)
    assert len(windows) == 0


def test_a_ring_takes_no_more_memory_after_a_day():
    ring = Ring([0] * 12, 1, 300, 0)
    before = len(ring._marks)
    for second in range(86_400):
        ring.advance(second)
    assert len(ring._marks) == before == 12 * 302


def test_the_largest_of_a_minute_is_gone_a_minute_later():
    peaks = Peaks(5, 300)
    peaks.advance(1001, 0.0)
    peaks.advance(1040, 7.0)  # was the largest of second 1001
    peaks.advance(1041, 3.0)
    assert peaks.max(60, 1055) == 7
    assert peaks.max(60, 1070) == 3
    assert peaks.max(300, 1070) == 7
    assert peaks.max(300, 1400) == 0
