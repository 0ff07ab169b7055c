"""Watches the recorder's calls: adds them to windows and budgets, and measures both against the thresholds."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from operator import itemgetter

from anthropic_exporter.call import Call, Inference, Tokens
from anthropic_exporter.guard.anomalies import Measure
from anthropic_exporter.guard.clock import GuardClock, Moment
from anthropic_exporter.guard.judge import Judge
from anthropic_exporter.guard.measuring import levels
from anthropic_exporter.guard.measuring.budgets import BudgetStore
from anthropic_exporter.guard.measuring.levels import Sums
from anthropic_exporter.guard.measuring.spikes import of_feature
from anthropic_exporter.guard.measuring.tasks import Tasks
from anthropic_exporter.guard.measuring.windows import PlaceWindows, Windows
from anthropic_exporter.guard.thresholds import Limits
from anthropic_exporter.guard.usual.learning import Learning
from anthropic_exporter.recorder import Recorder
from anthropic_exporter.recording.inflight import Started

_BATCH = "batch"
#: One lookup of all fields instead of ten.
_fields = itemgetter(
    *map(
        Call._fields.index,
        (
            *("model", "outcome", "inferences", "feature", "tier"),
            *("duration_seconds", "time_to_first_token_seconds", "requests", "bill", "task"),
        ),
    )
)


class Watch:
    """One recorder, its windows, its budgets, and what is usual.

    Args:
        recorder: whose calls in flight are measured.
        judge: gets each measurement.
        clock: the Guard's time.
        limits: the thresholds.
        windows: where recent calls are added up.
        budgets: where the day's spend is added up.
        tasks: what each task spent.
        learning: what is usual.
    """

    def __init__(
        self,
        *,
        recorder: Recorder,
        judge: Judge,
        clock: GuardClock,
        limits: Limits,
        windows: Windows,
        budgets: BudgetStore,
        tasks: Tasks,
        learning: Learning,
    ) -> None:
        self._recorder = recorder
        self._judge = judge
        self._clock = clock
        self._read_clock = clock.read
        self._limits = limits
        self.budgets = budgets
        self._tasks = tasks
        self._learning = learning
        self.reset(windows)

    def reset(self, windows: Windows) -> None:
        """Start with these windows. For a forked child, whose parent may hold the lock."""
        self._evaluating = threading.RLock()
        self.windows = windows
        #: The windows of all processes of the service, if this process judges for them.
        self.service: Windows | None = None

    # -- the hot path

    def take(self, call: Call) -> None:
        """Add one priced call. The recorder hands calls over one at a time."""
        wall, clock = self._read_clock(), self._clock
        if not clock.began <= wall < clock.ends:
            clock.turn(wall)
        model, outcome, inferences, feature, tier, seconds, first, requests, bill, task = _fields(call)
        place = None
        if tier != _BATCH:
            place = self.windows[feature, model]
            if place.second != clock.second:
                place.advance(clock.second)
            place.count(outcome, requests, seconds, first)
        if inferences and bill is not None:
            fresh, read, short, long, output = inferences[0][1] if len(inferences) == 1 else _tokens(inferences)
            prompt, usd = fresh + read + short + long, bill.total_usd
            if place is not None and place.spend(bill, requests, usd, prompt, read, output):
                self.evaluate(place)
            if self.budgets.add(feature, prompt - read + output, usd):  # as the API limits tokens: without cache reads
                self.evaluate(None)
        if self._judge.shut or task is not None:
            self._ended(call)

    def evaluate(self, place: PlaceWindows | None) -> None:
        """A call crossed a trip line: measure the place, or the budgets if None, and act at once."""
        at, judge = self._clock.moment(), self._judge
        with judge.lock:
            measures = self.budgets.measures() if place is None else levels.urgent(self._sums(place, at))
            holding = [measure for measure in measures if judge.take(measure, at)]
            if place is not None:
                place.evaluated(holds=bool(holding))
            judge.update_shut()
            news = judge.news(at)
        judge.send(news)

    def _ended(self, call: Call) -> None:
        at, judge = self._clock.moment(), self._judge
        with judge.lock:
            if call.task is not None and call.bill is not None:
                beyond = self._tasks.spent(call.task, call.feature, call.bill.total_usd, at.now)
                if beyond is not None:
                    judge.take(beyond, at)
            judge.ended(call, at)

    # -- every half second

    def evaluate_all(self, elsewhere: Iterable[Measure] = (), budgets: BudgetStore | None = None) -> bool:
        """Measure everything and act on it. Returns True if something new was learned.

        Args:
            elsewhere: what other processes of the service measure of their own calls.
            budgets: the day's spend of the service; this process's if None.
        """
        with self._evaluating:
            self._recorder.drain()
            at, judge = self._clock.moment(), self._judge
            windows = self.windows if self.service is None else self.service
            measures = list(self._measures(windows, at))
            if self.service is not None:
                measures += [
                    one for place in self.windows.places() for one in levels.of_requests(self._sums(place, at))
                ]
            measures += [*self._of_own_calls(at), *elsewhere]
            with judge.lock:
                measures += (budgets or self.budgets).measures()
                news = judge.settle(levels.one_each(measures), at)
                learned = self._learning.learn(windows.places(), judge.alerts, at.now, at.wall)
            judge.send(news)
            self._forget()
            return learned

    def evaluate_own(self) -> None:
        """Measure what one of several processes can see: its single calls, and whether it alone exceeds a limit."""
        with self._evaluating:
            self._recorder.drain()
            at, judge = self._clock.moment(), self._judge
            measures = [one for place in self.windows.places() for one in levels.urgent(self._sums(place, at))]
            measures += self._of_own_calls(at)
            with judge.lock:
                measures += self.budgets.measures()
                judge.settle(measures, at)
            self._forget()

    def _forget(self) -> None:
        for windows in (self.windows, self.service):
            if windows is not None:
                windows.forget(self._clock.second)

    def _measures(self, windows: Windows, at: Moment) -> Iterator[Measure]:
        all_sums = [self._sums(place, at) for place in windows.places()]
        by_feature: dict[str, list[Sums]] = {}
        for sums in all_sums:
            by_feature.setdefault(sums.place.feature, []).append(sums)
        yield from levels.of_all(all_sums, lambda place: self._learning.share(place, at.wall), self._limits)
        yield from self._spikes(by_feature, at.wall)

    def _of_own_calls(self, at: Moment) -> Iterator[Measure]:
        yield from levels.of_inflight(self._inflight(at.wall), at.wall, self._limits)
        with self._judge.lock:
            yield from list(self._tasks.measures(at.now))

    def _spikes(self, by_feature: dict[str, list[Sums]], wall: float) -> Iterator[Measure]:
        for feature, places in by_feature.items():
            usual = self._learning.usual(feature, wall)
            if usual is not None:
                yield from of_feature(feature, places, usual, self._limits)

    def _sums(self, place: PlaceWindows, at: Moment) -> Sums:
        return Sums(place, self._clock.reached(at))

    def _inflight(self, wall: float) -> Iterator[Started]:
        """The attempts in flight, each `at` its last byte: a long stream that delivers is not stuck."""
        place_of = self._recorder.place_of
        for one in self._recorder.inflight.quiet_since(wall):
            yield Started(*place_of(one.model, one.feature), one.user, one.at)


def _tokens(inferences: tuple[Inference, ...]) -> Tokens:
    """The tokens of several inferences, added up by type."""
    return Tokens(*(sum(parts) for parts in zip(*(one.tokens for one in inferences), strict=True)))
