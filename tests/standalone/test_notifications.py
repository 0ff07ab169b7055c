from __future__ import annotations

import json
import logging

import pytest

from anthropic_exporter.standalone import notifications
from anthropic_exporter.web.routes import Request
from support import NOON


@pytest.fixture
def post(recorder, clock):
    handlers = {route.path: route for route in notifications.routes(recorder, clock)}

    def send(path, body):
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return handlers[path].handle(Request(path, "", {}, raw)).status

    return send


def alert(status="firing", **labels):
    labels = {"alertname": "AnthropicCostRateHigh", "severity": "critical", **labels}
    return {"status": status, "labels": labels, "startsAt": "2026-11-21T12:00:00Z", "fingerprint": "8f1c"}


def test_each_alert_of_a_notification_is_counted(post, samples):
    body = {"alerts": [alert(feature="chat"), alert(feature="agent"), alert("resolved")]}
    assert post("/alerts", body) == 200
    assert samples("anthropic_exporter_notifications_total", status="firing", alertname="AnthropicCostRateHigh") == 2
    assert samples("anthropic_exporter_notifications_total", status="resolved", severity="critical") == 1


def test_an_unknown_severity_is_other_and_a_missing_one_is_none(post, samples):
    post("/alerts", {"alerts": [alert(severity="sev-7"), {"status": "firing", "labels": {"alertname": "Own"}}]})
    assert samples("anthropic_exporter_notifications_total", severity="other") == 1
    assert samples("anthropic_exporter_notifications_total", severity="none", alertname="Own") == 1


def test_names_of_alerts_are_bounded(post, samples):
    post("/alerts", {"alerts": [alert(alertname=f"Alert{number}") for number in range(150)]})
    assert samples("anthropic_exporter_notifications_total", alertname="other") == 50
    assert samples("anthropic_exporter_notifications_total") == 150


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"alerts": 3}',
        b'{"alerts": [3]}',
        b'{"alerts": [{"labels": {}}]}',
        b"[" * 100000,
        {"alerts": [alert("pending")]},
        {"alerts": [{"status": "firing", "labels": {}}]},
    ],
)
def test_anything_else_is_refused_and_not_counted(post, samples, body):
    assert post("/alerts", body) == 400
    assert samples("anthropic_exporter_notifications_total") is None


def test_a_heartbeat_is_remembered(post, samples):
    assert samples("anthropic_exporter_last_heartbeat_timestamp_seconds") is None
    assert post("/heartbeat", b"") == 200
    assert samples("anthropic_exporter_last_heartbeat_timestamp_seconds") == NOON


def test_the_log_has_one_line_without_text_of_others(post, caplog):
    caplog.set_level(logging.INFO)
    told = alert(feature="a\nb" + "x" * 200, user="acme") | {"annotations": {"summary": "free text"}}
    post("/alerts", {"alerts": [told]})
    (line,) = caplog.messages
    assert line.startswith(r"firing critical AnthropicCostRateHigh feature=a\nbxxx")
    assert len(line) < 130
    assert "acme" not in line
    assert "free text" not in line
