"""A Prometheus as somebody else runs it, with its own jobs and rules and an export of ours; it can be killed."""

from __future__ import annotations

import json
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import Self

from anthropic_exporter import export, toolchain
from anthropic_exporter.rules import Fit
from anthropic_exporter.stack import running
from anthropic_exporter.stack.process import Process

OWN_RULE = {"alert": "ShopDown", "expr": 'up{job="node"} == 0', "labels": {"severity": "page"}}
PATIENCE_SECONDS = 180


class Foreign:
    """A Prometheus in a folder.

    Args:
        folder: its configuration, data and our export.
        fit: what the export is for; None: without our rules.
        jobs: name, address and namespace of each target.
        interval: seconds between scrapes.
        features: what it is started with; a version that does not know one logs a warning.
        edit: what happens to the folder of our rules before it starts.
    """

    def __init__(
        self,
        folder: Path,
        fit: Fit | None,
        jobs: list[tuple[str, str, str]],
        interval: int = 5,
        features: str = "",
        edit: Callable[[Path], None] = lambda _: None,
    ) -> None:
        self.folder = folder
        self.features = features
        if fit is not None:
            export.write(export.files(fit), folder / "claude")
            edit(folder / "claude" / "rules")
        groups = [{"name": "shop", "interval": "1s", "rules": [OWN_RULE]}]
        (folder / "own.yml").write_text(yaml.safe_dump({"groups": groups}))
        scrapes = [
            {"job_name": job, "static_configs": [{"targets": [address], "labels": {"namespace": namespace}}]}
            for job, address, namespace in jobs
        ]
        config = {
            "global": {"scrape_interval": f"{interval}s", "scrape_timeout": f"{interval}s"},
            "rule_files": [str(folder / "own.yml"), str(folder / "claude" / "rules" / "*.yml")],
            "scrape_configs": scrapes,
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        with running.free_ports(1) as (port,):
            self.url = f"http://127.0.0.1:{port}"
        self.process = self.start()

    def start(self) -> Process:
        """Start it, or start it again on the data that it has."""
        command = [
            str(toolchain.provide(["prometheus"])["prometheus"]),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            f"--enable-feature={self.features}",
        ]
        self.process = Process(command, self.folder / "prometheus.log", f"{self.url}/-/ready")
        self.process.wait_until_ready()
        return self.process

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.close()

    def ask(self, path: str) -> Any:
        """The data of an answer of the API."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=10) as response:
            return json.load(response)["data"]

    def vector(self, expression: str) -> list[Any]:
        """Every sample that an expression yields now."""
        return list(self.ask("query?" + urllib.parse.urlencode({"query": expression}))["result"])

    def value(self, expression: str) -> float:
        """The value of an expression that is one sample, 0 if there is none."""
        found = self.vector(expression)
        return float(found[0]["value"][1]) if found else 0.0

    def has_scraped(self) -> bool:
        """Whether every target was scraped, and every group that is evaluated often has been."""
        targets = self.ask("targets?state=active")["activeTargets"]
        groups = [group for group in self.ask("rules")["groups"] if group["interval"] <= 15]
        evaluated = all(not group["lastEvaluation"].startswith("0001") for group in groups)
        return evaluated and all(target["health"] != "unknown" for target in targets)


def wait_for(condition: Callable[[], Any]) -> Any:
    """Wait until a condition is true, and return what it returned."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < end, "the condition did not become true in time"
        time.sleep(0.2)
    return found
