"""SDK clients that carry the recorder's middleware and talk to the fake API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import pytest

from anthropic_exporter import Recorder
from anthropic_exporter.simulator.fake_api import FakeApi


@pytest.fixture
def client_options(fake_api: FakeApi) -> dict[str, Any]:
    """What a client of the fake API is made with."""
    return {"api_key": "sk-ant-test", "base_url": fake_api.base_url, "max_retries": 0}


@pytest.fixture
def client(client_options: dict[str, Any], recorder: Recorder) -> Iterator[anthropic.Anthropic]:
    """A sync client that is recorded; retries off."""
    with anthropic.Anthropic(**client_options, middleware=[recorder.middleware()]) as client:
        yield client


@pytest.fixture
async def async_client(client_options: dict[str, Any], recorder: Recorder) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """An async client that is recorded; retries off."""
    async with anthropic.AsyncAnthropic(**client_options, middleware=[recorder.middleware()]) as client:
        yield client
