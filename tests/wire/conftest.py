"""One fake API for the whole corpus."""

from __future__ import annotations

import pytest

from anthropic_exporter.simulator import fake_api as fake


@pytest.fixture(scope="session")
def wire_api():
    """Plays what a case has recorded."""
    with fake.start() as running:
        yield running
