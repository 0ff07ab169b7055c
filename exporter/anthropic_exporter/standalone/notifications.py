"""What Alertmanager sends to the standalone exporter: counted, and one log line each.

The webhook's format: prometheus.io/docs/alerting/latest/configuration, webhook_config, read 2026-11-21.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, NamedTuple

from anthropic_exporter.metrics import families as f
from anthropic_exporter.recorder import Recorder
from anthropic_exporter.web.routes import TEXT, Answer, Request, Route, refusal

_log = logging.getLogger("anthropic_exporter")
#: Alertmanager sends a whole group at once; with the shipped annotations an alert takes about 1.5 kB.
MOST_BYTES = 1_048_576
_SEVERITIES = ("critical", "warning", "info", "none")
_STATUSES = ("firing", "resolved")
_SHOWN_LABELS = ("feature", "model", "job", "instance")
_LONGEST_SHOWN = 80


class Notice(NamedTuple):
    """One alert of one notification."""

    alertname: str
    severity: str
    status: str
    labels: dict[str, str]


def routes(recorder: Recorder, clock: Callable[[], float] = time.time) -> tuple[Route, ...]:
    """`/alerts` for notifications and `/heartbeat` for the watchdog, to give to `serve(recorder, routes=...)`."""

    def alerts(request: Request) -> Answer:
        found = read(request.body)
        if found is None:
            return refusal(HTTPStatus.BAD_REQUEST, "the body is not what Alertmanager's webhook sends")
        for notice in found:
            recorder.count(f.NOTIFICATIONS, notice.severity, notice.status, notice.alertname)
            _log.info("%s", line(notice))
        return Answer(HTTPStatus.OK, TEXT, b"ok\n")

    def heartbeat(_request: Request) -> Answer:
        recorder.set(f.LAST_HEARTBEAT, clock())
        return Answer(HTTPStatus.OK, TEXT, b"ok\n")

    return (
        Route("/alerts", alerts, method="POST", max_body_bytes=MOST_BYTES),
        Route("/heartbeat", heartbeat, method="POST", max_body_bytes=MOST_BYTES),
    )


def read(body: bytes) -> list[Notice] | None:
    """The alerts of one notification; None where it is none."""
    try:
        return [_notice(alert) for alert in json.loads(body)["alerts"]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def line(notice: Notice) -> str:
    """One line for the log: no annotation, no control character, no endless value."""
    shown = {name: notice.labels[name] for name in _SHOWN_LABELS if notice.labels.get(name)}
    words = [notice.status, notice.severity, notice.alertname, *(f"{name}={value}" for name, value in shown.items())]
    return " ".join(ascii(word)[1:-1][:_LONGEST_SHOWN] for word in words)


def _notice(alert: dict[str, Any]) -> Notice:
    labels = {str(name): str(value) for name, value in alert["labels"].items()}
    severity, status = labels.get("severity", "none"), alert["status"]
    if status not in _STATUSES:
        raise ValueError("status")
    return Notice(labels["alertname"], severity if severity in _SEVERITIES else "other", status, labels)
