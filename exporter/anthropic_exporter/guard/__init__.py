"""Detects and stops incidents inside the process. Start with `Guard`."""

from __future__ import annotations

from anthropic_exporter.errors import SpendLimitExceeded
from anthropic_exporter.guard.anomalies import CONDITIONS
from anthropic_exporter.guard.breaker import BreakerState
from anthropic_exporter.guard.guard import Guard, Spent, Timing
from anthropic_exporter.guard.notifications.alerts import Alert
from anthropic_exporter.guard.notifications.notifiers import log, pagerduty, slack_webhook, webhook
from anthropic_exporter.guard.thresholds import Limits, Threshold

__all__ = [
    "CONDITIONS",
    "Alert",
    "BreakerState",
    "Guard",
    "Limits",
    "SpendLimitExceeded",
    "Spent",
    "Threshold",
    "Timing",
    "log",
    "pagerduty",
    "slack_webhook",
    "webhook",
]
