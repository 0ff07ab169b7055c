"""A review as tables for a terminal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from anthropic_exporter.tuning.review import Review, Reviewed, Suggestion
from anthropic_exporter.tuning.verdicts import FALSE, TRUE

_STYLES = {TRUE: "green", FALSE: "red", "": "yellow"}
_MINUTE, _HOUR = 60, 3_600
_WIDEST_BAR = 20


def table(review: Review) -> RenderableType:
    """The whole review."""
    return Group(*_parts(review))


def _parts(review: Review) -> Iterator[RenderableType]:
    yield Text(f"Alerts, {time(review.start)} to {time(review.end)} UTC", style="bold")
    yield _alerts(review) if review.reviewed else Text("No alert fired.")
    if review.missed:
        yield _missed(review)
    yield _counts(review)
    if review.reviewed:
        yield _noisiest(review)
    if review.suggestions:
        yield Text("\nThresholds that would have left out the false alerts:", style="bold")
        yield from (Text(f"  {suggestion(one)}") for one in review.suggestions)
    unjudged = [one for one in review.reviewed if not one.verdict]
    if unjudged:
        example = unjudged[0].firing.id
        yield Text(f"\n{len(unjudged)} without a verdict. Give one: review --mark {example} true (or false)")


def _alerts(review: Review) -> Table:
    found = Table()
    for heading in ("id", "fired (UTC)", "alert", "feature", "model"):
        found.add_column(heading, overflow="fold", no_wrap=heading in ("id", "fired (UTC)"))
    for heading in ("lasted", "cost USD", "noticed after"):
        found.add_column(heading, justify="right", no_wrap=True)
    found.add_column("verdict")
    for one in review.reviewed:
        found.add_row(*_row(one))
    return found


def _row(one: Reviewed) -> list[Text]:
    firing = one.firing
    lasted = f"{length(firing.seconds)}{'+' if firing.is_cut else ''}"
    cost = "-" if firing.cost_usd is None else f"{firing.cost_usd:,.2f}"
    noticed = "-" if one.detection.total is None else f"{one.detection.total:.0f} s"
    name = firing.alert.removeprefix("Anthropic")
    cells = [firing.id, time(firing.start), name, firing.feature or "-", firing.model or "-", lasted, cost, noticed]
    return [*map(Text, cells), Text(one.verdict or "?", style=_STYLES[one.verdict])]


def _missed(review: Review) -> Table:
    found = Table(title="Incidents without an alert", title_justify="left")
    for heading in ("began (UTC)", "feature", "cost USD", "note"):
        found.add_column(heading)
    for one in review.missed:
        found.add_row(time(one.seconds), one.feature or "-", "-" if one.usd is None else f"{one.usd:,.2f}", one.note)
    return found


def _counts(review: Review) -> Table:
    found = Table(show_header=False, box=None)
    found.add_column(style="bold")
    found.add_column(overflow="fold")
    for name, value in counts(review):
        found.add_row(name, value)
    return found


def counts(review: Review) -> list[tuple[str, str]]:
    """The figures of the review, each with its name and in words."""
    judged = review.count(TRUE) + review.count(FALSE)
    precision = "no verdict yet" if review.precision is None else f"{review.precision:.0%} of {judged} judged were true"
    seen = review.detection
    noticed = (
        "not known"
        if seen is None
        else f"{seen.mean:.0f} s on average, 95 % within {seen.p95:.0f} s ({seen.alerts} alerts, {_to(review)})"
    )
    return [
        ("Alerts", f"{len(review.reviewed)} fired, {review.count(TRUE)} true, {review.count(FALSE)} false"),
        ("Precision", precision),
        ("Missed incidents", str(len(review.missed))),
        ("Time to detection", noticed),
        ("Saved, measured", _measured(review)),
        ("Saved, estimate", _estimated(review)),
    ]


def _measured(review: Review) -> str:
    saved = review.saved
    return (
        f"at least {saved.measured_usd:,.2f} USD: {saved.blocked} requests that a breaker blocked, at the mean "
        "dollars of their feature"
    )


def _estimated(review: Review) -> str:
    return (
        f"up to {review.saved.estimated_usd:,.2f} USD: what the true alerts would have cost more, had they gone on "
        "until a report at 09:00 UTC of the next day"
    )


def _to(review: Review) -> str:
    delivered = any(one.detection.to_delivery is not None for one in review.reviewed)
    return "from onset to delivery" if delivered else "from onset to firing; no webhook receiver is scraped"


def _noisiest(review: Review) -> Table:
    found = Table(title="Noisiest alerts", title_justify="left")
    found.add_column("alert")
    found.add_column("fired", justify="right")
    found.add_column("false", justify="right")
    found.add_column("")
    most = max(fired for _, fired, _ in review.noisiest)
    for alert, fired, false in review.noisiest:
        red, grey = round(_WIDEST_BAR * false / most), round(_WIDEST_BAR * (fired - false) / most)
        found.add_row(alert, str(fired), str(false), Text("█" * red, "red") + Text("█" * grey, "bright_black"))
    return found


def suggestion(one: Suggestion) -> str:
    """A suggestion in words."""
    place = ", ".join(filter(None, (one.feature, one.model))) or "everything together"
    if one.value is None:
        return (
            f"{one.threshold}, {place}: none. A true alert ({one.lowest_true:.3g} {one.unit}) was no higher than a "
            f"false one ({one.highest_false:.3g})."
        )
    return f"{one.threshold}, {place}: {one.value:g} {one.unit} (false alerts reached {one.highest_false:.3g})"


def time(at: float) -> str:
    """A moment in UTC."""
    return dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime("%a %d %b %H:%M")


def length(seconds: float) -> str:
    """A length of time for people."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE:.0f} min" if seconds < 2 * _HOUR else f"{seconds / _HOUR:.1f} h"
