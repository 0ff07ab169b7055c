"""Draws pictures as SVG, for files and for the weekly report. Needs the extra `report`: matplotlib."""

from __future__ import annotations

import datetime as dt
import io
import math
import textwrap
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.tuning.calibrate import Calibration
from anthropic_exporter.tuning.show_calibration import number, promise

_WIDTH_INCHES, _ROW_INCHES, _TITLE_INCHES = 9.0, 1.9, 0.5
_TITLE_CHARACTERS = 115
#: Okabe and Ito's colours, which people with any colour vision tell apart.
BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#888888"
GRID = "#e6e6e6"
_STYLE: Any = {  # matplotlib names every key that it knows in its type
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "axes.axisbelow": True,
    "svg.fonttype": "none",
    "text.parse_math": False,  # a feature may be named $x
    "svg.hashsalt": "anthropic-exporter",
}
_MOST_ROWS = 20
#: A pause in which nothing was recorded.
_GAP_SECONDS = 300.0


def figure(
    rows: int,
    draw: Callable[[Any], None],
    *,
    height: float = _ROW_INCHES,
    width: float = _WIDTH_INCHES,
    title: str = "",
) -> str:
    """An SVG of `rows` axes below each other, drawn by `draw`, which gets a list of them. Sizes are in inches."""
    import matplotlib as mpl  # noqa: PLC0415 - only who draws loads it
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The reader's browser has glyphs that the font measured here lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        made = Figure(figsize=(width, height * rows + (_TITLE_INCHES if title else 0)), layout="constrained")
        if title:
            made.suptitle(textwrap.fill(title, _TITLE_CHARACTERS), x=0.01, ha="left", fontsize=10, fontweight="bold")
        axes = made.subplots(rows, 1, squeeze=False)
        draw([row[0] for row in axes])
        text = io.StringIO()
        made.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def write(path: Path, svg: str) -> None:
    """Write a picture.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    try:
        path.write_text(svg, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from error


def calibration(found: Calibration, method: str) -> str:
    """The history of each signal with the thresholds of all methods; the chosen one is solid."""
    shown = found.found[:_MOST_ROWS]

    def draw(axes: Sequence[Any]) -> None:
        for axis, one in zip(axes, shown, strict=True):
            place = ", ".join(filter(None, (one.feature, one.model))) or "everything together"
            axis.set_title(f"{one.judged.threshold}, {one.judged.unit}: {place}", loc="left", fontsize=9)
            points = with_gaps(one.points)
            axis.plot(times(at for at, _ in points), [value for _, value in points], color=BLUE, linewidth=0.6)
            for since, until in found.left_out:
                axis.axvspan(*times((since, until)), color=GREY, alpha=0.25, linewidth=0)
            highest = max(value for _, value in one.points)
            lines = [
                _Line(f"{name} {number(choice.value)}", choice.value, *(_CHOSEN if name == method else _OTHER))
                for name, choice in one.choices.items()
                if name == method or choice.value < _MOST_TIMES * highest
            ]
            if one.current is not None and one.current.value < _MOST_TIMES * highest:
                lines.append(_Line(f"now {number(one.current.value)}", one.current.value, *_CURRENT))
            axis.set_ylim(0, _ROOM * max(highest, *(line.value for line in lines)))
            _draw_lines(axis, lines)
            span_axis(axis, found.start, found.end)

    return figure(len(shown), draw, title=_title(found, method))


def with_gaps(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points with a value that is none in each gap, so that no line is drawn where nothing was recorded."""
    found: list[tuple[float, float]] = []
    for at, value in points:
        if found and at - found[-1][0] > _GAP_SECONDS:
            found.append((found[-1][0] + 1, math.nan))
        found.append((at, value))
    return found


def _title(found: Calibration, method: str) -> str:
    more = len(found.found) - _MOST_ROWS
    left_out = f" Grey: excluded as incidents ({len(found.left_out)})." if found.left_out else ""
    rest = f" {more} more signals are not drawn." if more > 0 else ""
    return f"{promise(found, method)}{left_out}{rest}"


class _Line(NamedTuple):
    """A threshold on a picture."""

    name: str
    value: float
    colour: str
    style: str
    width: float


def _draw_lines(axis: Any, lines: Iterable[_Line]) -> None:
    """Thresholds as lines, their names in the right margin; names that would overlap are moved apart."""
    ordered = sorted(lines, key=lambda one: one.value)
    top = axis.get_ylim()[1]
    for line, place in zip(ordered, apart([one.value for one in ordered], _NAME_SHARE * top, top), strict=True):
        axis.axhline(line.value, color=line.colour, linestyle=line.style, linewidth=line.width)
        axis.annotate(
            line.name,
            (1.0, place),
            (5, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color="#000000" if line.colour == GREY else line.colour,
            annotation_clip=False,
        )


def apart(values: Sequence[float], distance: float, top: float) -> list[float]:
    """Places near ascending values, at least `distance` apart, and not above `top` if there is room below it."""
    places: list[float] = []
    for value in values:
        places.append(max(value, places[-1] + distance) if places else value)
    for index in range(len(places) - 1, -1, -1):
        above = places[index + 1] - distance if index + 1 < len(places) else top
        places[index] = max(min(places[index], above), 0.0)
    return places


def span_axis(axis: Any, start: float, end: float) -> None:
    """The whole span, with days or hours in UTC that people read."""
    import matplotlib.dates  # noqa: PLC0415 - only who draws loads it

    dates: Any = matplotlib.dates  # it has no types
    locator = dates.AutoDateLocator(minticks=3, maxticks=9)
    formats = ["%Y", "%b", "%a %d %b", "%H:%M", "%H:%M", "%H:%M:%S"]
    changes = ["", "%Y", "%b", "%a %d %b", "%H:%M", "%H:%M"]
    axis.xaxis.set_major_locator(locator)
    axis.xaxis.set_major_formatter(
        dates.ConciseDateFormatter(locator, formats=formats, zero_formats=changes, show_offset=False)
    )
    axis.set_xlim(*times((start, end)))


_CHOSEN, _OTHER, _CURRENT = (GREEN, "-", 1.6), (GREY, ":", 1.2), (RED, "--", 1.2)
#: Room above the highest line, and the part of the height that a name takes.
_ROOM, _NAME_SHARE = 1.12, 0.13
#: A line this many times above the history would flatten its curve.
_MOST_TIMES = 5.0


def times(seconds: Iterable[float]) -> list[dt.datetime]:
    """Unix seconds in the form that matplotlib needs, in UTC."""
    return [dt.datetime.fromtimestamp(at, dt.timezone.utc) for at in seconds]
