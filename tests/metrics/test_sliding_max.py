from __future__ import annotations

from anthropic_exporter.metrics.sliding_max import SlidingMax


def test_the_largest_value_is_seen_for_60_seconds() -> None:
    window = SlidingMax()
    window.add(1000, 0.5)
    window.add(1000, 2.5)
    window.add(1001, 1.0)
    assert window.max(1001.0) == 2.5
    assert window.max(1059.9) == 2.5
    assert window.max(1060.0) == 1.0
    assert window.max(1061.0) == 0.0


def test_reading_resets_nothing() -> None:
    window = SlidingMax()
    window.add(1000, 3.0)
    assert [window.max(1030.0), window.max(1030.0)] == [3.0, 3.0]


def test_a_clock_that_jumps_back_does_not_show_the_future() -> None:
    window = SlidingMax()
    window.add(2000, 9.0)
    assert window.max(1000.0) == 0.0
