"""Formats readings as exposition text; the parts of a line that never change are formatted once.

Byte for byte what prometheus_client 0.26 writes for the same numbers (`tests/test_render.py`), in a fraction of its
time (`bench/speed/record.py`).
Formats: Prometheus text 0.0.4 and OpenMetrics 1.0.0.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from itertools import accumulate

from anthropic_exporter.locking import SafeLock, this_frame
from anthropic_exporter.metrics.cells import Reading, Series, Snapshot
from anthropic_exporter.metrics.families import COUNTER, FAMILIES, HISTOGRAM, Family

TEXT_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_GO_EXPONENT_FROM = 1e6
#: How long a scrape waits for another one to be formatted.
_PATIENCE_SECONDS = 1.0


class _Lines:
    """The lines of one stored series: as they stand now, and what of them never changes.

    `template` has a place for each value; `prefixes` are the same lines up to their values, for values that need more
    than Python's own way to write a number.
    """

    __slots__ = ("block", "created", "end", "prefixes", "start", "template", "text", "values")

    def __init__(self, family: Family, one: Series) -> None:
        self.block, self.start, self.end = one.block, one.start, one.end
        self.prefixes, braces = _prefixes(family, one.labels)
        self.template = "".join(f"{prefix.replace('%', '%%')}%r\n" for prefix in self.prefixes)
        self.created = f"{_base(family)}_created{braces} {format_value(one.created)}\n"
        self.values: list[float] = []
        self.text = ""


class _FamilyLines:
    """The formatted lines of one family. Series are only added, and keep their order."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.series: list[_Lines] = []
        self._created: tuple[int, str] = (0, "")
        self._gauges: dict[tuple[str, ...], str] = {}

    def update(self, snapshot: Snapshot, changed: list[bool]) -> list[_Lines]:
        """The series of a snapshot, formatted again where their numbers are others than before."""
        stored = snapshot.series_of(self.family.name)
        for one in stored[len(self.series) :]:
            self.series.append(_Lines(self.family, one))
        written = self.series if len(stored) == len(self.series) else self.series[: len(stored)]
        for lines in written:
            if changed[lines.block]:
                values = snapshot.blocks[lines.block][lines.start : lines.end]
                if values != lines.values:
                    lines.text = _formatted(self.family, lines, values)
                    lines.values = values  # last: where an exception interrupts, they are formatted again
        return written

    def created(self, written: list[_Lines]) -> str:
        """The lines that say since when each series counts; they never change."""
        number, text = self._created
        if number != len(written):
            text = "".join([lines.created for lines in written])
            self._created = (len(written), text)
        return text

    def gauges(self, readings: Iterable[Reading]) -> list[str]:
        """Lines for gauges computed at scrape time. They come and go; their label values are bounded."""
        return [f"{self._gauge(one.labels)}{format_value(one.values[0])}\n" for one in readings]

    def _gauge(self, labels: tuple[str, ...]) -> str:
        prefix = self._gauges.get(labels)
        if prefix is None:
            (prefix,), _ = _prefixes(self.family, labels)
            self._gauges[labels] = prefix
        return prefix


def _no_lines(families: Iterable[Family]) -> list[_FamilyLines]:
    return [_FamilyLines(family) for family in families]


#: The parts of a page that are about one family.
PartsOf = Callable[[_FamilyLines, list[_Lines], Snapshot], list[str]]


