"""Evaluates rules over the past with a real Prometheus, much faster than real time.

Half an hour after half an hour: the scrapes are written to a Prometheus of its own, each rule is asked for every
evaluation of that half hour in one range query, and what it records is written too, before the rules that read it are
asked. A series that is missing from an evaluation gets the marker that ends it, as the rule manager would have it. The
ledger reads what it recorded an evaluation ago, which no range query can: it is computed (`history/ledger.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

from anthropic_exporter.history import ledger, remote_write
from anthropic_exporter.history.prometheus_api import Prometheus, TimeSeries
from anthropic_exporter.history.remote_write import Labels
from anthropic_exporter.tuning.backtest import rules as r
from anthropic_exporter.tuning.backtest.rules import Rule
from anthropic_exporter.tuning.backtest.scrapes import Slice

#: Prometheus takes samples that are up to an hour older than its newest one.
SLICE_SECONDS = 1_800
_JOBS = 2
_CLOCK: Labels = (("__name__", "anthropic_ledger:now"), ("part", "clock"))


class Replay:
    """Remembers from slice to slice which series are alive, and when the conditions of alerts held.

    Args:
        scratch: an empty Prometheus that accepts remote writes.
        found: all rules.
        scrape: seconds between scrapes.
        phases: seconds after a multiple of its interval at which each group is evaluated.
        jobs: rules that are asked for at a time.
    """

    def __init__(
        self, scratch: Prometheus, found: list[Rule], scrape: float, phases: Mapping[str, float], jobs: int = _JOBS
    ) -> None:
        self._scratch = scratch
        self._phases = phases
        self._jobs = jobs
        self._total = next(rule for rule in found if rule.name == r.COMPUTED[-1])
        self._durations = ledger.Durations.of(round(scrape), round(self._total.interval))
        self.layers = r.layers(r.wanted(found))
        self.begin_anew()
        self.held: dict[Rule, dict[Labels, list[float]]] = {}

    def begin_anew(self) -> None:
        """Forget all lives: the next samples come later than the ledger remembers, as after a pause."""
        self._ledger = ledger.ReplayedLedger(self._durations)
        self._alive: dict[Labels, float] = {}
        self._recorded: dict[int, set[Labels]] = {}

    @property
    def families(self) -> set[str]:
        """Names of the series to read: those that the rules read and do not record, and the ledger's."""
        rules = [rule for layer in self.layers for rule in layer]
        words = {word for rule in rules for word in r.names(rule) if word.startswith(_PREFIXES) or word == "up"}
        return words - {rule.name for rule in rules} - set(r.COMPUTED) - {"ALERTS"} | set(_LEDGER) | {"up"}

    def add(self, start: float, end: float, shown: Slice) -> None:
        """Write what scrapes found, and evaluate all rules, from `start` until `end` (Unix seconds)."""
        remote_write.write(self._scratch.url, shown.written(self._alive))
        self.evaluate(start, end, ledger.pages((one.labels, one.points) for one in shown.series))

    def evaluate(self, start: float, end: float, pages: list[ledger.Page]) -> None:
        """Evaluate all rules from `start` until `end`; their scrapes are written, and the ledger reads `pages`."""
        remote_write.write(self._scratch.url, self._totals(self._times(self._total, start, end), pages))
        with ThreadPoolExecutor(self._jobs) as pool:
            for layer in self.layers:
                recorded: list[tuple[Labels, list[bytes]]] = []
                for rule, times, answer in pool.map(lambda rule: self._asked(rule, start, end), layer):
                    if rule.is_alert:
                        self._keep(rule, answer)
                    else:
                        recorded.extend(self._samples(rule, answer, times))
                remote_write.write(self._scratch.url, recorded)

    def _times(self, rule: Rule, start: float, end: float) -> list[int]:
        """Milliseconds at which a rule is evaluated."""
        phase = self._phases[rule.group]
        first = math.ceil((start - phase) / rule.interval - 1e-9)
        count = max(0, math.ceil((end - phase) / rule.interval - 1e-9) - first)
        return [round(1000 * ((first + number) * rule.interval + phase)) for number in range(count)]

    def _asked(self, rule: Rule, start: float, end: float) -> tuple[Rule, list[int], list[TimeSeries]]:
        times = self._times(rule, start, end)
        if not times:
            return rule, times, []
        answer = self._scratch.range(rule.expression, times[0] / 1000, times[-1] / 1000, rule.interval)
        return rule, times, answer

    def _totals(self, times: Iterable[int], pages: list[ledger.Page]) -> Iterable[tuple[Labels, list[bytes]]]:
        found: dict[Labels, list[bytes]] = {}
        waiting = list(reversed(pages))
        for at in times:
            while waiting and round(waiting[-1].at * 1000) <= at:
                self._ledger.see([waiting.pop()])
            evaluation, moment = self._ledger.evaluate(at / 1000), remote_write.moment(at)
            for (key, when), value in evaluation.totals.items():
                sample = remote_write.sample(remote_write.value(value), moment)
                found.setdefault(_total_labels(key, when), []).append(sample)
            if not evaluation.pauses:
                sample = remote_write.sample(remote_write.value(at / 1000), moment)
                found.setdefault(_CLOCK, []).append(sample)
        self._ledger.see(reversed(waiting))
        return found.items()

    def _keep(self, rule: Rule, answer: Iterable[TimeSeries]) -> None:
        held = self.held.setdefault(rule, {})
        for labels, values in _joined(answer).items():
            held.setdefault(labels, []).extend(sorted(values))

    def _samples(self, rule: Rule, answer: list[TimeSeries], times: list[int]) -> Iterator[tuple[Labels, list[bytes]]]:
        """The samples that a rule records, and a marker wherever a series ends."""
        if not times:
            return
        before, now = self._recorded.get(id(rule), set()), set()
        moments = [(at, remote_write.moment(at)) for at in times]
        for own, by_second in _joined(answer).items():
            labels = tuple(sorted({**dict(own), **dict(rule.labels), "__name__": rule.name}.items()))
            values = {round(at * 1000): value for at, value in by_second.items()}
            yield labels, list(_with_ends(values, moments, is_alive=labels in before))
            before.discard(labels)
            if times[-1] in values:
                now.add(labels)
        for labels in before:
            yield labels, [remote_write.sample(remote_write.STALE, remote_write.moment(times[0]))]
        self._recorded[id(rule)] = now


_PREFIXES = ("anthropic_", "prometheus_", "alertmanager_")
_LEDGER = ("anthropic_ledger_total", "anthropic_exporter_start_timestamp_seconds", "anthropic_exporter_age_seconds")


def _joined(answer: Iterable[TimeSeries]) -> dict[Labels, dict[float, float]]:
    """Values by second, by labels without the name: of `a or b`, Prometheus answers what comes from each separately."""
    found: dict[Labels, dict[float, float]] = {}
    for one in answer:
        labels = tuple(sorted((name, text) for name, text in one.labels.items() if name != "__name__"))
        found.setdefault(labels, {}).update(one.points)
    return found


def _with_ends(values: Mapping[int, float], moments: Iterable[tuple[int, bytes]], *, is_alive: bool) -> Iterator[bytes]:
    for at, moment in moments:
        value = values.get(at)
        if value is not None:
            yield remote_write.sample(remote_write.value(value), moment)
        elif is_alive:
            yield remote_write.sample(remote_write.STALE, moment)
        is_alive = value is not None


def _total_labels(key: ledger.Key, when: str) -> Labels:
    own = {name: text for name, text in zip(ledger.BY, key, strict=True) if text}
    return tuple(sorted({"__name__": r.COMPUTED[-1], "when": when, **own}.items()))
