"""The one door: calls wait here until they are priced, written into cells and passed on to the sinks."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from anthropic_exporter.attribution import Attribution
from anthropic_exporter.call import BLOCKED, Call
from anthropic_exporter.forking import in_child
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.bounded_labels import Bounded
from anthropic_exporter.metrics.cells import Reading, Snapshot
from anthropic_exporter.metrics.writer import Metrics, label_bounds
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.pricing.reload import LivePrices
from anthropic_exporter.recording.batch_memory import SeenResults
from anthropic_exporter.recording.faults import Faults
from anthropic_exporter.recording.inflight import Heard, Inflight, Started
from anthropic_exporter.recording.process_gauges import process_gauges
from anthropic_exporter.recording.retries import Retries
from anthropic_exporter.recording.served_models import CachedThreads, ServedModels
from anthropic_exporter.recording.session_memory import SessionMemory
from anthropic_exporter.recording.sharing import Sharing

_MOST_SEEN_LABEL_SETS = 20_000

Sink = Callable[[Call], None]
#: Asked before a request of the SDK is sent: returns it, or another one; raises `SpendLimitExceeded` to stop it.
Gate = Callable[[Any, Attribution], Any]


class Intake:
    """Takes calls from any thread, and never raises into the application.

    Args:
        prices: the price book, a price file over it, or None for the shipped prices; see `LivePrices`.
        features: the only feature names that become label values; None for the first 100.
        models: models whose series exist at 0 from the start, for each of `features`.
        strict: raise our own failures, for tests.
        clock: seconds since the epoch.

    Attributes:
        gates: asked in turn before a request is sent.
        inflight: attempts that were sent and have not ended.
        retries: failed attempts that the SDK may try again.
        seen: batch results that are counted already.
        sessions: what is counted of the sessions of managed agents.
        served: which model last answered each requested id.
        cached_threads: conversations of which later turns do not say that they are cached.
    """

    def __init__(
        self,
        prices: Any = None,
        features: Iterable[str] | None = None,
        models: Iterable[str] = (),
        *,
        strict: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._clock = self.clock = clock
        self._strict = strict
        self._features = None if features is None else tuple(features)
        self._models = tuple(models)
        self._sinks: tuple[Sink, ...] = ()
        self.gates: tuple[Gate, ...] = ()
        self.sharing: Sharing | None = None
        self._reset()
        self._live = LivePrices(prices, clock, self._resume, self._prices_broken)
        in_child(self._forked)

    def _continue(self, prices: Any, features: Iterable[str] | None, models: Iterable[str]) -> None:
        """Go on with other settings: prices are replaced, features and models are let in as well."""
        if prices is not None:
            self._live = LivePrices(prices, self._clock, self._resume, self._prices_broken)
        if features is not None:
            self._features = tuple(dict.fromkeys((*(self._features or ()), *features)))
            self._metrics.let_in(self._features)
        self._models = tuple(dict.fromkeys((*self._models, *models)))
        self._expected.extend((model, feature, "") for model in self._models for feature in self._features or ("",))

    def _reset(self) -> None:
        """Start from nothing: at construction, and in a forked child, whose counters are its own."""
        self._lock = threading.Lock()
        self._pending: deque[Call] = deque()
        self._events: deque[tuple[f.Family, tuple[str, ...]]] = deque()
        self._faults = Faults(self._count_failure, self._clock, strict=self._strict)
        cells = None if self.sharing is None else self.sharing.child_cells()
        self._metrics = Metrics(self._clock, self._features, cells)
        self.inflight = Inflight()
        self.retries = Retries()
        self.seen = SeenResults()
        self.sessions = SessionMemory()
        self.served = ServedModels()
        self.cached_threads = CachedThreads()
        places = [(model, feature, "") for model in self._models for feature in self._features or ("",)]
        self._expected: deque[tuple[str, str, str]] = deque(places)
        self._seen: set[tuple[str, str, str]] = set()

    def _forked(self) -> None:
        self._reset()
        self._live.reset()

    @property
    def prices(self) -> PriceBook:
        """The prices in force now; an edit of the price file replaces them."""
        return self._live.book

    # -- ways in

    def record(self, call: Call) -> None:
        """Count one call. Never raises and never waits; priced and visible before the next scrape at the latest."""
        self._pending.append(call)
        self.drain()

    def record_later(self, call: Call) -> None:
        """Count one call from a finalizer: only appends, because somebody's lock may be held right now."""
        self._pending.append(call)

    def begin(self, key: int, model: str, where: Attribution, heard: Callable[[], Heard] | None = None) -> float:
        """Note that an attempt was sent; its label set exists from now on. Returns seconds since the epoch."""
        labels = (self.served.label(model), where.feature, where.user)
        if labels not in self._seen and len(self._seen) < _MOST_SEEN_LABEL_SETS:
            self._seen.add(labels)
            self._expected.append(labels)
        now = self._clock()
        self.inflight.begin(key, Started(model, where.feature, now, heard))
        return now

    def blocked(self, model: str, where: Attribution) -> None:
        """Count a request that a gate stopped: it was not sent."""
        self.record(
            Call(self.served.label(model), BLOCKED, feature=where.feature, user=where.user, started_at=self._clock())
        )

    def count(self, family: f.Family, *labels: str) -> None:
        """Add one to a counter of ours. Never raises and never waits; feature, model and user are bounded."""
        self._events.append((family, labels))
        self.drain()

    def set(self, family: f.Family, value: float, *labels: str) -> None:
        """Set a gauge of ours. May wait for a scrape to end; not for the application's own threads."""
        with self._lock:
            self._metrics.set(family, labels, value)

    def failed(self, stage: str, error: BaseException) -> None:
        """Count a failure of ours, and log it once a minute. With `strict` it is raised instead."""
        self._faults.failed(stage, error)

    def malformed(self, stage: str, fields: tuple[str, ...]) -> None:
        """Count fields of a response that no server should send; they were taken as 0."""
        self._faults.malformed(stage, fields)

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
        """The labels (model, feature) under which requests for `model` are shown."""
        return self._metrics.place_of(self.served.label(model), feature)

    def read(self) -> dict[str, list[Reading]]:
        """Every series, by family name, as of now."""
        return self.snapshot().readings()

    def snapshot(self) -> Snapshot:
        """Every series of all processes that count together, as of now."""
        own, sharing = self.own_snapshot(), self.sharing
        return own if sharing is None else sharing.snapshot()

    def own_snapshot(self) -> Snapshot:
        """Every series of this process alone, as of now."""
        self._live.refresh()
        with self._lock:
            self._give_up()
            self._drain_locked()
            self._metrics.settle()
            gauges, cells = self._gauges(), self._metrics.cells
            if self.sharing is not None:
                self.sharing.publish(gauges)
            blocks = cells.copy()
        self._faults.log()
        return Snapshot(blocks, cells.series, gauges)

    def _gauges(self) -> dict[str, list[Reading]]:
        process = process_gauges(self._metrics, self.place_of, self.inflight, self.prices, self._clock())
        return {**self._metrics.gauges(), **process}

    # -- shared with other processes

    def share(self, sharing: Sharing, *, wait: bool) -> bool:
        """Write into cells that other processes read, and show theirs. Returns False if that would have to wait."""
        if not self._lock.acquire(blocking=wait):
            return False
        try:
            cells, moved = sharing.adopt(self._metrics.cells)
            self._metrics.move_to(cells, moved)
            self.sharing = sharing
        finally:
            self._lock.release()
        return True

    def publish(self) -> None:
        """Write what is pending, and show the gauges of this process to the others."""
        with self._lock:
            self._give_up()
            self._drain_locked()
            if self.sharing is not None:
                self.sharing.publish(self._gauges())

    def rate_limits_at(self, model: str) -> float:
        """The Unix time of the request whose rate-limit headers are shown for a model; 0 if there are none."""
        return self._metrics.rate_limits_at(model)

    def label_bounds(self) -> dict[str, Bounded]:
        """The bounds of this recorder's labels, with nothing let in yet."""
        return label_bounds(self._features)

    # -- inside

    def drain(self) -> None:
        """Write what is pending, unless another thread is at it; that one, the next call or a scrape does it then."""
        while (self._pending or self._expected or self._events) and self._lock.acquire(blocking=False):
            try:
                self._drain_locked()
            finally:
                self._lock.release()
        if self._faults.lines:
            self._faults.log()

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
        """Count the duration of calls whose last attempt failed and was not tried again in time."""
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
            self._faults.unpriced(call, bill)
        if call.unmetered:
            self._faults.unmetered(call)
        slot = self._metrics.write(call, bill)
        if self._sinks:
            self._pass_on(call.shown(slot.place.model, slot.place.feature, slot.user, bill))

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

    def _prices_broken(self, line: str) -> None:
        self._faults.prices_broken(line)

    def _count_failure(self, stage: str) -> None:
        self._events.append((f.RECORD_ERRORS, (stage,)))
