"""Prices of models that the book does not know, from the library genai-prices (extra `prices`), as rows of the book.

Written against genai-prices 0.2.3, read 2026-11-21. How it answers, and what this module does about it:

- A request context that it does not know silently gives the standard price. A tier counts as known only where every
  price of it is the same multiple of the standard price, and not 1; else the tier stays unpriced.
- A kind of token without a price of its own is billed as the kind it is part of: 1h writes as writes, cache reads and
  writes as input.
- It does not know `inference_geo`. The API takes `us` on Claude 4.6 and later only, and there it is 1.1.
- Regional prices are those of its provider `aws`, whose bare names are the regional endpoints; 1.1 where it has none.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import itertools
from typing import Any

from anthropic_exporter.pricing.book import bare_name
from anthropic_exporter.pricing.price_file import UNCHECKED, USUAL_MINIMUM_TOKENS, Model, Rates, Row

ORIGIN = "genai-prices"
# The two factors of every model new enough to have them (pricing page, read 2026-11-21).
_GEO_US = _REGIONAL = 1.1
_KEYS = (
    ("input_mtok",),
    ("cache_read_mtok", "input_mtok"),
    ("cache_write_5m_mtok", "cache_write_mtok", "input_mtok"),
    ("cache_write_1h_mtok", "cache_write_mtok", "input_mtok"),
    ("output_mtok",),
)
_CONTEXTS = {"batch": {"processing": "batch"}, "fast": {"speed": "fast"}}


def installed() -> bool:
    """Whether the library is installed. It is imported only when a model has to be looked up."""
    return importlib.util.find_spec("genai_prices") is not None


def look_up(name: str) -> Model | None:
    """The prices of a model in genai-prices, or None if it has none. Takes a few ms, the first time 50."""
    import genai_prices  # noqa: PLC0415 - an extra, and slow to import

    bare = bare_name(name)
    try:
        info = _found(bare, dt.datetime.now(dt.timezone.utc)).model
        starts = _starts(info)
        rows = tuple(_row(bare, *days) for days in itertools.pairwise([*starts, dt.date.max]))
    except LookupError:
        return None
    source = f"genai-prices {genai_prices.__version__}"
    return Model(name, rows, USUAL_MINIMUM_TOKENS, source, UNCHECKED, {}, ORIGIN)


def _found(name: str, at: dt.datetime, provider: str = "anthropic", context: dict[str, str] | None = None) -> Any:
    from genai_prices import Usage, calc_price  # noqa: PLC0415 - an extra, and slow to import

    one = Usage(input_tokens=1)
    return calc_price(one, name, provider_id=provider, genai_request_timestamp=at, price_context=context)


def _starts(info: Any) -> list[dt.date]:
    """The days on which any of a model's prices changes."""
    dated = [*(info.prices if isinstance(info.prices, list) else ()), *(info.price_variants or ())]
    days: set[dt.date] = {one.constraint.start_date for one in dated if hasattr(one.constraint, "start_date")}
    return [dt.date.min, *sorted(days)]


def _row(name: str, start: dt.date, end: dt.date) -> Row:
    at = dt.datetime.combine(max(start, UNCHECKED), dt.time(), dt.timezone.utc)
    standard = _found(name, at).model_price
    rates, above = _rates(standard), _threshold(standard)
    factors = {"geo_us": _GEO_US, "regional": _regional(name, at, rates)}
    for tier, context in _CONTEXTS.items():
        factor = _factor(rates, _rates(_found(name, at, context=context).model_price))
        if factor is not None and factor != 1.0:
            factors[tier] = factor
    return Row(start, end, rates, _rates(standard, long=True) if above else None, above, factors)


def _threshold(price: Any) -> int:
    """Prompt tokens above which the long-prompt prices hold; 0 for none.

    Raises:
        LookupError: more than one such limit, which our rows cannot say.
    """
    starts = {tier.start for value in vars(price).values() for tier in getattr(value, "tiers", ())}
    if len(starts) > 1:
        raise LookupError
    return int(starts.pop()) if starts else 0


def _rates(price: Any, *, long: bool = False) -> Rates:
    return Rates(*(_rate(price, keys, long) for keys in _KEYS))


def _rate(price: Any, keys: tuple[str, ...], long: bool) -> float:
    """Dollars per token of the first key that has a price."""
    value: Any = next((value for value in (vars(price).get(key) for key in keys) if value is not None), 0)
    if hasattr(value, "tiers"):
        value = value.tiers[-1].price if long else value.base
    return float(value) / 1_000_000


def _regional(name: str, at: dt.datetime, rates: Rates) -> float:
    try:
        there = _rates(_found(name, at, "aws").model_price)
        factor = _factor((rates.input, rates.output), (there.input, there.output))
    except LookupError:
        factor = None
    return _REGIONAL if factor is None else factor


def _factor(rates: tuple[float, ...], others: tuple[float, ...]) -> float | None:
    """The one number that all prices are multiplied by, or None if they differ."""
    ratios = {round(other / rate, 6) for rate, other in zip(rates, others, strict=True) if rate}
    return ratios.pop() if len(ratios) == 1 else None
