"""The ledger that the rules keep, computed over the past: the same totals, sample for sample.

The rules of the group `anthropic-ledger` read what they recorded an evaluation ago, so a range query cannot evaluate
them. Here the group is an object that takes pages and returns evaluations, in order of time. Names and steps are those
of `rules/templates/ledger.yml`, which docs/ledger.md explains. Windows include both of their ends, as in Prometheus 2;
Prometheus 3 leaves the beginning out, which matters only where scrapes and evaluations fall on the same millisecond.
Pure: knows neither HTTP nor Prometheus.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from anthropic_exporter.metrics import families as f
from anthropic_exporter.rules import settings

#: Labels of a counter of the ledger, in the order of a `Key`; labels that an export keeps follow.
BY = ("of", "feature", "model", "tier")
#: What is read of the evaluation before has `offset 1ms`.
_JUST_BEFORE = 0.001
#: A process that is found later than its start counts late if it is younger than this.
_LATE_SECONDS = 3600.0
Key = tuple[str, ...]
Target = tuple[str, ...]
PROMPT, LATE = "prompt", "late"
_FAMILIES = (f.STARTED.name, f.AGE.name, f.LEDGER.name)
_NOT_OF_A_TARGET = {"__name__", "life", *BY}


class Page(NamedTuple):
    """What one scrape of a target shows of one life.

    Attributes:
        at: when it was scraped, in Unix seconds.
        target: values of the labels that tell targets apart.
        life: the label `life`.
        started: `anthropic_exporter_start_timestamp_seconds`.
        age: `anthropic_exporter_age_seconds`, None if it is not exposed.
        counters: `anthropic_ledger_total` by the values of `BY`.
    """

    at: float
    target: Target
    life: str
    started: float
    age: float | None
    counters: Mapping[Key, float]


def pages(series: Iterable[tuple[Mapping[str, str], Iterable[tuple[float, float]]]]) -> list[Page]:
    """The pages that stored samples were scraped from, in order of time.

    Args:
        series: labels with `__name__`, and samples as pairs of Unix seconds and value. Other families are left out.
    """
    found: dict[tuple[float, Target, str], dict[str, dict[Key, float]]] = {}
    for labels, samples in series:
        if (name := labels["__name__"]) in _FAMILIES:
            key = tuple(labels.get(label, "") for label in BY) if name == f.LEDGER.name else ()
            target = tuple(f"{label}={labels[label]}" for label in sorted(labels.keys() - _NOT_OF_A_TARGET))
            for at, value in samples:
                page = found.setdefault((at, target, labels.get("life", "")), {name: {} for name in _FAMILIES})
                page[name][key] = value
    whole = sorted((place, page) for place, page in found.items() if page[f.STARTED.name])
    return [
        Page(*place, page[f.STARTED.name][()], page[f.AGE.name].get(()), page[f.LEDGER.name]) for place, page in whole
    ]


class Evaluation(NamedTuple):
    """What the group records in one evaluation.

    Attributes:
        at: when it was evaluated, in Unix seconds.
        totals: `anthropic_ledger:total` by key and `when`.
        increments: `anthropic_ledger:increment` in the same way; empty while the group pauses.
        pauses: whether the group waits for scrapes, so that `anthropic_ledger:now` has no sample.
    """

    at: float
    totals: Mapping[tuple[Key, str], float]
    increments: Mapping[tuple[Key, str], float]
    pauses: bool


class Durations(NamedTuple):
    """Durations of the group in seconds; `pause_ticks` is a number of evaluations."""

    alive: float
    leave: float
    memory: float
    young: float
    pause: float
    pause_ticks: int
    settled: float

    @classmethod
    def of(cls, scrape: int, step: int | None = None) -> Durations:
        """Those that the generator writes for an interval between scrapes, and between evaluations."""
        written = settings.windows(scrape, step)
        found = {name: settings.seconds(written[name]) for name in cls._fields if name != "pause_ticks"}
        return cls(**found, pause_ticks=int(written["pause_ticks"]))


@dataclass
class _Seen:
    """The newest page of one life at one target, and counters that an earlier page showed and this one does not."""

    page: Page
    older: dict[Key, tuple[float, float]] = field(default_factory=dict)

    def turn(self, page: Page) -> None:
        for key in self.page.counters.keys() - page.counters.keys():
            self.older[key] = self.page.at, self.page.counters[key]
        if self.older:
            self.older = {key: one for key, one in self.older.items() if key not in page.counters}
        self.page = page

    def since(self, start: float) -> Mapping[Key, float]:
        """The last value of each counter that was scraped at `start` or later."""
        if not self.older:
            return self.page.counters if self.page.at >= start else {}
        kept = {key: value for key, (at, value) in self.older.items() if at >= start}
        return kept | (dict(self.page.counters) if self.page.at >= start else {})


class ReplayedLedger:
    """The group, evaluation by evaluation. Give it every page up to a moment before it evaluates that moment.

    Args:
        durations: those of the rules that are to be reproduced.
    """

    def __init__(self, durations: Durations) -> None:
        self._durations = durations
        self._seen: dict[str, dict[Target, _Seen]] = {}
        self._ticks: deque[float] = deque()
        self._born: float | None = None
        self._clock: float | None = None
        self._lives: dict[str, float] = {}
        self._sums: dict[Key, float] = {}
        self._left: dict[str, dict[Key, tuple[float, float]]] = {}
        self._totals: dict[tuple[Key, str], float] = {}

    def see(self, pages: Iterable[Page]) -> None:
        """Take in pages, those of each target in order of time."""
        for page in pages:
            targets = self._seen.setdefault(page.life, {})
            if (seen := targets.get(page.target)) is None:
                targets[page.target] = _Seen(page)
            else:
                seen.turn(page)

    def evaluate(self, now: float) -> Evaluation:
        """What the group records at `now`, in Unix seconds."""
        last = self._ticks[-1] if self._ticks else None
        pauses = self._pauses(now)
        self._forget(last, now)
        increments = {} if pauses else self._increments(now)
        for key, amount in increments.items():
            self._totals[key] = self._totals.get(key, 0.0) + amount
        return Evaluation(now, dict(self._totals), increments, pauses)

    def _pauses(self, now: float) -> bool:
        """Whether evaluations were missed lately, so that not every process has been scraped again."""
        self._ticks.append(now)
        while self._ticks[0] < now - self._durations.settled - self._durations.memory:
            self._ticks.popleft()
        if self._born is None:
            self._born = now
        if self._ticks[0] > now - self._durations.settled:
            return False
        needed = self._durations.pause_ticks
        return len(self._ticks) < needed or self._ticks[-needed] < now - self._durations.pause

    def _forget(self, last: float | None, now: float) -> None:
        """Drop what is older than the memory of the rules, and lives that no rule can read again."""
        oldest = now - _JUST_BEFORE - self._durations.memory
        if last is not None and last < oldest:
            self._totals.clear()
        if self._clock is not None and self._clock < oldest:
            self._clock = None
            self._sums.clear()
        for life in [life for life, at in self._lives.items() if at < oldest]:
            del self._lives[life]
        for life in [life for life, left in self._left.items() if all(at < oldest for at, _ in left.values())]:
            del self._left[life]
        gone = now - self._durations.leave
        for life, targets in list(self._seen.items()):
            for target in [target for target, seen in targets.items() if seen.page.at < gone]:
                del targets[target]
            if not targets:
                del self._seen[life]

    def _increments(self, now: float) -> dict[tuple[Key, str], float]:
        alive = now - self._durations.alive
        before = {life for life, at in self._lives.items() if at == self._clock}
        shown = {life: found for life in self._seen if (found := self._shown(life, alive))}
        came = {life: found for life, found in shown.items() if life not in before}
        answering = {life for life, targets in self._seen.items() if any(s.page.at >= alive for s in targets.values())}
        left = {life: self._shown(life, now - self._durations.leave) for life in before - answering}
        late = self._late(came, now)
        prompt = self._prompt(shown, came, left, now)
        self._remember(answering, left, now)
        return {(key, PROMPT): max(0.0, amount) for key, amount in prompt.items()} | {
            (key, LATE): max(0.0, amount) for key, amount in late.items()
        }

    def _shown(self, life: str, start: float) -> Mapping[Key, float]:
        """The greatest value of each counter of a life over its targets, of pages since `start`."""
        pages = [seen.since(start) for seen in self._seen.get(life, {}).values()]
        if len(pages) == 1:
            return pages[0]
        return {key: max(page[key] for page in pages if key in page) for key in {key for page in pages for key in page}}

    def _prompt(
        self,
        shown: Mapping[str, Mapping[Key, float]],
        came: Mapping[str, Mapping[Key, float]],
        left: Mapping[str, Mapping[Key, float]],
        now: float,
    ) -> dict[Key, float]:
        # The rules' totals keep every key for as long as their memory, so no key leaves the sums before them.
        sums = dict.fromkeys((key for key, _ in self._totals), 0.0)
        for counters in shown.values():
            for key, value in counters.items():
                sums[key] = sums.get(key, 0.0) + value
        found = {key: value - self._sums.get(key, 0.0) for key, value in sums.items()}
        for life, counters in came.items():
            if not self._is_new(life, now):
                _add(found, counters, -1)
        for counters in left.values():
            _add(found, counters, 1)
        self._sums = sums
        return found

    def _late(self, came: Mapping[str, Mapping[Key, float]], now: float) -> dict[Key, float]:
        found: dict[Key, float] = {}
        oldest = now - _JUST_BEFORE - self._durations.memory
        for life, counters in came.items():
            known = {key: value for key, (at, value) in self._left.get(life, {}).items() if at >= oldest}
            if known or self._is_late(life, now):
                _add(found, counters, 1)
            _add(found, known, -1)
        return found

    def _is_new(self, life: str, now: float) -> bool:
        age = self._age(life, now)
        return age is not None and age < self._durations.young and life not in self._lives

    def _is_late(self, life: str, now: float) -> bool:
        age = self._age(life, now)
        if age is None or life in self._lives or self._born is None:
            return False
        return self._durations.young <= age < min(_LATE_SECONDS, now - self._born)

    def _age(self, life: str, now: float) -> float | None:
        """Seconds since a life began, by its own clock where it says so."""
        alive = now - self._durations.alive
        pages = [seen.page for seen in self._seen.get(life, {}).values() if seen.page.at >= alive]
        ages = [page.age for page in pages if page.age is not None]
        return max(ages) if ages else now - max(page.started for page in pages) if pages else None

    def _remember(self, answering: set[str], left: Mapping[str, Mapping[Key, float]], now: float) -> None:
        for life, counters in left.items():
            self._left.setdefault(life, {}).update({key: (now, value) for key, value in counters.items()})
        self._lives |= dict.fromkeys(answering, now)
        self._clock = now


def _add(found: dict[Key, float], counters: Mapping[Key, float], sign: int) -> None:
    for key, value in counters.items():
        found[key] = found.get(key, 0.0) + sign * value
