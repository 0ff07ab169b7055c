"""Evaluates rule files over the past: samples and recording rules become blocks of a real Prometheus.

Rules are back-filled layer by layer (`promtool tsdb create-blocks-from rules`), those that read recorded series after
those that record them, each group at its own interval and at its own offset, as the running Prometheus has them. Alerts
go with them as series `alert:NAME`: their condition, without `for`.

Blocks have no stale markers. The Prometheus that is asked looks back less than an interval instead of five minutes, so
that a series which was not recorded in an evaluation is gone in it, as the marker would have it.
"""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from anthropic_exporter.stack import running

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Rule = dict[str, Any]
NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
SLICE = 2 * 3600  # a block of Prometheus


class Prometheus:
    """A Prometheus on a folder of blocks, which is started again to see blocks that were added."""

    def __init__(self, tools: dict[str, Path], folder: Path, step: int) -> None:
        self.tools = tools
        self.data = folder / "data"
        self.log = folder / "prometheus.log"
        self.config = folder / "prometheus.yml"
        self.config.write_text("{}\n")
        self.step = step

    def __enter__(self) -> Prometheus:
        with running._free_ports(1) as (port,):  # noqa: SLF001 -- the stack's own way to a free port
            self.url = f"http://127.0.0.1:{port}"
        command = [
            str(self.tools["prometheus"]),
            f"--config.file={self.config}",
            f"--storage.tsdb.path={self.data}",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            f"--query.lookback-delta={self.step - 1}999ms",
            "--query.max-samples=500000000",
            "--query.timeout=1h",
        ]
        self.process = running.Process(command, self.log, f"{self.url}/-/ready")
        self.process.wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self.process.close()

    def query(self, expression: str, at: float) -> list[dict[str, Any]]:
        """The answer to an instant query at a second."""
        asked = urllib.parse.urlencode({"query": expression, "time": f"{at:.3f}"})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{asked}", timeout=600) as response:
            return list(json.load(response)["data"]["result"])


def add_samples(promtool: Path, data: Path, text: Path) -> None:
    """Make blocks of a file in OpenMetrics format, and remove the file."""
    _run([promtool, "tsdb", "create-blocks-from", "openmetrics", "--quiet", text, data], text.parent)
    text.unlink()


def add_rules(prometheus: Prometheus, groups: list[Rule], folder: Path, span: range, jobs: int) -> Iterator[int]:
    """Back-fill every alert and what it reads, layer by layer; yields the number of each when it is there."""
    for number, layer in enumerate(layers(groups)):
        work = folder / f"layer{number}"
        work.mkdir()
        # the same name in each layer: a group's offset depends on it
        (work / "rules.yml").write_text(yaml.safe_dump({"groups": layer}, sort_keys=False, width=10**6))
        parts = list(pieces(span, jobs))
        with prometheus, ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda part, work=work: _backfill(prometheus, work, part), parts))
        yield number


def pieces(span: range, count: int) -> Iterator[range]:
    """Parts of whole blocks, so that none is made twice."""
    blocks = -(-len(span) // SLICE)
    edges = [span.start + SLICE * (blocks * number // count) for number in range(count)] + [span.stop]
    return (range(start, stop) for start, stop in zip(edges, edges[1:], strict=False) if start < stop)


def _backfill(prometheus: Prometheus, work: Path, part: range) -> None:
    command = [prometheus.tools["promtool"], "tsdb", "create-blocks-from", "rules", "--quiet"]
    when = [f"--start={part.start}", f"--end={part.stop - 1}"]
    _run([*command, f"--url={prometheus.url}", *when, f"--output-dir={prometheus.data}", "rules.yml"], work)


def _run(command: Iterable[object], folder: Path) -> None:
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False)
    told = [line for line in (done.stdout + done.stderr).splitlines() if "level=error" in line]
    if done.returncode or told:
        raise SystemExit(f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


# --- which rules, in which order


def layers(groups: list[Rule]) -> Iterator[list[Rule]]:
    """Groups with the rules that can be evaluated once the layers before are there."""
    rules = [(group["name"], asked(rule)) for group in groups for rule in group["rules"]]
    needed = wanted([rule for _, rule in rules])
    depth = depths(needed)
    for number in range(max(depth.values()) + 1):
        layer = [
            group | {"rules": [rule for name, rule in rules if name == group["name"] and depth.get(rule["record"]) == number]}
            for group in groups
        ]
        yield [group for group in layer if group["rules"]]


def asked(rule: Rule) -> Rule:
    """A recording rule for what is recorded, or for the condition of an alert."""
    if "alert" not in rule:
        return {key: rule[key] for key in ("record", "expr", "labels") if key in rule}
    return {"record": f"alert:{rule['alert']}", "expr": rule["expr"]}


def wanted(rules: list[Rule]) -> list[Rule]:
    """The alerts, and what they read, and what that reads."""
    needed = {rule["record"] for rule in rules if rule["record"].startswith("alert:")}
    while more := {name for rule in rules if rule["record"] in needed for name in reads(rule, rules)} - needed:
        needed |= more
    return [rule for rule in rules if rule["record"] in needed]


def reads(rule: Rule, rules: list[Rule]) -> set[str]:
    return set(NAME.findall(str(rule["expr"]))) & {other["record"] for other in rules}


def depths(rules: list[Rule]) -> dict[str, int]:
    """How many layers have to be there before a series can be recorded."""
    depth = {rule["record"]: 0 for rule in rules}
    for _ in rules:
        for rule in rules:
            below = [depth[name] for name in reads(rule, rules)]
            depth[rule["record"]] = max([depth[rule["record"]], *(one + 1 for one in below)])
    if max(depth.values()) > len(rules):
        raise SystemExit("an alert reads a series that is recorded from itself: it cannot be asked of the past")
    return depth
