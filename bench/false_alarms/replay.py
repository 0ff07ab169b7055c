"""Rules evaluated over the past by a real Prometheus, much faster than time goes by.

Half an hour after half an hour: the scrapes are written to the Prometheus (remote write), each rule is asked for every
evaluation of that half hour in one range query, and what it records is written too, before the rules that read it are
asked. A series that is not there in an evaluation gets the marker that ends it, as the rule manager would have it. Each
group has its own interval and its own offset from the scrapes. What the alerts' conditions gave is kept.

The ledger reads what it recorded an evaluation ago, which no range query can: its totals are computed from the scrapes
(`history/ledger.py`) and written first. Left out are the recording rules that no alert reads, among them those of an
incident's dollars, which read themselves.
"""

from __future__ import annotations

import functools
import itertools
import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from typing_extensions import Self

from anthropic_exporter.history import ledger, remote_write
from anthropic_exporter.history.remote_write import Labels
from anthropic_exporter.stack import running
from anthropic_exporter.stack.process import Process

Yaml = dict[str, Any]
NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
UNITS = {"s": 1, "m": 60, "h": 3600}
SLICE = 1800  # Prometheus takes samples that are up to an hour older than its newest one
# of the group `anthropic-ledger`: computed here, and what other rules read of it
COMPUTED = tuple(f"anthropic_ledger:{name}" for name in ("tick", "born", "age", "now", "increment", "total"))
CLOCK: Labels = (("__name__", "anthropic_ledger:now"), ("part", "clock"))


class Rule(NamedTuple):
    """A rule, the interval of its group in seconds, and the milliseconds after a scrape at which it is evaluated."""

    name: str
    expression: str
    labels: Labels
    interval: int
    offset: int
    alert: bool


class Prometheus:
    """A Prometheus with nothing to scrape, that takes what is written to it."""

    def __init__(self, tool: Path, folder: Path) -> None:
        with running.free_ports(1) as (port,):
            self.url = f"http://127.0.0.1:{port}"
        config = folder / "prometheus.yml"
        config.write_text("{}\n")
        command = [
            str(tool),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            "--web.enable-remote-write-receiver",
        ]
        self.process = Process(command, folder / "prometheus.log", f"{self.url}/-/ready")
        self.process.wait_until_ready()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.close()

    def write(self, parts: Iterable[tuple[Labels, list[bytes]]]) -> None:
        """Store series with their samples."""
        remote_write.write(self.url, parts)

    def range(self, expression: str, times: range) -> list[Yaml]:
        """The matrix of a query at milliseconds."""
        asked = {"query": expression, "start": times[0] / 1000, "end": times[-1] / 1000, "step": times.step / 1000}
        request = urllib.request.Request(f"{self.url}/api/v1/query_range", urllib.parse.urlencode(asked).encode())
        try:
            with urllib.request.urlopen(request, timeout=600) as response:
                return list(json.load(response)["data"]["result"])
        except urllib.error.HTTPError as error:
            raise SystemExit(f"{expression}: {json.load(error)['error']}") from error


class Replay:
    """Remembers from slice to slice which series are alive, and when the conditions of alerts held.

    `scrape` is the interval between scrapes, in seconds. With `severities`, other alerts are left out.
    """

    def __init__(
        self,
        prometheus: Prometheus,
        groups: list[Yaml],
        jobs: int,
        scrape: int = 5,
        severities: tuple[str, ...] = (),
    ) -> None:
        self.prometheus = prometheus
        rules = [
            rule
            for rule in rules_of(groups)
            if not (rule.alert and severities) or dict(rule.labels)["severity"] in severities
        ]
        self.kept = next(rule for rule in rules if rule.name == COMPUTED[-1])
        self.ledger = ledger.Ledger(ledger.Durations.of(scrape, self.kept.interval))
        self.layers = list(layers(wanted([rule for rule in rules if rule.name not in COMPUTED])))
        self.jobs = jobs
        self.alive: dict[int, set[Labels]] = {}
        self.held: dict[str, dict[Labels, list[float]]] = {}

    def add(self, start: int, end: int, pages: Iterable[ledger.Page]) -> None:
        """Evaluate all rules from one second up to another, whose scrapes are written already and shown by `pages`."""
        self.prometheus.write(self.totals(evaluations(self.kept, start, end), pages))
        with ThreadPoolExecutor(self.jobs) as pool:
            for layer in self.layers:
                answers = pool.map(lambda rule: (rule, self.answer(rule, start, end)), layer)
                for rule, matrix in answers:
                    if rule.alert:
                        self.keep(rule, matrix)
                    else:
                        self.prometheus.write(self.recorded(rule, matrix, evaluations(rule, start, end)))

    def totals(self, times: range, pages: Iterable[ledger.Page]) -> Iterable[tuple[Labels, list[bytes]]]:
        """What the ledger records at these milliseconds."""
        found: dict[Labels, list[bytes]] = {}
        coming = iter(pages)
        page = next(coming, None)
        for at in times:
            while page is not None and page.at * 1000 <= at:
                self.ledger.see([page])
                page = next(coming, None)
            evaluation, moment = self.ledger.evaluate(at / 1000), remote_write.moment(at)
            for (key, when), value in evaluation.totals.items():
                sample = remote_write.sample(remote_write.value(value), moment)
                found.setdefault(total_labels(key, when), []).append(sample)
            if not evaluation.pauses:
                clock = remote_write.sample(remote_write.value(at / 1000), moment)
                found.setdefault(CLOCK, []).append(clock)
        self.ledger.see([page] if page else [])
        self.ledger.see(coming)
        return found.items()

    def families(self) -> set[str]:
        """Names of all series that the rules read."""
        return {name for layer in self.layers for rule in layer for name in NAME.findall(rule.expression)}

    def answer(self, rule: Rule, start: int, end: int) -> list[Yaml]:
        times = evaluations(rule, start, end)
        return self.prometheus.range(rule.expression, times) if times else []

    def keep(self, rule: Rule, matrix: list[Yaml]) -> None:
        held = self.held.setdefault(rule.name, {})
        for one in matrix:
            labels = tuple(sorted((key, text) for key, text in one["metric"].items() if key != "__name__"))
            held.setdefault(labels, []).extend(float(at) for at, _ in one["values"])

    def recorded(self, rule: Rule, matrix: list[Yaml], times: range) -> Iterator[tuple[Labels, list[bytes]]]:
        """What a rule records: its samples, and a marker wherever a series is not there any more."""
        if not times:
            return
        before = self.alive.get(id(rule), set())
        moments = {at: remote_write.moment(at) for at in times}
        now: set[Labels] = set()
        for one in matrix:
            labels = named(rule, one["metric"])
            values = {round(at * 1000): float(text) for at, text in one["values"]}
            yield labels, list(samples(values, moments, alive=labels in before))
            before.discard(labels)
            if times[-1] in values:
                now.add(labels)
        for labels in before:
            yield labels, [remote_write.sample(remote_write.STALE, moments[times[0]])]
        self.alive[id(rule)] = now


