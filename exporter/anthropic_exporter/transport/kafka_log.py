"""Kafka and compatible brokers, by librdkafka. Each stream is the first partition of one topic.

The position is an offset; the group of consumers that the client insists on holds no offsets.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import confluent_kafka as kafka

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.transport.address import Address
from anthropic_exporter.transport.interface import NEWEST, Received, TransportError

_ANSWER_SECONDS = 5.0
_GATHER_SECONDS = 0.02
#: Publishers send every second: a topic that is silent for longer, or its brokers, may be gone.
_SILENT_SECONDS = 3.0
_PARTITION = 0
#: Options of librdkafka that a URL may contain: TLS and authentication.
_OPTIONS = frozenset(
    {
        *("security.protocol", "ssl.ca.location", "ssl.certificate.location", "ssl.key.location"),
        *("sasl.mechanisms", "sasl.username", "sasl.password"),
    }
)


class KafkaLog:
    """One topic of a cluster. Brokers create topics on first use, unless configured otherwise.

    Args:
        address: `kafka://host:9092,other:9092`.
        stream: the topic.
        position: the offset after which a receiver continues.
        start: `OLDEST` or `NEWEST`, for a receiver without a position.
    """

    def __init__(self, address: Address, stream: str, *, position: str, start: str) -> None:
        self._config = _checked(address)
        self._topic = stream
        self._acknowledged = position
        self._next: int | None = int(position) + 1 if position.isdigit() else None
        self._newest = start == NEWEST
        self._producer: Any = None
        self._consumer: Any = None
        self._heard_at = 0.0

    def send(self, messages: Sequence[bytes]) -> None:
        """Produce the messages, and wait until the brokers have them."""
        failed: list[Any] = []
        with _translated():
            if self._producer is None:
                self._producer = kafka.Producer(
                    {
                        **self._config,
                        "enable.idempotence": True,
                        "linger.ms": 0,
                        "message.timeout.ms": int(_ANSWER_SECONDS * 1000),
                    }
                )
            for message in messages:
                self._producer.produce(
                    self._topic,
                    message,
                    partition=_PARTITION,
                    on_delivery=lambda error, _: failed.append(error) if error else None,
                )
            left = self._producer.flush(_ANSWER_SECONDS + 1.0)
        if failed or left:
            self._producer = None  # its queued messages must not be sent after newer ones
            raise TransportError(_reason(failed[0]) if failed else "timeout", "not delivered")

    def receive(self, most: int, seconds: float) -> list[Received]:
        """The next messages. Offsets that the brokers no longer have are skipped."""
        with _translated():
            if self._consumer is None and not self._open(seconds):
                return []
            # The client waits until it has as many as requested: wait for one, then take what is there.
            found = self._consumer.consume(1, seconds)
            if found and most > 1:
                found += self._consumer.consume(most - 1, _GATHER_SECONDS)
        received = []
        for one in found:
            if one.error() is None:
                received.append(Received(str(one.offset()), one.value() or b""))
            elif one.error().code() not in _HARMLESS:
                self.close()
                raise TransportError(_reason(one.error()), one.error().name())
        if received:
            self._next, self._heard_at = int(received[-1].token) + 1, time.monotonic()
        elif not found:
            self._check_silence()
        return received

    def _check_silence(self) -> None:
        """Ask the brokers whether there is nothing to read: the client returns nothing, too, if it cannot reach them.

        Begins again if the topic ends before what was read, or has more: it was deleted and made again.

        Raises:
            TransportError: the brokers cannot be reached.
        """
        now = time.monotonic()
        if now - self._heard_at < _SILENT_SECONDS:
            return
        self._heard_at = now
        try:
            with _translated():
                partition = kafka.TopicPartition(self._topic, _PARTITION)
                low, high = self._consumer.get_watermark_offsets(partition, timeout=_ANSWER_SECONDS)
        except TransportError:
            self.close()
            raise
        if (low if self._next is None else self._next) != high:
            self.close()

    def _open(self, seconds: float) -> bool:
        """Start to consume at the position; False while the topic does not exist."""
        consumer = kafka.Consumer(
            {
                **self._config,
                "group.id": f"anthropic-exporter-{self._topic}",
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
            }
        )
        partition = kafka.TopicPartition(self._topic, _PARTITION)
        if self._topic_exists(consumer):
            low, high = consumer.get_watermark_offsets(partition, timeout=_ANSWER_SECONDS)
            partition.offset = self._first(low, high)
            consumer.assign([partition])
            self._consumer, self._heard_at = consumer, time.monotonic()
            return True
        consumer.close()
        time.sleep(min(seconds, 0.2))
        return False

    def _topic_exists(self, consumer: Any) -> bool:
        topics = consumer.list_topics(self._topic, timeout=_ANSWER_SECONDS).topics
        return self._topic in topics and topics[self._topic].error is None

    def _first(self, low: int, high: int) -> int:
        """The first offset; a position behind the end means that the topic was deleted and recreated."""
        if self._next is not None:
            return self._next if low <= self._next <= high else low
        return max(low, high - 1) if self._newest else low

    def acknowledge(self, tokens: Sequence[str]) -> None:
        """Move the position; nothing is committed to the brokers."""
        if tokens:
            self._acknowledged = tokens[-1]

    @property
    def position(self) -> str:
        """The offset of the last acknowledged message."""
        return self._acknowledged

    def close(self) -> None:
        """Leave the brokers."""
        consumer, self._consumer, self._producer = self._consumer, None, None
        if consumer is not None:
            with contextlib.suppress(Exception):
                consumer.close()


_HARMLESS = frozenset({kafka.KafkaError._PARTITION_EOF, kafka.KafkaError.UNKNOWN_TOPIC_OR_PART})  # noqa: SLF001 - its name


def _checked(address: Address) -> dict[str, Any]:
    unknown = address.options.keys() - _OPTIONS
    if unknown:
        raise ConfigurationError(f"queue {address.shown}: unknown option {', '.join(sorted(unknown))[:80]}")
    config: dict[str, Any] = {
        "bootstrap.servers": address.url.partition("://")[2].rpartition("@")[2].rstrip("/"),
        "client.id": "anthropic-exporter",
        "logger": _Silent(),
        "socket.connection.setup.timeout.ms": 2000,
        **address.options,
    }
    try:
        kafka.Producer(config)
    except (kafka.KafkaException, ValueError) as error:
        raise ConfigurationError(f"queue {address.shown}: the Kafka client does not accept these options") from error
    return config


class _Silent:
    """Keeps librdkafka from writing to stderr: every failure is raised by the call that it concerns."""

    def log(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except kafka.KafkaException as error:
        found = error.args[0] if error.args else None
        name = found.name() if isinstance(found, kafka.KafkaError) else "KafkaException"
        raise TransportError(_reason(found), name) from error
    except BufferError as error:
        raise TransportError("full", "BufferError") from error


def _reason(error: Any) -> str:
    name = error.name() if isinstance(error, kafka.KafkaError) else ""
    if "AUTH" in name or "SSL" in name:
        return "refused"
    if "TOO_LARGE" in name:
        return "full"
    if "TIMED_OUT" in name:
        return "timeout"
    return "unreachable" if name in ("_TRANSPORT", "_ALL_BROKERS_DOWN", "_RESOLVE") else "failed"
