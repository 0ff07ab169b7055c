"""The rules as a function of the Prometheus that evaluates them: `generate(Fit())` writes the shipped bundle."""

from anthropic_exporter.rules.bundle import generate
from anthropic_exporter.rules.settings import Fit

__all__ = ["Fit", "generate"]
