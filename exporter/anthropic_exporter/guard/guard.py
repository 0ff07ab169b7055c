"""The Guard: detects anomalies in one process within a second, sends alerts, and stops requests if configured to."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import weakref
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from anthropic_exporter import threads
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.forking import around, in_child
from anthropic_exporter.guard.anomalies import COST_RATE, Identity
from anthropic_exporter.guard.breaker import OBSERVE, Breaker, BreakerState, Held
from anthropic_exporter.guard.clock import GuardClock, Moment
from anthropic_exporter.guard.gate import Gate
from anthropic_exporter.guard.judge import Judge
from anthropic_exporter.guard.measuring.budgets import Budgets
from anthropic_exporter.guard.measuring.tasks import Tasks
from anthropic_exporter.guard.measuring.windows import Windows
from anthropic_exporter.guard.notifications.alerts import Alert, Alerts
from anthropic_exporter.guard.notifications.callbacks import Callback, Callbacks
from anthropic_exporter.guard.persistence import FolderHeldError, Memory
from anthropic_exporter.guard.service.commands import CLOSE, OPEN, Command
from anthropic_exporter.guard.service.part import FOLLOWER, Hooks, Parts, ServicePart
from anthropic_exporter.guard.thresholds import Limits
from anthropic_exporter.guard.ticker import Ticker
from anthropic_exporter.guard.usual.learning import Learning
from anthropic_exporter.guard.watch import Watch
from anthropic_exporter.logs import Log
from anthropic_exporter.metrics import families as f
from anthropic_exporter.recorder import Recorder

if TYPE_CHECKING:
    from typing_extensions import Self

    from anthropic_exporter.guard.following import Following

_log = Log("anthropic_exporter.guard")
_LAST_CALLBACKS_SECONDS = 2.0
#: The longest time that calls wait to be evaluated if no request follows them.
_MOST_WAITING_SECONDS = 1.0
#: How long another worker of the service may hold the folder: until this one knows that it does not evaluate, and after
#: a handover.
_HANDOVER_SECONDS = 5.0
#: The Guards of each recorder: every process of a service numbers them in the same order.
_guards: WeakKeyDictionary[Recorder, dict[int, weakref.ref[Guard]]] = WeakKeyDictionary()


def _number_of(guard: Guard) -> int:
    """The smallest number that is free among the Guards of its recorder."""
    taken = _guards.setdefault(guard.recorder, {})
    number = next(one for one in itertools.count() if one not in taken or _has_ended(taken[one]()))
    taken[number] = weakref.ref(guard)
    return number


def _has_ended(guard: Guard | None) -> bool:
    return guard is None or guard.is_closed


class Timing(NamedTuple):
    """Intervals and timeouts of a Guard, and the start of its day.

    Attributes:
        evaluate_every_seconds: interval between evaluations; dollars are also evaluated with every call, at the latest
            before the next request is sent. None: only when `tick()` is called.
        calibration_seconds: history of a feature that is required before its spikes fire.
        hysteresis: a value must fall this share below its threshold before its condition is false.
        resolve_seconds: how long a condition must stay false before its alert resolves; None: as in the rules.
        cooldown_seconds: the shortest time between two notifications of the same alert.
        callback_timeout_seconds: how long a callback may take before the next one is called.
        utc_offset_minutes: offset of the budget's day from UTC; the same as `export --utc-offset` of the rules.
    """

    evaluate_every_seconds: float | None = 0.5
    calibration_seconds: float = 1800.0
    hysteresis: float = 0.1
    resolve_seconds: float | None = None
    cooldown_seconds: float = 300.0
    callback_timeout_seconds: float = 10.0
    utc_offset_minutes: int = 0


class Spent(NamedTuple):
    """Tokens and dollars since the budget's day began; `feature` is empty for unattributed calls."""

    feature: str
    tokens: float
    usd: float


