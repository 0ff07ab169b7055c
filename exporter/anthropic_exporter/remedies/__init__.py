"""Remedies: what is done about an alert that comes from outside. Start with `Remedies`."""

from __future__ import annotations

from anthropic_exporter.remedies.incoming import FIRING, RESOLVED, IncomingAlert
from anthropic_exporter.remedies.remedies import Remedies

__all__ = ["FIRING", "RESOLVED", "IncomingAlert", "Remedies"]
