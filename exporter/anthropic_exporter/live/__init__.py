"""The live page: what a process or a fleet spends on Claude, now and in the last 15 minutes, without Prometheus."""

from __future__ import annotations

from anthropic_exporter.live.feeds import CallFeed
from anthropic_exporter.live.page import Live

__all__ = ["CallFeed", "Live"]
