from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest

from anthropic_exporter import Call, Inference, Recorder, Tokens
from anthropic_exporter.pricing.book import PriceBook
from support import Samples

MILLION = 1_000_000
BOOK = PriceBook.load()


def dollars(call: Call) -> float:
    return BOOK.bill(call).total_usd


def at(day: str) -> float:
    return dt.datetime.fromisoformat(f"{day}T12:00:00+00:00").timestamp()


def test_each_kind_of_token_has_its_own_price(call: Callable[..., Call]) -> None:
    bill = BOOK.bill(call(input=1000, cache_read=2000, cache_write_5m=3000, cache_write_1h=4000, output=5000))
    assert bill.costs[0] == pytest.approx((0.004, 0.0004, 0.015, 0.032, 0.1), rel=1e-12)
    assert bill.total_usd == pytest.approx(0.1514, rel=1e-12)


@pytest.mark.parametrize(
    ("fields", "usd"),
    [
        ({"model": "claude-opus-5-5"}, 4.0),
        ({"model": "claude-opus-5-5", "tier": "batch"}, 2.0),
        ({"model": "claude-opus-5-5", "tier": "fast"}, 8.0),
        ({"model": "claude-opus-5-5", "tier": "priority"}, 4.0),
        ({"model": "claude-opus-5-5", "inference_geo": "us"}, 4.4),
        ({"model": "claude-opus-5-5", "inference_geo": "us", "tier": "batch"}, 2.2),
        ({"model": "claude-opus-5-5", "inference_geo": "global"}, 4.0),
        ({"model": "claude-opus-4-6", "inference_geo": "us"}, 5.5),
        ({"model": "claude-opus-4-5", "inference_geo": "us"}, 5.0),
        ({"model": "claude-haiku-4-5", "regional": True}, 1.1),
        ({"model": "claude-opus-4-1", "regional": True}, 15.0),
        ({"model": "claude-mythos-5"}, 10.0),
        ({"model": "claude-mythos-5-1"}, 10.0),
        ({"model": "claude-mythos-5-2", "tier": "fast"}, 16.0),
        ({"model": "claude-opus-4-6@20260205"}, 5.0),
        ({"model": "us.anthropic.claude-opus-4-6-v1:0"}, 5.5),
        ({"model": "us-gov.anthropic.claude-opus-4-6-v1:0"}, 6.0),
        ({"model": "global.anthropic.claude-opus-4-6-v1:0"}, 5.0),
        ({"model": "vertex_ai/claude-opus-4-6@20260205"}, 5.0),
        ({"model": "openrouter/anthropic/claude-opus-4.6:beta"}, 5.0),
        ({"model": "claude-opus-5-5-fast"}, 8.0),
        ({"model": "claude-haiku-4-5-20251001"}, 1.0),
        ({"model": "claude-opus-5-5", "billable": False}, 0.0),
    ],
)
def test_factors_of_a_million_input_tokens(call: Callable[..., Call], fields: dict[str, Any], usd: float) -> None:
    assert dollars(call(input=MILLION, **fields)) == pytest.approx(usd, rel=1e-12)


@pytest.mark.parametrize(("prompt", "usd"), [(100_000, 0.0105), (100_001, 0.0525005)])
def test_the_cliff_of_haiku_5_5_is_above_100_000_prompt_tokens(
    call: Callable[..., Call], prompt: int, usd: float
) -> None:
    assert dollars(call(model="claude-haiku-5-5", input=prompt, output=1000)) == pytest.approx(usd, rel=1e-12)


def test_cache_reads_and_writes_count_towards_the_cliff(call: Callable[..., Call]) -> None:
    spent = dollars(call(model="claude-haiku-5-5", input=1, cache_read=50_000, cache_write_5m=50_000))
    assert spent == pytest.approx(0.0000005 + 0.0025 + 0.03125, rel=1e-12)


@pytest.mark.parametrize(("day", "usd"), [("2026-10-06", 0.2), ("2026-10-07", 0.1)])
def test_the_price_of_the_day_of_the_request_counts(call: Callable[..., Call], day: str, usd: float) -> None:
    assert dollars(call(model="claude-sonnet-5-5", cache_read=MILLION, started_at=at(day))) == pytest.approx(usd)


@pytest.mark.parametrize(("day", "cost"), [("2026-11-29", 10.0), ("2026-11-30", None)])
def test_fast_mode_of_opus_4_8_ends_on_2026_11_30(call: Callable[..., Call], day: str, cost: float | None) -> None:
    bill = BOOK.bill(call(model="claude-opus-4-8", tier="fast", input=MILLION, started_at=at(day)))
    assert (bill.costs[0] and bill.costs[0].input) == cost


def test_web_searches_cost_a_cent_each_whatever_the_geography(call: Callable[..., Call]) -> None:
    bill = BOOK.bill(call(input=0, server_tools=(("web_search", 3), ("web_fetch", 9)), inference_geo="us"))
    assert bill.server_tools == (("web_search", 0.03), ("web_fetch", 0.0))


def test_each_inference_is_priced_on_its_own_model(call: Callable[..., Call]) -> None:
    inferences = (
        Inference("claude-opus-5-5", Tokens(input=MILLION)),
        Inference("claude-haiku-4-5", Tokens(output=MILLION)),
        Inference("claude-unheard-of", Tokens(output=MILLION)),
    )
    bill = BOOK.bill(call(inferences=inferences))
    assert [cost and sum(cost) for cost in bill.costs] == [4.0, 5.0, None]
    assert bill.total_usd == 9.0


def test_a_free_refusal_neither_saves_nor_pays(call: Callable[..., Call]) -> None:
    bill = BOOK.bill(call(input=5000, cache_write_5m=50_000, cache_asked=True, billable=False))
    assert (bill.total_usd, bill.cache_miss_cost_usd, bill.cache_write_premium_usd) == (0.0, 0.0, 0.0)


def test_100_000_additions_stay_within_1e_9_of_the_exact_sum(
    recorder: Recorder, samples: Samples, call: Callable[..., Call]
) -> None:
    exact, rate = Fraction(0), Fraction(4, 10**6)
    for number in range(100_000):
        tokens = 1 + number * 7919 % 50_000
        recorder.record(call(input=tokens))
        exact += tokens * rate
    shown = Fraction(samples("anthropic_cost_usd_total", type="input"))
    assert abs(shown - exact) / exact < Fraction(1, 10**9)
