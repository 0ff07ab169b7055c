"""Readings into exposition text, with every unchanging part of a line formatted once.

Byte for byte what prometheus_client 0.26 writes for the same numbers (`tests/test_render.py`), in a fraction of its
time (`bench/record.py`).
Formats: Prometheus text 0.0.4 and OpenMetrics 1.0.0.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from .cells import Reading
from .families import COUNTER, FAMILIES, HISTOGRAM, Family

TEXT_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_GO_EXPONENT_FROM = 1e6

Readings = Mapping[str, Sequence[Reading]]


class _Lines(NamedTuple):
    """What never changes about one series: the part of each sample's line before its value, the line of `_created`."""

    samples: tuple[str, ...]
    created: str


class Renderer:
    """Formats readings. Keeps the lines of series, which only ever grow and keep their order.

    A series whose values are those of the scrape before is not formatted again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: dict[str, list[_Lines]] = {}
        self._texts: dict[str, list[tuple[list[float], str]]] = {}
        self._gauges: dict[tuple[str, tuple[str, ...]], _Lines] = {}

    def text(self, readings: Readings) -> bytes:
        """Prometheus text format 0.0.4."""
        parts: list[str] = []
        with self._lock:
            for family in FAMILIES:
                series = readings.get(family.name, ())
                parts.append(_head(family.name, family.kind, family.help))
                parts += self._samples(family, series)
                if series and family.kind in (COUNTER, HISTOGRAM):
                    parts.append(_head(f"{_base(family)}_created", "gauge", family.help))
                    parts += [lines.created for lines in self._lines[family.name][: len(series)]]
        return "".join(parts).encode()

    def openmetrics(self, readings: Readings) -> bytes:
        """OpenMetrics 1.0.0."""
        parts: list[str] = []
        with self._lock:
            for family in FAMILIES:
                series = readings.get(family.name, ())
                parts.append(_head(_base(family), family.kind, family.help))
                samples = self._samples(family, series)
                if family.kind in (COUNTER, HISTOGRAM):
                    created = (lines.created for lines in self._lines[family.name])
                    samples = [text for pair in zip(samples, created, strict=False) for text in pair]
                parts += samples
        parts.append("# EOF\n")
        return "".join(parts).encode()

    def _samples(self, family: Family, series: Sequence[Reading]) -> list[str]:
        """The lines of each series, one string a series."""
        if family.kind not in (COUNTER, HISTOGRAM):
            return [_formatted(family, one.values, self._gauge_lines(family, one)) for one in series]
        known, texts = self._lines.setdefault(family.name, []), self._texts.setdefault(family.name, [])
        for one in series[len(known) :]:
            known.append(_lines(family, one))
            texts.append(([], ""))
        for index, one in enumerate(series):
            if texts[index][0] != one.values:
                texts[index] = (one.values, _formatted(family, one.values, known[index]))
        return [text for _, text in texts[: len(series)]]

    def _gauge_lines(self, family: Family, one: Reading) -> _Lines:
        """Gauges come and go; their label values are bounded, so that this stays small."""
        key = (family.name, one.labels)
        lines = self._gauges.get(key)
        if lines is None:
            lines = self._gauges[key] = _lines(family, one)
        return lines


def format_value(value: float) -> str:
    """A float as Go and prometheus_client print it.

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


def _formatted(family: Family, values: list[float], lines: _Lines) -> str:
    if family.kind == HISTOGRAM:
        counts = list(accumulate(values[:-1]))
        values = [*counts, counts[-1], values[-1]]
    if max(values) < _GO_EXPONENT_FROM:
        return "".join([f"{prefix}{value!r}\n" for prefix, value in zip(lines.samples, values, strict=True)])
    return "".join([f"{prefix}{format_value(value)}\n" for prefix, value in zip(lines.samples, values, strict=True)])


def _head(name: str, kind: str, text: str) -> str:
    escaped = text.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {escaped}\n# TYPE {name} {kind}\n"


def _base(family: Family) -> str:
    return family.name.removesuffix("_total") if family.kind == COUNTER else family.name


def _lines(family: Family, one: Reading) -> _Lines:
    pairs = {name: escape(value) for name, value in zip(family.labels, one.labels, strict=True)}
    braces = _braces(pairs)
    created = f"{_base(family)}_created{braces} {format_value(one.created)}\n"
    if family.kind != HISTOGRAM:
        return _Lines((f"{family.name}{braces} ",), created)
    bounds = [*(format_value(float(bound)) for bound in family.buckets), "+Inf"]
    buckets = (f"{family.name}_bucket{_braces({**pairs, 'le': bound})} " for bound in bounds)
    return _Lines((*buckets, f"{family.name}_count{braces} ", f"{family.name}_sum{braces} "), created)


def _braces(pairs: dict[str, str]) -> str:
    """Label pairs in alphabetical order, as prometheus_client writes them."""
    return "{" + ",".join(f'{name}="{pairs[name]}"' for name in sorted(pairs)) + "}" if pairs else ""
