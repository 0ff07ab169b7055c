"""Accepts connections while there is room; others wait in the system's queue, and are rejected after some seconds."""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import time
from typing import Protocol

from anthropic_exporter.web.connection import READ

_ACCEPTS_AT_ONCE = 32
#: While every client is being served, new ones wait in the system's queue for this long before they are rejected: a
#: sender that is rejected tries again only seconds later.
_FULL_SECONDS = 2.0
_FIRST_BACKOFF_SECONDS, _LAST_BACKOFF_SECONDS = 0.1, 2.0
_OUT_OF_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NEVER = float("inf")
_NO_ROOM = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\nRetry-After: 1\r\n\r\n"


class Connections(Protocol):
    """The connections that are open."""

    def has_room(self) -> bool:
        """Whether one more may be open."""

    def evict(self) -> bool:
        """Close one that waits for its client; False if every client is being served."""

    def adopt(self, connected: socket.socket) -> None:
        """Serve a new one."""

    def limited(self, limit: str) -> None:
        """Count that a limit was reached."""


class Acceptor:
    """Accepts connections of one listening socket. All methods but `abandon` are for the server's own thread.

    Args:
        listener: a bound, listening socket.
        selector: reports when a connection can be accepted.
        connections: where accepted connections go.
        is_plain: whether connections begin with HTTP, so that one can be rejected with a 503.

    Attributes:
        waiting: a connection that was accepted while there was no room.
    """

    def __init__(
        self, listener: socket.socket, selector: selectors.BaseSelector, connections: Connections, *, is_plain: bool
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._selector = selector
        self._connections = connections
        self._is_plain = is_plain
        self._backoff = _FIRST_BACKOFF_SECONDS
        self._retries_at = _NEVER
        self._full_since = _NEVER
        self.waiting: socket.socket | None = None
        self._listen()

    @property
    def is_paused(self) -> bool:
        """Whether nothing is accepted until `resume` finds room, or descriptors."""
        return self.waiting is not None or self._retries_at != _NEVER

    def resume(self) -> None:
        """Adopt the connection that waits if there is room now, or reject it if it has waited too long."""
        now = time.monotonic()
        waiting = self.waiting
        if waiting is not None and (self._connections.has_room() or self._connections.evict()):
            self._listen()
            self._welcome(waiting)
        elif waiting is not None and now - self._full_since > _FULL_SECONDS:
            self._listen()
            self._reject(waiting)
        elif self._retries_at <= now:
            self._listen()

    def close(self) -> None:
        """Accept no more connections."""
        self._pause()
        self.abandon()
        self.waiting = None

    def abandon(self) -> None:
        """Close the descriptors and nothing else, for a forked child that shares the selector with its parent."""
        self._listener.close()
        if self.waiting is not None:
            self.waiting.close()

    def _listen(self) -> None:
        self.waiting, self._retries_at = None, _NEVER
        self._selector.register(self._listener, READ, self._accept)

    def _pause(self) -> None:
        self._retries_at = _NEVER
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self._listener)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            if self.waiting is not None:
                break
            try:
                connected, _ = self._listener.accept()
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    self._back_off()
                break
            self._backoff = _FIRST_BACKOFF_SECONDS
            self._open(connected)

    def _back_off(self) -> None:
        """Pause instead of trying again at once: the listener stays readable, and the thread would spin."""
        self._connections.limited("server_descriptors")
        self._pause()
        self._retries_at = time.monotonic() + self._backoff
        self._backoff = min(2 * self._backoff, _LAST_BACKOFF_SECONDS)
        self._connections.evict()

    def _open(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        if not self._connections.has_room():
            self._connections.limited("server_connections")
            if not self._connections.evict():
                self._make_wait(connected)
                return
        self._welcome(connected)

    def _welcome(self, connected: socket.socket) -> None:
        self._full_since = _NEVER
        self._connections.adopt(connected)

    def _make_wait(self, connected: socket.socket) -> None:
        """Keep one new connection, and leave all others in the system's queue, until there is room."""
        now = time.monotonic()
        self._full_since = min(self._full_since, now)
        if now - self._full_since > _FULL_SECONDS:
            self._reject(connected)
            return
        self._pause()
        self.waiting = connected

    def _reject(self, connected: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if self._is_plain:
                connected.send(_NO_ROOM)
        connected.close()
