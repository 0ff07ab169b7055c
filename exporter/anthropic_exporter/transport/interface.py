"""The interface of a queue: it carries bytes from many senders to receivers that remember their position.

A position is a text; a receiver opened with it continues there. The queue stores no positions, so that position and
totals can be written in one file and always agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from anthropic_exporter.errors import AnthropicExporterError

#: Where a receiver without a position starts: with the oldest message that the queue still has, or the newest.
OLDEST, NEWEST = "oldest", "newest"


class TransportError(AnthropicExporterError):
    """The queue did not accept or return messages. Try again later.

    Attributes:
        reason: `unreachable`, `timeout`, `refused`, `full` or `failed`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class Received(NamedTuple):
    """A message, and the position after it."""

    token: str
    data: bytes


class Transport(Protocol):
    """One stream of a queue. Connects when it is first used, and again after the connection broke."""

    def send(self, messages: Sequence[bytes]) -> None:
        """Return when the queue has stored all messages, in this order.

        Raises:
            TransportError: it may have stored none, some or all of them.
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
        """The position at which a successor continues; empty before the first acknowledgement."""

    def close(self) -> None:
        """Disconnect. Idempotent."""
