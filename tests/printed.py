"""What each command prints, written down once more from its JSON: the same figures, rounded the same way, in order.

Written from what the pages of the documentation say, not from the code that prints.
"""

from __future__ import annotations

import datetime as dt
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

WIDE = "400"  # columns, so that no line is broken
_DRAWN = dict.fromkeys(map(ord, "│┃┏┓┗┛┳┻━─┼┡┩╇└┘┴├┤▁▂▃▄▅▆▇█"))
Run = Callable[..., tuple[int, Any]]


def normal(text: str) -> list[str]:
    """The lines with anything in them, without frames, bars and repeated blanks."""
    lines = (" ".join(line.translate(_DRAWN).split()) for line in text.splitlines())
    return [line for line in lines if line]


def same(run: Run, lines: Callable[[Any], Iterator[str]], *tables_only: str) -> Any:
    """Compare a run that prints tables to one that prints JSON; the JSON."""
    code, shown = run(*tables_only)
    json_code, json_shown = run("--json")
    found = json.loads(json_shown.out)
    assert code == json_code
    assert normal(shown.out) == list(lines(found))
    return found


def time(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime("%a %d %b %H:%M")


def moment(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime("%d %b %H:%M")


def length(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7_200 else f"{seconds / 3_600:.1f} h"


def dollars(usd: float | None) -> str:
    return "-" if usd is None else f"{usd:,.2f}"


def joined(*cells: str) -> str:
    return " ".join(cell for cell in cells if cell)


# --- reconcile


def reconcile(found: Any) -> Iterator[str]:
    """With `--by-hour`; without what explains a difference in words."""
    hours = (found["end"] - found["start"]) // 3_600
    yield f"Recorded and billed, {time(found['start'])} to {time(found['end'])} UTC ({hours} hours)"
    yield "model, tier recorded billed difference of billed verdict"
    for (model, tier), group in itertools.groupby(found["verdicts"], key=lambda one: (one["model"], one["tier"])):
        verdicts = list(group)
        headings = [*(one["heading"] for one in verdicts), ""]
        tokens, usd = sides(verdicts[0]["recorded"], verdicts[0]["billed"], with_price=found["has_list_price"])
        yield joined(model, tokens, headings[0])
        yield joined(tier, usd, headings[1])
    tokens, usd = sides(found["recorded"], found["billed"], with_price=found["has_list_price"])
    yield f"together {tokens}"
    yield usd
    yield "Dollars are at list price."
    for one in found["verdicts"]:
        if one["cause"] != "agrees":
            yield f"{one['heading']}: {one['model']}, {one['tier']}. {one['found']}"
            yield one["action"]
    yield summary(found)
    yield f"The bill is {found['paid_usd']:,.2f} USD after discounts, before credits and tax."
    for kind, amount in found["not_compared_usd"].items():
        yield f"Not compared: {kind}, {amount:,.2f} USD at list price. Responses do not report it."
    if not found["has_list_price"]:
        yield "Only the older endpoints answered: they have no list price, so only tokens are compared."
    yield from reconciled_hours(found)


def reconciled_hours(found: Any) -> Iterator[str]:
    yield "By hour"
    yield "hour (UTC) recorded billed difference of billed"
    for hour in range(found["start"], found["end"], 3_600):
        amounts = [one for one in found["hours"] if one["hour"] == hour]
        total = {
            side: {unit: sum(one[side][unit] for one in amounts) for unit in ("tokens", "usd")}
            for side in ("recorded", "billed")
        }
        tokens, usd = sides(total["recorded"], total["billed"], with_price=found["has_list_price"])
        yield f"{time(hour)} {tokens}"
        yield usd


def sides(recorded: Any, billed: Any, *, with_price: bool) -> tuple[str, str]:
    a, b = recorded["tokens"], billed["tokens"]
    tokens = f"{a:,.0f} {b:,.0f} {signed(a - b, 0)} {share(a, b)}"
    a, b = recorded["usd"], billed["usd"]
    if not with_price:
        return tokens, f"{a:,.2f} USD ? ? ?"
    return tokens, f"{a:,.2f} USD {b:,.2f} USD {signed(a - b, 2)} USD {share(a, b)}"


def signed(amount: float, digits: int) -> str:
    return f"{amount:+,.{digits}f}" if round(amount, digits) else f"{0:.{digits}f}"


def share(part: float, whole: float) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def summary(found: Any) -> str:
    a, b = found["recorded"], found["billed"]
    line = f"{share(a['tokens'], b['tokens'])} of the billed tokens are recorded"
    if found["has_list_price"]:
        line += f": {a['usd']:,.2f} USD of {b['usd']:,.2f} USD at list price ({share(a['usd'], b['usd'])})"
    return f"{line}. {'There is drift to investigate.' if found['drift'] else 'No drift.'}"


# --- calibrate


def calibrate(found: Any) -> Iterator[str]:
    """The tables, and what all thresholds promise together."""
    span = f"{time(found['start'])} to {time(found['end'])} UTC"
    yield f"Thresholds from {span}: {found['days']:.1f} days of history"
    for (threshold, unit), group in itertools.groupby(
        found["thresholds"], key=lambda one: (one["threshold"], one["unit"])
    ):
        yield f"{threshold}, {unit}"
        yield "feature, model by day now tail ratio greatest"
        for one in group:
            choices = [one["current"], *(one["choices"][name] for name in ("tail", "ratio", "greatest"))]
            place = [one["feature"], one["model"]] if one["feature"] or one["model"] else ["everything", "together"]
            yield joined(place[0], *("-" if choice is None else number(choice["value"]) for choice in choices))
            yield joined(place[1], *("" if choice is None else given(choice) for choice in choices))
    yield "Each cell: the threshold, and the false pages a week that it is expected to cause."
    yield from (f"{name}: {says}" for name, says in found["methods"].items())
    known = len(found["thresholds"]) - found["thresholds_without_expected_pages"]
    expected = (
        f"{pages(found['expected_pages_a_week'])} false pages a week expected; {found['pages_a_week']:g} accepted."
    )
    which = (
        f"The {known} thresholds of '{found['method']}' together"
        if known > 1
        else f"The threshold of '{found['method']}'"
    )
    unknown = found["thresholds_without_expected_pages"]
    rest = f" How often the other {unknown} will page is not known yet." if unknown else ""
    yield f"{which}: {expected}{rest}"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1_000 else f"{value:,g}"


def given(choice: Any) -> str:
    return f"{choice['seen']} seen" if choice["expected"] is None else f"{pages(choice['expected'])} a week"


def pages(expected: float) -> str:
    if expected >= 10:
        return f"{expected:,.0f}"
    return "<0.01" if 0 < expected < 0.01 else f"{expected:.2g}"


# --- review


def review(found: Any) -> Iterator[str]:
    """With `--all`."""
    yield f"Alerts, {time(found['start'])} to {time(found['end'])} UTC"
    yield "id fired (UTC) alert lasted USD noticed verdict"
    for one in found["alerts"]:
        noticed = one["detection"]["total"]
        lasted = f"{length(one['seconds'])}{'+' if one['is_cut'] else ''}"
        cells = (
            lasted,
            dollars(one["cost_usd"]),
            "-" if noticed is None else f"{noticed:.0f} s",
            one["verdict"] or "?",
        )
        yield joined(one["id"], moment(one["start"]), short(one["alert"]), *cells)
        yield from filter(None, (place(one["labels"]), one["note"]))
    if found["missed"]:
        yield "Incidents without an alert"
        yield "began (UTC) feature USD note"
    for one in found["missed"]:
        began = dt.datetime.fromisoformat(one["at"].replace("Z", "+00:00")).timestamp()
        yield joined(moment(began), one["feature"] or "-", dollars(one["usd"]), one["note"])
    yield from review_counts(found)
    yield "Noisiest alerts"
    yield "alert fired false"
    for one in found["noisiest"]:
        yield f"{short(one['alert'])} {one['fired']} {one['false']}"
    if found["suggestions"]:
        yield "Thresholds that would have prevented the false alerts:"
    for one in found["suggestions"]:
        where = ", ".join(filter(None, (one["feature"], one["model"])))
        highest = f"(false alerts reached {one['highest_false']:.3g})"
        yield f"{one['threshold']}, {where}: {one['value']:g} {one['unit']} {highest}"


def review_counts(found: Any) -> Iterator[str]:
    counts = {verdict: sum(one["verdict"] == verdict for one in found["alerts"]) for verdict in ("true", "false")}
    judged = counts["true"] + counts["false"]
    yield f"Alerts {len(found['alerts'])} fired, {counts['true']} true, {counts['false']} false"
    yield f"Precision {found['precision']:.0%} of {judged} judged were true"
    yield f"Missed incidents {len(found['missed'])}"
    seen, saved = found["detection"], found["saved"]
    within = f"{seen['mean']:.0f} s on average, 95 % within {seen['p95']:.0f} s"
    yield f"Time to detection {within} ({seen['alerts']} alerts, from onset to delivery)"
    yield (
        f"Saved, measured at least {saved['measured_usd']:,.2f} USD: {saved['blocked_requests']:,} requests that a "
        "breaker blocked, at the mean dollars of their feature"
    )
    yield (
        f"Saved, estimate up to {saved['estimated_usd']:,.2f} USD: what the true alerts would have cost more, had they "
        "gone on until a report at 09:00 UTC of the next day"
    )


def short(alert: str) -> str:
    return alert.removeprefix("Anthropic")


def place(labels: Any) -> str:
    return ", ".join(labels[name] for name in ("feature", "model") if labels.get(name))


# --- backtest


def backtest(found: Any) -> Iterator[str]:
    """With `--all`."""
    yield f"Alerts that would have fired, {time(found['start'])} to {time(found['end'])} UTC"
    for name, fired in found["sets"].items():
        yield f"{name}: {'1 alert' if len(fired) == 1 else f'{len(fired)} alerts'}"
        yield "fired (UTC) severity alert lasted USD until USD while"
        for one in fired:
            lasted = f"{length(one['seconds'])}{'+' if one['is_cut'] else ''}"
            cells = (lasted, dollars(one["until_usd"]), dollars(one["while_usd"]))
            yield joined(moment(one["start"]), one["severity"], short(one["alert"]), *cells)
            yield from filter(None, (place(one["labels"]),))
    yield "Side by side" if len(found["sets"]) > 1 else "How often"
    yield joined("alert", *found["sets"])
    order = {"critical": 0, "warning": 1, "info": 2}
    every = {(order[one["severity"]], one["alert"]) for fired in found["sets"].values() for one in fired}
    for _, alert in sorted(every):
        counts = (sum(one["alert"] == alert for one in fired) for fired in found["sets"].values())
        yield joined(short(alert), *map(str, counts))
    paged = (sum(order[one["severity"]] < 2 for one in fired) for fired in found["sets"].values())
    yield joined("of severity warning or critical", *map(str, paged))
    yield (
        "USD until: what the feature and model cost from the onset of the incident until the alert fired. USD while: "
        "what they cost while it fired."
    )


# --- advise


def advise(found: Any) -> Iterator[str]:
    """All items, ranked and with their data."""
    cost = f"{found['usd']:,.2f} USD, {found['usd_per_month']:,.2f} USD a month at this rate"
    span = f"{found['days']:.1f} days" if found["days"] >= 1 else f"{24 * found['days']:.0f} h"
    yield f"Advice from {span} that cost {cost}"
    yield "USD a month what feature model"
    for rank, one in enumerate(found["items"], start=1):
        yield joined(str(rank), dollars(one["usd_per_month"]), one["title"], one["feature"] or "-", one["model"])
    for rank, one in enumerate(found["items"], start=1):
        where = ", ".join(filter(None, (one["feature"], one["model"])))
        yield f"{rank}. {one['title']}: {where}, {dollars(one['usd_per_month'])} USD a month"
        data = (
            f"{name} {f'{value:,.0f}' if value >= 1_000 else f'{value:,.4g}'}" for name, value in one["data"].items()
        )
        yield from (one["change"], f"= {one['formula']}", "; ".join(data), f"Source: {one['source']}")
        yield from ([f"Only you know {one['needs']}."] if one["needs"] else [])
    yield "Each item is computed on its own: items on the same feature and model do not add up."
