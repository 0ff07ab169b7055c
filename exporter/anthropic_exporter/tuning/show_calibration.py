"""A calibration as a table for a terminal."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from anthropic_exporter.tuning.calibrate import DAY_SECONDS, METHODS, SAYS, Calibrated, Calibration, Choice

_BARS = "▁▂▃▄▅▆▇█"
#: A week without an incident of some hours still has every weekday.
_WEEK_DAYS = 6.5


def table(calibration: Calibration, method: str) -> RenderableType:
    """The whole calibration; the chosen method stands out."""
    return Group(*_parts(calibration, method))


def _parts(calibration: Calibration, method: str) -> Iterator[RenderableType]:
    days = calibration.seconds / DAY_SECONDS
    yield Text(
        f"Thresholds from {_time(calibration.start)} to {_time(calibration.end)} UTC: {days:.1f} days of history",
        style="bold",
    )
    found = Table()
    for heading in ("threshold", "feature", "model"):
        found.add_column(heading, overflow="fold")
    found.add_column("greatest by day", no_wrap=True)
    for heading in ("now", *METHODS):
        style = "bold green" if heading == method else ""
        found.add_column(heading, justify="right", style=style)
    for one in calibration.found:
        found.add_row(*_row(one))
    yield found
    yield Text("In each cell: the threshold, and the false pages a week that it is expected to give. 'seen' are those")
    yield Text("that it would have given in this history.")
    yield from (Text(f"  {name}: {says}") for name, says in SAYS.items())
    yield Text(f"\n{promise(calibration, method)}", style="bold")
    yield from (Text(line, style="yellow") for line in unknown(calibration))


def _row(one: Calibrated) -> list[Text]:
    place = [one.judged.threshold, one.feature or "-", one.model or "-"]
    cells = [_cell(one.current), *(_cell(one.choices[method]) for method in METHODS)]
    return [*map(Text, place), Text(sparkline(one.daily)), *cells]


def _cell(choice: Choice | None) -> Text:
    if choice is None:
        return Text("-")
    return Text(f"{choice.value:,g}\n{pages(choice.expected)} a week, {choice.seen} seen")


def pages(expected: float | None) -> str:
    """Expected pages for people."""
    if expected is None or math.isinf(expected):
        return "?"
    return "<0.01" if 0 < expected < 0.01 else f"{expected:.2g}"  # noqa: PLR2004 - two digits are shown


def sparkline(values: Sequence[float]) -> str:
    """One bar a value."""
    most = max(values, default=0.0) or 1.0
    return "".join(_BARS[min(len(_BARS) - 1, int(value / most * (len(_BARS) - 1) + 0.5))] for value in values)


def promise(calibration: Calibration, method: str) -> str:
    """The promise of the chosen method for all thresholds together."""
    chosen = [one.choices[method].expected for one in calibration.found]
    if not calibration.is_long_enough or None in chosen:
        return "How often these thresholds will page cannot be said yet."
    total = sum(expected for expected in chosen if expected is not None)
    return f"All {len(chosen)} thresholds of '{method}' together: {pages(total)} false pages a week expected."


def unknown(calibration: Calibration) -> Iterator[str]:
    """What this history cannot tell."""
    days = calibration.seconds / DAY_SECONDS
    if not calibration.is_long_enough:
        yield f"Only {days * 24:.0f} h of history: below 24 h it has no whole day, so that pages a week are not known."
    elif days < _WEEK_DAYS:
        yield f"Only {days:.1f} days of history: weekdays or weekends that it does not have may be busier."
    if calibration.left_out:
        yield f"Left out as incidents: {len(calibration.left_out)}."


def _time(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.timezone.utc).strftime("%a %d %b %H:%M")