class Renderer:
    """Formats snapshots. A series whose numbers are those of the scrape before is not formatted again.

    Args:
        families: what to show, in this order.
    """

    def __init__(self, families: Iterable[Family] = FAMILIES) -> None:
        self._lock = SafeLock()
        self._pages: dict[bytes, bytes] = {}  # the newest of each format
        self._shown = tuple(families)
        self._families = _no_lines(self._shown)
        self._blocks: list[list[float]] = []
        self._series: object = None

    def text(self, snapshot: Snapshot) -> bytes:
        """Prometheus text format 0.0.4; the page before where another one is being formatted and takes too long."""
        return self._page(snapshot, self._text_of, b"")

    def openmetrics(self, snapshot: Snapshot) -> bytes:
        """OpenMetrics 1.0.0; the page before where another one is being formatted and takes too long."""
        return self._page(snapshot, self._openmetrics_of, b"# EOF\n")

    def _page(self, snapshot: Snapshot, parts_of: PartsOf, end: bytes) -> bytes:
        try:
            if not self._lock.wait(this_frame(), _PATIENCE_SECONDS):
                return self._pages.get(end, end)
            parts: list[str] = []
            changed = self._changed(snapshot)
            self._blocks = []  # where an exception interrupts, every block is compared again
            for kept in self._families:
                parts += parts_of(kept, kept.update(snapshot, changed), snapshot)
            self._blocks = snapshot.blocks
        finally:
            self._lock.release(this_frame())
        self._pages[end] = page = "".join(parts).encode() + end
        return page

    @staticmethod
    def _text_of(kept: _FamilyLines, written: list[_Lines], snapshot: Snapshot) -> list[str]:
        family = kept.family
        parts = [_head(family.name, family)]
        parts += [lines.text for lines in written]
        parts += kept.gauges(snapshot.gauges.get(family.name, ()))
        if written and _counts(family):
            parts += (_head(f"{_base(family)}_created", family, "gauge"), kept.created(written))
        return parts

    @staticmethod
    def _openmetrics_of(kept: _FamilyLines, written: list[_Lines], snapshot: Snapshot) -> list[str]:
        family = kept.family
        parts = [_head(_base(family), family)]
        parts += [lines.text + lines.created if _counts(family) else lines.text for lines in written]
        parts += kept.gauges(snapshot.gauges.get(family.name, ()))
        return parts

    def _changed(self, snapshot: Snapshot) -> list[bool]:
        """The blocks whose numbers changed since the previous scrape, including new blocks."""
        if snapshot.series is not self._series:  # other cells: from here on those of several processes
            self._families, self._blocks, self._series = _no_lines(self._shown), [], snapshot.series
        changed = [old != new for old, new in zip(self._blocks, snapshot.blocks, strict=False)]
        return changed + [True] * (len(snapshot.blocks) - len(changed))


def format_value(value: float) -> str:
    """Format a float as Go and prometheus_client do.

    >>> format_value(171.0), format_value(2700000.0)
    ('171.0', '2.7e+06')
    """
    text = repr(value)
    if value < _GO_EXPONENT_FROM:
        return text
    if math.isinf(value):
        return "+Inf"
    return _with_go_exponent(text)


def _with_go_exponent(text: str) -> str:
    dot = text.find(".")
    if dot <= 6:  # noqa: PLR2004 - digits before Go switches to an exponent
        return text
    mantissa = f"{text[0]}.{text[1:dot]}{text[dot + 1 :]}".rstrip("0.")
    return f"{mantissa}e+{dot - 1:02d}"


def escape(value: str) -> str:
    """A label value as it stands between quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _formatted(family: Family, lines: _Lines, values: list[float]) -> str:
    if family.kind == HISTOGRAM:
        counts = list(accumulate(values[:-1]))
        values = [*counts, counts[-1], values[-1]]
    if max(values) < _GO_EXPONENT_FROM:
        return lines.template % tuple(values)
    return "".join([f"{prefix}{format_value(value)}\n" for prefix, value in zip(lines.prefixes, values, strict=True)])


@functools.cache
def _head(name: str, family: Family, kind: str = "") -> str:
    escaped = family.help.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {escaped}\n# TYPE {name} {kind or family.kind}\n"


def _counts(family: Family) -> bool:
    return family.kind in (COUNTER, HISTOGRAM)


def _base(family: Family) -> str:
    return family.name.removesuffix("_total") if family.kind == COUNTER else family.name


def _prefixes(family: Family, labels: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Each line of a series up to its value, and its labels in braces."""
    pairs = {name: escape(value) for name, value in zip(family.labels, labels, strict=True)}
    braces = _braces(pairs)
    if family.kind != HISTOGRAM:
        return (f"{family.name}{braces} ",), braces
    bounds = [*(format_value(float(bound)) for bound in family.buckets), "+Inf"]
    buckets = (f"{family.name}_bucket{_braces({**pairs, 'le': bound})} " for bound in bounds)
    return (*buckets, f"{family.name}_count{braces} ", f"{family.name}_sum{braces} "), braces


def _braces(pairs: dict[str, str]) -> str:
    """Label pairs in alphabetical order, as prometheus_client writes them."""
    return "{" + ",".join(f'{name}="{pairs[name]}"' for name in sorted(pairs)) + "}" if pairs else ""
