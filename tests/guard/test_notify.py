"""The ready callbacks against receivers on loopback that take what the real services take."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError

import pytest

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.guard import log, pagerduty, slack_webhook, webhook
from anthropic_exporter.guard.notifications.alerts import Alert
from anthropic_exporter.stack.receiver import Receiver
from anthropic_exporter.wire.alertmanager import fingerprint

pytest_plugins = ("fixtures_service",)

FIRING = Alert(
    "AnthropicCostRateHigh",
    "critical",
    "cost",
    "firing",
    "chat <b>",
    "claude-opus-5-5",
    5.2,
    2.0,
    "Too many dollars.",
    "chat spends 5.20 USD a minute.",
    1_795_262_400.0,
)
RESOLVED = FIRING._replace(status="resolved", ended_at=1_795_262_520.0)


def test_slack_gets_a_coloured_message_with_its_text_escaped(service: Any, tmp_path: Path) -> None:
    secret = tmp_path / "slack-url"
    secret.write_text(f"{service.url}/services/T0/B0/x\n")
    slack = slack_webhook(url_file=secret)
    slack(FIRING)
    slack(RESOLVED)
    (path, headers, first), (_, _, second) = service.received
    assert path == "/services/T0/B0/x"
    assert headers["Content-Type"] == "application/json"
    assert first["text"] == "[FIRING] AnthropicCostRateHigh: Too many dollars."
    assert first["attachments"][0]["color"] == "#d00000"
    assert {"title": "feature", "value": "chat &lt;b&gt;", "short": True} in first["attachments"][0]["fields"]
    assert first["attachments"][0]["ts"] == 1_795_262_400
    assert second["text"].startswith("[RESOLVED]")
    assert second["attachments"][0]["color"] == "#2eb886"


def test_a_replaced_secret_file_is_used_from_then_on(service: Any, tmp_path: Path) -> None:
    secret = tmp_path / "slack-url"
    secret.write_text(f"{service.url}/old")
    slack = slack_webhook(url_file=secret)
    secret.write_text(f"{service.url}/new")
    slack(FIRING)
    assert [path for path, *_ in service.received] == ["/new"]


def test_pagerduty_gets_one_incident_triggered_and_resolved(service: Any, tmp_path: Path) -> None:
    service.status = 202
    secret = tmp_path / "key"
    secret.write_text("R0UT1NGKEY")
    page = pagerduty(routing_key_file=secret, url=f"{service.url}/v2/enqueue")
    page(FIRING)
    page(RESOLVED)
    first, second = (body for _, _, body in service.received)
    assert first["event_action"] == "trigger"
    assert first["payload"]["severity"] == "critical"
    assert first["payload"]["summary"] == "AnthropicCostRateHigh: chat spends 5.20 USD a minute."
    assert first["payload"]["timestamp"] == "2026-11-21T12:00:00.000Z"
    assert first["payload"]["custom_details"]["model"] == "claude-opus-5-5"
    assert second == {"routing_key": "R0UT1NGKEY", "event_action": "resolve", "dedup_key": first["dedup_key"]}


def test_a_long_description_is_cut_to_what_pagerduty_takes(service: Any) -> None:
    pagerduty(routing_key="k", url=service.url)(FIRING._replace(description="x" * 5000))
    assert len(service.received[0][2]["payload"]["summary"]) == 1024


def test_the_webhook_is_read_by_what_reads_alertmanagers() -> None:
    with Receiver() as receiver:
        webhook(f"http://{receiver.address}/alerts")(FIRING)
        webhook(f"http://{receiver.address}/alerts")(RESOLVED)
        first, second = receiver.notifications
    assert (first.alertname, first.status, dict(first.labels)) == ("AnthropicCostRateHigh", "firing", FIRING.labels)
    assert first.annotations["description"] == "chat spends 5.20 USD a minute."
    assert first.fired_at == 1_795_262_400.0
    assert second.status == "resolved"


def test_the_webhook_sends_its_token_and_alertmanagers_fields(service: Any, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("t0ken")
    webhook(service.url, token_file=token)(FIRING)
    _, headers, body = service.received[0]
    assert headers["Authorization"] == "Bearer t0ken"
    assert body["version"] == "4"
    assert body["alerts"][0]["endsAt"] == "0001-01-01T00:00:00Z"
    assert body["alerts"][0]["fingerprint"] == fingerprint(FIRING.labels)


def test_the_fingerprint_is_fnv1a_over_names_and_values() -> None:
    """The offset basis for no label; one computed by hand with the published constants."""
    assert fingerprint({}) == "cbf29ce484222325"
    assert fingerprint({"a": "b"}) == fingerprint({"a": "b"}) != fingerprint({"a": "c"})
    assert fingerprint({"a": "1", "b": "2"}) == fingerprint({"b": "2", "a": "1"})


@pytest.mark.parametrize("status", [302, 404, 500])
def test_what_is_not_taken_is_an_error_that_the_guard_counts(service: Any, status: int) -> None:
    service.status = status
    with pytest.raises(HTTPError) as refused:
        slack_webhook(url=service.url)(FIRING)
    refused.value.close()
    assert [path for path, *_ in service.received] == ["/"] or len(service.received) == 1


def test_a_service_that_is_not_there_is_an_error(service: Any) -> None:
    with pytest.raises((URLError, OSError)):
        webhook("http://127.0.0.1:9/", timeout=1.0)(FIRING)


def test_the_log_gets_one_line_a_change(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log()(FIRING)
    log()(RESOLVED)
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("ERROR", "AnthropicCostRateHigh firing: chat spends 5.20 USD a minute."),
        ("INFO", "AnthropicCostRateHigh resolved: chat spends 5.20 USD a minute."),
    ]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: slack_webhook(), "slack_webhook: give url_file=... or url=..., one of them"),
        (
            lambda path: slack_webhook(url_file=path / "none"),
            "none: cannot be read: No such file or directory; put the url",
        ),
        (
            lambda path: pagerduty(routing_key_file=path / "empty"),
            "empty: is empty; put the routing_key into this file",
        ),
        (lambda _: webhook("file:///etc/passwd"), "webhook: give an http:// or https:// address"),
    ],
)
def test_a_wrong_setting_is_one_line_at_the_start(tmp_path: Path, make: Callable[..., Any], said: str) -> None:
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigurationError, match=said):
        make(tmp_path)
