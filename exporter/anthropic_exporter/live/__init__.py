"""The live page: what this process spends on Claude now and spent in the last 15 minutes, without Prometheus."""

from __future__ import annotations

from anthropic_exporter.live.page import Live

__all__ = ["Live"]
