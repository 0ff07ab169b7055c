"""The Guard: subscribes to a recorder, sees anomalies within a second, tells of them, and stops what it was told to."""

from __future__ import annotations

import atexit
import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from anthropic_exporter.attribution import Attribution
from anthropic_exporter.call import Call, Inference, Tokens
from anthropic_exporter.errors import ConfigurationError, SpendLimitExceeded
from anthropic_exporter.forking import in_child
from anthropic_exporter.guard.anomalies import COST_RATE
from anthropic_exporter.guard.breaker import BLOCK, DEGRADE, OBSERVE, Breaker, BreakerState, Moment, exceeded
from anthropic_exporter.guard.measuring import levels as c
from anthropic_exporter.guard.measuring.budgets import Ledger
from anthropic_exporter.guard.measuring.levels import Sums
from anthropic_exporter.guard.measuring.spikes import of_feature
from anthropic_exporter.guard.measuring.tasks import Tasks
from anthropic_exporter.guard.measuring.windows import Place, Windows, WindowStore
from anthropic_exporter.guard.persistence import State
from anthropic_exporter.guard.telling.alerts import Alert, Alerts, Measure, against
from anthropic_exporter.guard.telling.callbacks import Callback, Callbacks
from anthropic_exporter.guard.thresholds import Limits
from anthropic_exporter.guard.usual.learning import Learning
from anthropic_exporter.metrics import families as f
from anthropic_exporter.recorder import Recorder
from anthropic_exporter.recording.inflight import Started

if TYPE_CHECKING:
    from typing_extensions import Self

_BATCH = "batch"
#: Where there is very much to look at, it is looked at less often. Dollars are looked at with every call all the same.
_MOST_OF_A_CORE = 0.1
#: One look into a call instead of ten.
_fields = itemgetter(
    *map(
        Call._fields.index,
        (
            *("model", "outcome", "inferences", "feature", "tier"),
            *("duration_seconds", "time_to_first_token_seconds", "requests", "bill", "task"),
        ),
    )
)
_deciding: ContextVar[bool] = ContextVar("anthropic_exporter_guard_deciding", default=False)


class Timing(NamedTuple):
    """How fast and how patient a Guard is; all in seconds.

    Attributes:
        evaluate_every_seconds: between two looks at everything; dollars are looked at with every call as well. None:
            only when `tick()` is called.
        calibration_seconds: how much must be known of a feature before its spikes are told.
        hysteresis: the part of a threshold by which a value must fall below it to count as over.
        resolve_seconds: how long a condition must be over before its alert is; as in the rules where not given.
        cooldown_seconds: an alert that begins again so soon after it was told is told when this time is over.
        callback_timeout_seconds: how long a callback may take before the next one gets its turn.
    """

    evaluate_every_seconds: float | None = 0.5
    calibration_seconds: float = 1800.0
    hysteresis: float = 0.1
    resolve_seconds: float | None = None
    cooldown_seconds: float = 300.0
    callback_timeout_seconds: float = 10.0


class Spent(NamedTuple):
    """Tokens and dollars since 00:00 UTC; `feature` is empty for unattributed calls."""

    feature: str
    tokens: float
    usd: float


