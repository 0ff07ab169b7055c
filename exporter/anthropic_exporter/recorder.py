"""The one door and the one error boundary: every call is bounded, priced, written and passed on here."""

from __future__ import annotations

import datetime as dt
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client.registry import REGISTRY, CollectorRegistry

from anthropic_exporter.__about__ import __version__, installed
from anthropic_exporter.attribution import Attribution, current
from anthropic_exporter.call import BLOCKED, Bill, Call
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.cells import Reading, Snapshot
from anthropic_exporter.metrics.registry import ReadingsCollector, register
from anthropic_exporter.metrics.text import Renderer
from anthropic_exporter.metrics.writer import Metrics, Slot
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.pricing.reload import LivePrices
from anthropic_exporter.recording.batch_memory import SeenResults
from anthropic_exporter.recording.inflight import Inflight, Started, by_place
from anthropic_exporter.recording.retries import Retries
from anthropic_exporter.wire.usage import read_usage

if TYPE_CHECKING:
    from anthropic_exporter.capture.middleware import Capture

_log = logging.getLogger("anthropic_exporter")
_LOG_EVERY_SECONDS = 60.0
_MOST_SEEN_LABEL_SETS = 20_000
_MOST_UNPRICED_LINES = 50

Sink = Callable[[Call], None]
#: Asked before a request of the SDK is sent: returns it, or another one; raises `SpendLimitExceeded` to stop it.
Gate = Callable[[Any, Attribution], Any]


