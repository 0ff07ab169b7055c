"""The summary that stays on the terminal after the live view: seconds, dollars, where to look next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from anthropic_exporter.demo import story

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from anthropic_exporter.demo.story import Ending, Loss

_MINUTE = 60.0
_DIM = "bright_black"


def tell(console: Console, ending: Ending) -> None:
    """Print the measurements, and what the loss would be until a daily report."""
    console.print()
    console.print(_table([(m.kind, f"{m.at:.1f} s", m.text) for m in ending.moments]))
    console.print()
    if ending.loss:
        console.print(_table(_arithmetic(ending.loss, ending)))
        console.print()
    _say(console, *_verdict(ending))
    if ending.played.requests < ending.played.wanted:
        _say(
            console,
            f"Played {ending.played.requests:,} of {ending.played.wanted:,} requests: too slow for the rest.",
            "yellow",
        )
    for line in ending.notes:
        _say(console, line, _DIM)


def where_to_look(console: Console, links: Sequence[tuple[str, str]], *, kept: bool) -> None:
    """Print the addresses if the stack keeps running, else how to keep it."""
    if not kept:
        _say(console, "To look around: make demo ARGS=--keep (or anthropic-exporter demo --keep)", _DIM)
        return
    _say(console, "The deploy is rolled back. Look around; Ctrl-C stops everything.", "bold")
    for name, url in links:
        _say(console, f"  {name:13} {url}")


def _arithmetic(loss: Loss, ending: Ending) -> list[tuple[str, str, str]]:
    minutes, hours, played = loss.seconds / _MINUTE, story.REPORT_HOURS, ending.played
    cached = f"{ending.tokens_lost:,} uncached tokens, {ending.model.removeprefix('claude-')}"
    return [
        ("Lost without the cache", "", ""),
        (
            "  until the notification" if ending.notified else "  until now",
            f"{loss.usd:,.2f} USD",
            f"{minutes:.2f} minutes, {loss.requests} requests",
        ),
        (
            f"  until a daily report, {hours} h",
            f"{loss.until_report_usd:,.2f} USD",
            f"{loss.usd_per_request:.2f} USD x {loss.requests_per_minute:.0f}/min x {hours * _MINUTE:.0f} minutes",
        ),
        (f"  by the {played.requests:,} requests played", f"{played.lost_usd:,.2f} USD", cached),
        ("Their total cost", f"{played.total_usd:,.2f} USD", ""),
    ]


def _verdict(ending: Ending) -> tuple[str, str]:
    if ending.left_out:
        return f"Skipped: {ending.left_out}", "yellow"
    if not ending.notified or ending.loss is None:
        return "The notification did not arrive.", "bold red"
    loss = ending.loss
    saved = f"{loss.until_report_usd - loss.usd:,.2f} USD"
    return (
        f"Notified after {loss.seconds:.1f} s and {loss.usd:.2f} USD instead of {story.REPORT_HOURS} h: {saved} saved.",
        "bold green",
    )


def _table(rows: Sequence[tuple[str, str, str]]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 1))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style=_DIM)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(f" {text}", style), soft_wrap=True, highlight=False)
