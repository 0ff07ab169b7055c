"""The configuration of docs/scale.md hands the collector's series over to a long-term store: a real VictoriaMetrics."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from anthropic_exporter import Call, Recorder, publishing, toolchain
from collectors import Collecting, wait_until
from queue_engines import Engine, Redis

pytest.importorskip("redis")
pytestmark = pytest.mark.stack
PAGE = (Path(__file__).parents[2] / "docs/scale.md").read_text()
(REMOTE_WRITE,) = re.findall(r"```yaml\n(remote_write:.*?)```", PAGE, re.DOTALL)


class VictoriaMetrics(Engine):
    def command(self) -> list[str]:
        program = toolchain.provide(["victoria-metrics"])["victoria-metrics"]
        return [str(program), f"-httpListenAddr=127.0.0.1:{self.port}", f"-storageDataPath={self.folder}"]

    def query(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """Label sets and values."""
        # The store shows what it has after 30 s unless told not to wait.
        asked = urllib.parse.urlencode({"query": expression, "nocache": 1, "latency_offset": "1ms"})
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/query?{asked}", timeout=10) as response:
            found = json.load(response)["data"]["result"]
        return [(one["metric"], float(one["value"][1])) for one in found]


class Prometheus(Engine):
    def __init__(self, folder: Path, config: str) -> None:
        super().__init__(folder)
        self.config = folder / "prometheus.yml"
        self.config.write_text(config)

    def command(self) -> list[str]:
        program = toolchain.provide(["prometheus"])["prometheus"]
        listen = f"--web.listen-address=127.0.0.1:{self.port}"
        return [str(program), f"--config.file={self.config}", f"--storage.tsdb.path={self.folder / 'data'}", listen]


def test_a_long_term_store_gets_the_totals(tmp_path: Path, call: Callable[..., Call]) -> None:
    with Redis(tmp_path / "redis") as queue, VictoriaMetrics(tmp_path / "store") as store:
        recorder = Recorder(registry=CollectorRegistry())
        with publishing(recorder, queue.url, service="api"):
            recorder.record(call(output=171, feature="chat"))
        with Collecting(queue.url, tmp_path / "state") as collector:
            target = collector.url.removeprefix("http://")
            scrape = f"scrape_configs: [{{job_name: anthropic, static_configs: [{{targets: ['{target}']}}]}}]\n"
            write = re.sub(r"url: \S+", f"url: http://127.0.0.1:{store.port}/api/v1/write", REMOTE_WRITE)
            with Prometheus(tmp_path / "prometheus", f"global: {{scrape_interval: 1s}}\n{scrape}{write}"):
                tokens = 'anthropic_tokens_total{type="output"}'
                wait_until(lambda: [value for _, value in store.query(tokens)] == [171.0])
                ((labels, _),) = store.query(tokens)
                assert labels["service"] == "api"
                assert labels["feature"] == "chat"
                assert store.query("anthropic_request_cost_usd_bucket") == []


def test_the_configuration_is_one_that_prometheus_takes(tmp_path: Path) -> None:
    (tmp_path / "prometheus.yml").write_text(REMOTE_WRITE)
    promtool = toolchain.provide(["promtool"])["promtool"]
    subprocess.run([promtool, "check", "config", tmp_path / "prometheus.yml"], check=True, capture_output=True)
