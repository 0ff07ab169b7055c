"""Where calls of one kind are written, and at what prices, found once for all of them."""

from __future__ import annotations

from typing import Any

from anthropic_exporter.call import Call
from anthropic_exporter.metrics.cells import Block
from anthropic_exporter.metrics.label_sets import Slot
from anthropic_exporter.metrics.layout import (
    CACHE_READ,
    CACHE_READ_USD,
    CACHE_RESULT,
    CACHE_WRITE_1H,
    CACHE_WRITE_1H_USD,
    CACHE_WRITE_5M,
    CACHE_WRITE_5M_USD,
    INPUT,
    INPUT_USD,
    MISS_COST,
    OUTPUT,
    OUTPUT_USD,
    PREMIUM,
    SAVINGS,
)
from anthropic_exporter.pricing.book import Card, PriceBook
from anthropic_exporter.pricing.price_file import Rates


class Line:
    """Where successful calls of one kind are written, and their prices: everything except their counts and times.

    `like` is one of them; `blocks` are those that each of them changes, by identity. `advice` is where advice counts
    them; None until the first.

    Valid for requests from `start` on and before `end`, in seconds since the epoch, and while `book` is in use.
    """

    __slots__ = (
        *("advice", "blocks", "book", "end", "like", "long_above_tokens", "long_rates", "rates", "slot", "start"),
        "stop_reason",
    )

    def __init__(self, like: Call, slot: Slot, stop_reason: Block | None, card: Card, book: PriceBook) -> None:
        self.like, self.slot, self.stop_reason, self.book = like, slot, stop_reason, book
        self.advice: Any = None
        blocks = (slot.requests, slot.place.block, slot.spend)
        changed = blocks if stop_reason is None else (*blocks, stop_reason)
        self.blocks = tuple([(id(block), block) for block in changed])
        self.start, self.end, self.rates, self.long_rates, self.long_above_tokens, _ = card

    def rates_of(self, counts: tuple[int, int, int, int, int]) -> Rates:
        """Dollars a token, by type."""
        if self.long_rates is not None and sum(counts[:OUTPUT]) > self.long_above_tokens:
            return self.long_rates
        return self.rates


def write_spend(line: Line, counts: tuple[int, int, int, int, int], *, asked: bool) -> float:
    """Write the tokens and dollars of a plain call, and what the cache did for it. Returns its dollars.

    Counts that are not numbers raise before anything is written.
    """
    fresh, read, short, long, output = counts
    fresh_rate, read_rate, short_rate, long_rate, output_rate = (
        line.rates if line.long_rates is None else line.rates_of(counts)
    )
    spend, block = line.slot.spend, line.slot.place.block
    fresh_usd, output_usd = fresh * fresh_rate, output * output_rate
    read_usd, short_usd, long_usd = read * read_rate, short * short_rate, long * long_rate
    spend[INPUT] += fresh
    spend[OUTPUT] += output
    spend[INPUT_USD] += fresh_usd
    spend[OUTPUT_USD] += output_usd
    if not (read or short or long):
        block[CACHE_RESULT["ineligible" if asked else "unasked"]] += 1.0
        return fresh_usd + output_usd
    spend[CACHE_READ] += read
    spend[CACHE_WRITE_5M] += short
    spend[CACHE_WRITE_1H] += long
    spend[CACHE_READ_USD] += read_usd
    spend[CACHE_WRITE_5M_USD] += short_usd
    spend[CACHE_WRITE_1H_USD] += long_usd
    block[CACHE_RESULT[("hit" if read else "miss") if asked else "unasked"]] += 1.0
    if asked:
        if not read:
            paid = fresh_usd + read_usd + short_usd + long_usd
            block[MISS_COST] += max(0.0, paid - (fresh + read + short + long) * read_rate)
        block[SAVINGS] += read * (fresh_rate - read_rate)
        block[PREMIUM] += short * (short_rate - fresh_rate) + long * (long_rate - fresh_rate)
    return fresh_usd + read_usd + short_usd + long_usd + output_usd
