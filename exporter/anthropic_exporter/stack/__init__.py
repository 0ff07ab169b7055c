"""A real Prometheus and a real Alertmanager on free loopback ports, with the shipped rules and routing."""

from __future__ import annotations

from anthropic_exporter.stack.config import ThresholdOverride
from anthropic_exporter.stack.receiver import Notification, Receiver
from anthropic_exporter.stack.running import Stack, start

__all__ = ["Notification", "Receiver", "Stack", "ThresholdOverride", "start"]
