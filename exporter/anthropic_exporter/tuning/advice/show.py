"""Advice as a table for a terminal, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from anthropic_exporter.tuning.advice.items import MONTH_DAYS, Item
from anthropic_exporter.tuning.advice.usage import Usage

TITLES = {
    "uncached_prefix": "cache repeated prompts",
    "cache_lifetime": "change the cache's lifetime",
    "unread_cache_writes": "stop cache writes that never pay",
    "batch": "send as batches",
    "model": "newer model",
    "long_prompt": "shorten long prompts",
    "fast_mode": "leave fast mode",
    "region": "leave the region",
    "cut_off_output": "answers cut off",
    "overlong_output": "overlong answers",
}
NOT_WATCHED = (
    "No recorder collects data on requests, so prefixes, lifetimes, batches, regions and answers are not analysed: "
    "use Recorder(advise=True)."
)
APART = "Each item is computed on its own: items on the same feature and model do not add up."
_LEFT = 4


def table(items: Sequence[Item], usage: Usage, unpriced: Sequence[str] = ()) -> RenderableType:
    """All items, the most dollars first; `unpriced` models got none."""
    return Group(*_parts(items, usage, unpriced))


def _parts(items: Sequence[Item], usage: Usage, unpriced: Sequence[str]) -> Iterator[RenderableType]:
    spent = sum(usage.usd.values())
    monthly = spent * MONTH_DAYS / usage.days if usage.days else 0.0
    cost = f"{spent:,.2f} USD, {monthly:,.2f} USD a month at this rate"
    span = f"{usage.days:.1f} days" if usage.days >= 1 else f"{24 * usage.days:.0f} h"
    yield Text(f"Advice from {span} that cost {cost}", style="bold")
    if items:
        yield _ranked(items)
        yield from (Padding(_details(number, item), (1, 0, 0, 0)) for number, item in enumerate(items, start=1))
        yield Text(f"\n{APART}")
    else:
        yield Text("Nothing to change.", style="bold green")
    if not usage.is_watched:
        yield Text(NOT_WATCHED, style="yellow")
    if unpriced:
        yield Text(f"Not analysed, without a price: {', '.join(unpriced)}. Add prices with --prices.", style="yellow")


def _ranked(items: Sequence[Item]) -> Table:
    found = Table()
    found.add_column("")
    found.add_column("USD a month", justify="right", style="bold green")
    for heading in ("what", "feature", "model"):
        found.add_column(heading, overflow="fold")
    for number, item in enumerate(items, start=1):
        cells = (item.feature or "-", item.model)
        found.add_row(str(number), f"{item.usd_per_month:,.2f}", TITLES[item.kind], *map(Text, cells))
    return found


def _details(number: int, item: Item) -> RenderableType:
    place = ", ".join(filter(None, (item.feature, item.model)))
    heading = Text(f"{number}. {TITLES[item.kind]}: {place}, {item.usd_per_month:,.2f} USD a month", style="bold")
    lines = [item.change, f"= {item.formula}", data(item), f"Source: {item.source}"]
    lines += [f"Only you know {item.needs}."] if item.needs else []
    return Group(heading, *(Padding(Text(line), (0, 0, 0, _LEFT)) for line in lines))


def data(item: Item) -> str:
    """The figures that the formula is computed from, in the span that was read."""
    return "; ".join(f"{name} {_number(value)}" for name, value in item.data.items())


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:,.4g}"  # noqa: PLR2004 - from here on digits are grouped


def as_json(items: Sequence[Item], usage: Usage, unpriced: Sequence[str] = ()) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "days": usage.days,
        "usd": sum(usage.usd.values()),
        "usd_per_month": sum(usage.usd.values()) * MONTH_DAYS / usage.days if usage.days else 0.0,
        "is_watched": usage.is_watched,
        "unpriced_models": list(unpriced),
        "items": [{**item._asdict(), "title": TITLES[item.kind]} for item in items],
    }
