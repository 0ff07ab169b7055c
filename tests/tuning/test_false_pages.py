"""The promise of thresholds for latency and spikes, on another week of the same traffic: the short form of
`python -m bench.tuning.false_pages`, which takes many weeks and every feature; and for other shapes of traffic, that of
`python -m bench.tuning.pages_by_shape`."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from bench.false_alarms import traffic
from bench.tuning import false_pages, pages_by_shape

from anthropic_exporter.tuning import tail

CHAT = traffic.FEATURES[0]


@pytest.fixture(scope="module")
def weeks() -> Any:
    return [false_pages.of_feature(CHAT, seed, (false_pages.LATENCY, false_pages.SPIKE)) for seed in range(2)]


@pytest.mark.parametrize("kind", [false_pages.LATENCY, false_pages.SPIKE])
def test_the_promise_holds_on_another_week(weeks: Any, kind: Any) -> None:
    first, second = (week[kind] for week in weeks)
    bounds = false_pages.BOUNDS if kind == false_pages.LATENCY else ()
    threshold = false_pages.choose({"chat": first}, 1.0, false_pages.FLOORS[kind], bounds)["chat"]
    assert tail.episodes(second.pages, threshold) <= 1
    # and it is not simply out of reach
    assert threshold < 3 * max(value for _, value in second.pages)


@pytest.mark.parametrize("days", [7, 1])
@pytest.mark.parametrize("shape", ["nightly", "bursts", "few"])
def test_the_promise_holds_for_other_shapes_of_traffic(shape: str, days: int) -> None:
    weeks = [pages_by_shape.signals((shape, week)) for week in range(3)]
    found = [pages_by_shape.counted(weeks, number, days, is_growing=False) for number in range(3)]
    assert pages_by_shape.holds(found)
    # no threshold is out of reach: at most 5 times the greatest value that was seen, and two digits
    assert max(above for one in found for above in one.multiples) <= 5.5


def test_a_day_of_few_requests_promises_nothing_and_expects_more_than_comes() -> None:
    weeks = [pages_by_shape.signals(("few", week)) for week in range(3)]
    found = [pages_by_shape.counted(weeks, number, 1, is_growing=False) for number in range(3)]
    assert not any(one.is_promised for one in found)
    assert statistics.fmean(one.pages for one in found) < min(one.expected for one in found)


def test_quantiles_are_those_of_the_buckets() -> None:
    # 18 of 20 in (1, 2], two in (5, 10]: rank 19 of 20 is half of the latter
    assert false_pages.quantile([1.5] * 18 + [6.0] * 2, 0.95) == 7.5
    assert false_pages.quantile([1_000.0], 0.95) == 600


@pytest.mark.parametrize(
    ("requests", "usual", "share"), [(100, None, 1.0), (100, 40, 0.8), (100, 90, 0.9), (9, 20, 1.0)]
)
def test_what_came_by_chance_is_left_out(requests: Any, usual: Any, share: Any) -> None:
    assert false_pages.beyond_chance(requests, usual) == share
