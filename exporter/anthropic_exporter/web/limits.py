"""How much of its host process the server may use."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

_MOST_CONNECTIONS = 128
_LEAST_CONNECTIONS = 4
#: One descriptor in eight: the application keeps the rest.
_DESCRIPTOR_SHARE = 8
_CPU_SHARE = 0.25
_CPU_BURST_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 0.5


class ServerLimits(NamedTuple):
    """The limits of one server. `docs/limits.md` names the command that measures each.

    Attributes:
        connections: open at once; above it the connection that has waited longest for its client is closed.
        threads: that run handlers; they end when idle. One more thread waits for all connections.
        head_bytes: of a request line and its headers.
        body_bytes: of all request bodies together.
        handshake_seconds: for a TLS handshake.
        head_seconds: from the first byte of a request to the end of its headers.
        body_seconds: from the end of the headers to the end of the body.
        handler_seconds: for a handler, the time before it starts included.
        answer_seconds: for a client to take an answer.
        idle_seconds: between two requests of one connection.
        linger_seconds: to read on after a refusal, because closing on unread bytes resets the connection.
        close_seconds: for answers that are under way when the server closes.
        pages: different large answers held at once for slow readers; the readers of the oldest are cut off.
    """

    connections: int = _MOST_CONNECTIONS
    threads: int = 4
    head_bytes: int = 16_384
    body_bytes: int = 8_388_608
    handshake_seconds: float = 10.0
    head_seconds: float = 10.0
    body_seconds: float = 10.0
    handler_seconds: float = 30.0
    answer_seconds: float = 60.0
    idle_seconds: float = 120.0
    linger_seconds: float = 1.0
    close_seconds: float = 1.0
    pages: int = 4


def of_this_process() -> ServerLimits:
    """Return limits that fit the process's current limit of descriptors."""
    try:
        import resource  # noqa: PLC0415 - there is none on Windows

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    except ImportError:
        return ServerLimits()
    if soft == resource.RLIM_INFINITY:
        return ServerLimits()
    return ServerLimits(connections=max(_LEAST_CONNECTIONS, min(_MOST_CONNECTIONS, soft // _DESCRIPTOR_SHARE)))


class CpuBudget:
    """A budget of processor time: a quarter of one core, with two seconds saved up.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._saved = _CPU_BURST_SECONDS
        self._at = clock()

    def spend(self, seconds: float) -> float:
        """Spend processor seconds. Returns how many seconds to pause now: 0 while some are saved."""
        now = self._clock()
        earned, self._at = (now - self._at) * _CPU_SHARE, now
        self._saved = min(_CPU_BURST_SECONDS, self._saved + earned) - seconds
        return min(_LONGEST_PAUSE_SECONDS, max(0.0, -self._saved / _CPU_SHARE))
