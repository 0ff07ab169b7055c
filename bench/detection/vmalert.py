"""Seconds from an incident to its alert with VictoriaMetrics and vmalert, and from its end to its resolution.

    python -m bench.detection.vmalert                  eight incidents, five minutes
    python -m bench.detection.vmalert --scrape 15      scraped every 15 s

One process spends on a feature that works, and each incident hits a feature of its own: dollars a minute above the
threshold, and one request in two that fails. A second process is restarted between incidents. Exit code 1 when an alert
takes longer than its bar, another one fires, or a rule fails.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import json
import sys
import tempfile
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from typing_extensions import Self

from anthropic_exporter import Call, Inference, Recorder, Tokens, export, serve, toolchain
from anthropic_exporter.rules import Fit
from anthropic_exporter.stack import running
from anthropic_exporter.stack.process import Process

MODEL = "claude-opus-5-5"
#: Dollars of a call: output tokens at 20 dollars a million.
EXPENSIVE, CHEAP = Tokens(output=9_000), Tokens(output=20)
COST, ERRORS = "AnthropicCostRateHigh", "AnthropicErrorRateHigh"
#: Seconds to an alert at most, by seconds between scrapes; a resolution waits for the window and for two minutes more.
BARS = {5: 30, 15: 45, 30: 75, 60: 140}
ALWAYS = "AnthropicWatchdog"
_PERIOD_SECONDS = 0.25
_SHIFT_SECONDS = 0.7
_PATIENCE_SECONDS = 600.0


def a_call(feature: str, tokens: Tokens, outcome: str = "success") -> Call:
    """A call that ended now."""
    inferences = (Inference(MODEL, tokens),) if outcome == "success" else ()
    return Call(MODEL, inferences=inferences, feature=feature, outcome=outcome, started_at=time.time())


class Alerts:
    """What vmalert sends to an Alertmanager, by the time of its first and of its last notification."""

    def __init__(self) -> None:
        self.began: dict[tuple[str, str], float] = {}
        self.ended: dict[tuple[str, str], float] = {}
        self.texts: dict[tuple[str, str], str] = {}
        self.changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                """One or more alerts; those that resolved ended in the past."""
                outer.take(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering."""
        self.server.shutdown()
        self.server.server_close()

    def take(self, alerts: list[dict[str, Any]]) -> None:
        """Remember alerts."""
        now = time.time()
        with self.changed:
            for alert in alerts:
                labels = alert["labels"]
                key = (labels["alertname"], labels.get("feature") or labels.get("instance", ""))
                self.began.setdefault(key, now)
                self.texts.setdefault(key, " ".join(alert["annotations"].values()))
                self.ended.pop(key, None)
                if _seconds(alert["endsAt"]) <= now:
                    self.ended[key] = now
            self.changed.notify_all()

    def wait_for(self, alert: str, subject: str, *, end: bool = False) -> float:
        """When an alert was first delivered, or its resolution.

        Raises:
            TimeoutError: neither came within ten minutes.
        """
        times = self.ended if end else self.began
        with self.changed:
            if not self.changed.wait_for(lambda: (alert, subject) in times, _PATIENCE_SECONDS):
                raise TimeoutError(f"{alert} of {subject}: {sorted(self.began)}")
            return times[alert, subject]


def _seconds(written: str) -> float:
    """Seconds since the epoch of a UTC time in RFC 3339."""
    return dt.datetime.fromisoformat(written[:19] + "+00:00").timestamp()


class Traffic:
    """Calls of a recorder at a steady pace; what they are may change at any time."""

    def __init__(self, *calls: Call) -> None:
        self.recorder = Recorder(registry=None)
        self.server = serve(self.recorder, port=0)
        self.port = self.server.port
        self.calls = list(calls)
        self.counted: dict[str, int] = {}
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        while not self.stopped.wait(_PERIOD_SECONDS):
            for call in tuple(self.calls):
                self.counted[call.feature] = self.counted.get(call.feature, 0) + 1
                self.recorder.record(call._replace(started_at=time.time()))

    def restart(self) -> None:
        """Another process in its place: counters begin at 0."""
        self.server.close()
        self.recorder = Recorder(registry=None)
        self.server = serve(self.recorder, port=self.port)

    def close(self) -> None:
        """Stop calling and answering."""
        self.stopped.set()
        self.thread.join()
        self.server.close()


