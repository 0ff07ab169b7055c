"""The rules of a folder, in the order in which the past can be queried. Pure except for reading the files."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from anthropic_exporter import yaml_with_lines
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.history.remote_write import Labels
from anthropic_exporter.metrics import families as f

_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION = re.compile(r"(\d+)(ms|[smhdw])")
_USUAL_INTERVAL = "1m"
#: A process is alive if one of four scrapes succeeded (rules/settings.py).
_ALIVE, _SCRAPES_ALIVE = re.compile(rf"{f.AGE.name}\[(\w+)\]"), 4
_FIRST_GROUPS = ("anthropic-ledger", "anthropic-thresholds")
#: The ledger's rules that are computed instead of queried, and those that other rules read.
COMPUTED = tuple(f"anthropic_ledger:{name}" for name in ("tick", "born", "known", "now", "age", "increment", "total"))


class Rule(NamedTuple):
    """A rule of a group. Durations are seconds; `wait` is its `for`, `keep` its `keep_firing_for`."""

    name: str
    expression: str
    labels: Labels
    group: str
    interval: float
    is_alert: bool
    wait: float = 0.0
    keep: float = 0.0
    summary: str = ""


def read(folder: Path, thresholds: Path | None = None) -> list[Rule]:
    """All rules of the files of a folder; `thresholds` replaces its thresholds.yml.

    Raises:
        ConfigurationError: there are none, or a file cannot be read; names it.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: there is no such folder; give --rules one such as prometheus/rules")
    paths = sorted(folder.glob("*.yml"))
    if thresholds is not None:
        paths = [path for path in paths if path.name != "thresholds.yml"] + [thresholds]
    found = [rule for path in paths for rule in _of_file(path)]
    if COMPUTED[-1] not in {rule.name for rule in found}:
        raise ConfigurationError(f"{folder}: has no ledger rules; give --rules a folder such as prometheus/rules")
    return found


def _of_file(path: Path) -> Iterator[Rule]:
    try:
        for group in yaml_with_lines.load(path).get("groups") or ():
            for rule in group.get("rules") or ():
                yield _rule(rule, str(group["name"]), seconds(group.get("interval") or _USUAL_INTERVAL))
    except (KeyError, TypeError, AttributeError, ValueError) as error:  # ValueError: a duration of thousands of digits
        raise ConfigurationError(f"{path}: is not a rule file; run anthropic-exporter check") from error


def _rule(rule: Mapping[str, Any], group: str, interval: float) -> Rule:
    labels = tuple(sorted((str(name), str(value)) for name, value in (rule.get("labels") or {}).items()))
    name, is_alert = str(rule.get("alert") or rule["record"]), "alert" in rule
    wait, keep = seconds(rule.get("for")), seconds(rule.get("keep_firing_for"))
    summary = str((rule.get("annotations") or {}).get("summary", ""))
    return Rule(name, str(rule["expr"]), labels, group, interval, is_alert, wait, keep, summary)


def scrape_seconds(rules: Iterable[Rule]) -> int | None:
    """Seconds between scrapes that a set of rules is for; None if it does not say."""
    found = (_ALIVE.search(rule.expression) for rule in rules)
    return next((round(seconds(one[1])) // _SCRAPES_ALIVE for one in found if one is not None), None)


def is_read_first(group: str) -> bool:
    """Whether the other groups read what this one records."""
    return group in _FIRST_GROUPS


def seconds(duration: object) -> float:
    """`1m30s` as 90; nothing as 0."""
    return sum(int(number) * _UNITS[unit] for number, unit in _DURATION.findall(str(duration or "")))


def wanted(rules: Iterable[Rule]) -> list[Rule]:
    """The alerts except the heartbeat, and the rules they depend on; the ledger's own rules are computed."""
    known = [rule for rule in rules if rule.name not in COMPUTED and rule.expression.strip() != "vector(1)"]
    needed = {rule.name for rule in known if rule.is_alert}
    while more := {name for rule in known if rule.name in needed for name in _reads(rule, known)} - needed:
        needed |= more
    return [rule for rule in known if rule.name in needed]


def _reads(rule: Rule, rules: Iterable[Rule]) -> set[str]:
    return names(rule) & {other.name for other in rules if not other.is_alert}


def names(rule: Rule) -> set[str]:
    """Every word of an expression that may be a series."""
    return set(_NAME.findall(rule.expression))


def layers(rules: list[Rule]) -> list[list[Rule]]:
    """Rules in layers: each reads only series that the previous layers record.

    Raises:
        ConfigurationError: a rule that an alert reads is recorded from itself.
    """
    depth = dict.fromkeys((rule.name for rule in rules), 0)
    reads = {index: _reads(rule, rules) for index, rule in enumerate(rules)}
    for _, (index, rule) in itertools.product(rules, enumerate(rules)):
        depth[rule.name] = max([depth[rule.name], *(depth[name] + 1 for name in reads[index])])
        if rule.name in _reads(rule, rules) or depth[rule.name] > len(rules):
            raise ConfigurationError(f"{rule.name}: reads its own results, so it cannot be evaluated over the past")
    return [
        [rule for rule in rules if depth[rule.name] == number] for number in range(max(depth.values(), default=0) + 1)
    ]


def spans(times: Iterable[float], rule: Rule) -> Iterator[tuple[float, float, bool]]:
    """The spans in which an alert fires whose condition held at these seconds, and whether each ended before them."""
    start = since = last = None
    for now in times:
        if last is not None and now - last > 1.5 * rule.interval:
            if since is not None and now - last > rule.interval + rule.keep + rule.interval / 2:
                yield since, last + rule.keep, True
                since = None
            start = None
        start = now if start is None else start
        if since is None and now - start >= rule.wait - 1e-6:
            since = now
        last = now
    if since is not None and last is not None:
        yield since, last + rule.keep, False
