"""The shipped book beside genai-prices: equal everywhere but where the table says, and there by its reason."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest

from anthropic_exporter import Call
from anthropic_exporter.pricing import price_file
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.pricing.price_file import RATE_KEYS, PriceFile
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


def at(*day: int) -> datetime:
    return dt.datetime(*day, 12, tzinfo=dt.timezone.utc)  # type: ignore[arg-type, call-arg, misc]


def then(*day: int, **fields: str) -> tuple[dict[str, Any], dict[str, datetime]]:
    return fields | {"started_at": at(*day).timestamp()}, {"genai_request_timestamp": at(*day)}


FAST = {"price_context": {"speed": "fast"}}
CUT, REMOVED = then(2026, 10, 6), then(2026, 12, 1, tier="fast")
#: situation -> what our call says of it, what genai-prices is told of it.
SITUATIONS = {
    "standard": ({}, {}),
    "batch": ({"tier": "batch"}, {"price_context": {"processing": "batch"}}),
    "fast": ({"tier": "fast"}, FAST),
    "us inference": ({"inference_geo": "us"}, {"price_context": {"inference_geo": "us"}}),
    "regional": ({"regional": True}, {"provider_id": "aws"}),
    "before the cut of 2026-10-07": CUT,
    "fast after 2026-11-30": (REMOVED[0], REMOVED[1] | FAST),
}
#: Ids on Bedrock that are more than `us.anthropic.` and the model's name.
ON_BEDROCK = {
    "claude-opus-4": "us.anthropic.claude-opus-4-20250514-v1:0",
    "claude-opus-4-1": "us.anthropic.claude-opus-4-1-20250805-v1:0",
    "claude-sonnet-4-5": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "claude-haiku-4-5": "us.anthropic.claude-haiku-4-5-20251001-v1:0",
}

UNKNOWN_THERE = "genai-prices does not know the model; ours is from the pricing page"
NO_VARIANT = "retired on the API before genai-prices had batch variants: it silently gives the standard price"
NO_FAST = "no fast mode: we have no price, genai-prices silently gives the standard price"
NO_GEO = "genai-prices does not know inference_geo and silently gives the standard price"
NO_HISTORY = "genai-prices has the price after the cut for the days before it, too"
NO_1H = "genai-prices has no price of 1h writes on Bedrock for it and bills them as 5m"
NO_END = "fast mode is removed on 2026-11-30; genai-prices has no end of it"


def having(factor: str) -> set[str]:
    return {name for name, model in price_file.shipped().models.items() if factor in model.rows[0].factors}


EVERY = set(BOOK.models)
#: (model, situation) -> why genai-prices 0.2.3 says something else.
EXPECTED = {
    **{(model, "batch"): NO_VARIANT for model in ("claude-opus-4", "claude-opus-4-1")},
    **{(model, "regional"): NO_1H for model in ("claude-opus-4", "claude-opus-4-1")},
    **{(model, fast): NO_FAST for model in EVERY - having("fast") for fast in ("fast", "fast after 2026-11-30")},
    **{(model, "us inference"): NO_GEO for model in having("geo_us")},
    ("claude-sonnet-5-5", "before the cut of 2026-10-07"): NO_HISTORY,
    ("claude-opus-4-8", "fast after 2026-11-30"): NO_END,
    **{(model, name): UNKNOWN_THERE for model in ("claude-mythos-5", "claude-mythos-5-1") for name in SITUATIONS},
}


def theirs(model: Any, usage: Any, told: Any) -> Any:
    options: dict[str, Any] = {"provider_id": "anthropic", "genai_request_timestamp": at(2026, 11, 21)} | told
    if options["provider_id"] == "aws":
        model = ON_BEDROCK.get(model, f"us.anthropic.{model}")
    return float(genai.calc_price(genai.Usage(**usage), model, **options).total_price)


def differs(call: Any, model: Any, situation: Any, book: Any = BOOK) -> Any:
    fields, told = SITUATIONS[situation]
    for kind, usage in USAGES.items():
        ours = book.bill(call(model=model, **{kind: 1000}, **fields))  # type: ignore[arg-type]
        try:
            other = theirs(model, usage, told)
        except LookupError:
            return True
        if ours.costs[0] is None or ours.total_usd != pytest.approx(other, rel=1e-12):
            return True
    return False


@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_book_differs_from_genai_prices_exactly_where_the_table_says(
    call: Callable[..., Call], situation: Any
) -> None:
    found = {model for model in BOOK.models if differs(call, model, situation)}
    assert found == {model for model, of in EXPECTED if of == situation}


@pytest.mark.parametrize("key", RATE_KEYS)
def test_a_price_that_is_wrong_by_a_thousandth_is_a_difference_on_every_model(
    call: Callable[..., Call], key: Any
) -> None:
    """The comparison can fail: on every model that genai-prices knows, for every kind of token."""

    def wrong(row: Any) -> Any:
        return row._replace(rates=row.rates._replace(**{key: getattr(row.rates, key) * 1.001}))

    models = {name: model._replace(rows=tuple(map(wrong, model.rows))) for name, model in BOOK.models.items()}
    book = PriceBook(PriceFile(models, BOOK.server_tools))
    assert {model for model in EVERY if not differs(call, model, "standard", book)} == set()


def test_web_searches_cost_there_what_they_cost_here(call: Callable[..., Call]) -> None:
    ours = BOOK.bill(call(input=0, server_tools=(("web_search", 1000),))).total_usd
    assert ours == theirs("claude-opus-5-5", {"input_tokens": 0, "web_searches": 1000}, {}) == 10.0


def test_the_long_prompt_prices_are_those_of_genai_prices(call: Callable[..., Call]) -> None:
    for tokens in (100_000, 100_001):
        for kind, usage in USAGES.items():
            prompt = {key: tokens for key in usage if key != "output_tokens"} or {"input_tokens": tokens}
            output = usage.get("output_tokens", 0)
            parts = {"input": tokens} | {"output": output} if kind == "output" else {kind: tokens}
            ours = BOOK.bill(call(model="claude-haiku-5-5", **parts)).total_usd
            other = theirs("claude-haiku-5-5", prompt | {"output_tokens": output}, {})
            assert ours == pytest.approx(other, rel=1e-12), (tokens, kind)


def test_the_table_is_about_the_version_that_is_installed() -> None:
    assert genai.__version__ == "0.2.3", "compare again, and write the version into the table"


def test_the_day_of_the_comparison_is_the_day_of_the_other_tests() -> None:
    assert at(2026, 11, 21).timestamp() == NOON
