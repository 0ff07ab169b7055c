"""NATS JetStream. The asynchronous client runs on a separate event loop, in a daemon thread.

A receiver is an ordered reader from a sequence number; nothing is acknowledged to the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import nats
from nats.js import api
from nats.js import errors as js_errors

from anthropic_exporter import bounded_files
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.transport import tls
from anthropic_exporter.transport.address import Address
from anthropic_exporter.transport.interface import NEWEST, Received, TransportError

_CONNECT_SECONDS = 2.0
_ANSWER_SECONDS = 5.0
#: The server removes a reader that does not return within this time.
_READER_SECONDS = 60.0
#: The server's codes JSNotEnabledErr and JSNotEnabledForAccountErr (nats-server 2.9, server/errors.json); without any
#: JetStream nobody answers, and the client has no code.
_WITHOUT_JETSTREAM = (None, 10076, 10039)
_OPTIONS = frozenset({"ssl_ca_certs", "credentials"})
_T = TypeVar("_T")


class NatsStream:
    """One stream of a JetStream server or cluster; made with one subject of the same name if it does not exist.

    Args:
        address: the server, or several separated by commas.
        stream: its name.
        position: the sequence number after which a receiver continues.
        start: `OLDEST` or `NEWEST`, for a receiver without a position.
        most_messages: a stream that is made here keeps this many.
    """

    def __init__(self, address: Address, stream: str, *, position: str, start: str, most_messages: int) -> None:
        self._options = _checked(address)
        self._stream = stream
        self._most = most_messages
        self._acknowledged = position
        read_to, _, created = position.partition("@")
        self._read_to = int(read_to) if read_to.isdigit() else 0
        #: When the stream was made that the position belongs to; empty if unknown.
        self._created = created
        self._refusal: Exception | None = None
        self._newest = start == NEWEST and not position
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connection: Any = None
        self._jetstream: Any = None
        self._reader: Any = None

    def send(self, messages: Sequence[bytes]) -> None:
        """Publish the messages, and wait until the stream has stored all of them."""
        self._do(self._send(messages))

    async def _send(self, messages: Sequence[bytes]) -> None:
        await self._connect()
        await asyncio.gather(*(self._jetstream.publish(self._stream, one, _ANSWER_SECONDS) for one in messages))

    def receive(self, most: int, seconds: float) -> list[Received]:
        """The next messages. A stream that was deleted and began again is read from its beginning."""
        return self._do(self._receive(most, seconds), seconds)

    async def _receive(self, most: int, seconds: float) -> list[Received]:
        await self._connect()
        if self._reader is None:
            self._reader = await self._open_reader()
        try:
            found = await self._reader.fetch(most, timeout=max(0.01, seconds))
        except asyncio.TimeoutError:  # nats.errors.TimeoutError is one
            await self._check_stream()
            return []
        self._read_to, self._newest = found[-1].metadata.sequence.stream, False
        return [Received(f"{one.metadata.sequence.stream}@{self._created}", one.data) for one in found]

    async def _open_reader(self) -> Any:
        await self._check_stream()
        if self._newest:
            where: dict[str, Any] = {"deliver_policy": api.DeliverPolicy.LAST}
        else:
            where = {"deliver_policy": api.DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": self._read_to + 1}
        config = api.ConsumerConfig(ack_policy=api.AckPolicy.NONE, inactive_threshold=_READER_SECONDS, **where)
        return await self._jetstream.pull_subscribe(self._stream, stream=self._stream, config=config)

    async def _check_stream(self) -> None:
        """Read from the beginning if the stream is not the one that was read; open a reader again if it is gone."""
        info = await self._jetstream.stream_info(self._stream)
        created = info.created.isoformat() if info.created else ""
        if info.state.last_seq < self._read_to or (self._created and created != self._created):
            self._read_to, self._reader = 0, None
        elif info.state.last_seq > self._read_to and self._read_to:
            self._reader = None
        self._created = created

    async def _connect(self) -> None:
        if self._connection is not None:
            return
        client = nats.NATS()
        try:
            await client.connect(
                connect_timeout=_CONNECT_SECONDS,
                allow_reconnect=False,  # the next call connects again, and says so
                max_reconnect_attempts=1,  # otherwise the client continues for minutes with the first connection
                reconnect_time_wait=0.1,
                error_cb=self._note_refusal,
                **self._options,
            )
        except BaseException:
            with contextlib.suppress(Exception):  # a server that refuses leaves the socket open
                await client.close()
            raise
        self._connection = client
        self._jetstream = self._connection.jetstream(timeout=_ANSWER_SECONDS)
        config = api.StreamConfig(
            name=self._stream, subjects=[self._stream], max_msgs=self._most, discard=api.DiscardPolicy.OLD
        )
        with contextlib.suppress(js_errors.BadRequestError):  # it exists, with settings of its owner
            await self._jetstream.add_stream(config)

    async def _note_refusal(self, error: Exception) -> None:
        """Keep a missing permission, after which the server never answers. Calls raise all other failures."""
        if "permissions violation" in str(error).lower():
            self._refusal = error

    def acknowledge(self, tokens: Sequence[str]) -> None:
        """Move the position; nothing is kept on the server."""
        if tokens:
            self._acknowledged = tokens[-1]

    @property
    def position(self) -> str:
        """The sequence number of the last acknowledged message."""
        return self._acknowledged

    def close(self) -> None:
        """Close the connection and end the loop."""
        loop, self._loop = self._loop, None
        if loop is not None:
            with contextlib.suppress(Exception):
                asyncio.run_coroutine_threadsafe(self._drop(), loop).result(_CONNECT_SECONDS)
            loop.call_soon_threadsafe(loop.stop)

    async def _drop(self) -> None:
        connection, self._connection, self._reader = self._connection, None, None
        if connection is not None:
            await connection.close()

    def _do(self, work: Coroutine[Any, Any, _T], waits: float = 0.0) -> _T:
        """Run on the loop. After a failure the connection is made anew."""
        loop, self._refusal = self._running_loop(), None
        with _translated():
            try:
                return asyncio.run_coroutine_threadsafe(
                    asyncio.wait_for(work, waits + _CONNECT_SECONDS + _ANSWER_SECONDS), loop
                ).result()
            except BaseException:
                asyncio.run_coroutine_threadsafe(self._drop_quietly(), loop)
                if self._refusal is not None:
                    raise self._refusal from None
                raise

    async def _drop_quietly(self) -> None:
        with contextlib.suppress(Exception):
            await self._drop()

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = _Loop()
            threading.Thread(target=_run, args=(self._loop,), name="anthropic-nats", daemon=True).start()
        return self._loop


class _Loop(asyncio.SelectorEventLoop):
    """Looks names up in its own thread: a process that ends starts no threads, and would wait for one that hangs."""

    async def getaddrinfo(self, host: Any, port: Any, **options: Any) -> Any:
        """As that of asyncio, but not in a pool of threads."""
        return socket.getaddrinfo(host, port, **options)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    try:
        loop.run_forever()
        loop.run_until_complete(_end_all())
    finally:
        loop.close()


async def _end_all() -> None:
    """End what still runs on the loop, so that no socket is left open."""
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    if rest:
        await asyncio.wait(rest, timeout=_CONNECT_SECONDS)
    await asyncio.sleep(0)  # transports that were closed


def _checked(address: Address) -> dict[str, Any]:
    unknown = address.options.keys() - _OPTIONS
    if unknown:
        raise ConfigurationError(f"queue {address.shown}: unknown option {', '.join(sorted(unknown))[:80]}")
    rest = address.url.partition("://")[2]
    user, at, hosts = rest.rpartition("@")
    options: dict[str, Any] = {"servers": [f"{address.scheme}://{host}" for host in hosts.split(",")]}
    if at:  # the client would send what is percent-encoded in a URL as it is
        name, _, password = user.partition(":")
        options |= {"user": unquote(name), "password": unquote(password)} if password else {"token": unquote(name)}
    try:
        for name in sorted(address.options.keys() & {"ssl_ca_certs", "credentials"}):
            bounded_files.read_bytes(Path(address.options[name]), bounded_files.MOST_PEM_BYTES)
        if "ssl_ca_certs" in address.options:
            options["tls"] = tls.trusting(address.options["ssl_ca_certs"], address)
        if "credentials" in address.options:
            options["user_credentials"] = address.options["credentials"]
    except ConfigurationError as error:
        raise ConfigurationError(f"queue {address.shown}: a file of its options: {error}") from error
    except OSError as error:
        raise ConfigurationError(f"queue {address.shown}: a file of its options: {error.strerror}") from error
    return options


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Translate an exception of the client library into a `TransportError`: a bounded reason, no text of the server."""
    try:
        yield
    except Exception as error:
        raise TransportError(_reason(error), _detail(error)) from error


def _detail(error: Exception) -> str:
    if _lacks_jetstream(error):
        return "JetStream is not enabled: start nats-server with -js, and enable it for the account"
    return tls.detail(error)


def _lacks_jetstream(error: Exception) -> bool:
    return isinstance(error, js_errors.ServiceUnavailableError) and error.err_code in _WITHOUT_JETSTREAM


def _reason(error: Exception) -> str:
    """The first match; the order is from specific to general."""
    kinds: tuple[tuple[str, tuple[type[BaseException], ...]], ...] = (
        ("refused", (nats.errors.AuthorizationError,)),
        ("full", (nats.errors.MaxPayloadError, js_errors.ServiceUnavailableError)),
        ("timeout", (asyncio.TimeoutError, TimeoutError)),
        ("unreachable", (nats.errors.NoServersError, nats.errors.ConnectionClosedError, OSError)),
    )
    said = str(error).lower()  # the client raises plain errors with the server's words
    if "authorization" in said or "permissions violation" in said:
        return "refused"
    if _lacks_jetstream(error):
        return "failed"
    return next((reason for reason, types in kinds if isinstance(error, types)), "failed")
