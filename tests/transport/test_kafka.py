"""What happens when brokers of Kafka go away, or a topic begins again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter.transport import kafka_log
from anthropic_exporter.transport.address import parse
from anthropic_exporter.transport.interface import TransportError
from anthropic_exporter.transport.kafka_log import KafkaLog
from anthropic_exporter.transport.opening import open_transport
from collectors import wait_until
from queue_engines import Kafka

pytest.importorskip("confluent_kafka")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_log, "_SILENT_SECONDS", 0.2)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    transports: list[Any] = []

    def make(url: str) -> KafkaLog:
        transports.append(open_transport(parse(url), "cells"))
        return transports[-1]

    yield make
    for one in transports:
        one.close()


class Reader:
    def __init__(self, transport: KafkaLog) -> None:
        self.transport = transport
        self.found: list[bytes] = []
        self.failures: list[str] = []

    def read(self) -> list[bytes]:
        try:
            self.found += [one.data for one in self.transport.receive(10, 0.1)]
        except TransportError as error:
            self.failures.append(error.reason)
        return self.found


def test_brokers_that_are_gone_are_noticed(tmp_path: Path, opened: Any) -> None:
    """The client library alone returns nothing, as if nobody published."""
    with Kafka(tmp_path) as broker:
        opened(broker.url).send([b"one"])
        reader = Reader(opened(broker.url))
        wait_until(lambda: reader.read() == [b"one"])
        for _ in range(5):
            reader.read()
        assert reader.failures == []
    wait_until(lambda: reader.read() and reader.failures)
    assert reader.found == [b"one"]


def test_a_topic_that_began_again_is_read_from_its_beginning(tmp_path: Path, opened: Any) -> None:
    """Another cluster takes the place of the first: its offsets begin at 0."""
    with Kafka(tmp_path) as successor:
        with Kafka(tmp_path) as broker:
            url = f"{broker.url},{successor.url.partition('://')[2]}"
            sender = opened(broker.url)
            sender.send([b"one", b"two", b"three"])
            reader = Reader(opened(broker.url))
            wait_until(lambda: reader.read() == [b"one", b"two", b"three"])
            position = reader.transport._next
        opened(successor.url).send([b"four"])
        after = Reader(opened(url))
        after.transport._next = position
        wait_until(lambda: after.read() == [b"four"])
        after.transport._next = 5  # as if the topic was made again while it is read
        wait_until(lambda: after.read() == [b"four", b"four"])


def test_a_message_that_is_too_long_is_named(tmp_path: Path, opened: Any) -> None:
    with Kafka(tmp_path) as broker:
        sender = opened(broker.url)
        with pytest.raises(TransportError, match="full: MSG_SIZE_TOO_LARGE"):
            sender.send([bytes(2_000_000)])
        sender.send([b"one"])
