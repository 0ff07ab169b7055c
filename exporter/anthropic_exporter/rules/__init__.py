"""Generates the rules for a Prometheus: `generate(Fit())` returns the shipped bundle."""

from anthropic_exporter.rules.bundle import generate
from anthropic_exporter.rules.settings import Fit

__all__ = ["Fit", "generate"]
