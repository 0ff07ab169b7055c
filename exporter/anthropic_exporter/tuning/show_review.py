"""A review as tables for a terminal."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from anthropic_exporter import tables
from anthropic_exporter.tuning.review import Review, Reviewed, Suggestion
from anthropic_exporter.tuning.verdicts import FALSE, TRUE

_STYLES = {TRUE: "green", FALSE: "red", "": "yellow"}
_MINUTE, _HOUR = 60, 3_600
_WIDEST_BAR = 20
_LONG_GAP_SECONDS = 900.0


def table(review: Review, *, with_quiet: bool = False) -> RenderableType:
    """The whole review; `with_quiet` lists the alerts that only inform, too."""
    return Group(*_parts(review, with_quiet=with_quiet))


def _parts(review: Review, *, with_quiet: bool) -> Iterator[RenderableType]:
    yield Text(f"Alerts, {time(review.start)} to {time(review.end)} UTC", style="bold")
    listed = review.reviewed if with_quiet else review.pages
    yield _alerts(listed) if listed else Text("No alert fired." if not review.reviewed else "Nobody was paged.")
    if review.quiet and not with_quiet:
        yield Text(f"{quiet(review)} (--all lists them)", style="dim")
    if review.missed:
        yield _missed(review)
    yield Text("")
    yield _counts(review)
    if review.noisiest:
        yield Text("")
        yield _noisiest(review)
    if review.suggestions:
        yield Text("\nThresholds that would have prevented the false alerts:", style="bold")
        yield from (Text(f"  {suggestion(one)}") for one in review.suggestions)
    if review.unjudged:
        yield Text(f"\n{_asked(review)}")
    if (gap := not_evaluated(review)) > 0:
        yield Text(f"\nFor {length(gap)} of this time no rules were evaluated, so no alert could fire.", "yellow")


def _asked(review: Review) -> str:
    one = review.unjudged[0].firing
    return (
        f"{len(review.unjudged)} without a verdict. Give one: review --mark {one.id} true (or false); or one to all "
        f"firings of an alert: review --mark {name(one.alert)} true"
    )


def not_evaluated(review: Review) -> float:
    """Seconds in which no rules were evaluated, if that is more than a restart takes."""
    if not review.evaluated_seconds:
        return 0.0
    gap = review.end - review.start - review.evaluated_seconds
    return gap if gap > _LONG_GAP_SECONDS else 0.0


def quiet(review: Review) -> str:
    """The alerts that only inform, in words."""
    return f"Not listed, severity info: {', '.join(f'{name(alert)} {fired}' for alert, fired in review.quiet)}"


def name(alert: str) -> str:
    """The name of an alert, shortened."""
    return alert.removeprefix("Anthropic")


def _alerts(listed: Iterable[Reviewed]) -> Table:
    numbers = ("lasted", "USD", "noticed")
    found = tables.compact("id", "fired (UTC)", "alert", *numbers, "verdict", right=numbers, folded=("alert",))
    for one in listed:
        found.add_row(*_row(one))
    return found


def _row(one: Reviewed) -> list[Text]:
    firing = one.firing
    lasted = f"{length(firing.seconds)}{'+' if firing.is_cut else ''}"
    cost = "-" if firing.cost_usd is None else f"{firing.cost_usd:,.2f}"
    noticed = "-" if one.detection.total is None else f"{one.detection.total:.0f} s"
    place = tables.placed(name(firing.alert), firing.feature, firing.model)
    note = Text(f"\n{one.note}", "italic") if one.note else Text("")
    cells = [Text(firing.id), Text(moment(firing.start)), place + note, *map(Text, (lasted, cost, noticed))]
    return [*cells, Text(one.verdict or "?", style=_STYLES[one.verdict])]


def _missed(review: Review) -> Table:
    title = "\nIncidents without an alert"
    found = tables.compact(
        "began (UTC)", "feature", "USD", "note", right=("USD",), folded=("feature", "note"), title=title
    )
    for one in review.missed:
        usd = "-" if one.usd is None else f"{one.usd:,.2f}"
        found.add_row(*map(Text, (moment(one.seconds), one.feature or "-", usd, one.note)))
    return found


def _counts(review: Review) -> Table:
    found = Table(show_header=False, box=None, pad_edge=False)
    found.add_column(style="bold", no_wrap=True)
    found.add_column()
    for title, value in counts(review):
        found.add_row(title, value)
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
        ("Alerts", f"{len(review.pages)} fired, {review.count(TRUE)} true, {review.count(FALSE)} false"),
        ("Precision", precision),
        ("Missed incidents", str(len(review.missed))),
        ("Time to detection", noticed),
        ("Saved, measured", _measured(review)),
        ("Saved, estimate", _estimated(review)),
    ]


def _measured(review: Review) -> str:
    saved = review.saved
    if not saved.blocked:
        return "nothing: no breaker blocked a request"
    return (
        f"at least {saved.measured_usd:,.2f} USD: {saved.blocked:,} requests that a breaker blocked, at the mean "
        "dollars of their feature"
    )


def _estimated(review: Review) -> str:
    if not review.saved.estimated_usd:
        return "nothing: no alert with a cost was judged true"
    return (
        f"up to {review.saved.estimated_usd:,.2f} USD: what the true alerts would have cost more, had they gone on "
        "until a report at 09:00 UTC of the next day"
    )


def _to(review: Review) -> str:
    delivered = any(one.detection.to_delivery is not None for one in review.reviewed)
    return "from onset to delivery" if delivered else "from onset to firing; no webhook receiver is scraped"


def _noisiest(review: Review) -> Table:
    numbers = ("fired", "false")
    found = tables.compact("alert", *numbers, "", right=numbers, title="Noisiest alerts")
    most = max(fired for _, fired, _ in review.noisiest)
    for alert, fired, false in review.noisiest:
        red, grey = round(_WIDEST_BAR * false / most), round(_WIDEST_BAR * (fired - false) / most)
        bar = Text("█" * red, "red") + Text("█" * grey, "bright_black")
        found.add_row(name(alert), str(fired), str(false), bar)
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


def moment(at: float) -> str:
    """A moment in UTC, shorter."""
    return dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime("%d %b %H:%M")


def length(seconds: float) -> str:
    """A length of time for people."""
    if seconds < 2 * _MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / _MINUTE:.0f} min" if seconds < 2 * _HOUR else f"{seconds / _HOUR:.1f} h"