class Guard:
    """Watches one recorder in its process: alerts by the thresholds of the rules, and breakers where asked for.

    Args:
        recorder: whose calls it sees.
        limits: the thresholds; those of the shipped rules where not given.
        state_dir: a folder of this process alone, in which budgets and baselines outlive it; without one they do not.
        timing: how fast and how patient it is.
        clock: seconds since the epoch; the recorder's where not given.

    Raises:
        ConfigurationError: thresholds are missing, or the folder cannot be used.
    """

    def __init__(
        self,
        recorder: Recorder,
        limits: Limits | None = None,
        *,
        state_dir: str | Path | None = None,
        timing: Timing | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.recorder = recorder
        self.limits = limits or Limits.shipped()
        self.timing = timing or Timing()
        self._clock = clock or recorder.clock
        self._breakers: tuple[Breaker, ...] = ()
        self._ledger = Ledger(self.limits)
        self._learning = Learning(self.timing.calibration_seconds, self.limits.of("spike_min_requests"))
        self._callbacks = Callbacks(self._count_callback, timeout_seconds=self.timing.callback_timeout_seconds)
        self._ahead = 0
        self._reset()
        self._state = None if state_dir is None else State(state_dir)
        self._saved: tuple[int, int, float] | None = None
        self._restore()
        self._moment()
        self._undo = (recorder.subscribe(self._take), recorder.admit_by(self._admit))
        in_child(self._forked)
        atexit.register(self.close)

    def _reset(self) -> None:
        """What holds for this process alone: at construction, and in a forked child."""
        self._lock = threading.RLock()
        self._looking = threading.RLock()
        self._stopped = threading.Event()
        self._ticker: threading.Thread | None = None
        self._windows: WindowStore = Windows(self.limits)
        timing = self.timing
        self._alerts = Alerts(
            hysteresis=timing.hysteresis,
            cooldown_seconds=timing.cooldown_seconds,
            resolve_seconds=timing.resolve_seconds,
        )
        self._tasks = Tasks()
        self._second = -1
        self._began = self._ends = -1.0
        self._shut = False
        self._to_start = self.timing.evaluate_every_seconds is not None

    # -- what the application says

    def on_alert(self, *callbacks: Callback) -> None:
        """Call these with every `Alert` that begins or is over, on a thread of their own."""
        for callback in callbacks:
            if not callable(callback):
                raise ConfigurationError(f"on_alert: {type(callback).__name__} cannot be called; give a function")
        self._callbacks.add(callbacks)

    def breaker(
        self,
        *,
        scope: str = "feature",
        when: Iterable[str] = (COST_RATE.key,),
        action: str = OBSERVE,
        degrade: Callable[[Any], Any] | None = None,
        exempt: Iterable[str] = (),
        open_seconds: float = 60.0,
        probes: int = 1,
    ) -> None:
        """Stop requests before they are sent, while one of the conditions `when` holds.

        Args:
            scope: what is stopped: the "feature" or the "model" that a condition holds for, or the "total".
            when: conditions by key, such as "cost_rate", "request_cost", "daily_cost", "runaway_loop".
            action: "observe" only counts what would have been stopped; "block" raises `SpendLimitExceeded` into the
                call; "degrade" sends another request instead.
            degrade: gets the SDK's request, returns the one to send: `request.copy(body={**request.json, ...})`. Where
                it fails, the request is sent as it was, and the failure is counted.
            exempt: features that are never stopped.
            open_seconds: how long it stays open at least, and how long a probe may take.
            probes: how many calls must come back well before all are let through again.

        Raises:
            ConfigurationError: an argument that makes no sense.
        """
        made = Breaker(
            scope=scope,
            when=when,
            action=action,
            degrade=degrade,
            exempt=exempt,
            open_seconds=open_seconds,
            probes=probes,
        )
        with self._lock:
            self._breakers = (*self._breakers, made)

    def open_breaker(
        self, name: str = "", *, scope: str = "feature", reason: str, seconds: float | None = None
    ) -> None:
        """Open a breaker by hand: every breaker of this scope does to `name` what its action says.

        Args:
            name: the feature or the model; empty for the scope "total".
            scope: "feature", "model" or "total".
            reason: for people; it is part of the error.
            seconds: for how long; until `close_breaker` where not given.

        Raises:
            ConfigurationError: there is no breaker of this scope.
        """
        at = self._moment()
        with self._lock:
            for breaker in self._of_scope(scope):
                breaker.open(scope, name, reason, at, seconds)
            self._turned()

    def close_breaker(self, name: str = "", *, scope: str = "feature") -> None:
        """Close a breaker by hand, however it was opened. What holds right now has to end before it opens it again.

        The scope "total" also closes what a budget of everything opened, in breakers of any scope.

        Raises:
            ConfigurationError: there is no breaker of this scope.
        """
        with self._lock:
            for breaker in self._breakers if scope == "total" else self._of_scope(scope):
                breaker.close(scope, name)
            self._turned()

    def set_baseline(
        self, feature: str, *, cost_usd_per_minute: float | None = None, tokens_per_minute: float | None = None
    ) -> None:
        """Say what a feature usually spends, instead of learning it; None goes back to what was learned."""
        with self._lock:
            self._learning.fix(feature, cost_usd_per_minute=cost_usd_per_minute, tokens_per_minute=tokens_per_minute)

    # -- what it says

    def alerts(self) -> tuple[Alert, ...]:
        """The alerts that are open, the oldest first."""
        with self._lock:
            return tuple(self._alerts.firing(self._ahead))

    def breakers(self) -> tuple[BreakerState, ...]:
        """What every breaker does now: each name that is not closed, or one value that says that none is."""
        with self._lock:
            return tuple(state for breaker in self._breakers for state in breaker.states(self._ahead))

    def today(self) -> tuple[Spent, ...]:
        """What was spent since 00:00 UTC, by feature."""
        _, by_feature = self._ledger.spent()
        return tuple(Spent(feature, spent.tokens, spent.usd) for feature, spent in by_feature.items())

    # -- the hot path

    def _take(self, call: Call) -> None:
        """Take one priced call; the recorder has them come one at a time."""
        wall = self._clock()
        if not self._began <= wall < self._ends:
            self._turn(wall)
        model, outcome, inferences, feature, tier, seconds, first, requests, bill, task = _fields(call)
        place = None
        if tier != _BATCH:
            place = self._windows[feature, model]
            if place.second != self._second:
                place.advance(self._second)
            place.count(outcome, requests, seconds, first)
        if inferences and bill is not None:
            fresh, read, short, long, output = inferences[0][1] if len(inferences) == 1 else _tokens(inferences)
            prompt, usd = fresh + read + short + long, bill.total_usd
            if place is not None and place.spend(bill, requests, usd, prompt, read, output):
                self._look(place)
            if self._ledger.add(feature, prompt + output, usd):
                self._look(None)
        if self._shut or task is not None:
            self._came_back(call)

    def _turn(self, wall: float) -> None:
        """Another second shows. Where the clock was put back only the budgets take part in it, the windows go on.

        A second's difference is no such thing: another thread read the clock earlier and came here later.
        """
        with self._lock:
            began = int(wall)
            behind = self._second - (began + self._ahead)
            if behind > 1:
                self._ahead += behind
            self._second = max(self._second, began + self._ahead)
            self._began, self._ends = float(began), began + 1.0
            self._ledger.turn(wall)
            if self._to_start:
                self._start()

    def _look(self, place: Place | None) -> None:
        """A trip line was crossed: measure what it is about, and act on it at once."""
        at = self._moment()
        with self._lock:
            measures = self._ledger.measures() if place is None else c.urgent(Sums(place, self._reached(at)))
            holding = [measure for measure in measures if self._saw(measure, at)]
            if place is not None:
                place.looked(holds=bool(holding))
            self._turned()
            news = self._news(at)
        self._callbacks.tell(news)

    def _came_back(self, call: Call) -> None:
        at = self._moment()
        with self._lock:
            if call.task is not None and call.bill is not None:
                beyond = self._tasks.spent(call.task, call.feature, call.bill.total_usd, at.now)
                if beyond is not None:
                    self._saw(beyond, at)
            if call.outcome != "blocked":
                for breaker in self._breakers:
                    breaker.ended(call, at)
            self._turned()

    def _news(self, at: Moment) -> list[Alert]:
        return self._alerts.news(at.now, at.ahead)

    def _saw(self, measure: Measure, at: Moment) -> bool:
        self._alerts.saw(measure, at.now)
        if measure.holds:
            for breaker in self._breakers:
                breaker.trip(measure, at)
        return measure.holds

    def _turned(self) -> None:
        self._shut = any(not breaker.closed for breaker in self._breakers)

    # -- the gate

    def _admit(self, request: Any, where: Attribution) -> Any:
        """The request to send.

        Raises:
            SpendLimitExceeded: none may be sent.
        """
        if self._to_start:
            self._start()
        if where.task is not None:
            request = self._admit_task(request, where)
        if self._shut and not _deciding.get():
            request = self._judge(request, where)
        return request

    def _judge(self, request: Any, where: Attribution) -> Any:
        model, feature = self.recorder.place_of(_model_of(request), where.feature)
        at = self._moment()
        for breaker in self._breakers:
            with self._lock:
                circuit = breaker.stops(feature, model, at, self._alerts.holding)
                self._turned()
            if circuit is not None:
                request = self._stop(breaker, request, feature, exceeded(circuit, at.ahead))
        return request

    def _admit_task(self, request: Any, where: Attribution) -> Any:
        if where.task is None or _deciding.get():
            return request
        _, feature = self.recorder.place_of("", where.feature)
        at = self._moment()
        with self._lock:
            beyond = self._tasks.asks(where.task, feature, at.now, again=request.retries_taken > 0)
            if beyond is None:
                return request
            self._saw(beyond, at)
            news = self._news(at)
        self._callbacks.tell(news)
        error = SpendLimitExceeded(
            "task", where.task.name, beyond.condition.key, against(beyond), beyond.condition.window, None
        )
        breakers = [one for one in self._breakers if one.for_tasks]
        if not breakers:
            self.recorder.count(f.GUARD_BLOCKED, feature, error.reason, OBSERVE)
        for breaker in breakers:
            if feature not in breaker.exempt:
                request = self._stop(breaker, request, feature, error)
        return request

    def _stop(self, breaker: Breaker, request: Any, feature: str, error: SpendLimitExceeded) -> Any:
        self.recorder.count(f.GUARD_BLOCKED, feature, error.reason, breaker.action)
        if breaker.action == BLOCK:
            raise error
        return self._degraded(breaker, request) if breaker.action == DEGRADE else request

    def _degraded(self, breaker: Breaker, request: Any) -> Any:
        """What the application sends instead. It may call the client itself: those calls are not judged."""
        token = _deciding.set(True)
        try:
            changed = breaker.degrade(request) if breaker.degrade is not None else request
            if not isinstance(changed, type(request)):
                raise TypeError("degrade() returned no request")  # noqa: TRY301 - counted like any of its failures
        except Exception as error:  # noqa: BLE001 - the error boundary
            self.recorder.failed("degrade", error)
            return request
        else:
            return changed
        finally:
            _deciding.reset(token)

    # -- every half second

    def tick(self) -> None:
        """Look at everything now. The Guard's own thread does it; call it where `evaluate_every_seconds` is None."""
        with self._looking:
            self._look_at_everything()

    def _look_at_everything(self) -> None:
        self.recorder.drain()
        at = self._moment()
        measures = list(self._measures(at))
        with self._lock:
            measures += self._ledger.measures()
            self._alerts.settle(measures, at.now)
            for measure in measures:
                if measure.holds:
                    for breaker in self._breakers:
                        breaker.trip(measure, at)
            for breaker in self._breakers:
                breaker.advance(at, self._alerts.holding)
            self._turned()
            news = self._news(at)
            learned = self._learning.learn(self._windows.places(), self._alerts, at.now, at.wall)
        self._callbacks.tell(news)
        self._callbacks.watch()
        self._windows.forget(self._second)
        self._keep(learned=learned)

    def _measures(self, at: Moment) -> Iterator[Measure]:
        now = self._reached(at)
        all_sums = [Sums(place, now) for place in self._windows.places()]
        explained = False
        by_feature: dict[str, list[Sums]] = {}
        for sums in all_sums:
            by_feature.setdefault(sums.place.feature, []).append(sums)
            for measure in c.of_place(sums, self._learning.share(sums.place, at.wall)):
                explained = explained or (measure.condition is COST_RATE and measure.holds)
                yield measure
        if not explained:
            yield from c.of_total(all_sums, self.limits)
        yield from c.of_models(all_sums, self.limits)
        for feature, of_it in by_feature.items():
            usual = self._learning.usual(feature, at.wall)
            if usual is not None:
                yield from of_feature(feature, of_it, usual, self.limits)
        yield from c.of_inflight(self._inflight(), at.wall, self.limits)
        with self._lock:
            yield from list(self._tasks.measures(at.now))

    def _inflight(self) -> Iterator[Started]:
        place_of = self.recorder.place_of
        for one in self.recorder.inflight.snapshot():
            yield Started(*place_of(one.model, one.feature), one.at)

    def _moment(self) -> Moment:
        wall = self._clock()
        if not self._began <= wall < self._ends:
            self._turn(wall)
        return Moment(wall + self._ahead, wall)

    def _reached(self, at: Moment) -> float:
        """Now, or the second to which another thread moved the windows on meanwhile."""
        return max(at.now, float(self._second))

    # -- its thread, its files, its end

    def _start(self) -> None:
        every = self.timing.evaluate_every_seconds
        with self._lock:
            if self._to_start and every is not None:
                self._to_start = False
                self._ticker = threading.Thread(target=self._run, args=(every,), name="anthropic-guard", daemon=True)
                self._ticker.start()

    def _run(self, every: float) -> None:
        pause = every
        while not self._stopped.wait(pause):
            began = time.thread_time()
            try:
                self.tick()
            except Exception as error:  # noqa: BLE001 - the error boundary
                self._failed("guard", error)
            pause = max(every, (time.thread_time() - began) / _MOST_OF_A_CORE)

    def _failed(self, stage: str, error: Exception) -> None:
        with contextlib.suppress(Exception):  # a strict recorder raises it; it is counted, and this thread goes on
            self.recorder.failed(stage, error)

    def _count_callback(self, name: str, result: str) -> None:
        self.recorder.count(f.GUARD_CALLBACKS, name, result)

    def _restore(self) -> None:
        if self._state is None:
            return
        for name, load in (("budgets", self._ledger.load), ("baselines", self._learning.baselines.load)):
            try:
                load(self._state.read(name))
            except ValueError:
                self._state.damaged(name)

    def _keep(self, *, learned: bool) -> None:
        state, version = self._state, self._ledger.version
        if state is None:
            return
        try:
            if version != self._saved:
                state.write("budgets", self._ledger.dump())
                self._saved = version
            if learned:
                state.write("baselines", self._learning.baselines.dump())
        except OSError as error:
            self._failed("guard_state", error)

    def close(self) -> None:
        """Stop watching: a last look, what is queued told for two seconds, budgets and baselines kept. Idempotent."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        self._to_start = False
        atexit.unregister(self.close)
        for undo in self._undo:
            undo()
        try:
            self.tick()
            self._keep(learned=True)
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._failed("guard", error)
        self._callbacks.close(2.0)
        if self._state is not None:
            self._state.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _of_scope(self, scope: str) -> list[Breaker]:
        found = [one for one in self._breakers if one.scope == scope]
        if not found:
            raise ConfigurationError(f"no breaker has scope={scope!r}; make one with guard.breaker(scope={scope!r})")
        return found

    def _forked(self) -> None:
        """In a child: its own thread, windows and alerts; the day's spend is known so far, the files are not its."""
        self._reset()
        self._callbacks.reset()
        self._state = None
        self._turned()


def _tokens(inferences: tuple[Inference, ...]) -> Tokens:
    """The tokens of several inferences by type."""
    return Tokens(*(sum(parts) for parts in zip(*(one.tokens for one in inferences), strict=True)))


def _model_of(request: Any) -> str:
    body = request.json
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) else ""
