"""The pictures of the report, as SVG in the page's colours, light or dark. Needs the extra `report`."""

from __future__ import annotations

import datetime as dt
import html
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from anthropic_exporter.tuning import pictures
from anthropic_exporter.tuning.report.spend import DAY_SECONDS, Spend
from anthropic_exporter.tuning.review import Reviewed

#: Okabe and Ito's colours, which people with any colour vision tell apart on light and on dark ground.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
_OTHERS = "others"
#: A single day is as wide as one of a week.
_FEWEST_DAYS = 7
_MOST_BARS, _MOST_CHARACTERS = 8, 26
_WIDTH_INCHES, _BAR_INCHES = 5.2, 0.32
#: The detection of a step anomaly that this project promises, in seconds.
PROMISED_SECONDS = 30.0


def dollars_by_day(spend: Spend, number: int) -> str:
    """Stacked bars: a day each, a colour for each of the six features that cost most."""
    days = sorted({day for day, _ in spend.by_day})
    every = range(days[0], days[-1] + 1, DAY_SECONDS) if days else range(0)
    names = _largest(spend.by_feature, len(_COLOURS))
    layers = [(shown(name), [spend.by_day.get((day, name), 0.0) for day in every]) for name in names]
    rest = [sum(usd for (at, name), usd in spend.by_day.items() if at == day and name not in names) for day in every]

    def draw(axis: Any) -> None:
        below = [0.0] * len(every)
        colours = (*_COLOURS[: len(layers)], pictures.GREY)
        for (name, values), colour in zip([*layers, (_OTHERS, rest)], colours, strict=True):
            if any(values):
                axis.bar(range(len(every)), values, bottom=below, color=colour, label=name, width=0.7)
                below = [a + b for a, b in zip(below, values, strict=True)]
        axis.set_xticks(range(len(every)), [_day(day) for day in every])
        axis.set_ylabel("USD")
        axis.grid(visible=False, axis="x")
        for day, total in enumerate(below):
            axis.annotate(f"{total:,.0f}", (day, total), (0, 3), textcoords="offset points", ha="center", fontsize=8)
        axis.legend(fontsize=8, frameon=False, loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3)
        axis.set_ylim(top=1.1 * max(below, default=1.0) or 1.0)
        axis.set_xlim(-0.6, max(len(every), _FEWEST_DAYS) - 0.4)

    return _picture(draw, 3.3, number, "Dollars of each day by feature")


def dollars_by(amounts: Mapping[str, float], number: int, title: str) -> str:
    """Horizontal bars, the largest first; the rest is summed up."""
    names = _largest(amounts, _MOST_BARS)
    rest = sum(usd for name, usd in amounts.items() if name not in names)
    bars = [(shown(name), amounts[name]) for name in names] + ([(_OTHERS, rest)] if rest else [])

    def draw(axis: Any) -> None:
        values = [usd for _, usd in bars]
        axis.barh(range(len(bars)), values, color=_COLOURS[0], height=0.6)
        axis.set_yticks(range(len(bars)), [name for name, _ in bars])
        axis.invert_yaxis()
        axis.set_xlim(right=1.25 * max(values, default=1.0) or 1.0)
        axis.set_xlabel("USD")
        axis.grid(visible=False, axis="y")
        for row, usd in enumerate(values):
            axis.annotate(f"{usd:,.2f}", (usd, row), (4, 0), textcoords="offset points", va="center", fontsize=8)

    return _picture(draw, 0.9 + _BAR_INCHES * len(bars), number, title)


def detection(reviewed: Sequence[Reviewed], number: int) -> str:
    """One point for each alert: seconds from the onset of the incident to its delivery."""
    points = [(one.firing.alert.removeprefix("Anthropic"), one.detection.total) for one in reviewed]
    known = [(name, seconds) for name, seconds in points if seconds is not None]
    names = sorted({name for name, _ in known})

    def draw(axis: Any) -> None:
        rows = [names.index(name) for name, _ in known]
        axis.plot([seconds for _, seconds in known], rows, "o", color=_COLOURS[0], markersize=6, alpha=0.8)
        axis.axvline(PROMISED_SECONDS, color=_COLOURS[5], linestyle="--", linewidth=1.2)
        where = {"textcoords": "offset points", "va": "center", "fontsize": 8}
        axis.annotate(f"{PROMISED_SECONDS:g} s", (PROMISED_SECONDS, -0.55), (4, 0), **where)
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.4, -0.9)
        axis.set_xlim(left=0, right=1.1 * max(PROMISED_SECONDS, *(seconds for _, seconds in known)))
        axis.set_xlabel("seconds from onset to delivery")

    return _picture(draw, 1.0 + _BAR_INCHES * len(names), number, "Time to detection by alert") if known else ""


def shown(name: str) -> str:
    """A name for a picture: short, and never empty."""
    text = "".join(one if one.isprintable() else "?" for one in name) or "(unattributed)"
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def _largest(amounts: Mapping[str, float], most: int) -> list[str]:
    ranked = sorted(amounts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [name for name, _ in itertools.islice(ranked, most)]


def _day(second: int) -> str:
    return dt.datetime.fromtimestamp(second, dt.timezone.utc).strftime("%a\n%d %b")


def _picture(draw: Callable[[Any], None], height: float, number: int, title: str) -> str:
    svg = pictures.figure(1, lambda axes: draw(axes[0]), height=height, width=_WIDTH_INCHES)
    return inlined(svg, number, title)


def inlined(svg: str, number: int, title: str) -> str:
    """Make an SVG fit for a page: unique ids, and the page's colours for text, lines and background."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\1p{number}-", body)
    for drawn, ours in (("#000000", "currentColor"), (pictures.GRID, "var(--line)"), ("#ffffff", "none")):
        body = body.replace(drawn, ours)
    return body.replace("<svg", f'<svg role="img" aria-label="{html.escape(title)}"', 1)
