"""One connection: its socket, its phase, received bytes and unsent bytes."""

from __future__ import annotations

import contextlib
import enum
import selectors
import socket
from typing import Any

from anthropic_exporter.web.request_head import Head
from anthropic_exporter.web.routes import Route

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
_CHUNK_BYTES = 65_536


class Phase(enum.Enum):
    """What a connection waits for."""

    HANDSHAKE = enum.auto()
    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    HANDLER = enum.auto()
    SENDING = enum.auto()
    LINGER = enum.auto()
    CLOSED = enum.auto()


class Connection:
    """State of one connection. Used by the server's own thread alone.

    Attributes:
        phase: the event that it waits for, until `deadline` (monotonic seconds).
        since: when the phase began; while an answer is sent, when the client last took some of it.
        received: bytes that no request has used so far.
        head, route, length: the request that is under way, who answers it, and the bytes of its body.
        unsent: the rest of the answer; `page` is its body.
        closes: whether the connection ends with this answer.
        lingers: whether unread bytes of a refused request may follow.
        opened: when it was accepted.
        was_answered: whether it had an answer.
    """

    __slots__ = (
        *("closes", "deadline", "head", "length", "lingers", "opened", "page", "phase", "received"),
        *("route", "since", "socket", "unsent", "wants", "was_answered"),
    )

    def __init__(self, connected: Any, *, tls: bool, now: float, seconds: float) -> None:
        self.socket = connected
        self.received = bytearray()
        self.unsent: list[memoryview] = []
        self.wants = 0
        self.opened = now
        self.was_answered = False
        self.enter(Phase.HANDSHAKE if tls else Phase.IDLE, now, seconds)
        self.forget_request()

    def enter(self, phase: Phase, now: float, seconds: float) -> None:
        """Enter a phase that may last `seconds`."""
        self.phase, self.since, self.deadline = phase, now, now + seconds

    def forget_request(self) -> None:
        """Be ready for the next request."""
        self.head: Head | None = None
        self.route: Route | None = None
        self.length = 0
        self.page: bytes = b""
        self.closes = self.lingers = False

    def shake_hands(self) -> int:
        """Continue the TLS handshake; returns the events it waits for, 0 when it is done."""
        return _waits(self.socket.do_handshake)

    def receive(self) -> bool | None:
        """Read at most one chunk. Returns False at the end of the stream, None if nothing can be read yet."""
        chunk = b""

        def read() -> None:
            nonlocal chunk
            chunk = self.socket.recv(_CHUNK_BYTES)

        if _waits(read):
            return None
        self.received += chunk
        return bool(chunk)

    def send(self) -> int:
        """Send as much as the socket takes; returns the events it waits for, 0 when everything is sent."""
        while self.unsent:
            sent = 0

            def write() -> None:
                nonlocal sent
                sent = self.socket.send(self.unsent[0][:_CHUNK_BYTES])

            waits = _waits(write)
            if waits:
                return waits
            self.unsent[0] = self.unsent[0][sent:]
            if not self.unsent[0]:
                del self.unsent[0]
        return 0

    def say_continue(self, text: bytes) -> None:
        """Ask for the body. If this cannot be sent at once, the client sends the body by itself after a moment."""
        with contextlib.suppress(OSError):
            self.socket.send(text)

    def end_of_answer(self) -> None:
        """Shut down the sending side, and continue to read."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close the descriptor in this process. Idempotent."""
        self.phase = Phase.CLOSED
        self.unsent.clear()
        with contextlib.suppress(OSError):
            self.socket.close()


def _waits(act: Any) -> int:
    """Do something on a non-blocking socket; returns the events it waits for, 0 when it is done.

    `ssl` is not imported here, so its two exceptions are recognized by name.
    """
    try:
        act()
    except BlockingIOError:
        return WRITE if act.__name__ == "write" else READ
    except OSError as error:
        name = type(error).__name__
        if name == "SSLWantReadError":
            return READ
        if name == "SSLWantWriteError":
            return WRITE
        raise
    return 0
