"""Fixtures around the fake Anthropic API: a server with its own clock, and SDK clients that talk to it."""

from __future__ import annotations

import anthropic
import pytest

from anthropic_exporter.simulator import fake_api as fake

FAST = 1_000_000.0


class ManualClock:
    """Seconds since the epoch that pass only when a test says so."""

    def __init__(self, now=1_800_000_000.0):
        self.now = now

    def __call__(self):
        return self.now

    def advance(self, seconds):
        self.now += seconds


@pytest.fixture
def api_clock():
    """The clock of the fake API: its cache and its rate limits."""
    return ManualClock()


@pytest.fixture
def start_fake_api(api_clock):
    """Start a fake API with the given `Behaviour` fields; without latency unless told otherwise."""
    started = []

    def start(**behaviour):
        started.append(fake.start(fake.Behaviour(**{"speed": FAST} | behaviour), clock=api_clock))
        return started[-1]

    yield start
    for api in started:
        api.close()


@pytest.fixture
def fake_api(start_fake_api):
    """A fake API without latency: `.base_url`, `.push(Scripted...)`, `.requests`, `.cache`."""
    return start_fake_api()


@pytest.fixture
def sdk_client(fake_api):
    """A sync SDK client of the fake API; retries off, no middleware."""
    with anthropic.Anthropic(api_key="sk-ant-test", base_url=fake_api.base_url, max_retries=0) as client:
        yield client


@pytest.fixture
async def async_sdk_client(fake_api):
    """An async SDK client of the fake API; retries off, no middleware."""
    async with anthropic.AsyncAnthropic(api_key="sk-ant-test", base_url=fake_api.base_url, max_retries=0) as client:
        yield client
