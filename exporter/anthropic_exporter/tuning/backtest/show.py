"""A backtest as a table, two sets of thresholds side by side; and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from anthropic_exporter import tables
from anthropic_exporter.tuning import show_review
from anthropic_exporter.tuning.backtest.backtest import Fired

_SEVERITIES = ("critical", "warning", "info")
#: Severities of alerts that page somebody.
LOUD = ("warning", "critical")
_EXPLAINED = (
    "USD until: what the feature and model cost from the onset of the incident until the alert fired. USD while: what "
    "they cost while it fired."
)
Sets = Mapping[str, Sequence[Fired]]


def table(sets: Sets, start: float, end: float, *, with_quiet: bool = False) -> RenderableType:
    """The alerts of all sets that page somebody; `with_quiet` lists those that only inform, too."""
    return Group(*_parts(sets, start, end, with_quiet=with_quiet))


def _parts(sets: Sets, start: float, end: float, *, with_quiet: bool) -> Iterator[RenderableType]:
    yield Text(f"Alerts that would have fired, {show_review.time(start)} to {show_review.time(end)} UTC", style="bold")
    if not any(sets.values()):
        yield Text("None." if len(sets) == 1 else "None, with either set of thresholds.")
        return
    for name, fired in sets.items():
        listed = [one for one in fired if with_quiet or one.firing.severity in LOUD]
        info = len(fired) - len(listed)
        rest = f", and {info} of severity info (--all lists them)" if info else ""
        yield Text(f"\n{name}: {_number(len(listed))}{rest}", style="bold")
        if listed:
            yield _alerts(listed)
    yield Text("")
    yield _counts(sets)
    yield Text(_EXPLAINED, "dim")


def _number(alerts: int) -> str:
    return "1 alert" if alerts == 1 else f"{alerts} alerts"


def _alerts(fired: Sequence[Fired]) -> Table:
    numbers = ("lasted", "USD until", "USD while")
    found = tables.compact("fired (UTC)", "severity", "alert", *numbers, right=numbers, folded=("alert",))
    for one in fired:
        firing = one.firing
        lasted = f"{show_review.length(firing.seconds)}{'+' if firing.is_cut else ''}"
        until = "-" if one.until_usd is None else f"{one.until_usd:,.2f}"
        place = tables.placed(show_review.name(firing.alert), firing.feature, firing.model)
        cells = (show_review.moment(firing.start), firing.severity)
        found.add_row(*map(Text, cells), place, *map(Text, (lasted, until, f"{one.while_usd:,.2f}")))
    return found


def _counts(sets: Sets) -> Table:
    """How often each alert fires with each set."""
    title = "Side by side" if len(sets) > 1 else "How often"
    found = tables.compact("alert", *sets, right=sets, folded=sets, title=title)
    every = {(_rank(one.firing.severity), one.firing.alert) for fired in sets.values() for one in fired}
    for _, alert in sorted(every):
        counts = [sum(one.firing.alert == alert for one in fired) for fired in sets.values()]
        found.add_row(show_review.name(alert), *map(str, counts))
    paged = [sum(one.firing.severity in LOUD for one in fired) for fired in sets.values()]
    found.add_row(*(Text(cell, "bold") for cell in ("of severity warning or critical", *map(str, paged))))
    return found


def _rank(severity: str) -> int:
    return _SEVERITIES.index(severity) if severity in _SEVERITIES else len(_SEVERITIES)


def as_json(sets: Sets, start: float, end: float) -> dict[str, Any]:
    """Everything, for programs. Times are Unix seconds; `end` of an alert is the last evaluation at which it fires."""
    return {"start": start, "end": end, "sets": {name: [_one(one) for one in fired] for name, fired in sets.items()}}


def _one(one: Fired) -> dict[str, Any]:
    firing = {name: value for name, value in one.firing._asdict().items() if name != "cost_usd"}
    return {
        **firing,
        "labels": dict(one.firing.labels),
        "seconds": one.firing.seconds,
        "until_usd": one.until_usd,
        "while_usd": one.while_usd,
    }
