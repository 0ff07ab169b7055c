from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from anthropic_exporter.standalone import notifications
from anthropic_exporter.web.routes import Request
from anthropic_exporter.wire import alertmanager
from support import NOON


@pytest.fixture
def post(recorder: Any, clock: Any) -> Any:
    handlers = {route.path: route for route in notifications.routes(recorder, clock)}

    def send(path: Any, body: Any) -> Any:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return handlers[path].handle(Request(path, "", {}, raw)).status

    return send


def alert(status: str = "firing", **labels: Any) -> dict[str, Any]:
    labels = {"alertname": "AnthropicCostRateHigh", "severity": "critical", **labels}
    return {"status": status, "labels": labels, "startsAt": "2026-11-21T12:00:00Z", "fingerprint": "8f1c"}


def test_each_alert_of_a_notification_is_counted(post: Any, samples: Any) -> None:
    body = {"alerts": [alert(feature="chat"), alert(feature="agent"), alert("resolved")]}
    assert post("/alerts", body) == 200
    assert samples("anthropic_exporter_notifications_total", status="firing", alertname="AnthropicCostRateHigh") == 2
    assert samples("anthropic_exporter_notifications_total", status="resolved", severity="critical") == 1


def test_an_unknown_severity_is_other_and_a_missing_one_is_none(post: Any, samples: Any) -> None:
    post("/alerts", {"alerts": [alert(severity="sev-7"), {"status": "firing", "labels": {"alertname": "Own"}}]})
    assert samples("anthropic_exporter_notifications_total", severity="other") == 1
    assert samples("anthropic_exporter_notifications_total", severity="none", alertname="Own") == 1


def test_names_of_alerts_are_bounded(post: Any, samples: Any) -> None:
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
def test_anything_else_is_refused_and_not_counted(post: Any, samples: Any, body: Any) -> None:
    assert post("/alerts", body) == 400
    assert samples("anthropic_exporter_notifications_total") is None


def test_a_heartbeat_is_remembered(post: Any, samples: Any) -> None:
    assert samples("anthropic_exporter_last_heartbeat_timestamp_seconds") is None
    assert post("/heartbeat", b"") == 200
    assert samples("anthropic_exporter_last_heartbeat_timestamp_seconds") == NOON


def test_the_log_has_one_line_without_text_of_others(post: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    told = alert(feature="a\nb" + "x" * 200, user="acme") | {"annotations": {"summary": "free text"}}
    post("/alerts", {"alerts": [told]})
    (line,) = caplog.messages
    assert line.startswith(r"firing critical AnthropicCostRateHigh feature=a\nbxxx")
    assert len(line) < 130
    assert "acme" not in line
    assert "free text" not in line


# --- how long it took


FIRED = "2026-11-21T12:00:10Z"


def incident(fingerprint: Any = "1f12", **annotations: Any) -> Any:
    return alert(feature="chat") | {"startsAt": FIRED, "fingerprint": fingerprint, "annotations": annotations}


def test_the_first_delivery_of_a_firing_is_measured_from_the_onset_and_from_the_firing(
    post: Any, samples: Any, clock: Any
) -> None:
    clock.now = NOON + 12.5
    assert post("/alerts", {"alerts": [incident(began=f"{NOON - 5:.0f}")]}) == 200
    clock.now = NOON + 3_600
    post("/alerts", {"alerts": [incident(began=f"{NOON - 5:.0f}")]})
    name = "anthropic_exporter_detection_seconds"
    assert samples(f"{name}_sum", alertname="AnthropicCostRateHigh") == 17.5
    assert samples(f"{name}_bucket", alertname="AnthropicCostRateHigh", le="15.0") == 0
    assert samples(f"{name}_bucket", alertname="AnthropicCostRateHigh", le="20.0") == 1
    assert samples("anthropic_exporter_delivery_seconds_sum", severity="critical") == 2.5
    assert samples("anthropic_exporter_delivery_seconds_count") == 1


@pytest.mark.parametrize("began", ["", "soon", "nan", "inf", "1e300", f"{NOON + 100:.0f}", f"{NOON - 90_000:.0f}"])
def test_without_a_sensible_onset_only_the_delivery_is_measured(
    post: Any, samples: Any, clock: Any, began: Any
) -> None:
    clock.now = NOON + 12
    post("/alerts", {"alerts": [incident(began=began)]})
    assert samples("anthropic_exporter_detection_seconds_count") == 0
    assert samples("anthropic_exporter_delivery_seconds_sum", severity="critical") == 2


def test_neither_a_resolved_alert_nor_one_from_before_the_start_is_measured(
    post: Any, samples: Any, clock: Any
) -> None:
    clock.now = NOON + 12
    old = incident(began="0") | {"startsAt": "2026-11-21T11:59:59Z"}
    post("/alerts", {"alerts": [old, incident() | {"status": "resolved"}, alert() | {"startsAt": ""}]})
    assert samples("anthropic_exporter_delivery_seconds_count") == 0
    assert samples("anthropic_exporter_notifications_total") == 3


def test_the_histograms_begin_at_zero_so_that_the_first_delivery_is_growth(post: Any, samples: Any) -> None:
    assert samples("anthropic_exporter_detection_seconds_count", alertname="AnthropicCacheMissWaste") == 0
    assert samples("anthropic_exporter_delivery_seconds_count", severity="warning") == 0


def test_the_firings_that_are_remembered_are_bounded(
    post: Any, samples: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anthropic_exporter.standalone.delays._MOST_FIRINGS", 2)
    clock.now = NOON + 12
    post("/alerts", {"alerts": [incident(str(number)) for number in (1, 2, 3, 3, 1)]})
    assert samples("anthropic_exporter_delivery_seconds_count") == 4


def test_a_fingerprint_that_an_alert_brings_is_not_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A megabyte of labels takes a tenth of a second of the processor, for nothing."""

    def refuse(_: Any) -> str:
        raise AssertionError("computed")

    monkeypatch.setattr(alertmanager, "fingerprint", refuse)
    body = b'{"alerts": [{"status": "firing", "labels": {"alertname": "x"}, "fingerprint": "00ab"}]}'
    assert alertmanager.parse_webhook(body)[0].fingerprint == "00ab"
