"""What the counters of a service say is what the windows of one process would have counted."""

from __future__ import annotations

import random
from collections.abc import Callable

from anthropic_exporter import Call, Recorder
from anthropic_exporter.guard import Guard
from anthropic_exporter.guard.measuring.growth import DAY_TOKENS, DAY_USD, PlaceTotals, grown
from support import Clock

OUTCOMES = (
    "success",
    "success",
    "rate_limit_error",
    "overloaded_error",
    "api_error",
    "timeout",
    "cancelled",
    "truncated",
)


def test_counters_and_windows_agree_on_every_column(
    recorder: Recorder, guard: Guard, call: Callable[..., Call], clock: Clock
) -> None:
    guard.tick()
    draw = random.Random(7)
    for _ in range(400):
        outcome = draw.choice(OUTCOMES)
        tokens = {"input": draw.randrange(5000), "output": draw.randrange(3000)} if outcome == "success" else {}
        cached = {"cache_read": draw.choice((0, 3000)), "cache_write_5m": draw.choice((0, 2000))} if tokens else {}
        one = call(
            **tokens,
            **cached,
            feature=draw.choice(("chat", "search")),
            outcome=outcome,
            tier=draw.choice(("standard", "standard", "batch")),
            duration_seconds=draw.choice((0.3, 4.0, 700.0)),
            time_to_first_token_seconds=draw.choice((None, 0.15, 2.5)),
            cache_asked=draw.random() < 0.5,
        )
        # Batch results are not requests; what their cache misses cost has no label that tells them apart.
        recorder.record(one._replace(requests=0, cache_asked=False) if one.tier == "batch" else one)
    totals = PlaceTotals().read(recorder.snapshot())
    assert totals.keys() == guard._watch.windows.keys() == {("chat", one.model), ("search", one.model)}
    for key, columns in totals.items():
        place = guard._watch.windows[key]
        expected = [*place.totals, *place._spread, *place._first_tokens.totals]
        assert [round(value, 9) for value in columns[:DAY_TOKENS]] == [round(value, 9) for value in expected]
    spent = {one.feature: (one.tokens, round(one.usd, 9)) for one in guard.today()}
    assert {key[0]: (columns[DAY_TOKENS], round(columns[DAY_USD], 9)) for key, columns in totals.items()} == spent


def test_only_places_that_grew_are_named_and_a_smaller_total_is_a_new_one() -> None:
    before = {("a", "m"): [1.0, 2.0], ("b", "m"): [3.0, 3.0]}
    now = {("a", "m"): [1.5, 2.0], ("b", "m"): [3.0, 3.0], ("c", "m"): [0.0, 4.0], ("d", "m"): [0.5, 0.0]}
    assert grown(now, before | {("d", "m"): [7.0, 0.0]}) == {
        ("a", "m"): [0.5, 0.0],
        ("c", "m"): [0.0, 4.0],
        ("d", "m"): [0.5, 0.0],
    }
