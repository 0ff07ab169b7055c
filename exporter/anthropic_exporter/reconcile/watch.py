"""`reconcile --watch`: compares repeatedly, and exposes both sides as metrics."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from anthropic_exporter.errors import AnthropicExporterError
from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.logs import Log
from anthropic_exporter.metrics import families as f
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.reconcile.analytics import Filters
from anthropic_exporter.reconcile.compare import Comparison, Tolerances
from anthropic_exporter.reconcile.lines import HOUR, Amount, LineKey, Recorded, by_hour
from anthropic_exporter.reconcile.reading import read_and_compare
from anthropic_exporter.recorder import Recorder
from anthropic_exporter.serving import serve

if TYPE_CHECKING:
    from anthropic import Anthropic

_log = Log("anthropic_exporter.reconcile")


class Sources(NamedTuple):
    """The two sides of a comparison, and its tolerances."""

    prometheus: Prometheus
    api: Anthropic
    book: PriceBook
    filters: Filters
    limits: Tolerances


class Schedule(NamedTuple):
    """Seconds: the span that is compared, how much of the newest is left out, and the interval."""

    last: int
    lag: int
    every: int


def run(sources: Sources, schedule: Schedule, host: str, port: int, stop: threading.Event) -> None:
    """Serve and compare until `stop` is set. A failed comparison is logged, and tried again at the next interval.

    Raises:
        ConfigurationError: the address is taken or wrong.
    """
    recorder = Recorder(registry=None)
    gauges = Gauges(recorder)
    with serve(recorder, host=host, port=port) as server:
        _log.info("serving %s/metrics", server.url)
        # In a separate thread: a comparison waits for two servers, and `stop` must not wait for it.
        threading.Thread(target=_turns, args=(sources, schedule, gauges, stop), daemon=True).start()
        stop.wait()


def _turns(sources: Sources, schedule: Schedule, gauges: Gauges, stop: threading.Event) -> None:
    while not stop.is_set():
        _turn(sources, schedule, gauges)
        stop.wait(schedule.every)


def _turn(sources: Sources, schedule: Schedule, gauges: Gauges) -> None:
    end = int(time.time() - schedule.lag) // HOUR * HOUR
    span = (end - schedule.last, end)
    try:
        found = read_and_compare(sources.prometheus, sources.api, span, sources.book, sources.filters, sources.limits)
    except AnthropicExporterError as error:
        _log.error("%s", error)
        return
    except Exception as error:  # noqa: BLE001 - the next one may succeed; its text may hold what a server sent
        _log.error("the comparison failed: %s", type(error).__name__)
        return
    gauges.show(found, time.time())
    _log.info("compared: %s", ", ".join(sorted({verdict.cause for verdict in found.verdicts})))


class Gauges:
    """Shows the newest comparison on a recorder's registry. Series that a later one lacks become 0."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._shown: set[tuple[f.Family, tuple[str, ...]]] = set()
        recorder.set(f.RECONCILE_TIMESTAMP, time.time())

    def show(self, comparison: Comparison, now: float) -> None:
        """Show a comparison that was made at `now`."""
        values: dict[tuple[f.Family, tuple[str, ...]], float] = dict.fromkeys(self._shown, 0.0)
        sides = ((comparison.recorded, "recorded"), (by_hour(comparison.bill.lines), "billed"))
        for side, name in sides:
            for place, amount in _by_place(side).items():
                values[f.RECONCILE_TOKENS, (*place, name)] = amount.tokens
                values[f.RECONCILE_COST, (*place, name)] = amount.usd
        for verdict in comparison.verdicts:
            drift = abs(verdict.billed.usd - verdict.recorded.usd) if verdict.is_drift else 0.0
            values[f.RECONCILE_DRIFT, (verdict.model, verdict.tier, verdict.cause)] = drift
        values[f.RECONCILE_TIMESTAMP, ()] = now
        for (family, labels), value in values.items():
            self._recorder.set(family, value, *labels)
        self._shown = {key for key in values if key[0] is not f.RECONCILE_TIMESTAMP}


def _by_place(side: Recorded) -> dict[LineKey, Amount]:
    found: dict[LineKey, Amount] = {}
    for (_, place), amount in side.items():
        found[place] = found.get(place, Amount()).plus(amount)
    return found