class Running:
    """VictoriaMetrics that scrapes some ports, and vmalert with an export, in a folder."""

    def __init__(self, folder: Path, fit: Fit, ports: Sequence[int], alerts: Alerts) -> None:
        export.write(export.files(fit), folder / "claude")
        self._rules = folder / "claude" / "rules"
        with running.free_ports(2) as (store, vmalert):
            self.store, self.vmalert = f"http://127.0.0.1:{store}", f"http://127.0.0.1:{vmalert}"
        targets = ", ".join(f"'127.0.0.1:{port}'" for port in ports)
        (folder / "scrape.yml").write_text(
            f"global: {{scrape_interval: {fit.scrape_interval}s}}\n"
            "scrape_configs:\n"
            f"- {{job_name: anthropic, static_configs: [{{targets: [{targets}]}}]}}\n"
            f"- {{job_name: vmalert, static_configs: [{{targets: ['127.0.0.1:{vmalert}']}}]}}\n"
        )
        tools = toolchain.provide(["victoria-metrics", "vmalert"])
        self._commands = (
            [
                str(tools["victoria-metrics"]),
                f"-httpListenAddr={self.store.removeprefix('http://')}",
                f"-storageDataPath={folder / 'data'}",
                f"-promscrape.config={folder / 'scrape.yml'}",
            ],
            [
                str(tools["vmalert"]),
                f"-httpListenAddr={self.vmalert.removeprefix('http://')}",
                f"-rule={self._rules}/*.yml",
                f"-datasource.url={self.store}",
                f"-remoteWrite.url={self.store}",
                f"-remoteRead.url={self.store}",
                "-remoteWrite.flushInterval=1s",
                f"-notifier.url=http://127.0.0.1:{alerts.server.server_port}",
            ],
        )
        self._folder = folder
        self._processes = contextlib.ExitStack()

    def __enter__(self) -> Self:
        for name, command, url in zip(("store", "vmalert"), self._commands, (self.store, self.vmalert), strict=True):
            process = Process(command, self._folder / f"{name}.log", f"{url}/health")
            self._processes.callback(process.close)
            process.wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        self._processes.close()

    def query(self, expression: str) -> dict[str, float]:
        """Values by feature, now.

        Raises:
            urllib.error.HTTPError: the expression cannot be evaluated.
        """
        asked = urllib.parse.urlencode({"query": expression, "nocache": 1, "latency_offset": "1ms"}).encode()
        with urllib.request.urlopen(f"{self.store}/api/v1/query", asked, timeout=30) as response:
            found = json.load(response)["data"]["result"]
        return {one["metric"].get("feature", ""): float(one["value"][1]) for one in found}

    def failing(self) -> list[str]:
        """Series of rules whose last evaluation failed, as vmalert shows them."""
        with urllib.request.urlopen(f"{self.vmalert}/metrics", timeout=30) as response:
            lines = response.read().decode().splitlines()
        return [line for line in lines if "_rules_error{" in line and not line.endswith(" 0")]

    def open(self) -> set[tuple[str, str, str]]:
        """Name, feature or instance, and state of each alert."""
        with urllib.request.urlopen(f"{self.vmalert}/api/v1/alerts", timeout=30) as response:
            found = json.load(response)["data"]["alerts"]
        return {
            (one["name"], one["labels"].get("feature") or one["labels"].get("instance", ""), one["state"])
            for one in found
        }


def incidents(alerts: Alerts, traffic: Traffic, healthy: Traffic, number: int) -> Iterator[tuple[str, float, float]]:
    """Alert, seconds to it, and seconds from the incident's end to its resolution; one after the other."""
    ordinary = list(traffic.calls)
    ends: list[tuple[str, str, float, float]] = []
    for at in range(number):
        spending, failing = f"spending-{at}", f"failing-{at}"
        began = time.time()
        traffic.calls = [
            *ordinary,
            a_call(spending, EXPENSIVE),
            a_call(failing, CHEAP),
            a_call(failing, CHEAP, "api_error"),
        ]
        for alert, feature in ((COST, spending), (ERRORS, failing)):
            ends.append((alert, feature, alerts.wait_for(alert, feature) - began, 0.0))
        # Both go on as they should, so that the fast window has requests to judge.
        ordinary = [*ordinary, a_call(spending, CHEAP), a_call(failing, CHEAP)]
        traffic.calls = ordinary
        ends[-2:] = [(*one[:3], time.time()) for one in ends[-2:]]
        healthy.restart()
        # Incidents begin at different moments between two scrapes.
        traffic.stopped.wait(at * _SHIFT_SECONDS)
    for alert, feature, seconds, ended in ends:
        yield alert, seconds, alerts.wait_for(alert, feature, end=True) - ended


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scrape", type=int, default=5, choices=tuple(BARS), help="seconds between scrapes")
    parser.add_argument("--incidents", type=int, default=8)
    options = parser.parse_args(arguments)
    alerts = Alerts()
    traffic, healthy = Traffic(a_call("chat", CHEAP)), Traffic(a_call("web", CHEAP))
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as closing:
        closing.callback(traffic.close)
        closing.callback(healthy.close)
        fit = Fit(scrape_interval=options.scrape, format="vmalert")
        with Running(Path(folder), fit, [traffic.port, healthy.port], alerts) as store:
            alerts.wait_for(ALWAYS, "")
            found = list(incidents(alerts, traffic, healthy, options.incidents))
            failing = store.failing()
    return _reported(found, failing, alerts, options.scrape)


def _reported(found: list[tuple[str, float, float]], failing: list[str], alerts: Alerts, scrape: int) -> int:
    for alert in (COST, ERRORS):
        to_alert = sorted(seconds for name, seconds, _ in found if name == alert)
        to_end = sorted(seconds for name, _, seconds in found if name == alert)
        print(f"{alert:24} fired after {_spread(to_alert)} s, resolved after {_spread(to_end)} s")
    subjects = ("spending-", "failing-")
    others = [key for key in alerts.began if key[0] not in (ALWAYS, COST, ERRORS) or not key[1].startswith(subjects)]
    others = [key for key in others if key not in ((ALWAYS, ""), (COST, "")) and "Budget" not in key[0]]
    print(f"other alerts: {others or 'none'}; rules that fail: {failing or 'none'}")
    late = [seconds for _, seconds, _ in found if seconds > BARS[scrape]]
    return 1 if late or others or failing else 0


def _spread(seconds: list[float]) -> str:
    return f"{seconds[0]:.0f} to {seconds[-1]:.0f} (median {seconds[len(seconds) // 2]:.0f})"


if __name__ == "__main__":
    sys.exit(main())
