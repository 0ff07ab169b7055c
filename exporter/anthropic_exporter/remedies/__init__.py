"""Acts on alerts from outside. Start with `Remedies`."""

from __future__ import annotations

from anthropic_exporter.remedies.remedies import Remedies
from anthropic_exporter.wire.alertmanager import FIRING, RESOLVED, IncomingAlert

__all__ = ["FIRING", "RESOLVED", "IncomingAlert", "Remedies"]
