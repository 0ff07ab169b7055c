"""One fake API for the whole corpus."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from anthropic_exporter.simulator import fake_api as fake


@pytest.fixture(scope="session")
def wire_api() -> Iterator[fake.FakeApi]:
    """Plays what a case has recorded."""
    with fake.start() as running:
        yield running


@pytest.fixture(autouse=True)
def _shipped_prices_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The corpus is priced by the shipped book, whether or not genai-prices is installed."""
    monkeypatch.setattr("anthropic_exporter.pricing.genai_lookup.installed", lambda: False)
