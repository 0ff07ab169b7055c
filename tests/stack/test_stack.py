from __future__ import annotations

import json
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.stack import Receiver, ThresholdOverride, config
from anthropic_exporter.stack.process import Process
from anthropic_exporter.wire.alertmanager import parse_time

ADDRESSES = config.Addresses("127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3", ("127.0.0.1:4",))
PROMETHEUS = """
global: {scrape_interval: 5s}
rule_files: [rules/*.yml]
alerting: {alertmanagers: [{static_configs: [{targets: [alertmanager:9093]}]}]}
scrape_configs:
  - job_name: anthropic
    metric_relabel_configs: [{action: keep, regex: .*}]
    file_sd_configs: [{files: [targets/*.yml]}]
    dns_sd_configs: [{names: [demo]}]
  - job_name: anthropic-exporter
    static_configs: [{targets: [exporter:9464]}]
  - job_name: prometheus
    static_configs: [{targets: [localhost:9090]}]
"""
THRESHOLDS = """
groups:
  - name: anthropic-thresholds
    rules:
      - {record: anthropic_threshold, expr: "2", labels: {threshold: cost_usd_per_minute}}
      - {record: anthropic_threshold, expr: "1000000", labels: {threshold: tokens_per_day}}
"""

WEB = """
import http.server, os, pathlib, sys
port, server = pathlib.Path(sys.argv[1]), http.server.HTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
port.with_suffix(".new").write_text(str(server.server_address[1]))
port.with_suffix(".new").rename(port)
os.chdir(port.parent)
server.serve_forever()
"""


@pytest.fixture
def shipped(tmp_path: Path) -> Any:
    (tmp_path / "shipped/rules").mkdir(parents=True)
    (tmp_path / "shipped/prometheus.yml").write_text(PROMETHEUS)
    (tmp_path / "shipped/rules/thresholds.yml").write_text(THRESHOLDS)
    (tmp_path / "shipped/rules/cost.yml").write_text("groups: [] # left alone\n")
    return tmp_path / "shipped"


class TestPrometheusConfiguration:
    def test_only_addresses_change(self, shipped: Any, tmp_path: Path) -> None:
        path = config.prometheus(shipped, tmp_path / "work", ADDRESSES)
        assert yaml.safe_load(path.read_text()) == {
            "global": {"scrape_interval": "5s"},
            "rule_files": ["rules/*.yml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": ["127.0.0.1:2"]}]}]},
            "scrape_configs": [
                {
                    "job_name": "anthropic",
                    "metric_relabel_configs": [{"action": "keep", "regex": ".*"}],
                    "static_configs": [{"targets": ["127.0.0.1:4"]}],
                },
                {"job_name": "prometheus", "static_configs": [{"targets": ["127.0.0.1:1"]}]},
            ],
        }

    def test_rules_and_thresholds_stay_as_they_are_shipped(self, shipped: Any, tmp_path: Path) -> None:
        config.prometheus(shipped, tmp_path / "work", ADDRESSES)
        assert (tmp_path / "work/rules/thresholds.yml").read_text() == THRESHOLDS
        assert (tmp_path / "work/rules/cost.yml").read_text() == "groups: [] # left alone\n"

    def test_a_threshold_is_replaced_and_a_features_own_is_added(self, shipped: Any, tmp_path: Path) -> None:
        own = (ThresholdOverride("tokens_per_day", 5e8), ThresholdOverride("cost_usd_per_minute", 30.5, "chat"))
        config.prometheus(shipped, tmp_path / "work", ADDRESSES, own)
        rules = yaml.safe_load((tmp_path / "work/rules/thresholds.yml").read_text())["groups"][0]["rules"]
        assert [(rule["expr"], rule["labels"]) for rule in rules] == [
            ("2", {"threshold": "cost_usd_per_minute"}),
            ("500000000", {"threshold": "tokens_per_day"}),
            ("30.5", {"threshold": "cost_usd_per_minute", "feature": "chat"}),
        ]

    def test_a_threshold_that_is_not_there_is_an_error(self, shipped: Any, tmp_path: Path) -> None:
        with pytest.raises(
            ConfigurationError, match="no threshold 'costs'; it has cost_usd_per_minute, tokens_per_day"
        ):
            config.prometheus(shipped, tmp_path / "work", ADDRESSES, (ThresholdOverride("costs", 1),))


