"""A calibration as a table for a terminal."""

from __future__ import annotations

import datetime as dt
import itertools
import math
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from anthropic_exporter import tables
from anthropic_exporter.tuning.calibrate import (
    DAY_SECONDS,
    METHODS,
    MOST_TIMES,
    SAYS,
    Calibrated,
    Calibration,
    Choice,
    total_expected,
)

_BARS = "▁▂▃▄▅▆▇█"
#: A week without an incident of some hours still has every weekday.
_WEEK_DAYS = 6.5
#: The peaks of hours that the tail is fitted to (tuning/tail.py).
_FEW_HOURS = 8
_MOST_BARS, _CELL, _PLACE, _MANY = 14, 12, 18, 10


def table(calibration: Calibration, method: str) -> RenderableType:
    """The whole calibration; the chosen method is highlighted."""
    return Group(*_parts(calibration, method))


def _parts(calibration: Calibration, method: str) -> Iterator[RenderableType]:
    days = calibration.seconds / DAY_SECONDS
    yield Text(
        f"Thresholds from {_time(calibration.start)} to {_time(calibration.end)} UTC: {days:.1f} days of history",
        style="bold",
    )
    for (threshold, unit), found in itertools.groupby(
        calibration.found, lambda one: (one.judged.threshold, one.judged.unit)
    ):
        yield Text(f"\n{threshold}, {unit}", style="bold")
        yield _signals(list(found), method)
    yield Text(f"\nEach cell: the threshold, and the false pages a week that {_expected(calibration)}")
    yield from (Text(f"  {name}: {says}", "bold green" if name == method else "") for name, says in SAYS.items())
    yield Text(f"\n{promise(calibration, method)}", style="bold")
    yield from (Text(line, style="yellow") for line in unknown(calibration))


def _expected(calibration: Calibration) -> str:
    return "it is expected to cause." if calibration.is_long_enough else "it would have caused in this history (seen)."


def _signals(found: Sequence[Calibrated], method: str) -> Table:
    """The signals of one threshold. All tables have the same widths, so that they stand below each other."""
    numbers = ("now", *METHODS)
    days = min(max(len(one.daily) for one in found), _MOST_BARS)
    shown = tables.compact("feature, model", "by day", *numbers, right=numbers, folded=("feature, model",))
    shown.columns[0].min_width = _PLACE
    shown.columns[1].min_width = max(days, len("by day"))
    for column, name in zip(shown.columns[2:], numbers, strict=True):
        column.min_width = _CELL
        column.style = column.header_style = "bold green" if name == method else ""
    for one in found:
        shown.add_row(*_row(one))
    return shown


def _row(one: Calibrated) -> list[Text]:
    place = "\n".join(filter(None, (one.feature, one.model))) or "everything\ntogether"
    cells = [_cell(one.current), *(_cell(one.choices[method]) for method in METHODS)]
    return [Text(place), Text(sparkline(one.daily[-_MOST_BARS:])), *cells]


def _cell(choice: Choice | None) -> Text:
    if choice is None:
        return Text("-")
    given = f"{choice.seen} seen" if choice.expected is None else f"{pages(choice.expected)} a week"
    return Text(number(choice.value)) + Text(f"\n{given}", "dim")


def number(value: float) -> str:
    """A threshold for people."""
    return f"{value:,.0f}" if value >= 1_000 else f"{value:,g}"  # noqa: PLR2004 - from here on digits are grouped


def pages(expected: float | None) -> str:
    """Expected pages for people."""
    if expected is None or math.isinf(expected):
        return "?"
    if expected >= _MANY:
        return f"{expected:,.0f}"
    return "<0.01" if 0 < expected < 0.01 else f"{expected:.2g}"  # noqa: PLR2004 - two digits are shown


def sparkline(values: Sequence[float]) -> str:
    """One bar a value."""
    most = max(values, default=0.0) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int(value / most * (len(_BARS) - 1) + 0.5))] for value in values)


def promise(calibration: Calibration, method: str) -> str:
    """The promise of the chosen method for all thresholds together."""
    expected, without = total_expected(calibration, method)
    if not calibration.is_long_enough or expected is None:
        return "It is not known yet how often these thresholds will page."
    known = len(calibration.found) - without
    which = f"The {known} thresholds of '{method}' together" if known > 1 else f"The threshold of '{method}'"
    rest = f" How often the other {without} will page is not known yet." if without else ""
    return f"{which}: {pages(expected)} false pages a week expected; {calibration.pages:g} accepted.{rest}"


def unknown(calibration: Calibration) -> Iterator[str]:
    """What this history cannot tell."""
    days = calibration.seconds / DAY_SECONDS
    if days < 1:
        yield f"Only {days * 24:.0f} h of history: with less than 24 h, pages a week are not known."
    elif not calibration.is_long_enough:
        working = calibration.working_seconds / 3_600
        yield f"Only {working:.0f} h from Monday to Friday: without a working day pages a week are not known."
    elif days < _WEEK_DAYS:
        yield f"Only {days:.1f} days of history: days of the week that are missing may be busier."
    yield from _unknown_signals(calibration)
    if calibration.left_out:
        yield f"Excluded as incidents: {len(calibration.left_out)}."
    if calibration.unjudged:
        one = calibration.unjudged == 1
        yield (
            f"{calibration.unjudged} {'alert' if one else 'alerts'} of this period {'has' if one else 'have'} no "
            f"verdict and {'counts' if one else 'count'} as ordinary traffic: an incident raises the "
            "thresholds. Judge with review --mark."
        )


def _unknown_signals(calibration: Calibration) -> Iterator[str]:
    """What the history of single signals is too short for."""
    if calibration.is_long_enough:
        yield from _not_written(sum(one.is_new for one in calibration.found), "new")
        yield from _not_written(sum(one.is_gone for one in calibration.found), "gone, or silent for days")
    limited = sum(one.is_limited for one in calibration.found)
    if limited:
        which = "1 threshold of 'tail' is" if limited == 1 else f"{limited} thresholds of 'tail' are"
        yield (
            f"{which} {MOST_TIMES:g} times the highest value seen at most: this history is too short to promise "
            f"{calibration.pages:g} false pages a week. Calibrate again with more history."
        )
    rare = sum(one.hours < _FEW_HOURS and one.is_known for one in calibration.found)
    if rare and calibration.is_long_enough:
        which = "1 threshold rests" if rare == 1 else f"{rare} thresholds rest"
        yield f"{which} on fewer than {_FEW_HOURS} hours with traffic: calibrate again with more history."


def _not_written(count: int, why: str) -> Iterator[str]:
    if count:
        which = "1 threshold is of a feature that is" if count == 1 else f"{count} thresholds are of features that are"
        left_out = "it is" if count == 1 else "they are"
        yield f"{which} {why}: without a working day of history pages a week are not known, and {left_out} not written."


def _time(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime("%a %d %b %H:%M")
