"""What the rules cost Prometheus by the number of instances: CPU of evaluation, as a part of a core.

    python -m bench.speed.rules_by_instances                      10, 30 and 100 instances, 25 minutes
    python -m bench.speed.rules_by_instances --instances 100 --warm 60
    python -m bench.speed.rules_by_instances --instances 40 --beside OTHER/rules    a second Prometheus with other rules

Each instance shows the page of a process of ten features on three models, 4,000 series, every 5 s. A real Prometheus
runs until its windows are full (`--warm`). Its CPU is taken with the rules, and again after a reload without them: the
difference is what the rules cost. Exit code 1 when 100 instances cost more than 40 % of a core. With `--beside` two
Prometheus scrape the same instances at the same time, so that a busy machine slows both: trust their ratio.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import re
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable, Sequence
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
EVALUATIONS = re.compile(r"^prometheus_rule_group_iterations_(total|missed_total)\{[^}]*\} (\S+)$", re.MULTILINE)
CPU = re.compile(r"^process_cpu_seconds_total (\S+)$", re.MULTILINE)


def record(recorder: Recorder) -> None:
    """Count what one process of the measurement counts."""
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


@functools.cache
def page() -> str:
    recorder = Recorder(registry=None)
    record(recorder)
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


def configuration(folder: Path, address: str, instances: int, rules: Path | None) -> None:
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
    if rules is not None:
        found["rule_files"] = [str(rules.resolve() / "*.yml")]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(found))


def cpu(urls: Iterable[str], seconds: float) -> list[float]:
    """Cores that each Prometheus uses over some seconds."""
    before = [_cpu_seconds(url) for url in urls]
    time.sleep(seconds)
    return [
        (now - then) / (at - since)
        for (since, then), (at, now) in zip(before, (_cpu_seconds(url) for url in urls), strict=True)
    ]


def _cpu_seconds(url: str) -> tuple[float, float]:
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as response:
        found = CPU.search(response.read().decode())
    assert found is not None
    return time.monotonic(), float(found[1])


class Scraper:
    """A Prometheus that scrapes the instances, with rules until they are taken away."""

    def __init__(self, folder: Path, address: str, instances: int, rules: Path) -> None:
        folder.mkdir()
        self.folder, self.address, self.instances = folder, address, instances
        configuration(folder, address, instances, rules)
        with running.free_ports(1) as (port,):
            self.url = f"http://127.0.0.1:{port}"
        command = [
            str(toolchain.provide(["prometheus"])["prometheus"]),
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-lifecycle",
        ]
        self.process = Process(command, folder / "prometheus.log", f"{self.url}/-/ready")
        self.process.wait_until_ready()

    def close(self) -> None:
        self.process.close()

    def check(self) -> None:
        """Say how much is scraped.

        Raises:
            SystemExit: instances are missing.
        """
        shown, alive = (
            Prometheus(self.url).vector(query, time.time())[0].points[0][1]
            for query in ("sum(scrape_samples_scraped)", "count(up == 1)")
        )
        if alive < self.instances:
            raise SystemExit(f"only {alive:.0f} of {self.instances} instances were scraped: the machine is too busy")
        print(f"{self.instances} instances, {shown:,.0f} series", file=sys.stderr, flush=True)

    def missed(self) -> float:
        """The share of evaluations that did not take place: the rules would have cost more."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=60) as response:
            found = EVALUATIONS.findall(response.read().decode())
        due, missed = (sum(float(value) for kind, value in found if kind == one) for one in ("total", "missed_total"))
        return missed / due

    def take_rules_away(self) -> None:
        configuration(self.folder, self.address, self.instances, None)
        urllib.request.urlopen(urllib.request.Request(f"{self.url}/-/reload", method="POST"), timeout=60).close()


def cores_of_rules(scrapers: Sequence[Scraper], warm: float, measured: float) -> list[float]:
    """Cores that the rules of each Prometheus use: with them, minus without them."""
    time.sleep(warm)
    for scraper in scrapers:
        scraper.check()
    urls = [scraper.url for scraper in scrapers]
    with_rules = cpu(urls, measured)
    for scraper in scrapers:
        print(f"{100 * scraper.missed():.0f} % of the evaluations were missed", file=sys.stderr, flush=True)
        scraper.take_rules_away()
    time.sleep(10)
    return [a - b for a, b in zip(with_rules, cpu(urls, measured), strict=True)]


def cores(instances: int, warm: float, measured: float, beside: Path | None = None) -> list[float]:
    """Cores that the rules use, and those of another folder beside them."""
    with tempfile.TemporaryDirectory() as name, ThreadingHTTPServer(("127.0.0.1", 0), Instances) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        folder, address = Path(name), f"127.0.0.1:{server.server_port}"
        export.write(export.files(Fit()), folder / "claude")
        rules = [folder / "claude" / "rules", *([beside] if beside else [])]
        with contextlib.ExitStack() as owned:
            owned.callback(server.shutdown)
            scrapers = [
                owned.enter_context(contextlib.closing(Scraper(folder / f"{number}", address, instances, one)))
                for number, one in enumerate(rules)
            ]
            return cores_of_rules(scrapers, warm, measured)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, nargs="*", default=[10, 30, BAR_INSTANCES])
    parser.add_argument("--warm", type=float, default=330.0, help="seconds until the windows are full")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of each measurement")
    parser.add_argument("--beside", type=Path, help="a folder of other rules, for a second Prometheus")
    options = parser.parse_args()
    series = sum(not line.startswith("#") for line in page().splitlines())
    others = " other rules | ratio |" if options.beside else ""
    print(
        f"| instances of {series:,} series | rules, of a core |{others}\n|---|---|{'---|---|' * bool(others)}",
        flush=True,
    )
    found = {}
    for instances in options.instances:
        found[instances], *other = cores(instances, options.warm, options.seconds, options.beside)
        compared = "".join(f" {100 * one:.0f} % | {found[instances] / one:.2f} |" for one in other)
        print(f"| {instances} | {100 * found[instances]:.0f} % |{compared}", flush=True)
    return 1 if found.get(BAR_INSTANCES, 0.0) > BAR_CORES else 0


if __name__ == "__main__":
    sys.exit(main())
