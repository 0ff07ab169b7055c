"""Sends what this process counted to a collector. Start with `publish`."""

from __future__ import annotations

from anthropic_exporter.publisher.publisher import Publisher, publish, publishing

__all__ = ["Publisher", "publish", "publishing"]
