"""The single entry for calls: they wait here until they are priced, written into cells and passed on to the sinks.

Calls, failures and events of ours wait to be written in `Waiting`; here is what each of them writes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from anthropic_exporter import threads
from anthropic_exporter.attribution import Attribution
from anthropic_exporter.call import BLOCKED, Call, Sight
from anthropic_exporter.forking import in_child
from anthropic_exporter.interruptions import is_interruption
from anthropic_exporter.kept_text import kept
from anthropic_exporter.locking import this_frame
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.bounded_labels import Bounded, label_bounds
from anthropic_exporter.metrics.cells import SeriesSample, Snapshot
from anthropic_exporter.metrics.label_sets import Slot
from anthropic_exporter.metrics.ledger import new_life
from anthropic_exporter.metrics.line import Line
from anthropic_exporter.metrics.writer import Metrics
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.pricing.reload import LivePrices
from anthropic_exporter.recording.answers import MOST_WAITING, MOST_WAITING_FOR_A_SERVER, Answers
from anthropic_exporter.recording.batch_memory import SeenResults
from anthropic_exporter.recording.calls import Asked, priced_call
from anthropic_exporter.recording.faults import Faults
from anthropic_exporter.recording.inflight import Heard, Inflight, Started
from anthropic_exporter.recording.lines import Kind, Lines, kind_of
from anthropic_exporter.recording.process_gauges import process_gauges
from anthropic_exporter.recording.retries import Retries
from anthropic_exporter.recording.served_models import CachedThreads, ServedModels
from anthropic_exporter.recording.session_memory import SessionMemory
from anthropic_exporter.recording.settings import Settings
from anthropic_exporter.recording.sharing import Keeper, Sharing
from anthropic_exporter.recording.sinks import Sink, Sinks
from anthropic_exporter.recording.usages import Usages
from anthropic_exporter.recording.waiting import PATIENCE_SECONDS, Entry, Waiting
from anthropic_exporter.wire.plain_answer import Counts

if TYPE_CHECKING:
    from anthropic_exporter.recording.advice.watch import AdviceWatch

_MOST_EXPECTED = 20_000
#: How long moving to shared cells waits for another thread.
_SHARING_SECONDS = 10.0
#: Called before a request of the SDK is sent: returns it, or another one; raises `SpendLimitExceeded` to stop it.
Gate = Callable[[Any, Attribution], Any]


class Intake:
    """Takes calls from any thread, and never raises into the application.

    Args:
        settings: how it was asked to be.

    Attributes:
        advice: what is remembered of requests for `advise`; None unless asked for.
        gates: called in turn before a request is sent.
        answers: the short way of a successful answer.
        usages: the short way of `record_usage`.
        lines: where calls of one kind are written.
        pending: what waits to be written, the oldest first; see `Waiting`.
        drain: writes what waits, unless another thread does; see `Waiting`.
        expected: label sets that exist, or will exist when what waits is written.
        has_sinks: written calls are passed on.
        keeper: keeps a copy of the cells; None if nobody does, or they are shared.
        life: the life of the counters of this process.
        settings: how it was asked to be.
        inflight: attempts that were sent and have not ended.
        retries: failed attempts that the SDK may try again.
        seen: batch results that are already counted.
        sessions: what is counted of the sessions of managed agents.
        served: which model last answered each requested id.
        cached_threads: conversations whose later turns do not say that they are cached.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._clock = self.clock = settings.clock
        self.advice: AdviceWatch | None = None
        self._sinks = Sinks(self.failed)
        self.gates: tuple[Gate, ...] = ()
        self.sharing: Sharing | None = None
        if settings.advise:
            self.watch_for_advice()
        self._reset()
        self._live = self._live_prices(settings.prices)
        in_child(self._forked)

    def _continue(self, asked: Settings) -> None:
        """Continue with other settings: prices are replaced; features, users and models are admitted as well."""
        self._waiting.write_all()
        if asked.prices is not None:
            self._live = self._live_prices(asked.prices)
        self.settings = self.settings.with_more(asked)
        self._metrics.label_sets.let_in(asked.features or (), asked.users or ())
        if asked.advise and self.advice is None:
            self.watch_for_advice()
        self._expect_all()

    def watch_for_advice(self) -> None:
        """Start to watch requests for `advise`."""
        from anthropic_exporter.recording.advice.watch import AdviceWatch  # noqa: PLC0415 - only those who ask load it

        self.advice = AdviceWatch(self.failed)

    def _live_prices(self, prices: Any) -> LivePrices:
        return LivePrices(prices, self._clock, self._resume, self._prices_broken, self._write_all)

    def _reset(self) -> None:
        """Start empty: at construction, and in a forked child, which has its own counters."""
        self.keeper: Keeper | None = None
        self.life = new_life(self._clock())
        self._sinks.reset()
        self._snapshot = Snapshot([], {}, {})
        self._faults = Faults(self._count_failure, self._clock, strict=self.settings.strict)
        cells = None if self.sharing is None else self.sharing.child_cells()
        asked = self.settings
        self._metrics = Metrics(self._clock, asked.features, cells, asked.users, asked.max_series)
        self._waiting = Waiting(self._metrics, self._faults, self._sinks)
        self.pending, self.drain, self._kept = self._waiting.pending, self._waiting.drain, self._waiting.batch
        self.lines = Lines()
        self.inflight = Inflight()
        self.answers = Answers(self, self._metrics)
        self.usages = Usages(self, self._metrics)
        self.retries = Retries()
        self.seen = SeenResults()
        self.sessions = SessionMemory()
        self.served = ServedModels()
        self.cached_threads = CachedThreads()
        self.expected: set[tuple[str, str, str]] = set()
        self._is_ticking = False
        self._decide_who_waits()
        if self.advice is not None:
            self.watch_for_advice()
        self._expect_all()

    def _expect_all(self) -> None:
        for model in self.settings.models:
            for feature in self.settings.features or ("",):
                self.expect(model, feature, "")

    def _forked(self) -> None:
        self._reset()
        self._live.reset()

    @property
    def prices(self) -> PriceBook:
        """The prices in force now; an edit of the price file replaces them."""
        return self._live.book

    # -- ways in

    def record(self, call: Call) -> None:
        """Count one call. Never raises and never waits; the next scrape shows it with its price.

        A call of a kind that was seen before is written by then, any other one at once.
        """
        entry: list[Any] = [self._write, call, self._clock(), None]
        self.pending.append(entry)
        try:
            if not self.has_sinks:
                entry[-1] = kind_of(call)
            is_known = entry[-1] in self.lines
        except Exception as error:
            if is_interruption(error):
                raise
            is_known = False  # writing it fails too, and is counted
        self._drain_if_needed(is_known=is_known)

    def write_later(self, entry: Entry, *, is_known: bool) -> None:
        """Append what is to be written: at the next scrape or when enough waits, and at once unless it `is_known`."""
        self.pending.append(entry)
        self._drain_if_needed(is_known=is_known)

    def _drain_if_needed(self, *, is_known: bool) -> None:
        if not is_known or len(self.pending) >= self.answers.most or self._faults.lines:
            self.drain()

    def record_later(self, call: Call) -> None:
        """Count one call from a finalizer: only appends, because the interrupted thread may hold a lock."""
        self.pending.append((self._write, call, self._clock()))

    def begin(self, key: int, model: str, where: Attribution, heard: Callable[[], Heard] | None = None) -> float:
        """Note that an attempt was sent. Returns seconds since the epoch."""
        model = kept(model)
        self.begun(model, where)
        if threads.waiting:
            threads.retry()
        now = self._clock()
        self.inflight.begin(key, Started(model, where.feature, where.user, now, heard))
        return now

    def _decide_who_waits(self) -> None:
        """No answer waits that a sink wants at once, a test wants to see fail, or a killed process must not lose."""
        self.has_sinks = bool(self._sinks.all)
        at_once = self._sinks.at_once or self.settings.strict or self.sharing is not None
        most = MOST_WAITING_FOR_A_SERVER if self._is_ticking else MOST_WAITING
        self.answers.most = 0 if at_once else most
        self.answers.limits_are_passed_on = bool(self._sinks.at_once)
        self.answers.are_shared = self.sharing is not None

    def expect(self, model: str, feature: str, user: str) -> None:
        """Make a label set exist at 0 from the next scrape on."""
        labels = (model, feature, user)
        if labels not in self.expected and len(self.expected) < _MOST_EXPECTED:
            self.pending.append((self._metrics.label_sets.expect, *labels))
            self.expected.add(labels)

    def begun(self, model: str, where: Attribution) -> None:
        """Make a request that was sent visible to other processes, which see only what is written."""
        if self.sharing is not None:
            self.expect(self.served.label(model), where.feature, where.user)

    def expect_now(self, model: str, where: Attribution) -> None:
        """Make the label set of a request for `model` exist, with the lock held."""
        labels = (self.served.label(model), where.feature, where.user)
        if labels not in self.expected and len(self.expected) < _MOST_EXPECTED:
            self._metrics.label_sets.expect(*labels)
            self.expected.add(labels)

    def blocked(self, model: str, where: Attribution) -> None:
        """Count a request that a gate stopped: it was not sent."""
        self.record(
            Call(self.served.label(model), BLOCKED, feature=where.feature, user=where.user, started_at=self._clock())
        )

    def count(self, family: f.Family, *labels: str) -> None:
        """Add one to a counter of ours. Never raises and never waits; feature, model and user are bounded."""
        self.pending.append((self._write_event, family, labels))
        self.drain()

    def set(self, family: f.Family, value: float, *labels: str) -> None:
        """Set a gauge of ours. Never raises and never waits."""
        self.pending.append((self._metrics.set, family, labels, value))
        self.drain()

    def observe(self, family: f.Family, value: float, *labels: str) -> None:
        """Add to a histogram of ours. Never raises and never waits."""
        self.pending.append((self._metrics.observe, family, labels, value))
        self.drain()

    def begin_at_zero(self, family: f.Family, *labels: str) -> None:
        """Make a series of ours exist at 0. Never raises and never waits."""
        self.pending.append((self._metrics.begin, family, labels))
        self.drain()

    def failed(self, stage: str, error: BaseException) -> None:
        """Count a failure of ours, and log it once a minute. With `strict` it is raised instead."""
        self._faults.failed(stage, error)

    def malformed(self, stage: str, fields: tuple[str, ...]) -> None:
        """Count fields of a response that no server should send; they were taken as 0."""
        self._faults.malformed(stage, fields)

    # -- ways out

    def subscribe(self, sink: Sink, *, may_wait: bool = False) -> Callable[[], None]:
        """Pass every priced call to `sink`, one at a time, on a thread that records. Returns a function that undoes it.

        No lock is held meanwhile: a sink may call the client, render, or be slow.

        Args:
            sink: what gets the calls.
            may_wait: it is enough if a call comes before the next request passes a gate, or at the next `drain`; calls
                come without rate-limit headers then.
        """
        self._flush()  # this sink does not get calls that ended before
        self._sinks.add(sink, may_wait=may_wait)
        self._decide_who_waits()

        def unsubscribe() -> None:
            self._flush()
            self._sinks.remove(sink)
            self._decide_who_waits()

        return unsubscribe

    def _flush(self) -> None:
        """Write all that waits, and pass it on."""
        self._waiting.write_all()
        self._sinks.pass_on()

    def admit_by(self, gate: Gate) -> Callable[[], None]:
        """Call `gate` before each request of the SDK is sent. Returns a function that undoes it."""
        self.gates = (*self.gates, gate)

        def undo() -> None:
            self.gates = tuple(one for one in self.gates if one is not gate)

        return undo

    def place_of(self, model: str, feature: str) -> tuple[str, str]:
        """The labels (model, feature) under which requests for `model` are shown."""
        return self._metrics.label_sets.place_of(self.served.label(model), feature)

    def read(self) -> dict[str, list[SeriesSample]]:
        """Every series, by family name, as of now."""
        return self.snapshot().readings()

    def snapshot(self) -> Snapshot:
        """Every series of all processes that count together, as of now."""
        own, store = self.own_snapshot(), self.sharing or self.keeper
        return own if store is None else store.snapshot(own)

    def own_snapshot(self) -> Snapshot:
        """Every series of this process alone, as of now; of the previous scrape if reading takes over a second."""
        self.drain()  # an answer may be the first of a model whose price has to be looked up
        self._live.refresh()
        threads.retry()
        if not self._read_cells():
            self.count(f.STALE_SCRAPES)
        self.drain()  # what came meanwhile
        self._sinks.pass_on()
        self._faults.log()
        return self._snapshot

    def _read_cells(self) -> bool:
        """Write everything that waits, and copy every number. False if that takes too long."""
        try:
            if not self._waiting.lock.wait(this_frame(), PATIENCE_SECONDS):
                return False
            self._write_late()
            self._waiting.write(len(self.pending))
            for one in self.inflight.snapshot():
                self.expect(self.served.label(one.model), one.feature, one.user)
            self._waiting.write(len(self.pending), self._metrics.prepare_page)  # with what failed in the first
            gauges, cells = self._gauges(), self._metrics.cells
            self._publish(gauges)
            self._snapshot = Snapshot(cells.copy(), cells.series, gauges)
            return True
        finally:
            self._waiting.lock.release(this_frame())

    def _publish(self, gauges: dict[str, list[SeriesSample]]) -> None:
        if self.sharing is not None:
            self.sharing.publish(gauges)
        elif self.keeper is not None:
            self.keeper.keep(self._metrics.cells)
            self.keeper.publish(gauges)

    def _gauges(self) -> dict[str, list[SeriesSample]]:
        process = process_gauges(self._metrics.label_sets, self.place_of, self.inflight, self.prices, self._clock())
        return {**self._metrics.gauges(), **process}

    # -- shared with other processes

    def share(self, sharing: Sharing, *, wait: bool) -> bool:
        """Write into cells that other processes read, and show theirs. Returns False if it would have to wait."""
        try:
            if not self._waiting.lock.wait(this_frame(), _SHARING_SECONDS if wait else 0.0):
                return False
            # Nothing waits in shared cells; what was interrupted is written to the cells that it began in.
            self._waiting.write(len(self.pending))
            cells, moved = sharing.adopt(self._metrics.cells)
            self._metrics.move_to(cells, moved)
            self.lines.clear()
            self.sharing, self.keeper = sharing, None
            self._decide_who_waits()
            return True
        finally:
            self._waiting.lock.release(this_frame())
            if wait:  # else the process forks: no sink is called then
                self.drain()  # what came meanwhile

    def publish(self) -> None:
        """Write what is pending, and show the gauges of this process to the others."""
        self.drain()
        try:
            if self._waiting.lock.wait(this_frame(), PATIENCE_SECONDS):
                self._write_late()
                if self.keeper is not None:
                    self._waiting.write(len(self.pending), self._metrics.settle)
                self._publish(self._gauges())
        finally:
            self._waiting.lock.release(this_frame())
        self.drain()

    def keep(self) -> None:
        """Copy what was counted since the last time to where it outlives this process. Never waits."""
        if self.keeper is None or not (self.pending or self._waiting.batch is not self._kept):
            return
        try:
            if self._waiting.lock.acquire_unless_wanted(this_frame()):
                self._waiting.write(len(self.pending), self._metrics.settle)
                if self.keeper is not None:
                    self.keeper.keep(self._metrics.cells)
                self._kept = self._waiting.batch
        finally:
            self._waiting.lock.release(this_frame())
        self.drain()

    def rate_limits_at(self, model: str) -> float:
        """The Unix time of the request whose rate-limit headers are shown for a model; 0 if there are none."""
        return self._metrics.rate_limits_at(model)

    def label_bounds(self) -> dict[str, Bounded]:
        """The bounds of this recorder's labels, still empty."""
        return label_bounds(self.settings.features, self.settings.users)

    # -- inside

    def tick(self) -> bool:
        """Write what waits, outside any call. Returns whether anything waited. Call it again within a second."""
        if not self._is_ticking:
            self._is_ticking = True
            self._decide_who_waits()
        waits = bool(self.pending)
        if waits:
            self.drain()
        return waits

    def stop_ticking(self) -> None:
        """Write what waits; `tick` is no longer called."""
        self._is_ticking = False
        self._decide_who_waits()
        self.drain()

    def _write_all(self) -> None:
        """Write all that waits now, before something changes that it must not see."""
        self._waiting.write_all()

    def _write_late(self) -> None:
        """Count what is known only some time after a call: that it was not retried, and what advice needs."""
        for failed in self.retries.given_up(time.perf_counter()):
            seconds = failed.ended - failed.began
            self.pending.append((self._metrics.write_call_duration, failed.model, failed.feature, seconds))
        if self.advice is not None:
            self.pending.append((self.advice.write_counts, self._metrics.count))

    def write_now(self, call: Call, now: float) -> Slot | None:
        """Write a call that ended at `now`, with the lock held. Returns None if it waits for its price."""
        return self._write(call, now)

    def may_use(self, line: Line, at: float) -> bool:
        """Whether a request of `at` may be written by a line."""
        live = self._live
        return line.start <= at < line.end and line.book is live.book and at < live.due

    def pass_on(self, call: Call) -> None:
        """Pass a call that was written to the sinks, with the lock held: they get it when its batch is written."""
        self._waiting.pass_on(call)

    def advise(self, line: Line, sent: Asked, counts: Counts, prompt: Sight, *, asked: bool) -> None:
        """Count an answer that is written by a line for advice, with the lock held."""
        advice = self.advice
        if advice is None or advice.write_plain(line, counts, sent.at, prompt, asked=asked):
            return
        call = priced_call(line, sent, counts, 0.0, {}, prompt, asked=asked)
        if call.bill is not None:
            advice.write(call, call.bill, line.book, line.slot.place[:2])

    def line_of(self, call: Call, slot: Slot) -> Line | None:
        """The line of calls like this one, which was written to `slot`. None if there is none."""
        book = self._live.book
        card = book.card(call.model, call)
        return None if card is None else self._metrics.line(call, slot, card, book)

    def _write(self, call: Call, now: float, kind: Kind | None = None) -> Slot | None:
        line = None if kind is None or self.has_sinks else self.lines.get(kind)
        if line is None or not self.may_use(line, call.started_at):
            return self._write_in_full(call, now, kind)
        tokens, seconds, whole = call.inferences[0].tokens, call.duration_seconds, call.call_duration_seconds
        self._metrics.write_plain(line, tokens, now, seconds, whole, asked=call.cache_asked)
        return line.slot

    def _write_in_full(self, call: Call, now: float, kind: Kind | None) -> Slot | None:
        """Write a call by the general way, and learn how calls of its kind are written."""
        live = self._live
        if call.started_at >= live.due:
            live.refresh_soon()
        bill = live.book.bill(call)
        if None in bill.costs:
            if live.holds(call):
                return None
            self._faults.unpriced(call, bill)
        if call.unmetered:
            self._faults.unmetered(call)
        slot = self._metrics.write(call, bill, now)
        if self.advice is not None and call.prompt is not None:
            self.advice.write(call, bill, live.book, slot.place[:2])
        if self.has_sinks:
            self.pass_on(call.shown(slot.place.model, slot.place.feature, slot.user, bill))
        line = None if kind is None else self.line_of(call, slot)
        if kind is not None and line is not None:
            self.lines.add(kind, line)
        return slot

    def _write_event(self, family: f.Family, labels: tuple[str, ...]) -> None:
        self._metrics.count_event(family, labels)

    def _resume(self, calls: Iterable[Call]) -> None:
        """Write calls that waited for a price."""
        now = self._clock()
        self.pending.extend([(self._write, call, now) for call in calls])
        self.drain()

    def _prices_broken(self, line: str) -> None:
        self._faults.prices_broken(line)

    def _count_failure(self, stage: str) -> None:
        self.pending.append((self._write_event, f.RECORD_ERRORS, (stage,)))
