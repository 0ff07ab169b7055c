"""Writes the numbers of all processes for prometheus_client's MultiProcessCollector, as one file in its folder.

The collector adds up all `*.db` files, so exactly one process of a service writes one file, with the sum of all.
Format: prometheus_client 0.20 to 0.26, `mmap_dict.py`.
"""

from __future__ import annotations

import json
import os
import struct
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from anthropic_exporter.metrics.cells import SeriesSample
from anthropic_exporter.metrics.families import COUNTER, FAMILIES, GAUGE, HISTOGRAM, Family
from anthropic_exporter.metrics.text import format_value

ENVIRONMENT = "PROMETHEUS_MULTIPROC_DIR"
#: The part of a file's name before the first underscore is the kind; the part behind the second a process number.
_NAMES = {
    COUNTER: "counter_anthropic.db",
    HISTOGRAM: "histogram_anthropic.db",
    GAUGE: "gauge_mostrecent_anthropic.db",
}


def is_wanted() -> bool:
    """Whether this process runs in prometheus_client's multiprocess mode."""
    return ENVIRONMENT in os.environ


class MultiprocFiles:
    """The files of one service. Unchanged values are not written again."""

    def __init__(self) -> None:
        self._written: dict[str, list[tuple[str, float]]] = {}

    def write(self, readings: Mapping[str, Sequence[SeriesSample]]) -> None:
        """Write all readings into the folder, if it exists.

        Raises:
            OSError: the disk is full.
        """
        folder = Path(os.environ.get(ENVIRONMENT, ""))
        if not folder.is_dir():
            return
        for kind, name in _NAMES.items():
            families = [family for family in FAMILIES if family.kind == kind]
            values = [one for family in families for one in _values(family, readings)]
            if values != self._written.get(kind) or not (folder / name).exists():
                _write(folder / name, values)
                self._written[kind] = values


def _write(path: Path, values: Iterable[tuple[str, float]]) -> None:
    entries = b"".join(_entry(key, value) for key, value in values)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.write_bytes(struct.pack("i4x", 8 + len(entries)) + entries)
    new.replace(path)


def _entry(key: str, value: float) -> bytes:
    text = key.encode()
    padded = text + b" " * (8 - (len(text) + 4) % 8)
    return struct.pack(f"i{len(padded)}sdd", len(text), padded, value, time.time())


def _values(family: Family, readings: Mapping[str, Sequence[SeriesSample]]) -> Iterator[tuple[str, float]]:
    name = family.name.removesuffix("_total") if family.kind == COUNTER else family.name
    for reading in readings.get(family.name, ()):
        labels = dict(zip(family.labels, reading.labels, strict=True))
        if family.kind != HISTOGRAM:
            yield _key(name, family.name, labels, family), reading.values[0]
            continue
        bounds = [*(format_value(float(bound)) for bound in family.buckets), "+Inf"]
        for bound, value in zip(bounds, reading.values, strict=False):
            yield _key(name, f"{name}_bucket", {**labels, "le": bound}, family), value
        yield _key(name, f"{name}_sum", labels, family), reading.values[-1]


def _key(metric: str, sample: str, labels: Mapping[str, str], family: Family) -> str:
    return json.dumps([metric, sample, labels, family.help], sort_keys=True)
