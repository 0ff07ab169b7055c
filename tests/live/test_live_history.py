from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from anthropic_exporter import Call, Recorder
from anthropic_exporter.live import history as h
from anthropic_exporter.live.history import BOUNDS, History, top
from anthropic_exporter.metrics.quantiles import quantile


@pytest.fixture
def priced(recorder: Recorder) -> History:
    """The history of what the recorder passes on at second 0."""
    found = History(0.0)
    recorder.subscribe(lambda one: found.add(one, 0.0))
    return found


def test_dollars_and_tokens_are_added_by_type(recorder: Recorder, priced: History, call: Callable[..., Call]) -> None:
    recorder.record(call(input=1_000, cache_read=2_000, cache_write_5m=3_000, cache_write_1h=4_000, output=171))
    totals = priced.total.totals
    assert totals[h.TOKENS : h.TOKENS + 5] == [1_000, 2_000, 3_000, 4_000, 171]
    assert totals[h.REQUESTS] == 1
    assert sum(totals[: h.TOKENS]) == pytest.approx(priced.features[""].totals[h.NAME_USD])
    assert all(totals[:5])


@pytest.mark.parametrize(
    ("outcome", "failed", "blocked"),
    [("success", 0, 0), ("overloaded_error", 1, 0), ("abandoned", 0, 0), ("blocked", 0, 1)],
)
def test_what_failed_and_what_was_blocked_are_distinguished(
    recorder: Recorder, priced: History, call: Callable[..., Call], outcome: str, failed: int, blocked: int
) -> None:
    recorder.record(call(outcome=outcome))
    assert (priced.total.totals[h.FAILED], priced.total.totals[h.BLOCKED]) == (failed, blocked)


def test_cache_hits_and_misses_are_counted_in_total_and_by_feature(
    recorder: Recorder, priced: History, call: Callable[..., Call]
) -> None:
    recorder.record(call(feature="chat", cache_read=5_000, cache_asked=True))
    recorder.record(call(feature="chat", cache_write_5m=5_000, cache_asked=True))
    recorder.record(call(feature="plain", input=5_000))
    assert priced.total.totals[h.HITS : h.MISSES + 1] == [1, 1]
    assert priced.total.totals[h.MISS_USD] > 0
    assert [(row.name, row.hit_ratio) for row in top(priced.features, 5)] == [("chat", 0.5), ("plain", None)]


def test_tokens_of_an_unknown_model_are_counted_and_not_priced(
    recorder: Recorder, priced: History, call: Callable[..., Call]
) -> None:
    recorder.record(call(model="claude-of-tomorrow", input=500, output=171))
    recorder.read()  # waits for the price that is looked up
    assert priced.total.totals[h.UNPRICED] == 671
    assert sum(priced.total.totals[: h.TOKENS]) == 0


def test_batch_results_spend_and_are_not_requests(
    recorder: Recorder, priced: History, call: Callable[..., Call]
) -> None:
    recorder.record(call(requests=0, tier="batch", feature="night", output=171))
    (row,) = top(priced.features, 5)
    assert (row.quarter_requests, row.quarter_tokens) == (0, 171)
    assert row.total_usd > 0


def test_the_top_is_who_spent_most_in_15_minutes(recorder: Recorder, call: Callable[..., Call]) -> None:
    found = History(0.0)
    now = [0.0]
    recorder.subscribe(lambda one: found.add(one, now[0]))
    recorder.record(call(feature="early", output=100_000))
    now[0] = 2_000.0
    recorder.record(call(feature="small", output=10))
    recorder.record(call(feature="large", output=1_000))
    found.advance(2_000.0)
    rows = top(found.features, 2)
    assert [row.name for row in rows] == ["large", "small"]
    assert rows[0].minute_usd == pytest.approx(rows[0].quarter_usd)
    assert top(found.features, 3)[2].quarter_usd == 0


def test_a_closed_step_shows_who_spent_in_it(recorder: Recorder, call: Callable[..., Call]) -> None:
    found = History(0.0)
    recorder.subscribe(lambda one: found.add(one, 3.0))
    recorder.record(call(feature="chat", output=1_000))
    recorder.record(call(feature="free"))
    found.advance(5.0)
    step = found.step(0)
    assert step.counts[h.REQUESTS] == 2
    assert list(step.feature_usd) == ["chat"]
    assert step.feature_usd["chat"] == pytest.approx(sum(step.counts[: h.TOKENS]))


def test_percentiles_are_within_a_fifth_of_the_true_ones() -> None:
    chance = random.Random(1)
    values = sorted(chance.lognormvariate(0.5, 1.0) for _ in range(10_000))
    counts = [0.0] * (len(BOUNDS) + 1)
    for value in values:
        counts[h.bisect_left(BOUNDS, value)] += 1  # type: ignore[attr-defined]
    for rank in (0.5, 0.95):
        assert quantile(rank, counts, BOUNDS) == pytest.approx(values[int(rank * 10_000)], rel=0.05)


@pytest.mark.parametrize("rank", [0.5, 0.95])
def test_the_percentile_of_one_value_lies_in_its_bucket(rank: float) -> None:
    counts = [0.0] * (len(BOUNDS) + 1)
    counts[10] = 1
    assert BOUNDS[9] <= quantile(rank, counts, BOUNDS) <= BOUNDS[10]


def test_no_value_has_no_percentile_and_a_huge_one_is_the_last_bound() -> None:
    counts = [0.0] * (h.TTFT + len(BOUNDS) + 1)
    assert h.percentiles(counts) == [None] * 4
    counts = [0.0] * len(BOUNDS) + [1]
    assert quantile(0.5, counts, BOUNDS) == BOUNDS[-1]
    assert BOUNDS[-1] > 600