class Guard:
    """Watches one recorder: alerts with the thresholds of the rules, and breakers if asked for.

    In a service of several processes, each with the same lines of code, one process evaluates the conditions of all and
    sends the alerts, and all apply the breakers. When it ends, another one takes over within a second.

    Args:
        recorder: the recorder whose calls it watches.
        limits: the thresholds; by default those of the shipped rules.
        state_dir: a separate folder for this service, so that budgets and baselines survive a reboot. Without it, they
            only survive restarts of a service that calls `serve`.
        timing: intervals and timeouts.
        clock: seconds since the epoch; the recorder's if None.

    Raises:
        ConfigurationError: a threshold is missing, or the folder cannot be used.
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
        self._following: Following | None = None
        self._budgets = Budgets(self.limits, self.timing.utc_offset_minutes)
        self._learning = Learning(self.timing.calibration_seconds, self.limits.of("spike_min_requests"))
        self._state_dir = state_dir
        self._memory: Memory | None = None
        self._was_logged = False
        self._refused_at: float | None = None
        self._open_memory()
        self._number = _number_of(self)
        self._wire(clock or recorder.clock)
        # The gate sees what waits, and so does the thread: no call has to be judged while the application waits for it.
        every_seconds = self.timing.evaluate_every_seconds
        may_wait = every_seconds is not None and every_seconds <= _MOST_WAITING_SECONDS
        self._undo = (recorder.subscribe(self._watch.take, may_wait=may_wait), recorder.admit_by(self._gate.admit))
        around(self._about_to_fork)
        in_child(self._forked)
        atexit.register(self.close)

    def _wire(self, clock: Callable[[], float]) -> None:
        """Make the parts and connect them."""
        self._tasks = Tasks()
        self._callbacks = Callbacks(self._count_callback, timeout_seconds=self.timing.callback_timeout_seconds)
        self._ticker = Ticker(self.tick, self.timing.evaluate_every_seconds, self._failed)
        self._clock = GuardClock(clock, self._on_second)
        self._judge = Judge(self._no_alerts(), self._callbacks)
        self._gate = Gate(self.recorder, self._judge, self._clock, self._tasks, self._ticker)
        self._watch = Watch(
            recorder=self.recorder,
            judge=self._judge,
            clock=self._clock,
            limits=self.limits,
            windows=Windows(self.limits),
            budgets=self._budgets,
            tasks=self._tasks,
            learning=self._learning,
        )
        parts = Parts(
            recorder=self.recorder,
            limits=self.limits,
            budgets=self._budgets,
            judge=self._judge,
            clock=self._clock,
            watch=self._watch,
            learning=self._learning,
            callbacks=self._callbacks,
        )
        hooks = Hooks(self._carry_out, self._failed, self._ticker.wake)
        self._part = ServicePart(self._number, parts, hooks)
        self._gate.service = self._part
        self._clock.moment()  # starts the day and the thread

    def _no_alerts(self) -> Alerts:
        return Alerts(
            hysteresis=self.timing.hysteresis,
            cooldown_seconds=self.timing.cooldown_seconds,
            resolve_seconds=self.timing.resolve_seconds,
        )

    def _on_second(self, wall: float) -> None:
        self._budgets.turn(wall)
        if self._ticker.waiting:
            self._ticker.start()
        threads.retry()

    # -- what the application asks for

    def on_alert(self, *callbacks: Callback) -> None:
        """Call these with every `Alert` that fires or resolves, on another thread."""
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
        include_other: bool = False,
    ) -> None:
        """Stop requests before they are sent, while one of the conditions `when` holds.

        Args:
            scope: what is stopped: the "feature" or the "model" for which a condition holds, or the "total".
            when: conditions by key, such as "cost_rate", "request_cost", "daily_cost", "runaway_loop".
            action: "observe" only counts what would have been stopped; "block" raises `SpendLimitExceeded` in the
                call; "degrade" sends a different request instead.
            degrade: takes the SDK's request and returns the one to send: `request.copy(body={**request.json, ...})`.
                If it fails, the original request is sent, and the failure is counted.
            exempt: features that are never stopped.
            open_seconds: the shortest time a breaker stays open, and the longest time a probe may take.
            probes: how many calls must succeed before all requests pass again.
            include_other: whether `other` is stopped as a whole. It stands for all features (or models) beyond the
                label limit: if one overspends, all are stopped.

        Raises:
            ConfigurationError: an argument is invalid.
        """
        made = Breaker(
            scope=scope,
            when=when,
            action=action,
            degrade=degrade,
            exempt=exempt,
            open_seconds=open_seconds,
            probes=probes,
            include_other=include_other,
        )
        with self._judge.lock:
            self._judge.add(made)

    def open_breaker(
        self, name: str = "", *, scope: str = "feature", reason: str, seconds: float | None = None
    ) -> None:
        """Open a breaker by hand: every breaker of this scope applies its action to `name`.

        Args:
            name: the feature or the model; empty for the scope "total".
            scope: "feature", "model" or "total".
            reason: a text for people, which is part of the error message.
            seconds: how long it stays open; None: until `close_breaker`.

        Raises:
            ConfigurationError: there is no breaker of this scope.
        """
        at = self._clock.moment()
        self._open_here(name, scope, reason, at, seconds)
        until = None if seconds is None else at.wall + seconds
        self._part.tell_all(Command(name, scope, OPEN, reason, until))

    def _open_here(self, name: str, scope: str, reason: str, at: Moment, seconds: float | None) -> None:
        judge = self._judge
        with judge.lock:
            for breaker in judge.of_scope(scope):
                breaker.open(scope, name, reason, at, seconds)
            judge.update_shut()

    def close_breaker(self, name: str = "", *, scope: str = "feature") -> None:
        """Close a breaker by hand. A condition that still holds has to end before it can open the breaker again.

        The scope "total" also closes breakers of any scope that the total budget opened.

        Raises:
            ConfigurationError: there is no breaker of this scope.
        """
        self._close_here(name, scope)
        self._part.tell_all(Command(name, scope, CLOSE))

    def _close_here(self, name: str, scope: str) -> None:
        judge = self._judge
        with judge.lock:
            for breaker in judge.breakers if scope == "total" else judge.of_scope(scope):
                breaker.close(scope, name)
            judge.update_shut()

    def _carry_out(self, command: Command) -> None:
        """Repeat a manual command of another process of the service."""
        at = self._clock.moment()
        with contextlib.suppress(ConfigurationError):  # this process has no breaker of that scope
            if command.do == OPEN:
                left = None if command.until is None else command.until - at.wall
                self._open_here(command.name, command.scope, command.reason, at, left)
            else:
                self._close_here(command.name, command.scope)

    def follow(self, url: str) -> None:
        """Apply the conditions of the fleet that a collector evaluates (`anthropic-exporter collect --guard FILE`).

        A condition of the fleet opens the breakers with matching `when` and scope, like a condition of this process.
        After 60 s without a message from a collector, these breakers close, and `anthropic_guard_failed_open_total`
        increases.

        Raises:
            ConfigurationError: the URL is invalid, its extra is not installed, or `follow` was called before.
        """
        from anthropic_exporter.guard.following import Following  # noqa: PLC0415 - for those who have a queue
        from anthropic_exporter.transport.address import parse  # noqa: PLC0415 - for those who have a queue

        if self._following is not None:
            raise ConfigurationError("follow: this Guard already follows a collector; call follow() once")
        self._following = Following(parse(url), self.recorder, self._obey)

    def _obey(self, held: Held, over: AbstractSet[Identity]) -> None:
        at = self._clock.moment()
        with self._judge.lock:
            self._judge.obey("fleet", held, over, at)

    def set_baseline(
        self, feature: str, *, cost_usd_per_minute: float | None = None, tokens_per_minute: float | None = None
    ) -> None:
        """Set the baseline of a feature instead of learning it; None restores the learned one."""
        with self._judge.lock:
            self._learning.fix(feature, cost_usd_per_minute=cost_usd_per_minute, tokens_per_minute=tokens_per_minute)

    # -- what the application may read

    def alerts(self) -> tuple[Alert, ...]:
        """The firing alerts of all processes of the service, the oldest first."""
        self.recorder.drain()
        with self._judge.lock:
            return tuple((self._part.alerts or self._judge.alerts).firing(self._clock.ahead))

    def breakers(self) -> tuple[BreakerState, ...]:
        """The state of every breaker: one value per name that is not closed, or one value if all are closed."""
        self.recorder.drain()
        with self._judge.lock:
            return tuple(state for breaker in self._judge.breakers for state in breaker.states(self._clock.ahead))

    def today(self) -> tuple[Spent, ...]:
        """What was spent since 00:00 UTC, by feature: by all processes of the service."""
        self.recorder.drain()
        _, by_feature = self._budgets.spent()
        return tuple(Spent(feature, spent.tokens, spent.usd) for feature, spent in by_feature.items())

    def tick(self) -> None:
        """Evaluate all conditions now. The Guard's thread calls this, unless `evaluate_every_seconds` is None."""
        learned = self._part.tick()
        self._callbacks.watch()
        if self._part.role != FOLLOWER:
            self._keep(learned=learned)
        elif self._memory is not None:  # the judge keeps the state
            self._memory.close()
            self._memory = None

    # -- its failures, its end, its children

    def _failed(self, stage: str, error: BaseException) -> None:
        with contextlib.suppress(Exception):  # a strict recorder raises; it is counted, the thread continues
            self.recorder.failed(stage, error)

    def _count_callback(self, name: str, result: str) -> None:
        self.recorder.count(f.GUARD_CALLBACKS, name, result)

    def _open_memory(self) -> None:
        """Take the folder over; if another process has it, wait until that process ends or no longer judges."""
        if self._state_dir is not None and self._memory is None:
            with contextlib.suppress(FolderHeldError):
                self._memory = Memory(self._state_dir, self._budgets, self._learning.baselines)

    def _reopen_memory(self) -> None:
        """Keep the state in the folder from now on; its content counts unless a process of the service knew more."""
        if self._state_dir is not None and self._memory is None:
            try:
                self._memory = Memory(self._state_dir, self._budgets, self._learning.baselines, restore=False)
            except FolderHeldError as error:
                now = self._clock.moment().now
                if self._refused_at is None:
                    self._refused_at = now
                elif now - self._refused_at >= _HANDOVER_SECONDS:
                    self._refused(error)
            except ConfigurationError as error:
                self._refused(error)
            else:
                self._refused_at = None
                if self._part.knows_nothing:
                    self._restore_beside_own(self._memory)

    def _refused(self, error: ConfigurationError) -> None:
        if not self._was_logged:
            self._was_logged = True
            _log.error("%s; until that process ends, this one saves no state there", error)
        self._failed("guard_state", error)

    def _restore_beside_own(self, memory: Memory) -> None:
        _, own = self._budgets.spent()
        memory.restore()
        self._budgets.turn(self._clock.moment().wall)
        for feature, spent in own.items():
            self._budgets.add(feature, spent.tokens, spent.usd)

    def _keep(self, *, learned: bool) -> None:
        self._reopen_memory()
        if self._memory is None:
            return
        try:
            self._memory.keep(learned=learned)
        except OSError as error:
            self._failed("guard_state", error)

    def close(self) -> None:
        """Stop: evaluate once more, wait two seconds for callbacks, save budgets and baselines. Idempotent."""
        if self._ticker.stopped:
            return
        self._ticker.stop()
        if self._following is not None:
            self._following.close()
        atexit.unregister(self.close)
        for undo in self._undo:
            undo()
        try:
            self.tick()
            self._keep(learned=True)
        except Exception as error:  # noqa: BLE001 - the error boundary
            self._failed("guard", error)
        self._callbacks.close(_LAST_CALLBACKS_SECONDS)
        self._part.give_up()
        if self._memory is not None:
            self._memory.close()

    @property
    def is_closed(self) -> bool:
        """Whether it stopped watching."""
        return self._ticker.stopped

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _about_to_fork(self) -> None:
        if not self.is_closed:
            try:
                self._part.about_to_fork()
            except Exception as error:  # noqa: BLE001 - the error boundary
                self._failed("guard", error)

    def _forked(self) -> None:
        """In a child: keep the day's spend and the breakers, reset everything else, and leave the files alone."""
        self._memory = None
        self._tasks.reset()
        self._callbacks.reset()
        self._judge.reset(self._no_alerts())
        self._watch.reset(Windows(self.limits))
        self._watch.budgets = self._budgets
        self._clock.reset()
        self._ticker.reset()
        self._judge.elsewhere = {}
        if self._following is not None and not self._ticker.stopped:
            self._following.start()
