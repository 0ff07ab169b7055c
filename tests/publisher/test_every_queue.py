"""Publishing through each kind of queue: what a process counted arrives, and a kill of the server loses nothing."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import Call, Recorder, publish
from anthropic_exporter.collector.merge import Fleet
from anthropic_exporter.transport.address import parse
from anthropic_exporter.transport.cells_message import decode
from anthropic_exporter.transport.interface import TransportError
from anthropic_exporter.transport.opening import open_transport
from collectors import wait_until
from fleet_messages import total
from queue_engines import Kafka, Nats, Redis

ENGINES = {"redis": Redis, "nats": Nats, "kafka": Kafka}
LIBRARIES = {"redis": "redis", "nats": "nats", "kafka": "confluent_kafka"}
TOKENS = "anthropic_tokens_total"


@pytest.fixture(params=ENGINES)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    if importlib.util.find_spec(LIBRARIES[request.param]) is None:
        pytest.skip(f"the client for {request.param} is not installed")
    with ENGINES[request.param](tmp_path / "queue") as running:
        yield running


@pytest.fixture
def recorder() -> Any:
    return Recorder(registry=None)


class Reader:
    def __init__(self, url: Any) -> None:
        self.fleet = Fleet("life")
        self.transport = open_transport(parse(url), "anthropic-cells")

    def output_tokens(self) -> Any:
        try:
            for one in self.transport.receive(100, 0.2):
                self.fleet.take(decode(one.data), 0.0)
        except TransportError:
            pass
        return total(self.fleet, TOKENS, type="output")


def test_what_was_counted_arrives(server: Redis, recorder: Recorder, call: Callable[..., Call]) -> None:
    reader = Reader(server.url)
    with publish(recorder, server.url, service="api", period_seconds=0.1):
        recorder.record(call(output=171))
        wait_until(lambda: reader.output_tokens() == 171.0)
        recorder.record(call(output=29))
        wait_until(lambda: reader.output_tokens() == 200.0)
    reader.transport.close()


def test_a_kill_of_the_server_loses_nothing(server: Redis, recorder: Recorder, call: Callable[..., Call]) -> None:
    if isinstance(server, Kafka):
        pytest.skip("the broker lives in this process")
    reader = Reader(server.url)
    with publish(recorder, server.url, service="api", period_seconds=0.1):
        recorder.record(call(output=171))
        wait_until(lambda: reader.output_tokens() == 171.0)
        server.kill()
        recorder.record(call(output=29))
        assert reader.output_tokens() == 171.0
        server.start()
        wait_until(lambda: reader.output_tokens() == 200.0)
    reader.transport.close()
