"""What mutes what, by real rules: a feature that spends too much, and a standalone exporter that is killed.

Prometheus and Alertmanager on the shipped rules and the shipped `alertmanager.full.yml`, with other addresses. Its own
webhook is there; Slack and PagerDuty are not, so that there is always something that can not be delivered.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Iterator

import pytest
import yaml

from anthropic_exporter import Call, Inference, Recorder, Tokens, bundle, serve, stack
from exporters import Exporter
from stack.alertmanagers import eventually, reload
from stack.wire_receivers import Web
from support import MODEL

pytestmark = pytest.mark.stack

PATIENCE_SECONDS = 90.0
DEARER_THAN_A_DOLLAR = Tokens(output=70_000)


class Running:
    """The stack, the exporter that receives its alerts, a recorder that is scraped, and a webhook of somebody's own."""

    def __init__(self, started: stack.Stack, exporter: Exporter, recorder: Recorder, web: Web) -> None:
        self.stack = started
        self.exporter = exporter
        self._recorder = recorder
        self._web = web

    def spend(self, feature: str, requests: int) -> None:
        for _ in range(requests):
            inferences = (Inference(MODEL, DEARER_THAN_A_DOLLAR),)
            self._recorder.record(Call(MODEL, inferences=inferences, feature=feature, started_at=time.time()))

    def is_told(self, name: str, **labels: str) -> bool:
        wanted = {"alertname": name, **labels}
        return any(status == "firing" and wanted.items() <= one.items() for status, one in self._web.alerts("/own"))

    def is_muted(self, name: str, **labels: str) -> bool:
        wanted = {"alertname": name, **labels}
        with urllib.request.urlopen(f"{self.stack.alertmanager_url}/api/v2/alerts", timeout=30) as response:
            found = [one for one in json.load(response) if wanted.items() <= one["labels"].items()]
        return any(one["status"]["state"] == "suppressed" and one["status"]["inhibitedBy"] for one in found)

    def is_firing(self, name: str, **labels: str) -> bool:
        wanted = {"alertname": name, **labels}
        firing = [one["labels"] for one in self.stack.alerts() if one["state"] == "firing"]
        return any(wanted.items() <= one.items() for one in firing)


def route_to(started: stack.Stack, web: Web, exporter: Exporter) -> None:
    secrets = started.folder / "alertmanager" / "secrets"
    (secrets / "webhook_token").write_text("a-token")
    text = (bundle.path("alertmanager") / "alertmanager.full.yml").read_text()
    for shipped, mine in {
        "http://exporter:9464": exporter.url,
        "http://webhook.example.org/alerts": f"http://{web.address}/own",
        "/etc/alertmanager/secrets": str(secrets),
    }.items():
        assert shipped in text
        text = text.replace(shipped, mine)
    (started.folder / "alertmanager" / "alertmanager.yml").write_text(text)
    assert reload(started.alertmanager_url) == 200


def scrape(started: stack.Stack, exporter: Exporter) -> None:
    path = started.folder / "prometheus" / "prometheus.yml"
    config = yaml.safe_load(path.read_text())
    target = exporter.url.removeprefix("http://")
    config["scrape_configs"].append({"job_name": "anthropic-exporter", "static_configs": [{"targets": [target]}]})
    path.write_text(yaml.safe_dump(config))
    assert reload(started.prometheus_url) == 200


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    started = Exporter()
    yield started
    started.close()


@pytest.fixture(scope="module")
def running(web: Web, exporter: Exporter) -> Iterator[Running]:
    recorder = Recorder(registry=None)
    with serve(recorder, port=0) as server, stack.start([f"127.0.0.1:{server.port}"]) as started:
        route_to(started, web, exporter)
        scrape(started, exporter)
        eventually(lambda: started.query('up{job="anthropic-exporter"} == 1'), PATIENCE_SECONDS)
        eventually(lambda: started.query('up{job="anthropic"} == 1'), PATIENCE_SECONDS)
        eventually(lambda: started.query("anthropic_ledger:fast_seconds"), PATIENCE_SECONDS)  # paces are known
        yield Running(started, exporter, recorder, web)


def test_a_critical_alert_mutes_the_warning_of_the_same_category_feature_and_model_and_no_other(
    running: Running,
) -> None:
    running.spend("chat", requests=5)
    running.spend("report", requests=1)
    expensive = "AnthropicRequestUnusuallyExpensive"
    eventually(lambda: running.is_muted(expensive, feature="chat", model=MODEL), PATIENCE_SECONDS)
    eventually(lambda: running.is_told(expensive, feature="report", model=MODEL), PATIENCE_SECONDS)
    assert running.is_told("AnthropicCostRateHigh", feature="chat", model=MODEL)
    assert running.is_firing(expensive, feature="chat")
    assert not running.is_told(expensive, feature="chat")


def test_a_killed_exporter_is_reported_and_mutes_the_alert_about_its_delivery(running: Running) -> None:
    assert not running.is_firing("AnthropicExporterDown")
    undelivered = "AnthropicAlertsNotDelivered"
    assert not running.is_firing(undelivered, integration="webhook")
    running.exporter.process.kill()
    running.spend("late", requests=5)  # told before it is clear that the exporter is down
    target = running.exporter.url.removeprefix("http://")
    down = {"job": "anthropic-exporter", "instance": target, "severity": "critical"}
    eventually(lambda: running.is_told("AnthropicExporterDown", **down), PATIENCE_SECONDS)
    eventually(lambda: running.is_muted(undelivered, integration="webhook"), PATIENCE_SECONDS)
    eventually(lambda: running.is_told(undelivered, integration="slack"), PATIENCE_SECONDS)
    assert running.is_firing(undelivered, integration="webhook")
    assert not running.is_told(undelivered, integration="webhook")
