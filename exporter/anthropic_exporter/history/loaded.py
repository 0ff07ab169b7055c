"""Checks whether the rules that a running Prometheus has loaded fit its scrapes.

Source of the answers' fields: prometheus.io/docs/prometheus/latest/querying/api (rules, targets, alertmanagers), read
2026-11-30; checked on 2.42.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from anthropic_exporter.history.prometheus_api import LoadedRule, Prometheus, RuleGroup, Target
from anthropic_exporter.history.series import THRESHOLD
from anthropic_exporter.metrics import families as f
from anthropic_exporter.rules import settings

_PREFIX = "anthropic-"
_NEEDED = ("anthropic-thresholds", "anthropic-ledger")
_USED = re.compile(r'anthropic_threshold\{[^}]*?threshold="(\w+)"')
_JOB = re.compile(r'up\{job=~"((?:[^"\\]|\\.)*)"\}')
_ALIVE = re.compile(rf"{f.AGE.name}\[(\w+)\]")
#: A process is alive if one of this many scrapes succeeded (rules/settings.py).
_SCRAPES_ALIVE = 4
_LISTED = 5
#: Processes whose life the ledger can tell from others, and those that recorded a call and show nothing to count.
_COUNTED = f'{f.STARTED.name}{{life!=""}}'
UNCOUNTED = "job_instance:anthropic_exporter_uncounted_record_timestamp_seconds:max"


class Loaded(NamedTuple):
    """What a Prometheus says of itself.

    Attributes:
        groups: its rule groups that have the name of a group in this bundle.
        targets: its active targets.
        job: the regular expression of jobs in the rules, as PromQL writes it; "" if no rule has one.
        known: jobs that it matches.
        ours: (job, instance) of the processes that show the recorder's metrics.
        counted: those of them that the ledger can count.
        defaults: names of thresholds with a default.
        alertmanagers: how many it sends alerts to.
    """

    groups: tuple[RuleGroup, ...]
    targets: tuple[Target, ...]
    job: str
    known: frozenset[str]
    ours: frozenset[tuple[str, str]]
    counted: frozenset[tuple[str, str]]
    defaults: frozenset[str]
    alertmanagers: int

    @property
    def rules(self) -> Iterator[LoadedRule]:
        """All rules of the groups."""
        return (rule for group in self.groups for rule in group.rules)

    @property
    def expressions(self) -> str:
        """The expressions of all rules."""
        return _expressions(self.groups)


def read(prometheus: Prometheus, now: float) -> Loaded:
    """Read the loaded rules and targets of a Prometheus.

    Raises:
        ConfigurationError: it cannot be reached, or does not answer as a Prometheus does.
    """
    groups = tuple(group for group in prometheus.rule_groups() if group.name.startswith(_PREFIX))
    defaults = prometheus.vector(f'{THRESHOLD}{{feature="",model=""}}', now)
    found = _JOB.search(_expressions(groups))
    job = found[1] if found else ""
    return Loaded(
        groups,
        tuple(prometheus.active_targets()),
        job,
        _jobs_that_match(prometheus, job, now) if job else frozenset(),
        _processes(prometheus, f.BUILD_INFO.name, now),
        _processes(prometheus, _COUNTED, now) - _processes(prometheus, UNCOUNTED, now),
        frozenset(one.labels.get("threshold", "") for one in defaults),
        prometheus.alertmanagers(),
    )


def _expressions(groups: Iterable[RuleGroup]) -> str:
    return "\n".join(rule.query for group in groups for rule in group.rules)


def _jobs_that_match(prometheus: Prometheus, job: str, now: float) -> frozenset[str]:
    """Prometheus is asked, because Python's regular expressions differ; over an hour, because scrapes may be rare."""
    found = prometheus.vector(f'group by (job) (last_over_time(up{{job=~"{job}"}}[1h]))', now)
    return frozenset(one.labels.get("job", "") for one in found)


