"""What the rules cost Prometheus by the number of instances: CPU of evaluation, as a part of a core.

    python -m bench.speed.rules_by_instances                      10, 30 and 100 instances, 25 minutes
    python -m bench.speed.rules_by_instances --instances 100 --warm 60

Each instance shows the page of a process of ten features on three models, 4,000 series, every 5 s. A real Prometheus
runs until its windows are full (`--warm`). Its CPU is taken with the rules, and again after a reload without them: the
difference is what the rules cost. Exit code 1 when 100 instances cost more than 40 % of a core.
"""

from __future__ import annotations

import argparse
import functools
import re
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml

from anthropic_exporter import Call, Inference, Recorder, Tokens, export, toolchain
from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.rules import Fit
from anthropic_exporter.stack import running
from anthropic_exporter.stack.process import Process

MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")
FEATURES = 10
OUTCOMES = ("success", "timeout", "overloaded_error", "rate_limit_error")
BAR_INSTANCES, BAR_CORES = 100, 0.40
LIFE = re.compile(r'life="\w+"')
CPU = re.compile(r"^process_cpu_seconds_total (\S+)$", re.MULTILINE)


@functools.cache
def page() -> str:
    recorder = Recorder(registry=None)
    for number in range(FEATURES):
        for model in MODELS:
            call = Call(model, inferences=(Inference(model, Tokens(500, 4_000, 900, 0, 300)),), cache_asked=True)
            for outcome in OUTCOMES:
                one = call if outcome == "success" else call._replace(inferences=(), outcome=outcome)
                recorder.record(
                    one._replace(
                        feature=f"feature-{number}",
                        user="acme",
                        started_at=time.time(),
                        duration_seconds=1.5,
                        time_to_first_token_seconds=0.4,
                    )
                )
    return recorder.render().decode()


@functools.cache
def page_of(number: str) -> bytes:
    return LIFE.sub(f'life="{number}"', page()).encode()


class Instances(BaseHTTPRequestHandler):
    """All instances behind one port: `/metrics?instance=7`."""

    def do_GET(self) -> None:
        number = urllib.parse.parse_qs(urllib.parse.urlsplit(self.path).query)["instance"][0]
        body = page_of(number)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def configuration(folder: Path, address: str, instances: int, *, rules: bool) -> None:
    jobs = [
        {
            "job_name": "anthropic",
            "params": {"instance": ["{}"]},
            "relabel_configs": [
                {"source_labels": ["number"], "target_label": label} for label in ("__param_instance", "instance")
            ],
            "static_configs": [
                {"targets": [address], "labels": {"number": f"{number}"}} for number in range(instances)
            ],
        }
    ]
    found = {"global": {"scrape_interval": "5s"}, "scrape_configs": jobs}
    if rules:
        found["rule_files"] = [str(folder / "claude" / "rules" / "*.yml")]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(found))


def cpu(url: str, seconds: float) -> float:
    """Cores that a Prometheus uses over some seconds."""
    taken = []
    for wait in (seconds, 0.0):
        with urllib.request.urlopen(f"{url}/metrics", timeout=60) as response:
            text = response.read().decode()
        found = CPU.search(text)
        assert found is not None
        taken.append((time.monotonic(), float(found[1])))
        time.sleep(wait)
    return (taken[1][1] - taken[0][1]) / (taken[1][0] - taken[0][0])


def cores(instances: int, warm: float, measured: float) -> float:
    """Cores that the rules use."""
    with tempfile.TemporaryDirectory() as name, ThreadingHTTPServer(("127.0.0.1", 0), Instances) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        folder, address = Path(name), f"127.0.0.1:{server.server_port}"
        export.write(export.files(Fit()), folder / "claude")
        configuration(folder, address, instances, rules=True)
        with running.free_ports(1) as (port,):
            url = f"http://127.0.0.1:{port}"
        command = [
            str(toolchain.provide(["prometheus"])["prometheus"]),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-lifecycle",
        ]
        process = Process(command, folder / "prometheus.log", f"{url}/-/ready")
        try:
            process.wait_until_ready()
            time.sleep(warm)
            shown = Prometheus(url).vector("sum(scrape_samples_scraped) and on () count(up == 1)", time.time())
            alive = Prometheus(url).vector("count(up == 1)", time.time())[0].points[0][1]
            if alive < instances:
                raise SystemExit(f"only {alive:.0f} of {instances} instances could be scraped: the machine is too busy")
            print(f"{instances} instances, {shown[0].points[0][1]:,.0f} series", file=sys.stderr, flush=True)
            with_rules = cpu(url, measured)
            configuration(folder, address, instances, rules=False)
            urllib.request.urlopen(urllib.request.Request(f"{url}/-/reload", method="POST"), timeout=60).close()
            time.sleep(10)
            return with_rules - cpu(url, measured)
        finally:
            process.close()
            server.shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, nargs="*", default=[10, 30, BAR_INSTANCES])
    parser.add_argument("--warm", type=float, default=330.0, help="seconds until the windows are full")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of each measurement")
    options = parser.parse_args()
    series = sum(not line.startswith("#") for line in page().splitlines())
    print(f"| instances of {series:,} series | rules, of a core |\n|---|---|", flush=True)
    found = {}
    for instances in options.instances:
        found[instances] = cores(instances, options.warm, options.seconds)
        print(f"| {instances} | {100 * found[instances]:.0f} % |", flush=True)
    return 1 if found.get(BAR_INSTANCES, 0.0) > BAR_CORES else 0


if __name__ == "__main__":
    sys.exit(main())
