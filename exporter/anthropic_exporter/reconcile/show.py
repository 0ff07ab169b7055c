"""A comparison as tables for people, and as JSON for programs."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from anthropic_exporter import tables
from anthropic_exporter.reconcile.compare import AGREES, BillVerdict, Comparison
from anthropic_exporter.reconcile.explain import explain
from anthropic_exporter.reconcile.lines import HOUR, USD, Amount, LineKey, by_hour

_STYLES = {True: "bold red", False: "yellow"}
_LEFT = 2


def table(comparison: Comparison) -> RenderableType:
    """The whole comparison for a terminal."""
    return Group(*_parts(comparison))


def _parts(comparison: Comparison) -> Iterator[RenderableType]:
    yield Text(f"Recorded and billed, {_span(comparison)}", style="bold")
    yield _models(comparison)
    yield Text("Dollars are at list price.", "dim")
    yield from (Padding(_finding(one), (0, 0, 0, _LEFT)) for one in comparison.verdicts if one.cause != AGREES)
    yield Text(f"\n{summary(comparison)}", style="bold red" if comparison.has_drift else "bold green")
    yield from (Text(line) for line in _notes(comparison))


def _models(comparison: Comparison) -> Table:
    """Two lines for each model and tier, tokens and dollars, and two for everything together."""
    numbers = ("recorded", "billed", "difference", "of billed")
    found = tables.compact("model, tier", *numbers, "verdict", right=numbers, folded=("model, tier", "verdict"))
    groups = _groups(comparison)
    for group in groups:
        one = group[0]
        place = Text(f"{one.model or '(no model)'}\n{one.tier}")
        found.add_row(place, *_cells(one.recorded, one.billed, comparison), Text("\n").join(map(_verdict, group)))
    if len(groups) > 1:
        found.add_row(Text("together", "bold"), *_cells(*totals(comparison), comparison), Text(""))
    return found


def _cells(recorded: Amount, billed: Amount, comparison: Comparison) -> list[Text]:
    """Tokens above dollars: recorded, billed, the difference, and the share."""
    tokens = [f"{recorded.tokens:,.0f}", f"{billed.tokens:,.0f}", _signed(recorded.tokens - billed.tokens, 0)]
    usd = [f"{recorded.usd:,.2f} USD", "?", "?"]
    shares = [_share(recorded.tokens, billed.tokens), "?"]
    if comparison.bill.has_list_price:
        usd[1:] = f"{billed.usd:,.2f} USD", f"{_signed(recorded.usd - billed.usd, 2)} USD"
        shares[1] = _share(recorded.usd, billed.usd)
    return [Text(f"{above}\n{below}") for above, below in zip([*tokens, shares[0]], [*usd, shares[1]], strict=True)]


def _share(recorded: float, billed: float) -> str:
    return f"{recorded / billed:.1%}" if billed else "-"


def _groups(comparison: Comparison) -> list[list[BillVerdict]]:
    """The verdicts, those on the same model and tier together."""
    found: dict[tuple[str, str], list[BillVerdict]] = {}
    for verdict in comparison.verdicts:
        found.setdefault((verdict.model, verdict.tier), []).append(verdict)
    return list(found.values())


def _verdict(verdict: BillVerdict) -> Text:
    style = "green" if verdict.cause == AGREES else _STYLES[verdict.is_drift]
    return Text(explain(verdict).heading, style=style)


def _finding(verdict: BillVerdict) -> Text:
    words = explain(verdict)
    heading = Text(f"\n{words.heading}: {verdict.model or '(no model)'}, {verdict.tier}. ", _STYLES[verdict.is_drift])
    return heading + Text(f"{words.found}\n{words.action}", style="default")


def summary(comparison: Comparison) -> str:
    """One line: how much of the bill is recorded."""
    recorded, billed = totals(comparison)
    share = f"{recorded.tokens / billed.tokens:.1%}" if billed.tokens else "none"
    line = f"{share} of the billed tokens are recorded"
    if comparison.bill.has_list_price and billed.usd:
        line += f": {recorded.usd:,.2f} USD of {billed.usd:,.2f} USD at list price ({recorded.usd / billed.usd:.1%})"
    return f"{line}. {'There is drift to investigate.' if comparison.has_drift else 'No drift.'}"


def totals(comparison: Comparison) -> tuple[Amount, Amount]:
    """Everything that was recorded, and everything that was billed and can be compared."""
    groups = [verdicts[0] for verdicts in _groups(comparison)]
    recorded, billed = Amount(), Amount()
    for one in groups:
        recorded, billed = recorded.plus(one.recorded), billed.plus(one.billed)
    return recorded, billed


def _notes(comparison: Comparison) -> Iterator[str]:
    bill = comparison.bill
    if bill.paid_usd is not None:
        yield f"The bill is {bill.paid_usd:,.2f} USD after discounts, before credits and tax."
    for kind, usd in comparison.not_compared_usd.items():
        yield f"Not compared: {kind}, {usd:,.2f} USD at list price. Responses do not report it."
    if comparison.edges:
        hours_in_part = " and ".join(f"the hour from {_time(at)} UTC" for at in sorted(comparison.edges))
        yield f"Counted in part: {hours_in_part}. Only the matching part of their bill is compared."
    if bill.currency != USD:
        yield f"The bill is in {bill.currency}: dollars cannot be compared with it, so only tokens are."
    elif not bill.has_list_price:
        yield "Only the older endpoints answered: they have no list price, so only tokens are compared."
    if bill.refreshed_at is not None and bill.refreshed_at < comparison.end:
        yield f"The bill's data end at {_time(bill.refreshed_at)} UTC."


def hours(comparison: Comparison) -> Table:
    """Tokens and dollars of each hour, everything together."""
    numbers = ("recorded", "billed", "difference", "of billed")
    found = tables.compact("hour (UTC)", *numbers, right=numbers, title="\nBy hour")
    for at, recorded, billed in _by_hour(comparison):
        found.add_row(Text(_time(at)), *_cells(recorded, billed, comparison))
    return found


def _by_hour(comparison: Comparison) -> Iterator[tuple[int, Amount, Amount]]:
    sides = (comparison.recorded, by_hour(comparison.bill.lines))
    for at in range(comparison.start, comparison.end, HOUR):
        yield at, _of_hour(sides[0], at), _of_hour(sides[1], at)


def _of_hour(side: Any, at: int) -> Amount:
    found = Amount()
    for (hour, _), amount in side.items():
        found = found.plus(amount) if hour == at else found
    return found


def _signed(amount: float, digits: int) -> str:
    """An amount with its sign; what rounds to zero has none."""
    return f"{amount:+,.{digits}f}" if round(amount, digits) else f"{0:.{digits}f}"


def _span(comparison: Comparison) -> str:
    count = (comparison.end - comparison.start) // HOUR
    return f"{_time(comparison.start)} to {_time(comparison.end)} UTC ({count} hours)"


def _time(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime("%a %d %b %H:%M")


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything, for programs. Times are Unix seconds, dollars are at list price."""
    recorded, billed = totals(comparison)
    return {
        "start": comparison.start,
        "end": comparison.end,
        "drift": comparison.has_drift,
        "recorded": recorded._asdict(),
        "billed": billed._asdict(),
        "paid_usd": comparison.bill.paid_usd,
        "bill_refreshed_at": comparison.bill.refreshed_at,
        "has_list_price": comparison.bill.has_list_price,
        "currency": comparison.bill.currency,
        "not_compared_usd": dict(comparison.not_compared_usd),
        "verdicts": [_verdict_json(one) for one in comparison.verdicts],
        "hours": _hours_json(comparison) if comparison.edges is None else [],
        "hours_counted_in_part": sorted(comparison.edges or ()),
    }


def _verdict_json(verdict: BillVerdict) -> dict[str, Any]:
    return {
        **verdict._asdict(),
        "recorded": verdict.recorded._asdict(),
        "billed": verdict.billed._asdict(),
        "callers": [caller._asdict() for caller in verdict.callers],
        "drift": verdict.is_drift,
        **explain(verdict)._asdict(),
    }


def _hours_json(comparison: Comparison) -> list[dict[str, Any]]:
    billed = by_hour(comparison.bill.lines)
    keys: set[tuple[int, LineKey]] = {*comparison.recorded, *billed}
    return [
        {
            "hour": hour,
            **place._asdict(),
            "recorded": comparison.recorded.get((hour, place), Amount())._asdict(),
            "billed": billed.get((hour, place), Amount())._asdict(),
        }
        for hour, place in sorted(keys)
    ]


def show(comparison: Comparison, console: Console, *, with_hours: bool) -> None:
    """Print the comparison."""
    console.print(table(comparison))
    if with_hours:
        console.print(hours(comparison))
