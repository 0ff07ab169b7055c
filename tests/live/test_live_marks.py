from __future__ import annotations

from anthropic_exporter.live.marks import RecentTotals


def test_the_last_minute_is_the_last_60_seconds_with_the_running_one() -> None:
    counts = RecentTotals(1, 1000.0)
    for second in range(1000, 1100):
        counts.advance(second + 0.5)
        counts.totals[0] += 1
    assert counts.minute() == [60]
    counts.advance(1100.0)
    assert counts.minute() == [59]
    counts.advance(1158.9)
    assert counts.minute() == [1]
    counts.advance(1159.0)
    assert counts.minute() == [0]


def test_a_quarter_of_an_hour_is_180_steps_of_5_seconds_with_the_running_one() -> None:
    counts = RecentTotals(2, 0.0)
    counts.totals[1] += 7
    counts.advance(899.9)
    assert counts.quarter() == [0, 7]
    assert counts.quarter_of(1) == 7
    counts.advance(900.0)
    assert counts.quarter() == [0, 0]


def test_a_step_holds_what_came_within_its_5_seconds() -> None:
    counts = RecentTotals(1, 0.0)
    for second, value in ((0, 1), (4, 2), (5, 10), (14, 100)):
        counts.advance(second)
        counts.totals[0] += value
    counts.advance(20)
    assert [counts.step(step) for step in range(4)] == [[3], [10], [100], [0]]
    assert [counts.step_of(0, step) for step in range(4)] == [3, 10, 100, 0]
    assert counts.step(2, 2) == [110]


def test_a_gap_longer_than_the_memory_leaves_nothing_behind() -> None:
    counts = RecentTotals(1, 0.0)
    counts.totals[0] += 5
    counts.advance(1_000_000.0)
    assert (counts.minute(), counts.quarter()) == ([0], [0])
    counts.totals[0] += 2
    assert (counts.minute(), counts.quarter()) == ([2], [2])


def test_a_clock_that_stops_or_goes_back_changes_nothing() -> None:
    counts = RecentTotals(1, 100.0)
    counts.totals[0] += 5
    counts.advance(40.0)
    counts.advance(100.0)
    assert counts.minute() == [5]


def test_looking_back_further_than_is_known_gives_all_that_is_known() -> None:
    counts = RecentTotals(1, 1000.0)
    counts.totals[0] += 3
    assert (counts.minute(), counts.quarter()) == ([3], [3])
