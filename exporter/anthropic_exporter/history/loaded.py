"""Whether the rules that a running Prometheus has loaded fit what it scrapes.

Source of the answers' fields: prometheus.io/docs/prometheus/latest/querying/api (rules, targets, alertmanagers), read
2026-11-30; checked on 2.42.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.history.series import THRESHOLD
from anthropic_exporter.metrics import families as f
from anthropic_exporter.rules import settings

_PREFIX = "anthropic-"
_NEEDED = ("anthropic-thresholds", "anthropic-ledger")
_USED = re.compile(r'anthropic_threshold\{[^}]*?threshold="(\w+)"')
_JOB = re.compile(r'up\{job=~"((?:[^"\\]|\\.)*)"\}')
_ALIVE = re.compile(rf"{f.AGE.name}\[(\w+)\]")
#: A process is alive if one of so many scrapes succeeded (rules/settings.py).
_SCRAPES_ALIVE = 4
_LISTED = 5
Target = Mapping[str, Any]


class Loaded(NamedTuple):
    """What a Prometheus says of itself.

    Attributes:
        groups: its rule groups whose name is one of this bundle.
        targets: its active targets.
        ours: (job, instance) of the processes that show the recorder's metrics.
        counted: those of them whose life the ledger can read.
        defaults: names of thresholds with a default.
        alertmanagers: how many it sends alerts to.
    """

    groups: tuple[Mapping[str, Any], ...]
    targets: tuple[Target, ...]
    ours: frozenset[tuple[str, str]]
    counted: frozenset[tuple[str, str]]
    defaults: frozenset[str]
    alertmanagers: int

    @property
    def rules(self) -> Iterator[Mapping[str, Any]]:
        """All rules of the groups."""
        return (rule for group in self.groups for rule in group["rules"])

    @property
    def expressions(self) -> str:
        """The expressions of all rules."""
        return "\n".join(str(rule["query"]) for rule in self.rules)


def read(prometheus: Prometheus, now: float) -> Loaded:
    """Ask a Prometheus what it has loaded.

    Raises:
        ConfigurationError: it cannot be reached, or does not answer as a Prometheus does.
    """
    groups = tuple(group for group in prometheus.rule_groups() if group["name"].startswith(_PREFIX))
    defaults = prometheus.vector(f'{THRESHOLD}{{feature="",model=""}}', now)
    return Loaded(
        groups,
        tuple(prometheus.active_targets()),
        _processes(prometheus, f.BUILD_INFO.name, now),
        _processes(prometheus, f.STARTED.name, now),
        frozenset(one.labels.get("threshold", "") for one in defaults),
        prometheus.alertmanagers(),
    )


def _processes(prometheus: Prometheus, name: str, now: float) -> frozenset[tuple[str, str]]:
    found = prometheus.vector(f"group by (job, instance) ({name})", now)
    return frozenset((one.labels.get("job", ""), one.labels.get("instance", "")) for one in found)


def findings(loaded: Loaded) -> list[str]:
    """Return one line for each problem, with what to do."""
    if not loaded.groups:
        return ["no rules of this bundle are loaded: add the exported rules/*.yml to rule_files, and reload"]
    return [*_groups(loaded), *_rules(loaded), *_thresholds(loaded), *_jobs(loaded), *_targets(loaded), *_ways(loaded)]


def _groups(loaded: Loaded) -> Iterator[str]:
    names = Counter(group["name"] for group in loaded.groups)
    for name in _NEEDED:
        if not names[name]:
            yield f"group {name} is not loaded: the other rules read it; add its file to rule_files"
    for name, count in names.items():
        if count > 1:
            files = ", ".join(sorted(str(group["file"]) for group in loaded.groups if group["name"] == name))
            yield f"group {name} is loaded {count} times ({files}): remove all but one"


def _rules(loaded: Loaded) -> Iterator[str]:
    for rule in loaded.rules:
        if rule.get("health") == "err":
            yield f"rule {rule['name']} fails: {rule.get('lastError', 'unknown')}"
    for group in loaded.groups:
        took, interval = float(group.get("evaluationTime") or 0), float(group["interval"])
        if took > interval:
            yield f"group {group['name']} takes {took:.1f} s, longer than its interval of {interval:g} s"


def _thresholds(loaded: Loaded) -> Iterator[str]:
    for name in sorted(set(_USED.findall(loaded.expressions)) - loaded.defaults):
        yield f"threshold {name} has no default: its alert cannot fire; add it to thresholds.yml"


def _jobs(loaded: Loaded) -> Iterator[str]:
    found = _JOB.search(loaded.expressions)
    if not loaded.ours:
        yield "no target shows the recorder's metrics: add a scrape job for your processes"
    if found is None:
        return
    for job in sorted({job for job, _ in loaded.ours}):
        if not re.fullmatch(found[1], job):
            yield f"job {job!r} is not one that the rules know ({found[1]}): export them again with --job"


def _targets(loaded: Loaded) -> Iterator[str]:
    found = _JOB.search(loaded.expressions)
    alive = _ALIVE.search(loaded.expressions)
    expected = settings.seconds(alive[1]) // _SCRAPES_ALIVE if alive else 0
    intervals: dict[tuple[str, int], int] = {}
    for target in loaded.targets:
        labels = target["labels"]
        place = labels.get("job", ""), labels.get("instance", "")
        if place not in loaded.ours and not (found and re.fullmatch(found[1], place[0])):
            continue
        if target["health"] == "down":
            yield f"target {place[1]} of job {place[0]!r} is down: {target.get('lastError', 'unknown')}"
        if expected and (interval := settings.seconds(target.get("scrapeInterval", "0s"))) not in (0, expected):
            intervals[place[0], interval] = intervals.get((place[0], interval), 0) + 1
    for (job, interval), count in intervals.items():
        number = f"{count} target{'s' if count > 1 else ''}"
        yield (
            f"job {job!r} ({number}) is scraped every {interval} s, but the rules are for {expected} s: "
            f"export them again with --scrape-interval {interval}s"
        )
    for job, instance in sorted(loaded.ours - loaded.counted)[:_LISTED]:
        yield f"{instance} of job {job!r} has an older recorder, which the rules cannot count: upgrade it"


def _ways(loaded: Loaded) -> Iterator[str]:
    if not loaded.alertmanagers:
        yield "alerts are sent to no Alertmanager: add one below `alerting`"
