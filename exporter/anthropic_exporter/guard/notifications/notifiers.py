"""Ready-made callbacks: Slack, PagerDuty, a webhook in Alertmanager's format, the log. Standard library only.

Foreign text is escaped for its destination. A request takes at most `timeout` seconds, even if the service is slow.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import logging
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anthropic_exporter import bounded_files
from anthropic_exporter.bounded_http import AnswerTooLongError, checked, fetch
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.escaping import for_log, for_slack
from anthropic_exporter.guard.notifications.alerts import FIRING, Alert
from anthropic_exporter.wire.alertmanager import fingerprint

_TIMEOUT_SECONDS = 5.0
_MOST_ANSWER_BYTES = 65_536
_COLOURS = {"critical": "#d00000", "warning": "#e8a317", "info": "#439fe0"}
#: Keeps Slack from making mentions and links (api.slack.com/methods/chat.postMessage, read 2026-11-30).
_AS_WRITTEN = {"parse": "none", "link_names": False, "unfurl_links": False, "unfurl_media": False}
_PAGERDUTY_EVENTS = "https://events.pagerduty.com/v2/enqueue"
_PAGERDUTY_SUMMARY_CHARS = 1024

Callback = Callable[[Alert], None]


def slack_webhook(
    *, url_file: str | Path | None = None, url: str | None = None, timeout: float = _TIMEOUT_SECONDS
) -> Callback:
    """Post to a Slack incoming webhook.

    Args:
        url_file: a file with the webhook's address, which is a secret; read again for each alert.
        url: the address itself, if it is not a secret.
        timeout: seconds.

    Raises:
        ConfigurationError: neither or both are given, or the file cannot be read.
    """
    address = _secret("slack_webhook", "url", url, url_file)

    def slack(alert: Alert) -> None:
        _post(checked(address(), "slack_webhook"), slack_message(alert), timeout)

    return slack


def pagerduty(
    *,
    routing_key_file: str | Path | None = None,
    routing_key: str | None = None,
    url: str = _PAGERDUTY_EVENTS,
    timeout: float = _TIMEOUT_SECONDS,
) -> Callback:
    """Trigger and resolve a PagerDuty incident through the Events API v2; the same alert is the same incident.

    Args:
        routing_key_file: a file that holds the integration key; read again for each alert.
        routing_key: the key itself.
        url: where events are sent.
        timeout: seconds.

    Raises:
        ConfigurationError: neither or both keys are given, or the file cannot be read.
    """
    key = _secret("pagerduty", "routing_key", routing_key, routing_key_file)
    source = socket.gethostname()

    def pagerduty(alert: Alert) -> None:
        _post(checked(url, "pagerduty"), pagerduty_event(alert, key(), source), timeout)

    return pagerduty


def webhook(url: str, *, token_file: str | Path | None = None, timeout: float = _TIMEOUT_SECONDS) -> Callback:
    """Post to any address in the format of Alertmanager's webhook, version 4.

    Args:
        url: the address.
        token_file: a file with a bearer token, if the address requires one.
        timeout: seconds.

    Raises:
        ConfigurationError: no http(s) address, or the file cannot be read.
    """
    checked(url, "webhook")
    token = None if token_file is None else _secret("webhook", "token", None, token_file)

    def webhook(alert: Alert) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token()}"}
        _post(url, alertmanager_message(alert), timeout, headers)

    return webhook


def log(logger: logging.Logger | None = None) -> Callback:
    """Write one line a change: critical alerts as errors, the others and their ends as warnings and information."""
    target = logger or logging.getLogger("anthropic_exporter.guard")
    levels = {"critical": logging.ERROR, "warning": logging.WARNING}

    def log(alert: Alert) -> None:
        level = levels.get(alert.severity, logging.INFO) if alert.status == FIRING else logging.INFO
        target.log(level, "%s %s: %s", alert.name, alert.status, for_log(alert.description))

    return log


# -- the formats


def slack_message(alert: Alert) -> dict[str, Any]:
    """The body of an incoming webhook (api.slack.com/messaging/webhooks and /reference/messaging/attachments)."""
    title = f"[{alert.status.upper()}] {alert.name}"
    fields = [{"title": key, "value": for_slack(value), "short": True} for key, value in alert.labels.items()]
    attachment = {
        "color": _COLOURS.get(alert.severity, "#808080") if alert.status == FIRING else "#2eb886",
        "fallback": f"{title}: {for_slack(alert.summary)}",
        "title": title,
        "text": f"{for_slack(alert.summary)}\n{for_slack(alert.description)}",
        "fields": [one for one in fields if one["title"] != "alertname"],
        "ts": int(alert.started_at if alert.ended_at is None else alert.ended_at),
    }
    return {"text": f"{title}: {for_slack(alert.summary)}", "attachments": [attachment], **_AS_WRITTEN}


def pagerduty_event(alert: Alert, routing_key: str, source: str) -> dict[str, Any]:
    """The body of an event (developer.pagerduty.com, Events API v2)."""
    action = "trigger" if alert.status == FIRING else "resolve"
    event: dict[str, Any] = {"routing_key": routing_key, "event_action": action, "dedup_key": fingerprint(alert.labels)}
    if alert.status == FIRING:
        severity = alert.severity if alert.severity in ("critical", "error", "warning", "info") else "warning"
        event["payload"] = {
            "summary": for_log(f"{alert.name}: {alert.description}", _PAGERDUTY_SUMMARY_CHARS),
            "source": source,
            "severity": severity,
            "timestamp": _rfc3339(alert.started_at),
            "component": for_log(alert.feature) or "anthropic",
            "group": alert.category,
            "class": alert.name,
            "custom_details": {
                **{key: for_log(value) for key, value in alert.labels.items()},
                "value": alert.value,
                "threshold": alert.threshold,
            },
        }
    return event


def alertmanager_message(alert: Alert) -> dict[str, Any]:
    """The body of a webhook notification (prometheus.io/docs/alerting/latest/configuration, webhook_config)."""
    labels = alert.labels
    annotations = {"summary": alert.summary, "description": alert.description}
    grouped = {key: labels[key] for key in ("alertname", "feature", "model") if key in labels}
    return {
        "version": "4",
        "groupKey": "{}:{" + ", ".join(f"{key}={json.dumps(value)}" for key, value in grouped.items()) + "}",
        "truncatedAlerts": 0,
        "status": alert.status,
        "receiver": "guard",
        "groupLabels": grouped,
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [
            {
                "status": alert.status,
                "labels": labels,
                "annotations": annotations,
                "startsAt": _rfc3339(alert.started_at),
                "endsAt": "0001-01-01T00:00:00Z" if alert.ended_at is None else _rfc3339(alert.ended_at),
                "generatorURL": "",
                "fingerprint": fingerprint(labels),
            }
        ],
    }


def _rfc3339(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- sending


def _post(url: str, body: dict[str, Any], timeout: float, headers: dict[str, str] | None = None) -> None:
    """Post JSON. Of the answer, only the status matters."""
    data = json.dumps(body).encode()
    sent = {"Content-Type": "application/json", "User-Agent": "anthropic-exporter", **(headers or {})}
    with contextlib.suppress(AnswerTooLongError):  # with a status of 2xx: delivered
        fetch(url, body=data, headers=sent, timeout=timeout, most_bytes=_MOST_ANSWER_BYTES)


def _secret(what: str, name: str, value: str | None, path: str | Path | None) -> Callable[[], str]:
    """A function that gives the secret as it is now: a file is read each time, so that it can be replaced."""
    if (value is None) == (path is None):
        raise ConfigurationError(f"{what}: give {name}_file=... or {name}=..., one of them")
    if path is None:
        return lambda: value or ""

    def read() -> str:
        try:
            found = bounded_files.read_text(Path(path), bounded_files.MOST_SECRET_BYTES).strip()
        except ConfigurationError as error:
            raise ConfigurationError(f"{what}: {error}; put the {name} into this file") from error
        if not found:
            raise ConfigurationError(f"{what}: {path}: is empty; put the {name} into this file")
        return found

    read()
    return read
