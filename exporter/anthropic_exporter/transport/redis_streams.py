"""Redis Streams, for Redis 5 and later and compatible servers (Valkey, managed services), with or without TLS.

No consumer group: the position is the id of the last message that was durably merged.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from anthropic_exporter import bounded_files
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.transport import tls
from anthropic_exporter.transport.address import Address
from anthropic_exporter.transport.interface import NEWEST, Received, TransportError

_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 5.0
_FIELD = b"m"
_BEGINNING = "0-0"
_CODE = re.compile(r"[A-Z]{3,20}\b")
#: TLS options that a URL may contain, with the names of the client library.
_TLS = frozenset({"ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname"})


class RedisStream:
    """One stream of a Redis server.

    Args:
        address: the server.
        stream: the key of the stream.
        position: the id behind which a receiver goes on.
        start: `OLDEST` or `NEWEST`, for a receiver without a position.
        most_messages: the stream is trimmed to about this length with each message.
    """

    def __init__(self, address: Address, stream: str, *, position: str, start: str, most_messages: int) -> None:
        self._address = address
        self._stream = stream
        self._most = most_messages
        self._acknowledged = position
        self._read_to = position or ("" if start == NEWEST else _BEGINNING)
        self._redis = _client(address)

    def send(self, messages: Sequence[bytes]) -> None:
        """Append the messages in one round trip."""
        with _translated():
            pipeline = self._redis.pipeline(transaction=False)
            for message in messages:
                pipeline.xadd(self._stream, {_FIELD: message}, maxlen=self._most, approximate=True)
            pipeline.execute()

    def receive(self, most: int, seconds: float) -> list[Received]:
        """The next messages. A stream that was deleted and began again is read from its beginning."""
        with _translated():
            if not self._read_to:
                self._read_to = self._before_newest()
            answer = self._redis.xread({self._stream: self._read_to}, count=most, block=max(1, int(seconds * 1000)))
            found = _received(answer)
            if found:
                self._read_to = found[-1].token
            elif self._began_again():
                self._read_to = _BEGINNING
            return found

    def _before_newest(self) -> str:
        newest: Any = self._redis.xrevrange(self._stream, count=2)
        return _text(newest[1][0]) if len(newest) > 1 else _BEGINNING

    def _began_again(self) -> bool:
        """Whether the newest id of the stream is older than what was read: it was lost with its server's disk."""
        try:
            info: Any = self._redis.xinfo_stream(self._stream)
        except redis.ResponseError:  # no stream yet
            return self._read_to != _BEGINNING
        return _key(_text(info["last-generated-id"])) < _key(self._read_to)

    def acknowledge(self, tokens: Sequence[str]) -> None:
        """Move the position; nothing is kept in Redis."""
        if tokens:
            self._acknowledged = tokens[-1]

    @property
    def position(self) -> str:
        """The id of the last acknowledged message."""
        return self._acknowledged

    def close(self) -> None:
        """Close the connections."""
        with contextlib.suppress(redis.RedisError, OSError):
            self._redis.close()


def _client(address: Address) -> redis.Redis:
    database = urlsplit(address.url).path.strip("/")
    if database and not database.isdigit():
        raise ConfigurationError(
            f"queue {address.shown}: the path must be the number of a database, as in redis://queue/0"
        )
    unknown = address.options.keys() - _TLS
    if unknown:
        raise ConfigurationError(f"queue {address.shown}: unknown option {', '.join(sorted(unknown))[:80]}")
    if address.options and address.scheme != "rediss":
        raise ConfigurationError(f"queue {address.shown}: {', '.join(sorted(address.options))} needs rediss://")
    options: dict[str, Any] = dict(address.options)
    if "ssl_check_hostname" in options:
        options["ssl_check_hostname"] = options["ssl_check_hostname"].lower() not in ("0", "no", "false")
    if "ssl_ca_certs" in options:
        tls.trusting(options["ssl_ca_certs"], address)
    for name in sorted(options.keys() & {"ssl_certfile", "ssl_keyfile"}):
        _readable(options[name], name, address)
    try:
        return redis.Redis.from_url(
            address.url,
            socket_connect_timeout=_CONNECT_SECONDS,
            socket_timeout=_ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),  # the caller tries again, with newer values
            health_check_interval=0,
            **options,
        )
    except (ValueError, TypeError, redis.RedisError) as error:
        raise ConfigurationError(f"queue {address.shown}: the Redis client does not accept this URL") from error


def _readable(path: str, name: str, address: Address) -> None:
    try:
        bounded_files.read_bytes(Path(path), bounded_files.MOST_PEM_BYTES)
    except ConfigurationError as error:
        raise ConfigurationError(f"queue {address.shown}: {name}: {error}") from error


def _received(answer: Any) -> list[Received]:
    """Messages of an XREAD; entries of other writers, without our field, come as empty bytes."""
    streams = answer.values() if isinstance(answer, dict) else [entries for _, entries in answer or ()]
    found: list[Received] = []
    for entries in streams:
        # RESP3 wraps the entries of each stream in one more list.
        flat = entries[0] if entries and isinstance(entries[0], list) else entries
        found += [Received(_text(one[0]), (one[1] or {}).get(_FIELD, b"")) for one in flat]
    return found


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _key(identifier: str) -> tuple[int, int]:
    """The sort key of a stream id. A text that is not an id comes first."""
    before, _, after = identifier.partition("-")
    return (int(before), int(after or 0)) if before.isdigit() and (after or "0").isdigit() else (-1, 0)


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Translate an exception of the client library into a `TransportError`: a bounded reason, no text of the server."""
    try:
        yield
    except (redis.RedisError, OSError) as error:
        raise TransportError(_reason(error), f"{tls.detail(error)} {_code(error)}".strip()) from error


def _code(error: Exception) -> str:
    """The code with which a server's refusal begins, such as WRONGTYPE; nothing else of its text.

    In a pipeline the client puts the whole command before it.
    """
    found = _CODE.match(str(error).rpartition("caused error: ")[2]) if isinstance(error, redis.ResponseError) else None
    return found[0] if found else ""


def _reason(error: Exception) -> str:
    """The first match; the order is from specific to general."""
    kinds: tuple[tuple[str, tuple[type[BaseException], ...]], ...] = (
        ("refused", (redis.AuthenticationError, redis.exceptions.NoPermissionError)),
        ("timeout", (redis.TimeoutError, TimeoutError)),
        ("full", (redis.exceptions.OutOfMemoryError,)),
        ("unreachable", (redis.ConnectionError, OSError)),
    )
    if _code(error) in ("OOM", "MISCONF"):
        return "full"  # out of memory, or the server cannot write to its disk
    return next((reason for reason, types in kinds if isinstance(error, types)), "failed")
