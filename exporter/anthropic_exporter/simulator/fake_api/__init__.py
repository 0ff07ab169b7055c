"""A fake Anthropic API on loopback that speaks the real wire format and keeps a real prompt cache."""

from __future__ import annotations

from anthropic_exporter.simulator.fake_api.behaviour import Behaviour
from anthropic_exporter.simulator.fake_api.script import Chunk, Scripted
from anthropic_exporter.simulator.fake_api.server import FakeApi, start

__all__ = ["Behaviour", "Chunk", "FakeApi", "Scripted", "start"]
