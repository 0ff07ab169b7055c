"""A backtest as a table, two sets of thresholds side by side; and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from anthropic_exporter.tuning import show_review
from anthropic_exporter.tuning.backtest.backtest import Fired

Sets = Mapping[str, Sequence[Fired]]


def table(sets: Sets, start: float, end: float) -> RenderableType:
    """All alerts of all sets."""
    return Group(*_parts(sets, start, end))


def _parts(sets: Sets, start: float, end: float) -> Iterator[RenderableType]:
    yield Text(f"Alerts that would have fired, {show_review.time(start)} to {show_review.time(end)} UTC", style="bold")
    if not any(sets.values()):
        yield Text("None." if len(sets) == 1 else "None, with either set of thresholds.")
        return
    for name, fired in sets.items():
        yield _alerts(name, fired)
    if len(sets) > 1:
        yield _counts(sets)
    yield Text("USD until: of the feature and model from the onset of the incident until the alert. USD while: until")
    yield Text("it resolved.")


def _alerts(name: str, fired: Sequence[Fired]) -> Table:
    found = Table(title=f"{name}: {len(fired)} alerts", title_justify="left")
    for heading in ("fired (UTC)", "severity", "alert", "feature", "model"):
        found.add_column(heading, overflow="fold", no_wrap=heading == "fired (UTC)")
    for heading in ("lasted", "USD until", "USD while"):
        found.add_column(heading, justify="right", no_wrap=True)
    for one in fired:
        firing = one.firing
        lasted = f"{show_review.length(firing.seconds)}{'+' if firing.is_cut else ''}"
        until = "-" if one.until_usd is None else f"{one.until_usd:,.2f}"
        place = (firing.feature or "-", firing.model or "-")
        cells = (show_review.time(firing.start), firing.severity, firing.alert.removeprefix("Anthropic"), *place)
        found.add_row(*map(Text, (*cells, lasted, until, f"{one.while_usd:,.2f}")))
    return found


def _counts(sets: Sets) -> Table:
    """How often each alert fires with each set."""
    found = Table(title="Side by side", title_justify="left")
    found.add_column("alert")
    for name in sets:
        found.add_column(name, justify="right")
    for alert in sorted({one.firing.alert for fired in sets.values() for one in fired}):
        counts = [sum(one.firing.alert == alert for one in fired) for fired in sets.values()]
        found.add_row(alert.removeprefix("Anthropic"), *map(str, counts))
    return found


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
