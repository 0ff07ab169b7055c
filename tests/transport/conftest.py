"""Queues that run once a module; each test has streams of its own on them."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator

import pytest

import queue_engines

LIBRARIES = {"redis": "redis", "nats": "nats", "kafka": "confluent_kafka"}


@pytest.fixture(scope="module", params=["redis", "nats", "kafka"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[queue_engines.Kafka | queue_engines.Nats | queue_engines.Redis]:
    """A running queue of each kind whose client is installed."""
    if importlib.util.find_spec(LIBRARIES[request.param]) is None:
        pytest.skip(f"the client for {request.param} is not installed")
    engine = {"redis": queue_engines.Redis, "nats": queue_engines.Nats, "kafka": queue_engines.Kafka}[request.param]
    with engine(tmp_path_factory.mktemp(request.param)) as running:
        yield running


@pytest.fixture
def queue_url(server: queue_engines.Kafka | queue_engines.Nats | queue_engines.Redis) -> str:
    return server.url
