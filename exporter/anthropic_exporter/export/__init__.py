"""The bundle for a Prometheus that is already there: `anthropic-exporter export` writes it into a folder."""

from __future__ import annotations

from anthropic_exporter.export.plan import files, left_out
from anthropic_exporter.export.writing import FileOutcome, left_over, write

__all__ = ["FileOutcome", "files", "left_out", "left_over", "write"]
