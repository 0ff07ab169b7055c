"""The shipped book beside genai-prices: equal everywhere but where the table says, and there by its reason."""

from __future__ import annotations

import datetime as dt

import pytest

from anthropic_exporter import price_file
from anthropic_exporter.prices import PriceBook
from support import NOON

genai = pytest.importorskip("genai_prices")
BOOK = PriceBook.load()
USAGES = {
    "input": {"input_tokens": 1000},
    "cache_read": {"input_tokens": 1000, "cache_read_tokens": 1000},
    "cache_write_5m": {"input_tokens": 1000, "cache_write_tokens": 1000},
    "cache_write_1h": {"input_tokens": 1000, "cache_write_tokens": 1000, "cache_write_1h_tokens": 1000},
    "output": {"output_tokens": 1000},
}
CONTEXTS = {"standard": None, "batch": {"processing": "batch"}, "fast": {"speed": "fast"}}
#: (model, tier) -> why genai-prices 0.2.3 says something else.
UNKNOWN_THERE = "genai-prices does not know the model; ours is from the pricing page"
NO_VARIANT = "retired on the API before genai-prices had batch variants: it silently gives the standard price"
NO_FAST = "no fast mode: we have no price, genai-prices silently gives the standard price"
EXPECTED = {
    **{(model, tier): UNKNOWN_THERE for model in ("claude-mythos-5", "claude-mythos-5-1") for tier in CONTEXTS},
    **{(model, "batch"): NO_VARIANT for model in ("claude-opus-4", "claude-opus-4-1")},
    **{
        (name, "fast"): NO_FAST
        for name, model in price_file.shipped().models.items()
        if "fast" not in model.rows[0].factors and not name.startswith("claude-mythos")
    },
}


def theirs(model, kind, tier, prompt=0):
    at = dt.datetime.fromtimestamp(NOON, dt.timezone.utc)
    usage = genai.Usage(**USAGES[kind])
    return genai.calc_price(
        usage, model, provider_id="anthropic", genai_request_timestamp=at, price_context=CONTEXTS[tier]
    )


def differs(call, model, tier):
    for kind in USAGES:
        ours = BOOK.bill(call(model=model, tier=tier, **{kind: 1000}))
        try:
            other = theirs(model, kind, tier)
        except LookupError:
            return True
        if ours.costs[0] is None or ours.total_usd != pytest.approx(float(other.total_price), rel=1e-12):
            return True
    return False


@pytest.mark.parametrize("tier", CONTEXTS)
def test_the_book_differs_from_genai_prices_exactly_where_the_table_says(call, tier):
    found = {model for model in BOOK.models if differs(call, model, tier)}
    assert found == {model for model, of in EXPECTED if of == tier}


def test_the_long_prompt_prices_are_those_of_genai_prices(call):
    for tokens in (100_000, 100_001):
        usage = genai.Usage(input_tokens=tokens, output_tokens=1000)
        other = genai.calc_price(usage, "claude-haiku-5-5", provider_id="anthropic").total_price
        ours = BOOK.bill(call(model="claude-haiku-5-5", input=tokens, output=1000)).total_usd
        assert ours == pytest.approx(float(other), rel=1e-12)