class Recorder:
    """Counts and prices Claude calls, and shows them to Prometheus.

    Recording never raises into the application and never waits: a failure of ours is counted in
    `anthropic_exporter_record_errors_total` and logged once a minute. One recorder serves all threads and loops.

    Args:
        registry: the prometheus_client registry to join; None for none at all.
        prices: a price file laid over the shipped prices, read again when it changes; or a ready `PriceBook`.
        features: the only feature names that become label values; without it the first 100 are let in. Whatever is not
            let in is counted under `other`.
        models: models that the application will use: their series exist at 0 from the start, for each of `features`.
        strict: raise our own failures, for tests.
        clock: seconds since the epoch.

    Raises:
        ConfigurationError: a mistake in the price file, or a registry that already holds these metrics.
    """

    def __init__(
        self,
        *,
        registry: CollectorRegistry | None = REGISTRY,
        prices: str | Path | PriceBook | None = None,
        features: Iterable[str] | None = None,
        models: Iterable[str] = (),
        strict: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = self.clock = clock
        self._strict = strict
        self._features = None if features is None else tuple(features)
        self._models = tuple(models)
        self._sinks: tuple[Sink, ...] = ()
        self.gates: tuple[Gate, ...] = ()
        self._renderer = Renderer()
        self._reset()
        self._live = LivePrices(prices, clock, self._resume, self._prices_broken)
        self._collector = ReadingsCollector(self.read)
        if registry is not None:
            register(self._collector, registry)
        _recorders.add(self)

    def _reset(self) -> None:
        """Start from nothing: at construction, and in a forked child, whose counters are its own."""
        self._lock = threading.Lock()
        self._pending: deque[Call] = deque()
        self._events: deque[tuple[f.Family, tuple[str, ...]]] = deque()
        self._lines: deque[tuple[Any, ...]] = deque()
        self._logged: dict[str, float] = {}
        self._unpriced: set[str] = set()
        self._renderer = Renderer()
        self._metrics = Metrics(self._clock, self._features)
        self.inflight = Inflight()
        self.retries = Retries()
        self.seen = SeenResults()
        places = [(model, feature, "") for model in self._models for feature in self._features or ("",)]
        self._expected: deque[tuple[str, str, str]] = deque(places)
        self._seen: set[tuple[str, str, str]] = set()

    @property
    def prices(self) -> PriceBook:
        """The prices in force now; an edit of the price file replaces them."""
        return self._live.book

    # -- ways in

    def middleware(self) -> Capture:
        """The middleware for `Anthropic(middleware=[...])`; give it last, so that it sees every HTTP attempt."""
        from anthropic_exporter.capture.middleware import Capture  # noqa: PLC0415 - the SDK is imported by those who use it

        return Capture(self)

    def record(self, call: Call) -> None:
        """Count one call. Never raises and never waits; priced and visible before the next scrape at the latest."""
        self._pending.append(call)
        self.drain()

    def record_later(self, call: Call) -> None:
        """Count one call from a finalizer: only appends, because somebody's lock may be held right now."""
        self._pending.append(call)

    def record_usage(
        self,
        *,
        model: str,
        usage: Any,
        duration: float | None = None,
        feature: str | None = None,
        user: str | None = None,
    ) -> None:
        """Count one successful request that did not come through an SDK client.

        Args:
            model: the model that served it.
            usage: the API's usage object: a mapping, or the SDK's model.
            duration: seconds it took.
            feature: as in `attribution`; from the running block where not given.
            user: as in `attribution`; from the running block where not given.
        """
        try:
            self._record_usage(model, usage, duration, feature, user)
        except Exception as error:  # noqa: BLE001 - the error boundary
            self.failed("usage", error)

    def _record_usage(
        self, model: str, usage: Any, duration: float | None, feature: str | None, user: str | None
    ) -> None:
        if not isinstance(usage, Mapping):
            usage = usage.model_dump() if hasattr(usage, "model_dump") else usage.dict()
        reading = read_usage(dict(usage), model)
        here = current()
        self.malformed("usage", reading.malformed)
        self.record(
            Call(
                model=reading.model,
                inferences=reading.inferences,
                feature=here.feature if feature is None else feature,
                user=here.user if user is None else user,
                tier=reading.tier,
                started_at=self._clock() - (duration or 0.0),
                task=here.task,
                duration_seconds=duration,
                thinking_tokens=reading.thinking_tokens,
                server_tools=reading.server_tools,
                cache_asked=reading.cached,
                inference_geo=reading.inference_geo,
                estimate=reading.estimate,
            )
        )

    def begin(self, key: int, model: str, where: Attribution) -> float:
        """Note that an attempt was sent; its label set exists from now on. Returns seconds since the epoch."""
        labels = (model, where.feature, where.user)
        if labels not in self._seen and len(self._seen) < _MOST_SEEN_LABEL_SETS:
            self._seen.add(labels)
            self._expected.append(labels)
        now = self._clock()
        self.inflight.begin(key, Started(model, where.feature, now))
        return now

    def blocked(self, model: str, where: Attribution) -> None:
        """Count a request that a gate stopped: it was not sent."""
        self.record(Call(model, BLOCKED, feature=where.feature, user=where.user, started_at=self._clock()))

    def count(self, family: f.Family, *labels: str) -> None:
        """Add one to a counter of ours. Never raises and never waits; feature, model and user are bounded."""
        self._events.append((family, labels))
        self.drain()

    def set(self, family: f.Family, value: float, *labels: str) -> None:
        """Set a gauge of ours. May wait for a scrape to end; not for the application's own threads."""
        with self._lock:
            self._metrics.set(family, labels, value)

    # -- ways out

    def subscribe(self, sink: Sink) -> Callable[[], None]:
        """Pass every priced call to `sink`, on the thread that records it. Returns a function that undoes it."""
        self._sinks = (*self._sinks, sink)

        def unsubscribe() -> None:
            self._sinks = tuple(one for one in self._sinks if one is not sink)

        return unsubscribe

    def admit_by(self, gate: Gate) -> Callable[[], None]:
        """Ask `gate` before each request of the SDK is sent. Returns a function that undoes it."""
        self.gates = (*self.gates, gate)

        def undo() -> None:
            self.gates = tuple(one for one in self.gates if one is not gate)

        return undo

    def place_of(self, model: str, feature: str) -> tuple[str, str]:
        """The labels (model, feature) under which such calls are shown."""
        return self._metrics.place_of(model, feature)

    def read(self) -> dict[str, list[Reading]]:
        """Every series, by family name, as of now."""
        return self._snapshot().readings()

    def render(self, *, openmetrics: bool = False) -> bytes:
        """The whole exposition, as /metrics serves it."""
        snapshot = self._snapshot()
        return self._renderer.openmetrics(snapshot) if openmetrics else self._renderer.text(snapshot)

    def _snapshot(self) -> Snapshot:
        self._live.refresh()
        with self._lock:
            self._give_up()
            self._drain_locked()
            self._metrics.settle()
            blocks, gauges = self._metrics.cells.copy(), {**self._metrics.gauges(), **self._process_gauges()}
        self._say()
        return Snapshot(blocks, self._metrics.cells.series, gauges)

    # -- the door's inside

    def drain(self) -> None:
        """Write what is pending, unless another thread is at it; that one, the next call or a scrape does it then."""
        while (self._pending or self._expected or self._events) and self._lock.acquire(blocking=False):
            try:
                self._drain_locked()
            finally:
                self._lock.release()
        if self._lines:
            self._say()

    def _drain_locked(self) -> None:
        metrics, pending, expected = self._metrics, self._pending, self._expected
        while pending or expected:
            try:
                while expected:
                    metrics.expect(*expected.popleft())
                while pending:
                    self._write(pending.popleft())
            except Exception as error:  # noqa: BLE001 - the error boundary
                self.failed("record", error)
        while self._events:
            family, labels = self._events.popleft()
            try:
                metrics.count_event(family, labels)
            except Exception as error:  # noqa: BLE001 - the error boundary
                if family is not f.RECORD_ERRORS:  # counting a failure is where failures end
                    self.failed("record", error)

    def _give_up(self) -> None:
        """Count the duration of calls whose last attempt failed: nobody has tried again for so long."""
        for failed in self.retries.given_up(time.perf_counter()):
            self._metrics.write_call_duration(failed.model, failed.feature, failed.ended - failed.began)

    def _write(self, call: Call) -> None:
        live = self._live
        if call.started_at >= live.due:
            live.refresh_soon()
        bill = live.book.bill(call)
        if None in bill.costs:
            if live.holds(call):
                return
            self._say_unpriced(call, bill)
        slot = self._metrics.write(call, bill)
        if self._sinks:
            self._pass_on(_as_shown(call, slot, bill))

    def _pass_on(self, call: Call) -> None:
        for sink in self._sinks:
            try:
                sink(call)
            except Exception as error:  # noqa: BLE001 - the error boundary
                self.failed("sink", error)

    def _resume(self, calls: Iterable[Call]) -> None:
        """Write calls that waited for a price."""
        self._pending.extend(calls)
        self.drain()

    def _process_gauges(self) -> dict[str, list[Reading]]:
        place_of = self._metrics.place_of
        started = [Started(*place_of(one.model, one.feature), one.at) for one in self.inflight.snapshot()]
        inflight = by_place(started, self._clock(), self._metrics.places)
        prices = self.prices
        checked = dt.datetime.combine(prices.checked, dt.time(), dt.timezone.utc).timestamp()
        return {
            f.INFLIGHT.name: [Reading(place, [float(count)], 0.0) for place, (count, _) in inflight.items()],
            f.OLDEST_INFLIGHT.name: [Reading(place, [age], 0.0) for place, (_, age) in inflight.items()],
            f.BUILD_INFO.name: [Reading((__version__, installed("anthropic")), [1.0], 0.0)],
            f.PRICE_SOURCE.name: [Reading((model, prices.source(model)), [1.0], 0.0) for model in self._metrics.models],
            f.PRICES_CHECKED.name: [Reading((), [checked], 0.0)],
        }

    # -- the error boundary

    def failed(self, stage: str, error: BaseException) -> None:
        """Count a failure of ours, and log it once a minute. With `strict` it is raised instead.

        Only appends, because a finalizer may have failed: `drain` counts and logs. The log line holds the error's type
        and place, never its text, which could carry a prompt.
        """
        self._events.append((f.RECORD_ERRORS, (stage,)))
        if self._strict:
            raise error
        now = self._clock()
        if now - self._logged.get(stage, float("-inf")) >= _LOG_EVERY_SECONDS:
            self._logged[stage] = now
            line = "recording failed at stage %s: %s at %s; the application is not affected"
            self._lines.append((line, stage, type(error).__name__, _place(error)))

    def malformed(self, stage: str, fields: tuple[str, ...]) -> None:
        """Count fields of a response that no server should send; they were taken as 0."""
        if fields:
            self.failed(stage, ValueError(f"unusable values in usage fields {sorted(set(fields))}"))

    def _say_unpriced(self, call: Call, bill: Bill) -> None:
        """One log line a model, and at most as many as there are model labels."""
        for inference, cost in zip(call.inferences, bill.costs, strict=True):
            if cost is None and inference.model not in self._unpriced and len(self._unpriced) < _MOST_UNPRICED_LINES:
                self._unpriced.add(inference.model)
                line = (
                    "no price for model %.120r (tier %s): tokens are counted, dollars are not; add it to a price file"
                )
                self._lines.append((line, inference.model, call.tier))

    def _prices_broken(self, line: str) -> None:
        """Count and log what is wrong with an edit of the price file. No failure of ours, so never raised."""
        self._events.append((f.RECORD_ERRORS, ("prices",)))
        self._lines.append(("%s", line))

    def _say(self) -> None:
        """Log what is to be said. Never under our lock: a log handler may take its time, or scrape."""
        while self._lines:
            try:
                _log.warning(*self._lines.popleft())
            except Exception:  # noqa: BLE001, S112 - another thread said it, or a log filter failed: not ours
                continue


def _as_shown(call: Call, slot: Slot, bill: Bill) -> Call:
    """The call under the labels that its series have, and its bill. A quarter of the time that `_replace` takes."""
    place = slot.place
    return tuple.__new__(Call, (place.model, *call[1:3], place.feature, slot.user, *call[5:-1], bill))


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    if trace is None:
        return "unknown place"
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _reset_in_child() -> None:
    for recorder in list(_recorders):
        recorder._reset()  # noqa: SLF001 - this module's own
        recorder._live.reset()  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_in_child)
