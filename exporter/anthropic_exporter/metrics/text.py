"""How a line of the exposition is written: byte for byte as prometheus_client 0.26 does (`tests/metrics/test_text.py`).

Formats: Prometheus text 0.0.4 and OpenMetrics 1.0.0.
"""

from __future__ import annotations

import functools
import math

from anthropic_exporter.metrics.families import COUNTER, HISTOGRAM, Family

TEXT_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS_CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
#: From here on Go writes an exponent where Python writes none.
GO_EXPONENT_FROM = 1e6


def format_value(value: float) -> str:
    """Format a float as Go and prometheus_client do.

    >>> format_value(171.0), format_value(2700000.0)
    ('171.0', '2.7e+06')
    """
    text = repr(value)
    if value < GO_EXPONENT_FROM:
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
    """A label value as it is written between quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


@functools.cache
def head(name: str, family: Family, kind: str = "") -> str:
    """The two lines before the samples of a family, which is called `name` there."""
    escaped = family.help.replace("\\", r"\\").replace("\n", r"\n")
    return f"# HELP {name} {escaped}\n# TYPE {name} {kind or family.kind}\n"


def base_name(family: Family) -> str:
    """The name without `_total`."""
    return family.name.removesuffix("_total") if family.kind == COUNTER else family.name


def prefixes(family: Family, labels: tuple[str, ...]) -> tuple[str, ...]:
    """Each line of a series up to its value."""
    pairs = {name: escape(value) for name, value in zip(family.labels, labels, strict=True)}
    braces = _braces(pairs)
    if family.kind != HISTOGRAM:
        return (f"{family.name}{braces} ",)
    bounds = [*(format_value(float(bound)) for bound in family.buckets), "+Inf"]
    buckets = (f"{family.name}_bucket{_braces({**pairs, 'le': bound})} " for bound in bounds)
    return (*buckets, f"{family.name}_count{braces} ", f"{family.name}_sum{braces} ")


def created_line(family: Family, labels: tuple[str, ...], created: float) -> str:
    """The line that says since when a series counts, in Unix seconds."""
    pairs = {name: escape(value) for name, value in zip(family.labels, labels, strict=True)}
    return f"{base_name(family)}_created{_braces(pairs)} {format_value(created)}\n"


def _braces(pairs: dict[str, str]) -> str:
    """Label pairs in alphabetical order, as prometheus_client writes them."""
    return "{" + ",".join(f'{name}="{pairs[name]}"' for name in sorted(pairs)) + "}" if pairs else ""
