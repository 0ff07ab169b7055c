"""The fake API as a running server: a thread with its own event loop on a loopback port."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.simulator.fake_api import app
from anthropic_exporter.simulator.fake_api.behaviour import Behaviour

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from typing_extensions import Self

    from anthropic_exporter.simulator.fake_api.cache import PromptCache
    from anthropic_exporter.simulator.fake_api.script import ReceivedRequest, Scripted

_PATIENCE_SECONDS = 10.0


class FakeApi:
    """A running fake API. A context manager; `close` is safe to call twice.

    Pass `base_url` to the SDK. An incident may clear `cache`.
    """

    def __init__(
        self, server: _Server, connections: _Connections, service: app.Service, listener: socket.socket
    ) -> None:
        self.host, self.port = listener.getsockname()[:2]
        self.url = self.base_url = f"http://{self.host}:{self.port}"
        self._server = server
        self._service = service
        self._connections = connections
        self._thread = threading.Thread(target=server.run, args=([listener],), name="fake-anthropic-api", daemon=True)

    @property
    def cache(self) -> PromptCache:
        """The prompt cache."""
        return self._service.cache

    @property
    def requests(self) -> list[ReceivedRequest]:
        """The most recent requests, oldest first; `Behaviour.remembered` says how many."""
        return list(self._service.script.received)

    def push(self, *answers: Scripted | Callable[[ReceivedRequest], Scripted]) -> None:
        """Queue exact answers for the next requests."""
        self._service.script.push(*answers)

    def clear(self) -> None:
        """Drop scripted answers that were not requested."""
        self._service.script.clear()

    def close(self) -> None:
        """Stop the server and reset open connections."""
        self._server.should_exit = True
        self._connections.call_soon(self._connections.reset_all)
        self._thread.join(_PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def run(self) -> Self:
        """Start the thread and wait until the server listens."""
        self._thread.start()
        if not self._server.listening.wait(_PATIENCE_SECONDS):
            raise ConfigurationError(f"fake API: no answer on {self.url} within {_PATIENCE_SECONDS:.0f} s")
        return self


def start(
    behaviour: Behaviour | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    clock: Callable[[], float] = time.time,
) -> FakeApi:
    """Start a fake API; port 0 takes a free one.

    Raises:
        ConfigurationError: the address is taken or wrong.
    """
    connections = _Connections()
    service = app.Service(behaviour or Behaviour(), connections.reset, clock)
    config = uvicorn.Config(
        service.application(),
        http=connections.protocol(),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        timeout_keep_alive=600,  # A connection closed in the moment it is used again would reset a call.
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    return FakeApi(_Server(config), connections, service, _listen(host, port)).run()


class _Server(uvicorn.Server):
    """A server with an event for when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


class _Connections:
    """The open connections by the client's address, so that one can be reset in the middle of a body."""

    def __init__(self) -> None:
        self._transports: dict[Any, asyncio.Transport] = {}
        self._loop: asyncio.AbstractEventLoop | None = None

    def protocol(self) -> type[H11Protocol]:
        connections = self

        class Protocol(H11Protocol):
            def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
                connections.add(transport, self.loop)
                super().connection_made(transport)

            def connection_lost(self, exc: Exception | None) -> None:
                connections.discard(self.transport)
                super().connection_lost(exc)

        return Protocol

    def add(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transports[tuple(transport.get_extra_info("peername")[:2])] = transport

    def discard(self, transport: asyncio.Transport) -> None:
        self._transports.pop(tuple((transport.get_extra_info("peername") or ("",))[:2]), None)

    def reset(self, client: Any) -> None:
        self._transports[tuple(client)].abort()

    def reset_all(self) -> None:
        for transport in list(self._transports.values()):
            transport.abort()

    def call_soon(self, callback: Callable[[], None]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)


def _listen(host: str, port: int) -> socket.socket:
    try:
        listener = socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise ConfigurationError(f"fake API: cannot listen on {host}:{port}: {error}; choose another port") from error
    # asyncio sets TCP_NODELAY only on sockets with an explicit protocol; without it each answer waits 40 ms for an ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
