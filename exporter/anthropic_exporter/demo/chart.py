"""Dollars a minute over the whole run: one bar a column, the threshold as a line, the moments on the axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from anthropic_exporter.demo import story

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

    from anthropic_exporter.demo.story import Picture

COLOURS = {story.CALM: "green", story.INCIDENT: "red", story.REPAIRED: "cyan"}
MARKS = {
    story.INCIDENT: ("▲", "bold red"),
    story.FIRED: ("◆", "bold yellow"),
    story.NOTIFIED: ("●", "bold magenta"),
    story.REPAIRED: ("▲", "bold cyan"),
}
DIM = "bright_black"
_EIGHTHS = " ▁▂▃▄▅▆▇█"
_AXIS = 7
_HEADROOM = 1.25


class _Column(NamedTuple):
    """One column: the second it ends at, its value, its colour."""

    at: float
    value: float
    colour: str


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
        top = max(threshold * _HEADROOM, *(column.value for column in columns))
        level = int(threshold / top * height)
        for row in reversed(range(height)):
            line = Text(_scale(row, height, top), DIM, no_wrap=True)
            for column in columns:
                line.append(*_cell(column, row, height, top, on_threshold=row == level))
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


def _cell(column: _Column, row: int, height: int, top: float, *, on_threshold: bool) -> tuple[str, str]:
    eighths = max(0, min(8, round((column.value / top * height - row) * 8)))
    if eighths:
        return _EIGHTHS[eighths], column.colour
    return ("╌", "yellow") if on_threshold else (" ", "")


def _scale(row: int, height: int, top: float) -> str:
    value = {height - 1: f"{top:.2f}", 0: "0"}.get(row, "")
    return f"{value:>{_AXIS - 1}} "
