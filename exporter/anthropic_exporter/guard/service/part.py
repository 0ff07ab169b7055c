"""One Guard's part in its service: one process judges all processes together, the others obey it and report to it.

The judge holds a lock that ends with its process; another process then judges at its next evaluation. If the judge
runs but hangs, each process judges itself until it recovers.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, NamedTuple

from anthropic_exporter.forking import in_child
from anthropic_exporter.guard.anomalies import DAILY, Identity, Measure, kind_of, measure_of
from anthropic_exporter.guard.breaker import Held
from anthropic_exporter.guard.measuring.budgets import Budgets
from anthropic_exporter.guard.measuring.growth import Totals
from anthropic_exporter.guard.measuring.windows import Windows
from anthropic_exporter.guard.notifications.alerts import Alert, Alerts
from anthropic_exporter.guard.service import commands, spend
from anthropic_exporter.guard.service.commands import Command, Commands
from anthropic_exporter.guard.service.files import ServiceFiles, Version
from anthropic_exporter.guard.service.spend import ServiceSpend
from anthropic_exporter.logs import Log

if TYPE_CHECKING:
    from anthropic_exporter.guard.clock import GuardClock, Moment
    from anthropic_exporter.guard.judge import Judge
    from anthropic_exporter.guard.notifications.callbacks import Callbacks
    from anthropic_exporter.guard.thresholds import Limits
    from anthropic_exporter.guard.usual.learning import Learning
    from anthropic_exporter.guard.watch import Watch
    from anthropic_exporter.recorder import Recorder

_log = Log("anthropic_exporter.guard")
ALONE, JUDGE, FOLLOWER = "alone", "judge", "follower"
_SERVICE = "service"
#: The judge evaluates twice a second.
_SILENT_SECONDS = 5.0
#: Older spend counts in the day's budget, but in no pace.
_FRESH_SECONDS = 5.0
#: While a condition holds, its process reports it again at this interval.
_REPORTED_SECONDS = 1.5
_REPORT_EVERY_SECONDS = 0.4


class Parts(NamedTuple):
    """The parts of a Guard that its part in a service works with.

    Attributes:
        recorder: the recorder of the service.
        limits: the thresholds.
        budgets: the day's spend that the Guard shows.
        judge: this process's alerts and breakers.
        clock: the Guard's time.
        watch: this process's windows.
        learning: learns baselines.
        callbacks: where alerts are sent.
    """

    recorder: Recorder
    limits: Limits
    budgets: Budgets
    judge: Judge
    clock: GuardClock
    watch: Watch
    learning: Learning
    callbacks: Callbacks


class Hooks(NamedTuple):
    """What a Guard does when its service asks for it.

    Attributes:
        carry_out: opens or closes breakers of this process by hand.
        failed: counts failures.
        wake: lets the Guard's thread evaluate now.
    """

    carry_out: Callable[[Command], None]
    failed: Callable[[str, Exception], None]
    wake: Callable[[], None]


class ServicePart:
    """Decides who judges, and exchanges state between the judge and the others.

    Args:
        number: of the Guard among those of its recorder.
        parts: the Guard's own.
        hooks: what the Guard does for it.
    """

    def __init__(self, number: int, parts: Parts, hooks: Hooks) -> None:
        self._number, self._recorder, self._limits, self._budgets = number, parts.recorder, parts.limits, parts.budgets
        self._judge, self._clock, self._watch, self._learning = parts.judge, parts.clock, parts.watch, parts.learning
        self._callbacks, self._failed, self._wake = parts.callbacks, hooks.failed, hooks.wake
        self._commands = Commands(hooks.carry_out)
        self._callbacks.delivered = self._delivered
        self.reset()
        in_child(self.reset)

    def reset(self) -> None:
        """Leave the service: at construction, and in a forked child."""
        self.role = ""
        #: The open alerts of all processes, while another process judges.
        self.alerts: Alerts | None = None
        #: Whether this one judges, and no process of the service has left a state of today.
        self.knows_nothing = False
        self._files: ServiceFiles | None = None
        self._spend: ServiceSpend | None = None
        self._held_seen: Version = (0, 0)
        self._state_seen: Version = (0, 0)
        self._heard_at = time.monotonic()
        self._reported: dict[Identity, float] = {}
        self._letters: dict[Identity, tuple[float, Measure]] = {}
        self._written: dict[str, Any] = {}
        self._judge.sent = None
        #: Until the judge is known, no alert is sent.
        self._judge.report = None if self._recorder.membership is None else self._report
        self._lock = threading.RLock()
        _, at_start = self._budgets.spent()
        self._at_start = {feature: (one.tokens, one.usd) for feature, one in at_start.items()}

    # -- on the way of a request

    def is_news(self) -> bool:
        """Whether there is something to read before a request is admitted. At most one system call."""
        if self.role == FOLLOWER:
            return self._files is not None and self._files.held_version() != self._held_seen
        return not self.role and self._recorder.membership is not None

    def catch_up(self) -> None:
        """Obey new conditions; a process that has just started first finds out who judges."""
        with self._lock:
            if self.role == FOLLOWER:
                self._obey()
            elif not self.role:
                self.tick()

    def about_to_fork(self) -> None:
        """Evaluate before the fork, so that the child starts with the current spend."""
        with self._lock:
            if self.role in ("", ALONE) and self._recorder.membership is not None:
                self.tick()

    # -- at every evaluation

    def tick(self) -> bool:
        """Evaluate this process's part. Returns whether something new was learned."""
        with self._lock:
            role = self._decide()
            if role != self.role:
                self._become(role)
            if role == FOLLOWER:
                self._follow()
                return False
            return self._judge_all() if role == JUDGE else self._watch.evaluate_all()

    def _decide(self) -> str:
        membership = self._recorder.membership
        if membership is None:
            return ALONE
        if self._files is None or self._files.path != membership.path:
            self.give_up()
            self._files, self._spend, self.role = ServiceFiles(membership.folder, self._number), None, ""
        if self._files.take():
            return JUDGE
        if not self.role or self._files.state_version() != self._state_seen:
            self._heard_at = time.monotonic()
        return FOLLOWER if time.monotonic() - self._heard_at < _SILENT_SECONDS else ALONE

    def _become(self, role: str) -> None:
        before, self.role = self.role, role
        mine = self._spent_here() if before in ("", ALONE) else {}
        self._judge.report = self._report if role == FOLLOWER else None
        self._judge.sent = self._wake if role == JUDGE else None  # so that the next judge knows, and all obey at once
        if before == FOLLOWER:
            self.alerts = None
            with self._judge.lock:
                self._judge.obey(_SERVICE, {}, frozenset(), self._clock.moment())
        if role == FOLLOWER:
            self._watch.budgets = self._budgets.empty(self._clock.moment().wall)
            self._state_seen = self._held_seen = (0, 0)
        if role == JUDGE:
            self._take_over(mine)
        if role == ALONE:
            self._watch.budgets, self._watch.service = self._budgets, None
        if role == ALONE and before == FOLLOWER:
            _log.warning(
                "the process that evaluates the Guard for this service does not respond: this one evaluates for itself"
            )

    def _spent_here(self) -> dict[str, tuple[int, float]]:
        """What this process spent itself: tokens and dollars by feature."""
        _, now = self._budgets.spent()
        nothing = (0, 0.0)
        start = self._at_start
        return {
            feature: (one.tokens - start.get(feature, nothing)[0], one.usd - start.get(feature, nothing)[1])
            for feature, one in now.items()
        }

    # -- as the judge

    def _take_over(self, mine: dict[str, tuple[int, float]]) -> None:
        """Continue from the last judge's state: the day's spend, open alerts, breakers and baselines."""
        files, at = self._files, self._clock.moment()
        assert files is not None  # noqa: S101 - whoever judges has them
        state = files.read("state")
        written_at = state.get("at")
        is_todays = isinstance(written_at, (int, float)) and (
            self._budgets.day_of(written_at) == self._budgets.day_of(at.wall)
        )
        self.knows_nothing = not is_todays
        self._spend = None
        try:
            if is_todays:
                self._budgets.load(state["budgets"])
            self._learning.baselines.load(files.read("baselines"))
            before = spend.load(state.get("before")) if is_todays else None
            if state:
                self._judge.alerts.load(state["alerts"])
        except (ValueError, KeyError, TypeError):
            before = None
            _log.warning("%s: the state of the Guard is damaged, so it starts empty", files.path)
        self._budgets.turn(at.wall)
        if is_todays and (before is None or not self._is_shared()):
            for feature, (tokens, usd) in mine.items():
                self._budgets.add(feature, tokens, usd)
        files.skip_mail(int(state.get("mail") or 0))
        self._commands.take(commands.loaded(files.read("held").get("commands")), at.wall)
        unsent = files.read("unsent")
        self._written["unsent"] = unsent
        self._callbacks.send([Alert(**one) for one in unsent.get("alerts", ()) if _is_alert(one)])
        age = at.wall - float(state.get("at") or 0.0)
        self._begin(before, at, is_fresh=age < _FRESH_SECONDS)

    def _is_shared(self) -> bool:
        membership = self._recorder.membership
        return membership is not None and membership.is_shared

    def _begin(self, before: Totals | None, at: Moment, *, is_fresh: bool) -> None:
        """Count all processes from now on. Alone, this process counts its own calls as they come."""
        membership = self._recorder.membership
        if membership is None:
            return
        windows, is_shared = Windows(self._limits), membership.is_shared
        if is_shared and before is None:  # what this process did so far is part of the whole
            windows, self._watch.windows = self._watch.windows, windows
        service = ServiceSpend(windows, self._budgets, before)
        snapshot = membership.snapshot() if is_shared else membership.others()
        service.take(snapshot, self._clock.second, is_fresh=is_fresh)
        self._spend = service
        if is_shared:
            self._watch.budgets = self._budgets.empty(at.wall)
            self._watch.service = service.windows
        else:
            self._watch.budgets, self._watch.service = self._budgets, None

    def _share(self, service: ServiceSpend) -> None:
        """Other processes have joined: what this one spent so far is part of the whole."""
        service.windows, self._watch.windows = self._watch.windows, Windows(self._limits)
        nothing = self._budgets.empty(self._clock.moment().wall)
        self._watch.budgets, self._watch.service = nothing, service.windows
        self._recorder.drain()
        own = ServiceSpend(Windows(self._limits), nothing, None).read(self._recorder.own_snapshot())
        service.before = spend.added(service.before or {}, own)

    def _judge_all(self) -> bool:
        membership, files, service = self._recorder.membership, self._files, self._spend
        if membership is None or files is None or service is None:
            return self._watch.evaluate_all()
        letters, mail = files.mail()
        if membership.is_shared and self._watch.service is None:
            self._share(service)
        at = self._clock.moment()
        if self._watch.service is not None:
            self._recorder.drain()
            service.take(membership.snapshot(), self._clock.second)
        self._commands.take(commands.loaded([one.get("command") for one in letters]), at.wall)
        learned = self._watch.evaluate_all(self._reports(letters, at.wall), self._budgets)
        self._publish(files, service, mail)
        if learned:
            self._write(files, "baselines", self._learning.baselines.dump())
        return learned

    def _reports(self, letters: list[dict[str, Any]], wall: float) -> list[Measure]:
        """Measurements that other processes made of their own calls."""
        for one in letters:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                measure = measure_of(one["measure"])
                self._letters[measure.identity] = (float(one["at"]), measure)
        self._letters = {key: one for key, one in self._letters.items() if abs(wall - one[0]) < _REPORTED_SECONDS}
        return [measure for _, measure in self._letters.values()]

    def _publish(self, files: ServiceFiles, service: ServiceSpend, mail: int) -> None:
        judge = self._judge
        with judge.lock:
            alerts = judge.alerts.dump()
            holding = [one for one in judge.alerts.holding_measures() if one.scope != "task"]
        held = {
            "holding": [_values(one) for one in holding],
            "commands": [one._asdict() for one in self._commands.kept],
        }
        shared = self._watch.service is not None
        state = {
            "budgets": self._budgets.dump(),
            "before": spend.dump(service.before) if shared else None,
            "alerts": alerts,
            "mail": mail,
        }
        self._keep_unsent(self._callbacks.waiting)
        if _conditions(held) != _conditions(self._written.get("held", {})):
            self._write(files, "held", held)
        if state != self._written.get("state"):
            self._write(files, "state", state, at=self._clock.moment().wall)
        else:
            files.beat()

    def _delivered(self, waiting: list[Alert]) -> None:
        """An alert was delivered: the next judge must not send it again."""
        with self._lock:
            if self.role == JUDGE:
                self._keep_unsent(waiting)

    def _keep_unsent(self, waiting: list[Alert]) -> None:
        unsent = {"alerts": [alert._asdict() for alert in waiting]}
        if self._files is not None and unsent != self._written.get("unsent", {"alerts": []}):
            self._write(self._files, "unsent", unsent)

    def _write(self, files: ServiceFiles, name: str, value: dict[str, Any], **more: float) -> None:
        try:
            files.write(name, value | more)
            self._written[name] = value
        except OSError as error:
            self._failed("guard_state", error)

    # -- as one of the others

    def _follow(self) -> None:
        files = self._files
        if files is None:
            return
        version = files.state_version()
        if version != self._state_seen:
            self._state_seen = version
            self._read_state(files.read("state"))
        if files.held_version() != self._held_seen:
            self._obey()
        self._watch.evaluate_own()

    def _read_state(self, state: dict[str, Any]) -> None:
        """Read the judge's state: the day's spend and the open alerts."""
        alerts = Alerts()
        try:
            self._budgets.load(state["budgets"])
            alerts.load(state["alerts"])
        except (ValueError, KeyError, TypeError):
            return
        self._budgets.turn(self._clock.moment().wall)
        self.alerts = alerts

    def _obey(self) -> None:
        """Open and close breakers as the judge sees it. Budgets end at once; a pace has its own time, then probes."""
        files = self._files
        if files is None:
            return
        self._held_seen = files.held_version()
        found = files.read("held")
        held = _held(found.get("holding"))
        at = self._clock.moment()
        with self._judge.lock:
            last = self._judge.elsewhere.get(_SERVICE, {})
            over: AbstractSet[Identity] = {one for one in last if one not in held and one[0] in DAILY}
            self._judge.obey(_SERVICE, held, over, at)
        self._commands.take(commands.loaded(found.get("commands")), at.wall)

    def _report(self, measure: Measure) -> None:
        """Report the conditions that only this process can measure. The judge measures paces and budgets itself."""
        now = time.monotonic()
        if (
            measure.condition.key not in _OWN
            or now - self._reported.get(measure.identity, -1e9) < _REPORT_EVERY_SECONDS
        ):
            return
        if len(self._reported) > 1000:  # noqa: PLR2004 - names are bounded; task names fold into their feature
            self._reported.clear()
        self._reported[measure.identity] = now
        self._send({"measure": _values(measure), "at": self._clock.moment().wall})

    def _send(self, letter: dict[str, Any]) -> None:
        try:
            if self._files is not None:
                self._files.report(letter)
        except OSError as error:
            self._failed("guard_state", error)

    # -- by hand

    def tell_all(self, command: Command) -> None:
        """Send a manual command to every process of the service."""
        if self._recorder.membership is None:
            return
        if not self.role:
            self.tick()
        command = command.signed()
        self._commands.note_done(command)
        if self.role == FOLLOWER:
            self._send({"command": command._asdict()})
        else:
            with self._lock:
                self._commands.take([command], self._clock.moment().wall)

    def give_up(self) -> None:
        """Let another process judge."""
        if self._files is not None and self.role == JUDGE:
            self._files.give_up()


_OWN = frozenset({"request_cost", "runaway_loop", "stuck"})


def _values(measure: Measure) -> dict[str, Any]:
    return measure._asdict() | {"condition": kind_of(measure.condition)}


def _held(values: Any) -> Held:
    measures = []
    for one in values if isinstance(values, list) else ():
        try:
            measures.append(measure_of(one))
        except (ValueError, KeyError, TypeError):
            continue  # of another version
    return {one.identity: one for one in measures}


def _conditions(held: dict[str, Any]) -> list[Any]:
    """What matters to the processes that obey; not by how much a threshold is exceeded."""
    holding = [[one[key] for key in ("condition", "scope", "feature", "model")] for one in held.get("holding", ())]
    return [holding, held.get("commands", [])]


def _is_alert(values: Any) -> bool:
    return isinstance(values, dict) and values.keys() == set(Alert._fields)
