"""Alerts as Alertmanager tells of them: by webhook, and by its API. Pure.

Formats: prometheus.io/docs/alerting/latest/configuration, webhook_config, and Alertmanager's openapi.yaml of API v2,
read 2026-11-23.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

FIRING, RESOLVED = "firing", "resolved"
_FNV_OFFSET, _FNV_PRIME, _SEPARATOR = 14_695_981_039_346_656_037, 1_099_511_628_211, 255


class IncomingAlert(NamedTuple):
    """One alert. `started_at` is Alertmanager's own text; with the fingerprint it tells one firing from another."""

    name: str
    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    fingerprint: str
    started_at: str

    @property
    def feature(self) -> str:
        """The feature that it is about; empty where it is about none, or about unattributed calls."""
        return self.labels.get("feature", "")

    @property
    def remedy(self) -> str:
        """The remedy that its label asks for; empty where it asks for none."""
        return self.labels.get("remedy", "")

    @property
    def key(self) -> tuple[str, str]:
        """What is the same each time Alertmanager repeats itself."""
        return self.fingerprint, self.started_at


def of_webhook(body: bytes) -> list[IncomingAlert]:
    """The alerts of one notification.

    Raises:
        ValueError: the body is not what Alertmanager sends.
    """
    try:
        return [_alert(one, one["status"]) for one in json.loads(body)["alerts"]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("not what Alertmanager sends") from error


def of_api(body: bytes) -> list[IncomingAlert]:
    """The active alerts of `/api/v2/alerts`.

    Raises:
        ValueError: the body is not what Alertmanager sends.
    """
    try:
        return [_alert(one, FIRING) for one in json.loads(body) if one["status"]["state"] == "active"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("not what Alertmanager sends") from error


def _alert(one: Mapping[str, Any], status: str) -> IncomingAlert:
    if status not in (FIRING, RESOLVED):
        raise ValueError("status")
    labels, annotations = _texts(one["labels"]), _texts(one.get("annotations") or {})
    fingerprint, started_at = one["fingerprint"], one["startsAt"]
    if not (isinstance(fingerprint, str) and fingerprint and isinstance(started_at, str) and started_at):
        raise ValueError("fingerprint")
    return IncomingAlert(labels["alertname"], status, labels, annotations, fingerprint, started_at)


def _texts(mapping: Mapping[Any, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in mapping.items()}


def fingerprint(labels: Mapping[str, str]) -> str:
    """Alertmanager's fingerprint of a label set: 64-bit FNV-1a over names and values, sorted by name."""
    value = _FNV_OFFSET
    for name in sorted(labels):
        for byte in (*name.encode(), _SEPARATOR, *labels[name].encode(), _SEPARATOR):
            value = (value ^ byte) * _FNV_PRIME % 2**64
    return f"{value:016x}"
