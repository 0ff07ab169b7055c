"""Finds Prometheus, Alertmanager and their tools on PATH, or unpacks them from the distribution's packages."""

from __future__ import annotations

from anthropic_exporter.toolchain.tools import DEFAULT, TOOLS, find, provide, unpack_package

__all__ = ["DEFAULT", "TOOLS", "find", "provide", "unpack_package"]
