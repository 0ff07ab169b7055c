from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from anthropic_exporter.call import Bill
from anthropic_exporter.guard.measuring.rings import Peaks, Ring
from anthropic_exporter.guard.measuring.windows import Windows, window_minutes
from anthropic_exporter.guard.thresholds import Limits


@pytest.mark.parametrize("step", [1, 10])
def test_a_window_holds_what_a_rescan_of_every_call_finds(step: int) -> None:
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


def test_a_place_is_not_forgotten_while_a_call_is_being_added() -> None:
    windows = Windows(Limits.shipped())
    place = windows["chat", "claude-opus-5-5"]
    answers = iter([True, False])
    windows["chat", "claude-opus-5-5"] = SimpleNamespace(idle=lambda _: next(answers))  # type: ignore[assignment]
    windows.forget(1000)
    assert len(windows) == 1
    windows["chat", "claude-opus-5-5"] = place
    windows.forget(1000)
    assert len(windows) == 0


def test_a_ring_takes_no_more_memory_after_a_day() -> None:
    ring = Ring([0] * 12, 1, 300, 0)
    before = len(ring._marks)
    for second in range(86_400):
        ring.advance(second)
    assert len(ring._marks) == before == 12 * 302


def test_the_largest_of_a_minute_is_gone_a_minute_later() -> None:
    peaks = Peaks(5, 300)
    peaks.advance(1001, 0.0)
    peaks.advance(1040, 7.0)  # was the largest of second 1001
    peaks.advance(1041, 3.0)
    assert peaks.max(60, 1055) == 7
    assert peaks.max(60, 1070) == 3
    assert peaks.max(300, 1070) == 7
    assert peaks.max(300, 1400) == 0


def test_requests_are_spread_over_the_buckets_of_the_histograms() -> None:
    """As the recorder has them: up to 1 s and up to 2; up to 64 tokens, up to 256, above 128,000."""
    place = Windows(Limits.shipped())["chat", "claude-opus-5-5"]
    place.advance(1000)
    for seconds, first, output in ((1.0, 0.1, 64), (1.01, None, 65), (700.0, 61.0, 128_001)):
        place.count("success", 1, seconds, first)
        place.spend(Bill((), (), 0.0, "unasked"), 1, 0.0, 0, 0, output)
    durations, answers = place.spread(30, 1000)
    assert durations == [0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert answers == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert place.first_tokens(1000) == [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    assert sum(place.spread(30, 1030).answers) == 3
    assert sum(place.spread(30, 1031).answers) == 0
    assert sum(place.spread(300, 1309).answers) == 3
    assert sum(place.spread(300, 1310).answers) == 0


def test_a_miss_is_worth_a_look_when_half_a_minute_s_threshold_is_lost() -> None:
    limits = Limits.shipped().replace(cost_usd_per_minute=1e9, cache_miss_cost_usd_per_minute=1)
    place = Windows(limits)["chat", "claude-opus-5-5"]
    place.advance(1000)
    miss = Bill((), (), 0.3, "miss", 0.25)
    assert [place.spend(miss, 1, 0.3, 100, 0, 10) for _ in range(3)] == [False, False, True]
    assert not place.spend(Bill((), (), 0.3, "hit"), 1, 0.3, 100, 100, 10)  # nothing is lost by it


def test_a_window_includes_the_elapsed_part_of_the_current_step() -> None:
    assert window_minutes(1000.0) == {30: 0.5, 300: 5.0}
    assert window_minutes(1009.25) == {30: pytest.approx(30.25 / 60), 300: pytest.approx(309.25 / 60)}


def test_a_place_takes_no_more_memory_after_a_day() -> None:
    place = Windows(Limits.shipped())["chat", "claude-opus-5-5"]
    rings = [getattr(place, name) for name in place.__slots__ if isinstance(getattr(place, name), Ring)]
    before = [len(ring._marks) for ring in rings]
    for second in range(0, 86_400, 7):
        place.advance(second)
        place.spend(Bill((), (), 0.1, "miss", 0.01), 1, 0.1, 100, 0, second)
    assert [len(ring._marks) for ring in rings] == before
    assert sum(before) == (12 + 12 + 26 + 26 + 14) * 32
