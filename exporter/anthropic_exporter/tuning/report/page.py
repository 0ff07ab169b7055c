"""The report as one HTML page: figures, pictures, alerts with verdicts, the bill, advice. All text is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from typing import Any, NamedTuple

from anthropic_exporter.tuning import show_review
from anthropic_exporter.tuning.advice.items import Item
from anthropic_exporter.tuning.advice.show import APART, NOT_WATCHED, TITLES
from anthropic_exporter.tuning.advice.show import data as data_of
from anthropic_exporter.tuning.report import charts
from anthropic_exporter.tuning.report.spend import Spend
from anthropic_exporter.tuning.review import Review, Reviewed
from anthropic_exporter.tuning.saved import ESTIMATED_FORMULA, MEASURED_FORMULA

_MOST_ALERTS, _MOST_ITEMS = 100, 10
#: For mail clients and shared folders: the page may load nothing and run nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


class Report(NamedTuple):
    """The content of the page.

    `bill` is the output of `reconcile --json`, or None. `unpriced` are models without a price: their dollars lack.
    """

    review: Review
    spend: Spend
    advice: Sequence[Item]
    is_watched: bool
    bill: Mapping[str, Any] | None = None
    unpriced: Sequence[str] = ()


def page(report: Report) -> str:
    """The whole page."""
    span = f"{show_review.time(report.review.start)} to {show_review.time(report.review.end)} UTC"
    style = resources.files("anthropic_exporter.tuning.report").joinpath("report.css").read_text("utf-8")
    sections = (_figures(report), _spending(report), _alerts(report.review), _saved(report.review))
    body = "\n".join([*sections, _bill(report.bill), _advice(report)])
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>Claude spend, {text(span)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>Claude spend</h1><p>{text(span)}. Dollars are at list price.</p></header>\n"
        f"{body}\n</main>\n</body>\n</html>\n"
    )


def text(value: object) -> str:
    """A text as HTML."""
    return html.escape(str(value))


def _figures(report: Report) -> str:
    review, detection, saved = report.review, report.review.detection, report.review.saved
    precision = "no verdicts" if review.precision is None else f"{review.precision:.0%} true"
    noticed = "not known" if detection is None else f"{detection.mean:.0f} s"
    within = "" if detection is None else f"95 % within {detection.p95:.0f} s"
    best = max((item.usd_per_month for item in report.advice), default=0.0)
    cards = (
        ("Spent", usd(report.spend.total), f"{len(report.spend.by_feature)} features"),
        ("Alerts", str(len(review.pages)), precision),
        ("Time to detection", noticed, within),
        ("Saved, measured", f"≥ {usd(saved.measured_usd)}", f"{saved.blocked:,} requests blocked")
        if saved.blocked
        else ("Saved, measured", "nothing", "no breaker blocked a request"),
        ("Largest advice", usd(best), "a month") if best else ("Largest advice", "none", "nothing to change"),
    )
    shown = "".join(
        f'<div class="card"><dt>{text(name)}</dt><dd>{text(value)}<small>{text(note)}</small></dd></div>'
        for name, value, note in cards
    )
    return f"<dl>{shown}</dl>"


def _spending(report: Report) -> str:
    spend, rest = report.spend, ""
    if report.unpriced:
        rest = f"<p>Not included, because they have no price: {text(', '.join(report.unpriced))}.</p>"
    if not spend.total:
        return _section("Where the dollars went", rest or "<p>Nothing was spent.</p>")
    drawn = (
        ("By day", charts.dollars_by_day(spend, 1)),
        ("By feature", charts.dollars_by(spend.by_feature, 2, "Dollars by feature")),
        ("By model", charts.dollars_by(spend.by_model, 3, "Dollars by model")),
    )
    figures = "".join(_figure(name, svg) for name, svg in drawn)
    return _section("Where the dollars went", f'<div class="pictures">{figures}</div>{rest}')


def _alerts(review: Review) -> str:
    if not review.reviewed:
        return _section("Alerts", f"<p>No alert fired.</p>{_gap(review)}")
    headings = ("fired (UTC)", "alert", "feature", "model", "lasted", "cost above usual", "noticed after", "verdict")
    rows = [_row(one) for one in review.pages[:_MOST_ALERTS]]
    more = len(review.pages) - len(rows)
    rest = f"<p>{more} more alerts are not shown.</p>" if more else ""
    rest += f"<p>{text(show_review.quiet(review))}.</p>" if review.quiet else ""
    rest += _gap(review)
    counts = _table(("", ""), [[text(name), text(value)] for name, value in show_review.counts(review)[:4]], "counts")
    drawn = charts.detection(review.reviewed, 4)
    picture = _figure("Time to detection", drawn) if drawn else ""
    parts = [
        f'<div class="pictures">{counts}{picture}</div>',
        _table(headings, rows, "wide") if rows else "",
        rest,
        _missed(review),
    ]
    return _section("Alerts", "".join(parts))


def _row(one: Reviewed) -> list[str]:
    firing = one.firing
    cells = (
        show_review.time(firing.start),
        firing.alert.removeprefix("Anthropic"),
        firing.feature or "-",
        firing.model or "-",
        f"{show_review.length(firing.seconds)}{'+' if firing.is_cut else ''}",
        "-" if firing.cost_usd is None else usd(firing.cost_usd),
        "-" if one.detection.total is None else f"{one.detection.total:.0f} s",
    )
    note = f"<small>{text(one.note)}</small>" if one.note else ""
    verdict = f'<span class="verdict {one.verdict or "open"}">{text(one.verdict or "no verdict")}</span>{note}'
    return [*map(text, cells), verdict]


def _gap(review: Review) -> str:
    gap = show_review.not_evaluated(review)
    if not gap:
        return ""
    length = show_review.length(gap)
    return f"<p>For {length} of this time no rules were evaluated, so no alert could fire.</p>"


def _missed(review: Review) -> str:
    if not review.missed:
        return ""
    rows = [
        [
            *(text(show_review.time(one.seconds)), text(one.feature or "-")),
            *("-" if one.usd is None else usd(one.usd), text(one.note)),
        ]
        for one in review.missed
    ]
    return f"<h3>Incidents without an alert</h3>{_table(('began (UTC)', 'feature', 'cost', 'note'), rows)}"


def _saved(review: Review) -> str:
    saved = review.saved
    rows = [
        ["Measured, at least", _whole(usd(saved.measured_usd)), text(MEASURED_FORMULA)],
        ["Estimated, at most", _whole(usd(saved.estimated_usd)), text(ESTIMATED_FORMULA)],
    ]
    return _section("What it saved", _table(("", "dollars", "what it is"), rows))


def _bill(bill: Mapping[str, Any] | None) -> str:
    if bill is None:
        return ""
    recorded, billed = bill["recorded"], bill["billed"]
    share = f"{recorded['tokens'] / billed['tokens']:.1%}" if billed["tokens"] else "none"
    verdict = "There is drift to investigate." if bill["drift"] else "No drift."
    line = f"{share} of the billed tokens are recorded: {usd(recorded['usd'])} of {usd(billed['usd'])}. {verdict}"
    if bill.get("has_list_price") is False:
        line = f"{share} of the billed tokens are recorded. The bill has no list price in USD to compare. {verdict}"
    rows = [
        [text(one[name]) for name in ("model", "tier", "heading", "found", "action")]
        for one in bill["verdicts"]
        if one["cause"] != "agrees"
    ]
    found = _table(("model", "tier", "finding", "what was found", "what to do"), rows, "wide") if rows else ""
    return _section("Recorded and billed", f"<p>{text(line)}</p>{found}")


def _advice(report: Report) -> str:
    if not report.advice:
        note = "" if report.is_watched else f"<p>{text(NOT_WATCHED)}</p>"
        return _section("What would cost less", f"<p>Nothing to change.</p>{note}")
    items = "".join(f"<li>{_item(item)}</li>" for item in report.advice[:_MOST_ITEMS])
    note = APART if report.is_watched else f"{APART} {NOT_WATCHED}"
    more = len(report.advice) - _MOST_ITEMS
    if more > 0:
        rest = sum(item.usd_per_month for item in report.advice[_MOST_ITEMS:])
        note = f"{more} more, of {usd(rest)} a month: see anthropic-exporter advise. {note}"
    return _section("What would cost less", f"<ol>{items}</ol><p>{text(note)}</p>")


def _item(item: Item) -> str:
    place = ", ".join(filter(None, (item.feature, item.model)))
    needs = f"<br>Only you know {text(item.needs)}." if item.needs else ""
    return (
        f"<strong>{usd(item.usd_per_month)} a month</strong>: {text(TITLES[item.kind])} ({text(place)})"
        f"<p>{text(item.change)}{needs}</p><details><summary>Formula and data</summary>"
        f"<p>{text(item.formula)}</p><p>{text(data_of(item))}</p><p>Source: {text(item.source)}</p></details>"
    )


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>"


def _figure(name: str, svg: str) -> str:
    """A picture, which scrolls where the screen is too small to read it whole."""
    return f'<figure tabindex="0"><figcaption>{name}</figcaption>{svg}</figure>'


def _table(headings: Iterable[str], rows: Sequence[Iterable[str]], kind: str = "") -> str:
    """A table of cells that are already HTML."""
    labels = list(headings)
    head = "".join(f"<th>{heading}</th>" for heading in labels)
    body = "".join(f"<tr>{''.join(_cells(labels, row))}</tr>" for row in rows)
    table = f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll" tabindex="0">{table}</div>'


def _cells(labels: Iterable[str], row: Iterable[str]) -> Iterator[str]:
    """Cells that know their heading: on a phone they stand below each other."""
    for label, cell in zip(labels, row, strict=True):
        yield f'<td data-label="{label}"><div>{cell}</div></td>'


def _whole(words: str) -> str:
    """Words that stay on one line."""
    return f'<span class="whole">{words}</span>'


def usd(amount: float) -> str:
    """Dollars for people."""
    return f"{amount:,.2f} USD"
