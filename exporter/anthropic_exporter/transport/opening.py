"""Opens the transport of a URL. Imports the client library only when it is used."""

from __future__ import annotations

from anthropic_exporter.transport.address import Address
from anthropic_exporter.transport.interface import OLDEST, Transport


def open_transport(
    address: Address, stream: str, *, position: str = "", start: str = OLDEST, most_messages: int | None = None
) -> Transport:
    """Return a transport on one stream. It connects later, so that a program starts even if the queue is down.

    Args:
        address: where the queue is.
        stream: its stream.
        position: where a receiver continues.
        start: where a receiver without a position begins: `OLDEST` or `NEWEST`.
        most_messages: how many messages the stream keeps; the address' own number if not given.

    Raises:
        ConfigurationError: the library does not accept the URL.
    """
    most = address.most_messages if most_messages is None else most_messages
    if address.engine == "redis":
        from anthropic_exporter.transport.redis_streams import RedisStream  # noqa: PLC0415 - see above

        return RedisStream(address, stream, position=position, start=start, most_messages=most)
    if address.engine == "nats":
        from anthropic_exporter.transport.nats_jetstream import NatsStream  # noqa: PLC0415 - see above

        return NatsStream(address, stream, position=position, start=start, most_messages=most)
    from anthropic_exporter.transport.kafka_log import KafkaLog  # noqa: PLC0415 - see above

    return KafkaLog(address, stream, position=position, start=start)
