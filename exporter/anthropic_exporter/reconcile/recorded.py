"""Reads what the recorders counted from Prometheus: tokens and dollars by hour, model, tier and type."""

from __future__ import annotations

from collections.abc import Callable

from anthropic_exporter.history import series
from anthropic_exporter.history.increases import Increase, increases
from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.reconcile.lines import HOUR, Amount, LineKey

_STEP_SECONDS = 300
_BY = ("model", "tier", "type")


def read(
    prometheus: Prometheus, start: int, end: int, book: PriceBook, advance: Callable[[float], None] = lambda _: None
) -> dict[tuple[int, LineKey], Amount]:
    """Tokens and dollars from `start` to `end` (Unix seconds, whole hours), by hour and place.

    Models have the bill's names: dates and what a cloud platform adds are left out.
    """
    found: dict[tuple[int, LineKey], Amount] = {}
    span = (float(start), float(end), float(_STEP_SECONDS))
    for family, is_cost in ((series.TOKENS, False), (series.COST, True)):
        for one in increases(prometheus, family, _BY, span, advance):
            key = _key(one, book)
            amount = Amount(0.0, one.amount) if is_cost else Amount(one.amount, 0.0)
            found[key] = found.get(key, Amount()).plus(amount)
    return found


def _key(one: Increase, book: PriceBook) -> tuple[int, LineKey]:
    model, tier, kind = one.labels
    hour = int(one.until - _STEP_SECONDS) // HOUR * HOUR
    return hour, LineKey(canonical(model, book), tier or "standard", kind)


def canonical(model: str, book: PriceBook) -> str:
    """The bill's name of a model: the name in the price book, or the bare name if the book does not have it."""
    known = book.model(model)
    return model if known is None else known.name
