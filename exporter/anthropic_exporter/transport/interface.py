"""What a queue has to do: carry bytes from many senders to receivers that remember how far they read.

A receiver's position is a text that it can be opened with again. Nothing is kept for it in the queue, so that position
and totals can be written in one file, and one cannot run ahead of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from anthropic_exporter.errors import AnthropicExporterError

#: Which messages a receiver begins with, where it has no position: all that the queue still has, or only the newest.
OLDEST, NEWEST = "oldest", "newest"


class TransportError(AnthropicExporterError):
    """The queue did not take, or did not give, messages. Try again later.

    Attributes:
        reason: `unreachable`, `timeout`, `refused`, `full` or `failed`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class Received(NamedTuple):
    """A message, and the position behind it."""

    token: str
    data: bytes


class Transport(Protocol):
    """One stream of a queue. Connects when it is first used, and again after the connection broke."""

    def send(self, messages: Sequence[bytes]) -> None:
        """Return when the queue has taken all of them, in this order.

        Raises:
            TransportError: it may have taken none, some or all of them.
        """

    def receive(self, most: int, seconds: float) -> list[Received]:
        """The next messages, waiting for the first one for at most `seconds`; empty if none came.

        Raises:
            TransportError: the queue cannot be read now.
        """

    def acknowledge(self, tokens: Sequence[str]) -> None:
        """These messages are durably merged: `position` is behind the last of them."""

    @property
    def position(self) -> str:
        """Where a successor goes on; empty before the first acknowledgement."""

    def close(self) -> None:
        """Hang up. Idempotent."""
