"""Formats readings as exposition text: only what changed since the page before.

It takes a fraction of prometheus_client's time for the same bytes (`bench/speed/record.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, groupby, zip_longest

from anthropic_exporter.locking import SafeLock, this_frame
from anthropic_exporter.metrics.cells import Series, SeriesSample, Snapshot
from anthropic_exporter.metrics.families import COUNTER, FAMILIES, HISTOGRAM, Family
from anthropic_exporter.metrics.text import (
    GO_EXPONENT_FROM,
    base_name,
    created_line,
    format_value,
    head,
    prefixes,
)

#: How long a scrape waits for another one to be formatted.
_PATIENCE_SECONDS = 1.0


class _Lines:
    """The lines of series of one family that follow each other in a block: of one histogram, or of some counters.

    `template` has a place for each value; `known` is how many series of the family come before the next lines.
    """

    __slots__ = ("block", "created", "end", "known", "of", "start", "template", "text", "values")

    def __init__(self, of: _FamilyLines, series: Sequence[Series], known: int) -> None:
        self.of, self.known = of, known
        self.block, self.start, self.end = series[0].block, series[0].start, series[-1].end
        created = [created_line(of.family, one.labels, one.created) if of.counts else "" for one in series]
        self.created = "" if of.is_openmetrics else "".join(created)
        self.template = "".join(
            [
                "".join(f"{_escaped(prefix)}%s\n" for prefix in prefixes(of.family, one.labels))
                + (_escaped(line) if of.is_openmetrics else "")
                for one, line in zip(series, created, strict=True)
            ]
        )
        self.values: list[float] = []
        self.text = ""

    def update(self, values: list[float]) -> None:
        """Format the lines again if their numbers are others than before."""
        if values == self.values:
            return
        self.of.text = None  # first, and the values last: where an exception interrupts, they are formatted again
        shown = values
        if self.of.family.kind == HISTOGRAM:
            shown = list(accumulate(values[:-1]))
            shown += (shown[-1], values[-1])
        self.text = _filled(self.template, shown)
        self.values = values


class _FamilyLines:
    """The formatted lines of one family. Series are only added, and keep their order.

    Attributes:
        family: their metric family.
        is_openmetrics: the line that says since when a series counts follows its other lines.
        counts: there are such lines.
        text: all lines of stored series; None if one of them has changed.
    """

    def __init__(self, family: Family, *, is_openmetrics: bool) -> None:
        self.family = family
        self.is_openmetrics = is_openmetrics
        self.counts = family.kind in (COUNTER, HISTOGRAM)
        self.text: str | None = None
        self._lines: list[_Lines] = []
        self._of_blocks = 0
        self._created: tuple[int, str] = (0, "")
        self._readings: Sequence[SeriesSample] = ()
        self._labels: list[tuple[str, ...]] = []
        self._template = self._gauge_text = ""
        self._prefixes: dict[tuple[str, ...], str] = {}

    def learn(self, stored: Sequence[Series]) -> Iterator[_Lines]:
        """Make lines for the series that are new."""
        known = self._lines[-1].known if self._lines else 0
        if known == len(stored):
            return
        for _, group in groupby(enumerate(stored[known:], known), self._run):
            numbers, series = zip(*group, strict=True)
            lines = _Lines(self, series, numbers[-1] + 1)
            yield lines  # first: where an exception interrupts, they are made again
            self.text = None
            self._lines.append(lines)

    def _run(self, numbered: tuple[int, Series]) -> tuple[int, int]:
        """The same for counters that follow each other in a block."""
        number, one = numbered
        return (one.block, one.start if self.family.kind == HISTOGRAM else one.start - number)

    def parts(self, blocks: int, readings: Sequence[SeriesSample]) -> Iterator[str]:
        """The family as text: its series in the first blocks, and gauges computed at scrape time."""
        yield head(base_name(self.family) if self.is_openmetrics else self.family.name, self.family)
        lines = self._lines
        if lines and lines[-1].block >= blocks:
            lines = [one for one in lines if one.block < blocks]
        if self.text is None or self._of_blocks != len(lines):
            self._of_blocks, self.text = len(lines), "".join([one.text for one in lines])
        yield self.text
        yield self._gauge_lines(readings)
        if lines and self.counts and not self.is_openmetrics:
            yield head(f"{base_name(self.family)}_created", self.family, "gauge")
            yield self._created_lines(lines)

    def _created_lines(self, lines: Sequence[_Lines]) -> str:
        """The lines that say since when each series counts; they never change."""
        if self._created[0] != len(lines):
            self._created = (len(lines), "".join([one.created for one in lines]))
        return self._created[1]

    def _gauge_lines(self, readings: Sequence[SeriesSample]) -> str:
        """They come and go; their label values are bounded."""
        if readings is not self._readings:
            self._readings = ()  # where an exception interrupts, they are formatted again
            labels = [one.labels for one in readings]
            if labels != self._labels:
                self._template = "".join([f"{_escaped(self._prefix(one))}%s\n" for one in labels])
                self._labels = labels
            self._gauge_text = _filled(self._template, [one.values[0] for one in readings])
            self._readings = readings
        return self._gauge_text

    def _prefix(self, labels: tuple[str, ...]) -> str:
        prefix = self._prefixes.get(labels)
        if prefix is None:
            (prefix,) = prefixes(self.family, labels)
            self._prefixes[labels] = prefix
        return prefix


class _Format:
    """One format of the page, and what of the page before can be used again."""

    def __init__(self, families: Sequence[Family], *, is_openmetrics: bool) -> None:
        self.lock = SafeLock()
        self.end = b"# EOF\n" if is_openmetrics else b""
        self.newest = self.end
        self._shown, self._is_openmetrics = families, is_openmetrics
        self._series: object = None
        self._start_over()

    def _start_over(self) -> None:
        self._families = [_FamilyLines(family, is_openmetrics=self._is_openmetrics) for family in self._shown]
        self._of_block: list[list[_Lines]] = []
        self._blocks: list[list[float]] = []

    def page(self, snapshot: Snapshot) -> bytes:
        """The page of a snapshot; the page before where another one is being formatted and takes too long."""
        try:
            if not self.lock.wait(this_frame(), _PATIENCE_SECONDS):
                return self.newest
            if snapshot.series is not self._series:  # other cells: from here on those of several processes
                self._start_over()
                self._series = snapshot.series
            for family in self._families:
                self._learn(family.learn(snapshot.series_of(family.family.name)))
            self._update(snapshot.blocks)
            parts: list[str] = []
            for family in self._families:
                parts += family.parts(len(snapshot.blocks), snapshot.gauges.get(family.family.name, ()))
        finally:
            self.lock.release(this_frame())
        self.newest = page = "".join(parts).encode() + self.end
        return page

    def _learn(self, new: Iterator[_Lines]) -> None:
        for lines in new:
            while len(self._of_block) <= lines.block:
                self._of_block.append([])
            self._of_block[lines.block].append(lines)

    def _update(self, blocks: list[list[float]]) -> None:
        """Format what changed since the page before."""
        before, self._blocks = self._blocks, []  # where an exception interrupts, every block is compared again
        for values, old, of_block in zip_longest(blocks, before[: len(blocks)], self._of_block[: len(blocks)]):
            if values != old:
                for lines in of_block or ():
                    lines.update(values[lines.start : lines.end])
        self._blocks = blocks


class Renderer:
    """Formats snapshots. A series whose numbers have not changed since the last scrape is not formatted again.

    Args:
        families: what to show, in this order.
    """

    def __init__(self, families: Iterable[Family] = FAMILIES) -> None:
        shown = tuple(families)
        self._text = _Format(shown, is_openmetrics=False)
        self._openmetrics = _Format(shown, is_openmetrics=True)

    def text(self, snapshot: Snapshot) -> bytes:
        """Prometheus text format 0.0.4."""
        return self._text.page(snapshot)

    def openmetrics(self, snapshot: Snapshot) -> bytes:
        """OpenMetrics 1.0.0."""
        return self._openmetrics.page(snapshot)


def _filled(template: str, values: list[float]) -> str:
    """A template with its values. Python writes the small ones as Go does."""
    if max(values, default=0.0) < GO_EXPONENT_FROM:
        return template % tuple(values)
    return template % tuple(map(format_value, values))


def _escaped(text: str) -> str:
    """Text as part of a template."""
    return text.replace("%", "%%")
