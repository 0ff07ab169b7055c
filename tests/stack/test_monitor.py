"""The monitor of the monitor: each part of it killed, broken or slowed down for real, and who tells of it.

One Prometheus and one Alertmanager on the shipped rules and routing; only the heartbeat beats ten times as fast.
AnthropicMeterStopped's second half, requests that hang for 15 minutes, is in test_meter_stopped.py.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from anthropic_exporter import bundle, stack, toolchain
from anthropic_exporter.stack.process import Process
from stack.alertmanagers import eventually, reload
from stack.wire_receivers import Posted, Web

pytestmark = pytest.mark.stack

PATIENCE_SECONDS = 60.0
BEAT = "group_interval: 30s\n      repeat_interval: 50s"
# Prometheus says with each alert that it ends 4 resends later, every 5 s here; a beat that is due by then still comes.
SILENT_AFTER_SECONDS = 30.0
THREE_BEATS_SECONDS = 18.0

#: An application: says its port, and on a line of input loses its meter, but lives and answers on.
APPLICATION = """
import sys
from prometheus_client import CollectorRegistry, start_http_server
from anthropic_exporter import Recorder

registry = CollectorRegistry()
recorder = Recorder(registry=registry)
server, _ = start_http_server(0, addr="127.0.0.1", registry=registry)
print(server.server_port, flush=True)
sys.stdin.readline()
for collector in list(registry._collector_to_names):
    registry.unregister(collector)
sys.stdin.readline()
"""
AGAIN = """
      - record: anthropic_threshold
        expr: "30"
        labels: {threshold: prices_max_age_days, team: search}
"""
#: Its series come from a storage that takes three times as long to answer as the group has.
SLOW = """
groups:
  - name: anthropic-slow
    interval: 1s
    rules:
      - record: slow
        expr: sum(slow{kept="elsewhere"})
"""
SLOW_SECONDS = 3.0


class SlowStorage:
    """Answers Prometheus' remote read, late and with nothing."""

    def __init__(self) -> None:
        self._closing = threading.Event()
        closing = self._closing

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                closing.wait(SLOW_SECONDS)
                self.send_error(500)

            def log_message(self, *_: Any) -> None:
                pass

        self._http: Any = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/read"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()


class Application:
    def __init__(self) -> None:
        command = [sys.executable, "-c", APPLICATION]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = f"127.0.0.1:{int(self.child.stdout.readline())}"

    def lose_the_meter(self) -> None:
        self.child.stdin.write("\n")
        self.child.stdin.flush()

    def close(self) -> None:
        self.child.kill()
        self.child.communicate()


class Monitored:
    """Three applications and what watches them; every notification goes to `web`."""

    def __init__(self, running: stack.Stack, web: Web, applications: list[Application]) -> None:
        self.running = running
        self.web = web
        self.killed, self.stopped, self.well = applications
        self.rules = running.folder / "prometheus" / "rules"
        self.routing = running.folder / "alertmanager" / "alertmanager.yml"
        self.shipped_routing = self.routing.read_text()

    @contextlib.contextmanager
    def another_alertmanager(self) -> Iterator[None]:
        """On the address and the data of the one that was killed."""
        address = self.running.alertmanager_url.removeprefix("http://")
        command = [
            str(toolchain.provide(["alertmanager"])["alertmanager"]),
            f"--config.file={self.routing}",
            f"--storage.path={self.running.folder / 'alertmanager-data'}",
            f"--web.listen-address={address}",
            "--cluster.listen-address=",
        ]
        log = self.running.folder / "alertmanager-again.log"
        process = Process(command, log, f"{self.running.alertmanager_url}/-/ready")
        try:
            process.wait_until_ready()
            yield
        finally:
            process.close()

    def beats(self) -> list[Posted]:
        return self.web.posts("/heartbeat")

    def is_silent_after(self, pid: int) -> bool:
        """Kill this process, and see the last beat and three more that do not come."""
        before = len(self.beats())
        eventually(lambda: len(self.beats()) > before, PATIENCE_SECONDS)
        os.kill(pid, signal.SIGKILL)
        killed_at = time.time()
        silence = lambda: time.time() - self.beats()[-1].at > THREE_BEATS_SECONDS  # noqa: E731
        eventually(silence, SILENT_AFTER_SECONDS + THREE_BEATS_SECONDS)
        return self.beats()[-1].at - killed_at < SILENT_AFTER_SECONDS

    def told(self, name: str, **labels: str) -> Posted:
        """The first notification of an alert."""

        def tells(post: Posted) -> bool:
            alerts = post.body["alerts"] if post.path == "/alerts" else ()
            return any(one["status"] == "firing" and self.is_(one["labels"], name, labels) for one in alerts)

        return self.web.inbox.wait_for(tells, PATIENCE_SECONDS)

    def firing(self, name: str) -> list[dict[str, str]]:
        return [
            one["labels"]
            for one in self.running.alerts()
            if one["state"] == "firing" and one["labels"]["alertname"] == name
        ]

    @staticmethod
    def is_(found: dict[str, str], name: str, labels: dict[str, str]) -> bool:
        return found["alertname"] == name and labels.items() <= found.items()


@pytest.fixture(scope="module")
def applications() -> Iterator[list[Application]]:
    started = [Application() for _ in range(3)]
    yield started
    for one in started:
        one.close()


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


@pytest.fixture(scope="module")
def storage() -> Iterator[SlowStorage]:
    server = SlowStorage()
    yield server
    server.close()