@functools.cache
def total_labels(key: ledger.Key, when: str) -> Labels:
    own: Mapping[str, str] = dict(zip(ledger.BY, key, strict=True))
    kept = {name: text for name, text in own.items() if text}
    return tuple(sorted({"__name__": COMPUTED[-1], "when": when, **kept}.items()))


def samples(values: dict[int, float], moments: dict[int, bytes], *, alive: bool) -> Iterator[bytes]:
    """A sample for each evaluation that has a value, a marker for the first after one that had."""
    for at, moment in moments.items():
        if (value := values.get(at)) is not None:
            yield remote_write.sample(remote_write.value(value), moment)
        elif alive:
            yield remote_write.sample(remote_write.STALE, moment)
        alive = value is not None


def named(rule: Rule, metric: dict[str, str]) -> Labels:
    return tuple(sorted({**metric, **dict(rule.labels), "__name__": rule.name}.items()))


def evaluations(rule: Rule, start: int, end: int) -> range:
    """Milliseconds at which a rule is evaluated, from one second up to another."""
    first = -(-start // rule.interval) * rule.interval
    return range(first * 1000 + rule.offset, end * 1000, rule.interval * 1000)


# --- which rules, in which order


def rules_of(groups: list[Yaml]) -> list[Rule]:
    """All rules; the evaluations of groups are spread over the seconds between two scrapes."""
    found = []
    for number, group in enumerate(groups):
        offset = 500 + 4000 * number // len(groups)
        for rule in group["rules"]:
            labels = tuple(sorted(rule.get("labels", {}).items()))
            name = rule.get("alert") or rule["record"]
            found.append(Rule(name, str(rule["expr"]), labels, seconds(group["interval"]), offset, "alert" in rule))
    return found


def wanted(rules: list[Rule]) -> list[Rule]:
    """The alerts, what they read, and what that reads."""
    needed = {rule.name for rule in rules if rule.alert}
    while more := {name for rule in rules if rule.name in needed for name in reads(rule, rules)} - needed:
        needed |= more
    return [rule for rule in rules if rule.name in needed]


def reads(rule: Rule, rules: list[Rule]) -> set[str]:
    return set(NAME.findall(rule.expression)) & {other.name for other in rules if not other.alert}


def layers(rules: list[Rule]) -> Iterator[list[Rule]]:
    """Rules whose series are recorded by the layers before.

    Raises:
        SystemExit: a rule reads what is recorded from itself.
    """
    depth = dict.fromkeys((rule.name for rule in rules), 0)
    for _, rule in itertools.product(rules, rules):
        depth[rule.name] = max([depth[rule.name], *(depth[name] + 1 for name in reads(rule, rules))])
    if max(depth.values()) >= len(rules):
        raise SystemExit("an alert reads a series that is recorded from itself: it cannot be asked of the past")
    for number in range(max(depth.values()) + 1):
        yield [rule for rule in rules if depth[rule.name] == number]


# --- what alerts made of it


def firing(times: list[float], interval: int, wait: int, keep: int) -> Iterator[tuple[float, float]]:
    """From when to when an alert fires whose condition held at these seconds, one evaluation every `interval`."""
    start = last = since = None
    for now in [*times, float("inf")]:
        if last is not None and now - last > 1.5 * interval:  # not at the evaluation after `last`
            if since is not None and now > (until := last + interval + keep):
                yield since, until
                since = None
            start = None
        if start is None:
            start = now
        if since is None and now - start >= wait and now < float("inf"):
            since = now
        last = now


def seconds(duration: str | None) -> int:
    """`1m30s` as 90, nothing as 0."""
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)([smh])", duration or ""))
