"""Redis Streams, for Redis 5 and later and compatible servers (Valkey, managed services), with or without TLS.

No consumer group: the position is the id of the last message that was durably merged.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import redis

from anthropic_exporter.transport import redis_clients, tls
from anthropic_exporter.transport.address import Address
from anthropic_exporter.transport.interface import NEWEST, Received, TransportError

_FIELD = b"m"
_BEGINNING = "0-0"
_NO_STREAM = "no such key"
_CODE = re.compile(r"[A-Z]{3,20}\b")
#: What to do about a refusal.
_HINTS: tuple[tuple[type[Exception], str], ...] = (
    (redis.exceptions.NoPermissionError, "NOPERM: allow XADD to publishers, XREAD, XREVRANGE and XINFO to readers"),
    (redis.exceptions.ReadOnlyError, "READONLY: this server is a replica: use redis+sentinel:// to follow the primary"),
    (redis.exceptions.MovedError, "MOVED: this server is one of a cluster: use redis+cluster://"),
)


class RedisStream:
    """One stream of a Redis server.

    Args:
        address: the server.
        stream: the key of the stream.
        position: the id after which a receiver continues.
        start: `OLDEST` or `NEWEST`, for a receiver without a position.
        most_messages: the stream is trimmed to about this length with each message.
    """

    def __init__(self, address: Address, stream: str, *, position: str, start: str, most_messages: int) -> None:
        self._address = address
        self._stream = stream
        self._most = most_messages
        self._acknowledged = position
        self._read_to = position or ("" if start == NEWEST else _BEGINNING)
        self._connect = redis_clients.opener(address)
        self._client: Any = None

    def send(self, messages: Sequence[bytes]) -> None:
        """Append the messages in one round trip."""
        with self._connected() as server:
            pipeline = server.pipeline(transaction=False)
            for message in messages:
                pipeline.xadd(self._stream, {_FIELD: message}, maxlen=self._most, approximate=True)
            pipeline.execute()

    def receive(self, most: int, seconds: float) -> list[Received]:
        """The next messages. A stream that was deleted and began again is read from its beginning."""
        with self._connected() as server:
            if not self._read_to:
                self._read_to = self._before_newest(server)
            answer = server.xread({self._stream: self._read_to}, count=most, block=max(1, int(seconds * 1000)))
            found = _received(answer)
            if found:
                self._read_to = found[-1].token
            elif self._began_again(server):
                self._read_to = _BEGINNING
            return found

    def _before_newest(self, server: Any) -> str:
        newest = server.xrevrange(self._stream, count=2)
        return _text(newest[1][0]) if len(newest) > 1 else _BEGINNING

    def _began_again(self, server: Any) -> bool:
        """Whether the newest id of the stream is older than what was read: it was lost with its server's disk."""
        try:
            info = server.xinfo_stream(self._stream)
        except redis.ResponseError as error:
            if not str(error).startswith(_NO_STREAM):
                raise
            return self._read_to != _BEGINNING
        return _key(_text(info["last-generated-id"])) < _key(self._read_to)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        """The client. After a failure it connects anew: the name may lead to another server by then."""
        with _translated():
            try:
                if self._client is None:
                    self._client = self._connect()
                yield self._client
            except BaseException:
                self.close()
                raise

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
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(redis.RedisError, OSError):
                client.close()


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
    except (redis.RedisError, redis.exceptions.RedisClusterException, OSError) as error:
        raise TransportError(_reason(error), _detail(error)) from error


def _detail(error: Exception) -> str:
    hint = next((hint for kind, hint in _HINTS if isinstance(error, kind)), "")
    return hint or f"{tls.detail(error)} {_code(error)}".strip()


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
        ("unreachable", (redis.ConnectionError, redis.exceptions.RedisClusterException, OSError)),
    )
    if _code(error) in ("OOM", "MISCONF"):
        return "full"  # out of memory, or the server cannot write to its disk
    return next((reason for reason, types in kinds if isinstance(error, types)), "failed")