def _processes(prometheus: Prometheus, name: str, now: float) -> frozenset[tuple[str, str]]:
    found = prometheus.vector(f"group by (job, instance) ({name})", now)
    return frozenset((one.labels.get("job", ""), one.labels.get("instance", "")) for one in found)


def findings(loaded: Loaded) -> list[str]:
    """Return one line for each problem, with what to do."""
    if not loaded.groups:
        return ["no rules of this bundle are loaded: add the exported rules/*.yml to rule_files, and reload"]
    return [*_groups(loaded), *_rules(loaded), *_thresholds(loaded), *_jobs(loaded), *_targets(loaded), *_ways(loaded)]


def _groups(loaded: Loaded) -> Iterator[str]:
    names = Counter(group.name for group in loaded.groups)
    for name in _NEEDED:
        if not names[name]:
            yield f"group {name} is not loaded: the other rules read it; add its file to rule_files"
    for name, count in names.items():
        if count > 1:
            files = ", ".join(sorted(group.file for group in loaded.groups if group.name == name))
            yield f"group {name} is loaded {count} times ({files}): remove all but one"


def _rules(loaded: Loaded) -> Iterator[str]:
    for rule in loaded.rules:
        if rule.problem:
            yield f"rule {rule.name} fails: {rule.problem}"
    for group in loaded.groups:
        if group.took > group.interval:
            yield f"group {group.name} takes {group.took:.1f} s, longer than its interval of {group.interval:g} s"


def _thresholds(loaded: Loaded) -> Iterator[str]:
    for name in sorted(set(_USED.findall(loaded.expressions)) - loaded.defaults):
        yield f"threshold {name} has no default: its alert cannot fire; add it to thresholds.yml"


def _jobs(loaded: Loaded) -> Iterator[str]:
    if not loaded.ours:
        yield "no target shows the recorder's metrics: add a scrape job for your processes"
    if not loaded.job:
        return
    for job in sorted({job for job, _ in loaded.ours} - loaded.known):
        yield f"job {job!r} is not covered by the rules ({unquoted(loaded.job)}): export them again with --job"


def unquoted(text: str) -> str:
    """The text of a string of PromQL, without the quotes."""
    return re.sub(r'\\([\\"])', r"\1", text)


def _targets(loaded: Loaded) -> Iterator[str]:
    ours = [one for one in loaded.targets if (one.job, one.instance) in loaded.ours or one.job in loaded.known]
    for target in ours:
        if target.problem:
            yield f"target {target.instance} of job {target.job!r} is down: {target.problem}"
    yield from _intervals(loaded, ours)
    cure = "upgrade its recorder, or drop none of its series and labels"
    for job, instance in sorted(loaded.ours - loaded.counted)[:_LISTED]:
        yield f"{instance} of job {job!r} shows nothing that the rules can count: {cure}"


def _intervals(loaded: Loaded, targets: list[Target]) -> Iterator[str]:
    alive = _ALIVE.search(loaded.expressions)
    if alive is None:
        return
    expected = f"{settings.seconds(alive[1]) // _SCRAPES_ALIVE}s"
    counted = Counter((one.job, one.interval) for one in targets if one.interval)
    for (job, interval), count in counted.items():
        if settings.milliseconds(interval) != settings.milliseconds(expected):
            subject = f"job {job!r} ({count} target{'s' if count > 1 else ''})"
            yield f"{subject} is scraped every {interval}, but the rules are for {expected}: {_cure(interval)}"


def _cure(interval: str) -> str:
    if settings.milliseconds(interval) in {1000 * one for one in settings.SCRAPE_INTERVALS}:
        return f"export them again with --scrape-interval {interval}"
    return "give the job a scrape_interval of 5s to 60s"


def _ways(loaded: Loaded) -> Iterator[str]:
    if not loaded.alertmanagers:
        yield "alerts are sent to no Alertmanager: add one below `alerting`"
