"""Draws pictures as SVG, for files and for the weekly report. Needs the extra `report`: matplotlib."""

from __future__ import annotations

import datetime as dt
import io
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.tuning.calibrate import Calibration

_WIDTH_INCHES, _ROW_INCHES = 9.0, 1.9
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


def figure(rows: int, draw: Callable[[Any], None], *, height: float = _ROW_INCHES, width: float = _WIDTH_INCHES) -> str:
    """An SVG of `rows` axes below each other, drawn by `draw`, which gets a list of them. Sizes are in inches."""
    import matplotlib as mpl  # noqa: PLC0415 - only who draws loads it
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        # The reader's browser has glyphs that the font measured here lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        made = Figure(figsize=(width, height * rows), layout="constrained")
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
            axis.set_title(f"{one.judged.threshold} ({one.judged.unit}): {place}", loc="left", fontsize=9)
            axis.plot(times(at for at, _ in one.points), [value for _, value in one.points], color=BLUE, linewidth=0.6)
            for name, choice in one.choices.items():
                style = {"linestyle": "-", "linewidth": 1.6} if name == method else {"linestyle": ":", "linewidth": 1.2}
                axis.axhline(choice.value, color=GREEN if name == method else GREY, **style)
                axis.annotate(
                    f"{name} {choice.value:,g}",
                    (1.0, choice.value),
                    xycoords=("axes fraction", "data"),
                    ha="right",
                    va="bottom",
                    fontsize=7,
                )
            highest = max(value for _, value in one.points)
            lines = [choice.value for choice in one.choices.values()]
            if one.current is not None and one.current.value < _MOST_TIMES * highest:
                lines.append(one.current.value)
                axis.axhline(one.current.value, color=RED, linewidth=1.2, linestyle="--")
                axis.annotate(
                    f"now {one.current.value:,g}",
                    (0.01, one.current.value),
                    xycoords=("axes fraction", "data"),
                    ha="left",
                    va="bottom",
                    fontsize=7,
                    color=RED,
                )
            axis.set_ylim(0, _ROOM_FOR_NAMES * max(highest, *lines))

    return figure(len(shown), draw)


#: Room above the highest line for the names on the lines.
_ROOM_FOR_NAMES = 1.15
#: A threshold this many times above the history would flatten its curve.
_MOST_TIMES = 5.0


def times(seconds: Iterable[float]) -> list[dt.datetime]:
    """Unix seconds in the form that matplotlib needs, in UTC."""
    return [dt.datetime.fromtimestamp(at, dt.timezone.utc) for at in seconds]