def test_alertmanager_sends_to_the_receiver_and_nothing_else_changes(tmp_path: Path) -> None:
    (tmp_path / "shipped").mkdir()
    text = "# kept\nreceivers:\n  - webhook_configs: [{url: http://exporter:9464/alerts}]\n"
    (tmp_path / "shipped/alertmanager.yml").write_text(text)
    path = config.alertmanager(tmp_path / "shipped", tmp_path / "work", ADDRESSES)
    assert path.read_text() == "# kept\nreceivers:\n  - webhook_configs: [{url: http://127.0.0.1:3/alerts}]\n"


class TestReceiver:
    @pytest.fixture
    def receiver(self) -> Iterator[Any]:
        with Receiver() as running:
            yield running

    def send(self, receiver: Any, path: Any, *alerts: Any) -> None:
        body = json.dumps({"alerts": alerts}).encode()
        request = urllib.request.Request(f"http://{receiver.address}{path}", body)
        with urllib.request.urlopen(request, timeout=30) as response:
            assert response.status == 200

    def alert(self, name: Any, status: Any = "firing", starts: Any = "2026-11-21T12:00:00.5Z", **labels: Any) -> Any:
        return {"status": status, "labels": {"alertname": name, **labels}, "annotations": {}, "startsAt": starts}

    def test_a_notification_is_kept_with_the_second_it_fired_and_came(self, receiver: Any) -> None:
        before = time.time()
        self.send(receiver, "/alerts", self.alert("AnthropicCostRateHigh", feature="chat"))
        (found,) = receiver.notifications
        assert (found.alertname, found.labels["feature"], found.firing) == ("AnthropicCostRateHigh", "chat", True)
        assert found.fired_at == 1_795_262_400.5
        assert before <= found.received_at <= time.time()

    def test_each_alert_of_a_group_is_one(self, receiver: Any) -> None:
        self.send(receiver, "/alerts", self.alert("A"), self.alert("B", status="resolved"))
        assert [(found.alertname, found.firing) for found in receiver.notifications] == [("A", True), ("B", False)]

    def test_a_heartbeat_is_not_a_notification(self, receiver: Any) -> None:
        self.send(receiver, "/heartbeat", self.alert("AnthropicWatchdog"))
        assert (receiver.heartbeats, receiver.notifications) == (1, [])
        assert receiver.wait_for_heartbeat(0)

    def test_waiting_ends_when_the_wanted_one_comes(self, receiver: Any) -> None:
        found = []
        waiter = threading.Thread(target=lambda: found.append(receiver.wait_for(lambda one: one.alertname == "B", 10)))
        waiter.start()
        self.send(receiver, "/alerts", self.alert("A"))
        self.send(receiver, "/alerts", self.alert("B"))
        waiter.join(10)
        assert found[0].alertname == "B"

    def test_waiting_ends_after_its_time(self, receiver: Any) -> None:
        assert receiver.wait_for(lambda _: True, 0.01) is None
        assert receiver.wait_for_heartbeat(0.01) is False

    @pytest.mark.parametrize(
        ("written", "expected"),
        [
            ("2026-11-21T12:00:00Z", 1_795_262_400.0),
            ("2026-11-21T12:00:00.123456789Z", 1_795_262_400.123456),
            ("2026-11-21T13:00:00.25+01:00", 1_795_262_400.25),
        ],
    )
    def test_times_as_go_writes_them(self, written: Any, expected: Any) -> None:
        assert parse_time(written) == pytest.approx(expected, abs=1e-6)


class TestProcess:
    def test_a_process_that_ends_at_once_says_its_last_error(self, tmp_path: Path) -> None:
        code = "print('ts=1 level=error err=\"bad rule\"'); print('bye'); raise SystemExit(3)"
        process = Process([sys.executable, "-c", code], tmp_path / "prometheus.log", "http://127.0.0.1:9/-/ready")
        with pytest.raises(
            ConfigurationError, match=r'prometheus exited with code 3: ts=1 level=error err="bad rule" \(log: '
        ):
            process.wait_until_ready()
        process.close()

    def test_a_process_is_ready_when_its_address_says_so_and_ends_when_closed(self, tmp_path: Path) -> None:
        process = Process(
            [sys.executable, "-c", WEB, str(tmp_path / "port")], tmp_path / "web.log", "http://127.0.0.1:9/"
        )
        while not (tmp_path / "port").exists():
            threading.Event().wait(0.02)
        process._ready_url = f"http://127.0.0.1:{(tmp_path / 'port').read_text()}/"
        process.wait_until_ready()
        process.close()
        process.close()
        assert process._child.returncode == -15
