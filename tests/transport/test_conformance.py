"""What every queue has to do, asked of real servers in the same words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.transport.address import parse
from anthropic_exporter.transport.interface import NEWEST, OLDEST, Received
from anthropic_exporter.transport.kafka_log import KafkaLog
from anthropic_exporter.transport.nats_jetstream import NatsStream
from anthropic_exporter.transport.opening import open_transport
from anthropic_exporter.transport.redis_streams import RedisStream

PATIENCE_SECONDS = 60
MESSAGES = [b"%04d" % number + b"\x00\xff" * 1000 for number in range(500)]


@pytest.fixture
def opened(queue_url: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    transports = []

    def make(stream: str = "one", **options: str) -> Any:
        own = f"{request.node.originalname}-{stream}"  # each test has streams of its own on the shared server
        transports.append(open_transport(parse(queue_url), own, **{"most_messages": 10_000, **options}))  # type: ignore[arg-type]
        return transports[-1]

    yield make
    for transport in transports:
        transport.close()


def drained(transport: KafkaLog | NatsStream | RedisStream, count: int, most: int = 100) -> list[Received]:
    """The next `count` messages, in parts; one more that comes at once is found, too."""
    found: list[Any] = []
    while len(found) < count:
        part = transport.receive(most, PATIENCE_SECONDS)
        assert part, f"{len(found)} of {count} came"
        found += part
    return found + transport.receive(most, 0.05)


def test_messages_arrive_whole_once_and_in_order(opened: Callable[..., Any]) -> None:
    sender, receiver = opened(), opened()
    for first in range(0, 500, 100):
        sender.send(MESSAGES[first : first + 100])
    assert [one.data for one in drained(receiver, 500)] == MESSAGES


def test_a_successor_continues_behind_what_was_acknowledged(opened: Callable[..., Any]) -> None:
    opened().send(MESSAGES)
    dead = opened()
    taken: list[Any] = []
    while len(taken) < 400:
        taken += dead.receive(400 - len(taken), 5)
    dead.acknowledge([one.token for one in taken[:250]])
    successor = opened(position=dead.position)
    assert [one.data for one in drained(successor, 250)] == MESSAGES[250:]


def test_a_receiver_without_a_position_reads_from_the_beginning(opened: Callable[..., Any]) -> None:
    opened().send(MESSAGES[:3])
    receiver = opened(start=OLDEST)
    assert receiver.position == ""
    assert [one.data for one in drained(receiver, 3)] == MESSAGES[:3]


def test_one_that_follows_gets_the_newest_message_and_what_comes_next(opened: Callable[..., Any]) -> None:
    sender = opened()
    sender.send(MESSAGES[:3])
    follower = opened(start=NEWEST)
    assert [one.data for one in drained(follower, 1)] == MESSAGES[2:3]
    sender.send(MESSAGES[3:5])
    assert [one.data for one in drained(follower, 2)] == MESSAGES[3:5]


def test_every_follower_gets_every_message(opened: Callable[..., Any]) -> None:
    sender, first, second = opened(), opened(start=NEWEST), opened(start=NEWEST)
    sender.send(MESSAGES[:1])
    assert [one.data for one in drained(first, 1)] == [one.data for one in drained(second, 1)] == MESSAGES[:1]


def test_streams_do_not_mix(opened: Callable[..., Any]) -> None:
    opened("one").send(MESSAGES[:2])
    opened("two").send(MESSAGES[2:3])
    assert [one.data for one in drained(opened("two"), 1)] == MESSAGES[2:3]


def test_reading_a_stream_that_does_not_exist_yet_waits(opened: Callable[..., Any]) -> None:
    receiver = opened("later")
    assert receiver.receive(10, 0.05) == []
    opened("later").send(MESSAGES[:1])
    assert [one.data for one in drained(receiver, 1)] == MESSAGES[:1]


def test_closing_twice_is_fine(opened: Callable[..., Any]) -> None:
    transport = opened()
    transport.send(MESSAGES[:1])
    transport.close()
    transport.close()


def test_an_option_that_does_not_exist_is_an_error_at_start(queue_url: str) -> None:
    with pytest.raises(ConfigurationError, match="unknown option colour"):
        open_transport(parse(f"{queue_url}?colour=blue"), "one")
