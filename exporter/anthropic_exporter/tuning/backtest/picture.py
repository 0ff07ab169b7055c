"""A backtest as a picture: when each alert would have fired, two sets of thresholds below each other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from anthropic_exporter.tuning import pictures, show_review
from anthropic_exporter.tuning.backtest.backtest import Fired
from anthropic_exporter.tuning.backtest.show import LOUD, Sets

_COLOURS = {"critical": pictures.RED, "warning": pictures.ORANGE}
_MOST_ROWS, _MOST_CHARACTERS = 30, 48
_ROW_INCHES, _FRAME_INCHES = 0.27, 0.9
#: A firing of seconds would not be seen in a week.
_NARROWEST_SHARE = 0.004


def firings(sets: Sets, start: float, end: float) -> str:
    """An SVG with a row for each alert, feature and model, for alerts that page."""
    rows = _rows(sets)
    shown = rows[:_MOST_ROWS]

    def draw(axes: Any) -> None:
        for axis, (name, fired) in zip(axes, sets.items(), strict=True):
            axis.set_title(f"{name}: {_count(fired)}", loc="left", fontsize=9)
            for number, row in enumerate(shown):
                for at, seconds, severity in _spans(fired, row):
                    width = max(seconds, _NARROWEST_SHARE * (end - start))
                    since, until = pictures.times((at, at + width))
                    axis.barh(number, until - since, left=since, height=0.6, color=_COLOURS[severity])
            axis.set_yticks(range(len(shown)), shown or [])
            axis.set_ylim(len(shown) - 0.4 if shown else 1, -0.6)
            axis.grid(visible=False, axis="y")
            pictures.span_axis(axis, start, end)

    height = _FRAME_INCHES + _ROW_INCHES * max(len(shown), 1)
    return pictures.figure(len(sets), draw, height=height, title=_title(len(rows)))


def _title(rows: int) -> str:
    rest = f" {rows - _MOST_ROWS} more rows are not drawn." if rows > _MOST_ROWS else ""
    return f"Alerts that would have fired; dark: critical, light: warning. Times are UTC.{rest}"


def _rows(sets: Sets) -> list[str]:
    """The names of all rows, those that fire longest first."""
    lasted: dict[str, float] = {}
    for fired in sets.values():
        for one in fired:
            if one.firing.severity in LOUD:
                lasted[_name(one)] = lasted.get(_name(one), 0.0) + one.firing.seconds
    return sorted(lasted, key=lambda name: (-lasted[name], name))


def _name(one: Fired) -> str:
    place = ", ".join(filter(None, (one.firing.feature, one.firing.model)))
    alert = show_review.name(one.firing.alert)
    text = f"{alert}: {place}" if place else alert
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


def _spans(fired: Any, row: str) -> Iterator[tuple[float, float, str]]:
    for one in fired:
        if one.firing.severity in LOUD and _name(one) == row:
            yield one.firing.start, one.firing.seconds, one.firing.severity


def _count(fired: Any) -> str:
    number = sum(one.firing.severity in LOUD for one in fired)
    return "1 alert" if number == 1 else f"{number} alerts"