@pytest.fixture(scope="module")
def monitored(applications: list[Application], web: Web) -> Iterator[Monitored]:
    with stack.start([one.address for one in applications]) as running:
        path = running.folder / "alertmanager" / "alertmanager.yml"
        text = path.read_text().replace(running.receiver.address, web.address)
        assert BEAT in text
        path.write_text(text.replace(BEAT, "group_interval: 3s\n      repeat_interval: 5s"))
        assert reload(running.alertmanager_url) == 200
        eventually(lambda: len(running.query('up{job="anthropic"} == 1')) == 3, PATIENCE_SECONDS)
        web.inbox.wait_for(lambda post: post.path == "/heartbeat", PATIENCE_SECONDS)
        assert {one["labels"]["alertname"] for one in running.alerts() if one["state"] == "firing"} == {
            "AnthropicWatchdog"
        }
        yield Monitored(running, web, applications)


@pytest.fixture(scope="module", autouse=True)
def _broken(monitored: Monitored, storage: SlowStorage) -> None:
    """All that can break at the same time breaks at once, so that nothing is waited for twice."""
    os.kill(monitored.killed.child.pid, signal.SIGKILL)
    monitored.stopped.lose_the_meter()
    with (monitored.rules / "thresholds.yml").open("a") as thresholds:
        thresholds.write(AGAIN)
    (monitored.rules / "slow.yml").write_text(SLOW)
    with (monitored.rules.parent / "prometheus.yml").open("a") as config:
        config.write(f"remote_read: [{{url: '{storage.url}', required_matchers: {{kept: elsewhere}}}}]\n")
    assert reload(monitored.running.prometheus_url) == 200
    (monitored.rules / "budget.yml").write_text("groups: [{name: broken, rules: [{record: x, expr: '('}]}]")
    assert reload(monitored.running.prometheus_url) == 500
    monitored.routing.write_text("route: {receiver: nobody}")
    assert reload(monitored.running.alertmanager_url) == 500


def test_a_killed_exporter_is_reported(monitored: Monitored) -> None:
    monitored.told("AnthropicExporterDown", instance=monitored.killed.address, severity="critical")
    assert [one["instance"] for one in monitored.firing("AnthropicExporterDown")] == [monitored.killed.address]


@pytest.mark.parametrize("program", ["Prometheus", "Alertmanager"])
def test_a_refused_configuration_is_reported(monitored: Monitored, program: str) -> None:
    monitored.told("AnthropicConfigReloadFailed", program=program)


def test_a_rule_that_cannot_be_evaluated_is_reported(monitored: Monitored) -> None:
    post = monitored.told("AnthropicRuleEvaluationFailing")
    groups = {one["labels"].get("rule_group", "").rpartition(";")[2] for one in post.body["alerts"]}
    assert "anthropic-meter" in groups


def test_rules_that_take_longer_than_their_interval_are_reported_and_only_those(monitored: Monitored) -> None:
    post = monitored.told("AnthropicRuleEvaluationSlow", severity="critical")
    slow = {one["labels"]["rule_group"].rpartition(";")[2] for one in post.body["alerts"]}
    assert slow == {"anthropic-slow"}
    (monitored.rules / "slow.yml").unlink()
    shutil.copy(bundle.path("prometheus") / "rules/budget.yml", monitored.rules)
    assert reload(monitored.running.prometheus_url) == 200


def test_a_receiver_that_refuses_is_seen_in_prometheus_and_reported_when_it_accepts_again(monitored: Monitored) -> None:
    assert monitored.firing("AnthropicAlertsNotDelivered") == []
    monitored.web.broken = True
    try:
        seen = eventually(lambda: monitored.firing("AnthropicAlertsNotDelivered"), PATIENCE_SECONDS)
    finally:
        monitored.web.broken = False
    assert [one["integration"] for one in seen] == ["webhook"]
    monitored.told("AnthropicAlertsNotDelivered", integration="webhook")


def test_a_meter_that_stopped_in_an_application_that_runs_is_reported(monitored: Monitored) -> None:
    monitored.told("AnthropicMeterStopped", instance=monitored.stopped.address, severity="critical")
    assert monitored.stopped.child.poll() is None
    assert [one["instance"] for one in monitored.firing("AnthropicMeterStopped")] == [monitored.stopped.address]


def unreachable(monitored: Monitored) -> list[dict[str, str]]:
    return [one for one in monitored.firing("AnthropicAlertsNotDelivered") if "alertmanager" in one]


def test_without_alertmanager_the_heartbeat_stops_and_prometheus_sees_it(monitored: Monitored) -> None:
    assert unreachable(monitored) == []
    assert monitored.is_silent_after(monitored.running.alertmanager.pid)
    (seen,) = eventually(lambda: unreachable(monitored), PATIENCE_SECONDS)
    assert seen["alertmanager"].startswith(monitored.running.alertmanager_url)


@pytest.fixture(scope="module")
def another_alertmanager(monitored: Monitored) -> Iterator[None]:
    monitored.running.alertmanager.close()
    monitored.routing.write_text(monitored.shipped_routing)
    with monitored.another_alertmanager():
        yield


@pytest.mark.usefixtures("another_alertmanager")
def test_the_next_alertmanager_reports_it_and_the_heartbeat_is_back(monitored: Monitored) -> None:
    before = len(monitored.beats())
    post = monitored.told(
        "AnthropicAlertsNotDelivered",
        severity="critical",
        alertmanager=f"{monitored.running.alertmanager_url}/api/v2/alerts",
    )
    described = [one["annotations"]["description"] for one in post.body["alerts"]]
    assert f"Prometheus cannot reach the Alertmanager {monitored.running.alertmanager_url}/api/v2/alerts." in described
    eventually(lambda: len(monitored.beats()) > before, PATIENCE_SECONDS)


@pytest.mark.usefixtures("another_alertmanager")
def test_without_prometheus_the_heartbeat_stops(monitored: Monitored) -> None:
    assert monitored.is_silent_after(monitored.running.prometheus.pid)
