"""Adds our readings to a prometheus_client registry, for a team that already exposes one."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TypeVar

from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector, CollectorRegistry

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.logs import Log
from anthropic_exporter.metrics.cells import SeriesSample
from anthropic_exporter.metrics.families import COUNTER, FAMILIES, HISTOGRAM, Family
from anthropic_exporter.metrics.text import format_value

_log = Log("anthropic_exporter")
_T = TypeVar("_T")
_RESERVED_UNDER = "_anthropic_exporter_recorder"
_HELD_UNDER = "_anthropic_exporter_collector"


class ReadingsCollector(Collector):
    """A prometheus_client collector over a function that reads all series.

    Attributes:
        owner: the owner of the series.
    """

    def __init__(self, read: Callable[[], dict[str, list[SeriesSample]]], owner: object = None) -> None:
        self._read = read
        self.owner = owner

    def describe(self) -> Iterator[Metric]:
        """The families without samples: lets a registry see name clashes without a scrape."""
        return (_metric(family) for family in FAMILIES)

    def collect(self) -> Iterator[Metric]:
        """All families with their samples."""
        readings = self._read()
        for family in FAMILIES:
            metric = _metric(family)
            for reading in readings.get(family.name, ()):
                _add(metric, family, reading)
            yield metric


def owner_on(registry: CollectorRegistry | None) -> object:
    """The owner of our series in a registry; None if it has none."""
    return getattr(getattr(registry, _HELD_UNDER, None), "owner", None)


def register(collector: ReadingsCollector, registry: CollectorRegistry) -> None:
    """Register, or explain in one line why that is not possible.

    A collector that another copy of this library left behind, as a reload does, gives way.

    Raises:
        ConfigurationError: the registry already holds metrics of these names.
    """
    left = getattr(registry, _HELD_UNDER, None)
    if left is not None:
        with contextlib.suppress(KeyError):
            registry.unregister(left)
            _log.warning(
                "this registry showed a Recorder of another class, or of another copy of this library: its counts are "
                "no longer shown, nor are those of clients that use it; create these again, or restart the process"
            )
    try:
        registry.register(collector)
    except ValueError as error:
        raise ConfigurationError(
            "this registry already contains anthropic_* metrics that do not come from a Recorder: "
            "give this one its own Recorder(registry=CollectorRegistry())"
        ) from error
    setattr(registry, _HELD_UNDER, collector)


def reserved(registry: CollectorRegistry, made: _T) -> _T:
    """`made`, or what another thread is making for the same registry at this moment, if that is of the same class."""
    first = vars(registry).setdefault(_RESERVED_UNDER, made)
    if isinstance(first, type(made)):
        return first
    setattr(registry, _RESERVED_UNDER, made)
    return made


def restore(collector: ReadingsCollector, registry: CollectorRegistry) -> None:
    """Register a collector again if somebody has unregistered it, as notebooks do that clear a registry."""
    with contextlib.suppress(ValueError):  # it is registered
        registry.register(collector)


def _metric(family: Family) -> Metric:
    name = family.name.removesuffix("_total") if family.kind == COUNTER else family.name
    return Metric(name, family.help, family.kind)


def _add(metric: Metric, family: Family, reading: SeriesSample) -> None:
    labels = dict(zip(family.labels, reading.labels, strict=True))
    if family.kind == HISTOGRAM:
        _add_histogram(metric, family, labels, reading)
    else:
        metric.add_sample(family.name, labels, reading.values[0])
    if family.kind in (COUNTER, HISTOGRAM) and reading.created:
        metric.add_sample(f"{metric.name}_created", labels, reading.created)


def _add_histogram(metric: Metric, family: Family, labels: dict[str, str], reading: SeriesSample) -> None:
    count = 0.0
    bounds = [*(format_value(float(bound)) for bound in family.buckets), "+Inf"]
    for bound, value in zip(bounds, reading.values, strict=False):
        count += value
        metric.add_sample(f"{family.name}_bucket", {**labels, "le": bound}, count)
    metric.add_sample(f"{family.name}_count", labels, count)
    metric.add_sample(f"{family.name}_sum", labels, reading.values[-1])
