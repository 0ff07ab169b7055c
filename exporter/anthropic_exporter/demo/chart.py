"""Dollars per minute over the whole run: one bar a column, the threshold as a line, events on the axis.

The scale is logarithmic, so that calm traffic, the incident and a thousand requests a minute fit in one picture.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from anthropic_exporter.demo import story

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from anthropic_exporter.demo.story import Picture

COLOURS = {story.CALM: "green", story.INCIDENT: "red", story.FORWARD: "magenta", story.REPAIRED: "cyan"}
MARKS = {
    story.INCIDENT: ("▲", "bold red"),
    story.FIRED: ("◆", "bold yellow"),
    story.NOTIFIED: ("●", "bold yellow"),
    story.FORWARD: ("▶", "bold magenta"),
    story.REPAIRED: ("▲", "bold cyan"),
}
DIM = "bright_black"
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_AXIS = 7
_LOWEST_USD = 0.1


class _Column(NamedTuple):
    """One column: the second at which it ends, its value and its colour."""

    at: float
    value: float
    colour: str


class Scale(NamedTuple):
    """A logarithmic scale that starts at ten cents and spans `decades` powers of ten."""

    decades: int

    @classmethod
    def up_to(cls, value: float) -> Scale:
        """The shortest scale that fits the value, of at least one decade."""
        return cls(max(1, math.ceil(math.log10(max(value, _LOWEST_USD) / _LOWEST_USD))))

    def level(self, value: float) -> float:
        """The position of a value: 0 at the lower end, 1 at the upper end."""
        return max(0.0, min(1.0, math.log10(max(value, _LOWEST_USD) / _LOWEST_USD) / self.decades))

    def labels(self, height: int) -> dict[int, str]:
        """The value at the lower edge of each row where a decade begins."""
        steps = range(self.decades)
        return {int(step / self.decades * height): f"{_LOWEST_USD * 10**step:g}" for step in steps}


class Chart:
    """A renderable that fills the width and height it is given."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture
        self._span = max(picture.planned, picture.now)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw rows from the top, then the axis."""
        width, height = max(10, options.max_width - _AXIS), max(3, options.height or 6) - 1
        columns = [self._column((number + 1) / width * self._span) for number in range(width)]
        threshold = self._picture.threshold_usd_per_minute
        scale = Scale.up_to(max(threshold, *(column.value for column in columns)))
        labels, limit = scale.labels(height), int(scale.level(threshold) * height)
        for row in reversed(range(height)):
            line = Text(f"{labels.get(row, ''):>{_AXIS - 1}} ", DIM, no_wrap=True)
            for column in columns:
                line.append(*_cell(column, scale.level(column.value) * height - row, on_threshold=row == limit))
            yield line
        yield self._axis(width)

    def _column(self, at: float) -> _Column:
        picture = self._picture
        if at > picture.now + 1:
            return _Column(at, 0.0, DIM)
        came = [moment.kind for moment in picture.moments if moment.at <= at and moment.kind in COLOURS]
        colour = COLOURS[came[-1] if came else story.CALM]
        return _Column(at, story.pace(picture.spend, at, picture.window), colour)

    def _axis(self, width: int) -> Text:
        cells, free = {}, 0
        for moment in self._picture.moments:
            if moment.kind in MARKS:
                free = max(free, int(moment.at / self._span * width))
                cells[free] = MARKS[moment.kind]
                free += 1
        line = Text(" " * _AXIS, no_wrap=True)
        for column in range(width):
            line.append(*cells.get(column, ("─", DIM)))
        return line


def sparkline(values: list[float], top: float = 1.0) -> str:
    """One character a value, from a space for 0 to a full block for `top`."""
    return "".join(_EIGHTHS[max(0, min(8, round(value / top * 8)))] for value in values)


def _cell(column: _Column, filled: float, *, on_threshold: bool) -> tuple[str, str]:
    """One character of a column. `filled` is its fill level in rows; values outside 0 to 1 are clamped."""
    eighths = max(0, min(8, round(filled * 8)))
    if eighths:
        return _EIGHTHS[eighths], column.colour
    return ("╌", "yellow") if on_threshold else (" ", "")
