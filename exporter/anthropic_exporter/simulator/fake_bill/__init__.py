"""A fake of Anthropic's bill: the Usage and Cost Analytics API and the endpoints before it, on loopback."""

from __future__ import annotations

from anthropic_exporter.simulator.fake_bill.books import Books, Use
from anthropic_exporter.simulator.fake_bill.server import FakeBill

__all__ = ["Books", "FakeBill", "Use"]
