"""The items of advice, each a formula on a `Usage`. Pure.

What an item saves is computed for it alone: two items on the same feature do not add up.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from anthropic_exporter.call import TOKEN_TYPES
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.pricing.price_file import Model, Rates, Row
from anthropic_exporter.tuning.advice import models
from anthropic_exporter.tuning.advice.usage import UNSTREAMED, Usage

MONTH_DAYS = 365.25 / 12
#: A change that saves a smaller share of its feature's and model's dollars is not worth making.
_WORTH = 0.02
#: The facts behind the formulas, with their sources; prices come from the price book.
_CACHING = "Anthropic's pages on prompt caching and pricing, read 2026-11-21"
_BATCHES = "Anthropic's pages on message batches (read 2026-11-30) and pricing (2026-11-21)"


class Item(NamedTuple):
    """One piece of advice.

    `usd_per_month` is what the change saves at the pace of the span. `data` are the figures that the formula is
    computed from, by name; `needs` is what only the team knows, empty if the figures suffice.
    """

    kind: str
    feature: str
    model: str
    usd_per_month: float
    change: str
    formula: str
    data: Mapping[str, float]
    source: str
    needs: str = ""


class FeatureModel(NamedTuple):
    """One feature on one model, with its prices at the end of the span."""

    model: str
    feature: str
    usage: Usage
    book: PriceBook
    priced: Model
    row: Row
    day: dt.date

    @property
    def rates(self) -> Rates:
        """Dollars a token."""
        return self.row.rates

    def prompts(self, kind: str, *gaps: str) -> float:
        """Watched tokens of one kind in some gaps."""
        return sum(self.usage.prompts.get((self.model, self.feature, kind, gap), 0.0) for gap in gaps)

    def waste(self, name: str) -> float:
        """Watched dollars."""
        return self.usage.waste.get((self.model, self.feature, name), 0.0)

    def monthly(self, usd: float) -> float:
        """Dollars a month at the pace of the span."""
        return usd * MONTH_DAYS / self.usage.days if self.usage.days else 0.0

    def item(self, kind: str, usd: float, change: str, formula: str, data: Mapping[str, float], source: str) -> Item:
        """An item that saves `usd` in the span."""
        return Item(kind, self.feature, self.model, self.monthly(usd), change, formula, data, source)


def items(usage: Usage, book: PriceBook, day: dt.date, least_usd: float, waited_for: Sequence[str] = ()) -> list[Item]:
    """All items that save at least `least_usd` a month and 2 % of their feature's dollars, the most dollars first.

    Args:
        usage: the recorded usage.
        book: prices.
        day: the day whose prices apply.
        least_usd: dollars a month.
        waited_for: features whose answers people wait for, so that they cannot be batched.
    """
    found = [item for place in _places(usage, book, day) for item in _worth(place, least_usd, waited_for)]
    return sorted(found, key=lambda item: (-item.usd_per_month, item.kind, item.feature, item.model))


def _worth(place: FeatureModel, least_usd: float, waited_for: Sequence[str]) -> list[Item]:
    spent = sum(usd for (model, feature, _), usd in place.usage.usd.items() if (model, feature) == place[:2])
    least = max(least_usd, _WORTH * place.monthly(spent))
    return [item for item in _of(place, waited_for) if item.usd_per_month > 0 and item.usd_per_month >= least]


def unpriced(usage: Usage, book: PriceBook, day: dt.date) -> list[str]:
    """Models without a price on a day, which get no advice."""
    priced = {place.model for place in _places(usage, book, day)}
    return sorted({model for model, _ in usage.places} - priced)


def _places(usage: Usage, book: PriceBook, day: dt.date) -> Iterator[FeatureModel]:
    for model, feature in usage.places:
        priced = book.model(model)
        row = None if priced is None else models.row_on(priced, day)
        if priced is not None and row is not None:
            yield FeatureModel(model, feature, usage, book, priced, row, day)


def _of(place: FeatureModel, waited_for: Sequence[str]) -> Iterator[Item]:
    yield from _best(_repeated_prefixes(place))
    yield from _best([*_lifetimes(place), *_unread_writes(place)])
    if place.feature not in waited_for:
        yield from _batches(place)
    for make in (_model, _long_prompts, _fast_mode, _region, _output):
        yield from make(place)


def _best(found: Iterator[Item] | list[Item]) -> list[Item]:
    """Of several items that exclude each other, the one that saves most."""
    saving = [item for item in found if item.usd_per_month > 0]
    return [max(saving, key=lambda item: item.usd_per_month)] if saving else []


def _repeated_prefixes(place: FeatureModel) -> Iterator[Item]:
    rates = place.rates
    within, later, rare, new = (place.prompts("uncached", gap) for gap in ("5m", "1h", "more", "new"))
    data = {"repeated within 5 min": within, "repeated within 1 h": later, "written": rare + new}
    short = within * (rates.input - rates.cache_read) - (later + rare + new) * (rates.cache_write_5m - rates.input)
    long = (within + later) * (rates.input - rates.cache_read) - (rare + new) * (rates.cache_write_1h - rates.input)
    where = "at the end of what repeats: the system prompt and tools, and the last message of a conversation"
    yield place.item(
        "uncached_prefix",
        short,
        f'Set cache_control {{"type": "ephemeral"}} {where}.',
        "repeated within 5 min x (input - cache read) - all others x (cache write 5m - input)",
        data | _prices(rates, "input", "cache_read", "cache_write_5m"),
        _CACHING,
    )
    yield place.item(
        "uncached_prefix",
        long,
        f'Set cache_control {{"type": "ephemeral", "ttl": "1h"}} {where}.',
        "repeated within 1 h x (input - cache read) - all others x (cache write 1h - input)",
        data | _prices(rates, "input", "cache_read", "cache_write_1h"),
        _CACHING,
    )


def _lifetimes(place: FeatureModel) -> Iterator[Item]:
    rates = place.rates
    lost = place.prompts("cache_write_5m", "1h")
    others = place.prompts("cache_write_5m", "5m", "more", "new")
    yield place.item(
        "cache_lifetime",
        lost * (rates.cache_write_5m - rates.cache_read) - others * (rates.cache_write_1h - rates.cache_write_5m),
        'Use a cache lifetime of an hour: cache_control {"type": "ephemeral", "ttl": "1h"}.',
        "written again after 5 min to 1 h x (write 5m - read) - all other writes x (write 1h - write 5m)",
        {"written again after 5 min to 1 h": lost, "other writes": others}
        | _prices(rates, "cache_read", "cache_write_5m", "cache_write_1h"),
        _CACHING,
    )
    long = place.prompts("cache_write_1h", "5m", "1h", "more", "new")
    late = place.prompts("cache_read", "1h")
    yield place.item(
        "cache_lifetime",
        long * (rates.cache_write_1h - rates.cache_write_5m) - late * (rates.cache_write_5m - rates.cache_read)
        if long
        else 0.0,
        'Use a cache lifetime of 5 minutes: cache_control {"type": "ephemeral"} without "ttl".',
        "written for 1 h x (write 1h - write 5m) - read after 5 min to 1 h x (write 5m - read)",
        {"written for 1 h": long, "read after 5 min to 1 h": late}
        | _prices(rates, "cache_read", "cache_write_5m", "cache_write_1h"),
        _CACHING,
    )


def _unread_writes(place: FeatureModel) -> Iterator[Item]:
    key = (place.model, place.feature)
    premium, saved = place.usage.premiums.get(key, 0.0), place.usage.savings.get(key, 0.0)
    yield place.item(
        "unread_cache_writes",
        premium - saved,
        "Remove cache_control, or move it before what changes from request to request (dates, names, retrieved text).",
        "paid for cache writes above plain input - saved by cache reads",
        {"write premium USD": premium, "read savings USD": saved},
        _CACHING,
    )


def _batches(place: FeatureModel) -> Iterator[Item]:
    factor = place.row.factors.get("batch")
    usd = min(place.usage.jobs.get((place.model, place.feature), 0.0), place.waste(UNSTREAMED))
    if factor is not None and usd:
        item = place.item(
            "batch",
            usd * (1 - factor),
            "Send them as message batches: the price is half, results come within 24 h, most within one.",
            "dollars of single requests without stream and tools, sent at a steady rate x (1 - batch factor)",
            {"job USD": usd, "all unstreamed USD": place.waste(UNSTREAMED), "batch factor": factor},
            _BATCHES,
        )
        yield item._replace(needs="whether people wait for these answers: if so, pass --waited-for")


def _model(place: FeatureModel) -> Iterator[Item]:
    other = models.newest_of_family(place.priced.name, place.book, place.day)
    row = None if other is None else models.row_on(other, place.day)
    if other is None or row is None:
        return
    ratio = models.token_ratio(place.priced.name, other.name)
    now = then = 0.0
    for (model, feature, tier, kind), tokens in place.usage.tokens.items():
        factors = [one.factors.get(tier, 1.0 if tier in ("standard", "priority") else None) for one in (place.row, row)]
        if (model, feature) == place[:2] and kind in TOKEN_TYPES and factors[0] and factors[1]:
            now += tokens * getattr(place.rates, kind) * factors[0]
            then += tokens * ratio * getattr(row.rates, kind) * factors[1]
    item = place.item(
        "model",
        now - then,
        f"Use {other.name}, the newest model of its family.",
        "dollars now - tokens x tokens for the same text x prices of the newer model",
        {"USD now": now, "USD then": then, "tokens for the same text": ratio},
        f"prices: {other.source}, checked {other.checked}; tokens: {models.TOKENIZER_SOURCE}",
    )
    cliff = f"whether prompts stay below {row.long_above_tokens:,} tokens, and " if row.long_rates else ""
    yield item._replace(needs=f"{cliff}whether its answers are good enough")


def _long_prompts(place: FeatureModel) -> Iterator[Item]:
    usd = place.waste("long_prompt")
    yield place.item(
        "long_prompt",
        usd,
        f"Keep prompts at or below {place.row.long_above_tokens:,} tokens: shorten, split, or drop old turns. Above "
        "it the whole request has higher prices.",
        "dollars of requests above the limit - their dollars at the prices below it",
        {"long prompt USD": usd, "limit tokens": float(place.row.long_above_tokens)},
        _prices_of(place),
    )


def _fast_mode(place: FeatureModel) -> Iterator[Item]:
    factor, usd = place.row.factors.get("fast"), place.usage.usd.get((place.model, place.feature, "fast"), 0.0)
    if factor is not None and usd:
        item = place.item(
            "fast_mode",
            usd * (1 - 1 / factor),
            'Omit speed: "fast".',
            "dollars in fast mode x (1 - 1 / fast factor)",
            {"fast USD": usd, "fast factor": factor},
            _prices_of(place),
        )
        yield item._replace(needs="whether the speed is worth it")


def _region(place: FeatureModel) -> Iterator[Item]:
    usd = place.waste("region")
    item = place.item(
        "region",
        usd,
        "Let requests run anywhere: omit inference_geo, or use the global endpoint.",
        "dollars of requests bound to a region x (1 - 1 / factor of the region)",
        {"premium USD": usd},
        _prices_of(place),
    )
    yield item._replace(needs="whether a contract or law binds your data to the region")


def _output(place: FeatureModel) -> Iterator[Item]:
    yield place.item(
        "cut_off_output",
        place.waste("cut_off"),
        "Answers end at max_tokens and are paid for: raise max_tokens if they are needed whole, or ask for less.",
        "dollars of the output of answers that stopped at max_tokens",
        {"cut off USD": place.waste("cut_off")},
        _prices_of(place),
    )
    yield place.item(
        "overlong_output",
        place.waste("overlong"),
        "Set max_tokens to 8 times the usual answer, and look for loops: some answers are far longer.",
        "dollars of output beyond 8 x the usual length (geometric mean, at least 2,000 tokens)",
        {"overlong USD": place.waste("overlong")},
        _prices_of(place),
    )


def _prices(rates: Rates, *kinds: str) -> dict[str, float]:
    """Dollars a million tokens, by name."""
    return {f"{kind} USD/M": getattr(rates, kind) * 1e6 for kind in kinds}


def _prices_of(place: FeatureModel) -> str:
    return f"prices: {place.priced.source}, checked {place.priced.checked}"
