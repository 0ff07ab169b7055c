"""Fixtures around the fake Anthropic API: a server with its own clock, and SDK clients that talk to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anthropic
import pytest

from anthropic_exporter.simulator import fake_api as fake

FAST = 1_000_000.0


class ManualClock:
    """Seconds since the epoch that pass only when a test says so."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: int) -> None:
        self.now += seconds


@pytest.fixture
def api_clock() -> ManualClock:
    """The clock of the fake API: its cache and its rate limits."""
    return ManualClock()


@pytest.fixture
def start_fake_api(api_clock: ManualClock) -> Iterator[Callable[..., fake.FakeApi]]:
    """Start a fake API with the given `Behaviour` fields; without latency unless told otherwise."""
    started = []

    def start(**behaviour: Any) -> fake.FakeApi:
        started.append(fake.start(fake.Behaviour(**{"speed": FAST} | behaviour), clock=api_clock))
        return started[-1]

    yield start
    for api in started:
        api.close()


@pytest.fixture
def fake_api(start_fake_api: Callable[..., fake.FakeApi]) -> fake.FakeApi:
    """A fake API without latency: `.base_url`, `.push(Scripted...)`, `.requests`, `.cache`."""
    return start_fake_api()


@pytest.fixture
def sdk_client(fake_api: fake.FakeApi) -> Iterator[anthropic.Anthropic]:
    """A sync SDK client of the fake API; retries off, no middleware."""
    with anthropic.Anthropic(api_key="sk-ant-test", base_url=fake_api.base_url, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_sdk_client(fake_api: fake.FakeApi) -> AsyncIterator[anthropic.AsyncAnthropic]:
    """An async SDK client of the fake API; retries off, no middleware."""
    async with anthropic.AsyncAnthropic(api_key="sk-ant-test", base_url=fake_api.base_url, max_retries=0) as client:
        yield client
