"""Tables that stay readable in a terminal of 80 columns: one blank between columns, long names below each other."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table
from rich.text import Text


def compact(*columns: str, right: Iterable[str] = (), folded: Iterable[str] = (), title: str | None = None) -> Table:
    """An empty table. Columns in `right` hold numbers; those in `folded` may take several lines, the others one."""
    found = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    for name in columns:
        found.add_column(
            name, justify="right" if name in right else "left", no_wrap=name not in folded, overflow="fold"
        )
    return found


def placed(heading: str, feature: str, model: str) -> Text:
    """A heading, and below it the feature and model that it is about."""
    place = ", ".join(filter(None, (feature, model)))
    return Text(heading) + Text(f"\n{place}" if place else "", "dim")
