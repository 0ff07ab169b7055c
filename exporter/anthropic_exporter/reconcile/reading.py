"""Reads both sides and compares them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.reconcile import analytics, recorded
from anthropic_exporter.reconcile.analytics import Filters
from anthropic_exporter.reconcile.collected import Collected
from anthropic_exporter.reconcile.compare import Comparison, Tolerances, compare

if TYPE_CHECKING:
    from anthropic import Anthropic


def read_and_compare(
    source: Prometheus,
    api: Anthropic,
    span: tuple[int, int],
    book: PriceBook,
    filters: Filters,
    limits: Tolerances,
    advance: Callable[[float], None] = lambda _: None,
) -> Comparison:
    """Compare the hours between two Unix seconds.

    Raises:
        ConfigurationError: one side cannot be read, or both are empty.
    """
    bill = analytics.read(api, *span, book, filters, advance)
    ours = recorded.read(source, *span, book, advance)
    if not ours and not bill.lines:
        raise ConfigurationError("nothing was recorded and nothing was billed in this period: give --last or --until")
    return compare(ours, bill, span, limits)


def compare_collected(
    ours: Collected,
    api: Anthropic,
    book: PriceBook,
    filters: Filters,
    limits: Tolerances,
    advance: Callable[[float], None] = lambda _: None,
) -> Comparison:
    """Compare what collectors counted with the bill of the same hours.

    Raises:
        ConfigurationError: the bill cannot be read.
    """
    bill = analytics.read(api, ours.start, ours.end, book, filters, advance)
    return compare(ours.amounts, bill, (ours.start, ours.end), limits, ours.edges)
