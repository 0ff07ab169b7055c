"""Alerts as Alertmanager sends them: by webhook, and by its API. Pure.

Formats: prometheus.io/docs/alerting/latest/configuration, webhook_config, and Alertmanager's openapi.yaml of API v2,
read 2026-11-23.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

FIRING, RESOLVED = "firing", "resolved"
#: Severities of the shipped rules; any other one is "other".
SEVERITIES = ("critical", "warning", "info", "none")
_FNV_OFFSET, _FNV_PRIME, _SEPARATOR = 14_695_981_039_346_656_037, 1_099_511_628_211, 255
#: Alertmanager's fingerprints have 16 characters, its times 35 at most; both are remembered, so both are bounded.
_LONGEST_IDENTITY = 64
#: Alerts wait for their remedies, a thousand of each: one that is a megabyte must not be kept whole. Ours have 2 kB.
_MOST_CHARS_OF_ONE = 2_048
_MOST_CHARS = 16_384
#: The labels and annotations that are read; an alert may have others.
_KEPT_FIRST = ("alertname", "severity", "feature", "model", "remedy", "began", "summary", "description")


class IncomingAlert(NamedTuple):
    """One alert.

    `started_at` is Alertmanager's own text, empty if it is missing; with the fingerprint it distinguishes one firing
    from another. `authenticated` says whether the sender proved who it is.
    """

    name: str
    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    fingerprint: str
    started_at: str
    authenticated: bool = False

    @property
    def feature(self) -> str:
        """The alert's feature; empty if it has none, or if it is about unattributed calls."""
        return self.labels.get("feature", "")

    @property
    def remedy(self) -> str:
        """The remedy that the alert's label requests; empty if there is none."""
        return self.labels.get("remedy", "")

    @property
    def severity(self) -> str:
        """One of `SEVERITIES`, or "other"; "none" if the alert has no severity."""
        severity = self.labels.get("severity", "none")
        return severity if severity in SEVERITIES else "other"

    @property
    def key(self) -> tuple[str, str]:
        """The same each time Alertmanager repeats the alert."""
        return self.fingerprint, self.started_at

    @property
    def started_seconds(self) -> float | None:
        """When it began to fire, in seconds since the epoch; None if unknown."""
        return parse_time(self.started_at) if self.started_at else None

    @property
    def began_seconds(self) -> float | None:
        """When its incident began, as the rules found it, in seconds since the epoch; None if unknown."""
        try:
            found = float(self.annotations.get("began", ""))
        except ValueError:
            return None
        return found if math.isfinite(found) else None


def parse_webhook(body: bytes) -> list[IncomingAlert]:
    """The alerts of one notification.

    Raises:
        ValueError: the body is not what Alertmanager sends.
    """
    try:
        return [_alert(one, one["status"]) for one in json.loads(body)["alerts"]]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("not what Alertmanager sends") from error


def parse_api(body: bytes) -> list[IncomingAlert]:
    """The active alerts of `/api/v2/alerts`.

    Raises:
        ValueError: the body is not what Alertmanager sends.
    """
    try:
        return [_alert(one, FIRING) for one in json.loads(body) if one["status"]["state"] == "active"]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("not what Alertmanager sends") from error


def parse_time(text: str) -> float:
    """Seconds since the epoch of a time as Go writes it, with up to nine digits of a second.

    Raises:
        ValueError: not a time with its offset.
    """
    trimmed = re.sub(r"\.(\d{1,9})(?=[+-]|$)", lambda digits: f".{digits[1][:6]:0<6}", re.sub("[zZ]$", "+00:00", text))
    found = dt.datetime.fromisoformat(trimmed)
    if found.tzinfo is None:
        raise ValueError("no offset from UTC")
    return found.timestamp()


def fingerprint(labels: Mapping[str, str]) -> str:
    """Alertmanager's fingerprint of a label set: 64-bit FNV-1a over names and values, sorted by name."""
    value = _FNV_OFFSET
    for name in sorted(labels):
        for byte in (*_bytes(name), _SEPARATOR, *_bytes(labels[name]), _SEPARATOR):
            value = (value ^ byte) * _FNV_PRIME % 2**64
    return f"{value:016x}"


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")  # JSON may hold half a surrogate pair


def _alert(one: Mapping[str, Any], status: str) -> IncomingAlert:
    if status not in (FIRING, RESOLVED):
        raise ValueError("status")
    labels, annotations = _texts(one["labels"]), _texts(one.get("annotations") or {})
    # Computed only where it is missing: a megabyte of labels takes a tenth of a second.
    identity = one["fingerprint"] if "fingerprint" in one else fingerprint(labels), one.get("startsAt", "")
    labels, annotations = _kept(labels), _kept(annotations)
    if not all(isinstance(text, str) and len(text) <= _LONGEST_IDENTITY for text in identity) or not identity[0]:
        raise ValueError("fingerprint or startsAt")
    alert = IncomingAlert(labels["alertname"], status, labels, annotations, *identity)
    _ = alert.started_seconds  # raises if it is not a time
    return alert


def _kept(texts: dict[str, str]) -> dict[str, str]:
    """The texts, long ones cut; if they are more than an alert may keep, those that nothing here reads are left out."""
    if sum(map(len, texts.values())) + sum(map(len, texts)) <= _MOST_CHARS and not any(
        len(text) > _MOST_CHARS_OF_ONE for text in texts.values()
    ):
        return texts
    kept, room = {}, _MOST_CHARS
    for name in sorted(texts, key=lambda name: name not in _KEPT_FIRST):
        text = texts[name][:_MOST_CHARS_OF_ONE]
        room -= len(name) + len(text)
        if room < 0:
            break
        kept[name] = text
    return kept


def _texts(mapping: Mapping[Any, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in mapping.items()}
