"""The alerts that a set of rules would have fired over a span of history, with their dollars."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.history import increases, series
from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.stack.scratch import ScratchPrometheus
from anthropic_exporter.tuning import onset
from anthropic_exporter.tuning.backtest import rules as r
from anthropic_exporter.tuning.backtest import scrapes
from anthropic_exporter.tuning.backtest.replay import SLICE_SECONDS, Replay
from anthropic_exporter.tuning.backtest.rules import Rule
from anthropic_exporter.tuning.firings import Firing

_STARTED = "anthropic_exporter_start_timestamp_seconds"
_LOOK_BACK_SECONDS = 60.0
_LOOK_SECONDS = 300.0
#: The phases of groups that were never evaluated: spread over the seconds between two scrapes.
_FIRST_PHASE_SECONDS, _PHASES_SECONDS = 0.5, 4.0


class Fired(NamedTuple):
    """An alert that would have fired.

    `until_usd` are dollars of its feature and model from the onset of the incident until it fired, None where the onset
    is not known; `while_usd` those while it fired.
    """

    firing: Firing
    until_usd: float | None
    while_usd: float


class Plan(NamedTuple):
    """Rules to evaluate over the history from `begin`; alerts from `start` to `end` are shown."""

    rules: list[Rule]
    begin: float
    start: float
    end: float


def backtest(source: Prometheus, plan: Plan, advance: Callable[[float], None] = lambda _: None) -> list[Fired]:
    """Every alert that would have fired, oldest first. `advance` is called with the seconds that were evaluated."""
    with tempfile.TemporaryDirectory(prefix="anthropic-backtest-") as folder, ScratchPrometheus(Path(folder)) as own:
        scrape, scratch = scrape_seconds(source, plan.end), Prometheus(own.url)
        _check(scratch, plan)
        replay = Replay(scratch, plan.rules, scrape, _phases(source, plan))
        since = plan.begin
        while since < plan.end:
            until = min(plan.end, since + SLICE_SECONDS)
            replay.add(since, until, scrapes.read(source, replay.families, since, until))
            advance(until - since)
            since = until
    fired = [_with_dollars(source, one) for one in _firings(replay, plan)]
    return sorted(fired, key=lambda one: (one.firing.start, one.firing.alert))


def _check(scratch: Prometheus, plan: Plan) -> None:
    """Evaluate every rule once, before there is any history.

    Raises:
        ConfigurationError: a rule cannot be evaluated; names it.
    """
    for rule in r.wanted(plan.rules):
        try:
            scratch.vector(rule.expression, plan.begin)
        except ConfigurationError as error:
            why = str(error).removeprefix(f"{scratch.url}: ").removeprefix("400: ")
            raise ConfigurationError(f"rule {rule.name} of the group {rule.group}: {why}") from error


def scrape_seconds(source: Prometheus, at: float) -> float:
    """Seconds between the scrapes of the processes, by their newest samples before `at`; 5 if there are none."""
    return scrapes.interval(source, _STARTED, at)


def has_history(source: Prometheus, start: float, end: float) -> bool:
    """Whether any process was scraped between two Unix seconds."""
    return bool(source.range(f"count({_STARTED})", start, end, _LOOK_SECONDS))


def _phases(source: Prometheus, plan: Plan) -> dict[str, float]:
    """When each group is evaluated: as in this Prometheus, if it has the group; otherwise the ledger comes first."""
    groups = sorted(dict.fromkeys(rule.group for rule in plan.rules), key=r.is_read_first, reverse=True)
    found: dict[str, float] = {}
    for number, group in enumerate(groups):
        recorded = [rule for rule in plan.rules if rule.group == group and not rule.is_alert]
        asked = (scrapes.phase(source, rule.name, rule.interval, plan.end) for rule in recorded)
        known = next((one for one in asked if one is not None), None)
        spread = _FIRST_PHASE_SECONDS + _PHASES_SECONDS * number / len(groups)
        found[group] = spread if known is None else known
    return found


def _firings(replay: Replay, plan: Plan) -> list[Firing]:
    found = []
    for rule, held in replay.held.items():
        for labels, times in held.items():
            for start, end, _ in r.spans(times, rule):
                if start >= plan.start:
                    last = start + (plan.end - start) // rule.interval * rule.interval
                    found.append(_firing(rule, dict(labels), start, min(end, last), is_cut=end >= last))
    return found


def _firing(rule: Rule, labels: dict[str, str], start: float, end: float, *, is_cut: bool) -> Firing:
    labels |= {name: text for name, text in rule.labels if "{{" not in text}
    return Firing(rule.name, labels.pop("severity", ""), labels, start, end, is_cut)


def _with_dollars(source: Prometheus, firing: Firing) -> Fired:
    began = onset.onset(source, firing)
    until = None if began is None else _spent(source, firing, began, firing.start)
    return Fired(firing, until, _spent(source, firing, firing.start, firing.end))


def _spent(source: Prometheus, firing: Firing, since: float, until: float) -> float:
    """Dollars of the feature and model of an alert between two moments, to the scrape."""
    if until <= since:
        return 0.0
    where = [f"{name}={json.dumps(firing.labels[name])}" for name in ("feature", "model") if firing.labels.get(name)]
    found = source.samples(f"{series.COST.name}{{{','.join(where)}}}", until - since + _LOOK_BACK_SECONDS, until)
    return sum(increases.growth(one, since) for one in found)
