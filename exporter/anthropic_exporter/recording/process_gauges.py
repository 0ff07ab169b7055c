"""Gauges of the whole process, computed at each scrape."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from anthropic_exporter.__about__ import installed
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.cells import SeriesSample
from anthropic_exporter.metrics.label_sets import LabelSets
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.recording.inflight import Inflight, Started, by_place


def process_gauges(
    label_sets: LabelSets,
    place_of: Callable[[str, str], tuple[str, str]],
    inflight: Inflight,
    prices: PriceBook,
    now: float,
) -> dict[str, list[SeriesSample]]:
    """Attempts in flight, versions and prices, by family name. `now` is seconds since the epoch."""
    started = [Started(*place_of(one.model, one.feature), one.user, one.at) for one in inflight.snapshot()]
    places = by_place(started, now, label_sets.places)
    quiet = [Started(*place_of(one.model, one.feature), one.user, one.at) for one in inflight.quiet_since(now)]
    silences = by_place(quiet, now, label_sets.places)
    checked = dt.datetime.combine(prices.checked, dt.time(), dt.timezone.utc).timestamp()
    return {
        f.INFLIGHT.name: [SeriesSample(place, [float(count)], 0.0) for place, (count, _) in places.items()],
        f.OLDEST_INFLIGHT.name: [SeriesSample(place, [age], 0.0) for place, (_, age) in places.items()],
        f.LONGEST_SILENCE.name: [SeriesSample(place, [silence], 0.0) for place, (_, silence) in silences.items()],
        f.BUILD_INFO.name: [SeriesSample((installed("anthropic-exporter"), installed("anthropic")), [1.0], 0.0)],
        f.PRICE_SOURCE.name: [SeriesSample((model, prices.source(model)), [1.0], 0.0) for model in label_sets.models],
        f.PRICES_CHECKED.name: [SeriesSample((), [checked], 0.0)],
        f.WORKERS.name: [SeriesSample(("alive",), [1.0], 0.0)],
    }
