"""Scripted answers for tests, byte by byte."""

from __future__ import annotations

import collections
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Chunk(NamedTuple):
    """Bytes of a body, sent after `pause` seconds."""

    data: bytes
    after: float = 0.0


@dataclass(frozen=True)
class Scripted:
    """One scripted answer. With `drop` the connection is reset after the last chunk, before the end of the body.

    `drop` without any chunk resets the connection before the response begins.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"content-type": "application/json"})
    body: tuple[Chunk, ...] = ()
    drop: bool = False

    @classmethod
    def of(cls, body: bytes, *, status: int = 200, content_type: str = "application/json", **headers: str) -> Scripted:
        """An answer in one piece; underscores in header names become hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, {"content-type": content_type} | named, (Chunk(body),))


class ReceivedRequest(NamedTuple):
    """One received request; `body` is the parsed JSON, or None if it is not JSON."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Any


class Script:
    """The queue of scripted answers, and the most recent requests."""

    def __init__(self, remembered: int) -> None:
        self._answers: collections.deque[Scripted | Callable[[ReceivedRequest], Scripted]] = collections.deque()
        self.received: collections.deque[ReceivedRequest] = collections.deque(maxlen=remembered)

    def push(self, *answers: Scripted | Callable[[ReceivedRequest], Scripted]) -> None:
        """Queue answers for the next requests to any path."""
        self._answers.extend(answers)

    def clear(self) -> None:
        """Drop the queued answers."""
        self._answers.clear()

    def next(self, request: ReceivedRequest) -> Scripted | None:
        """Remember the request. Returns its queued answer, or None if the fake model answers."""
        self.received.append(request)
        try:
            answer = self._answers.popleft()
        except IndexError:
            return None
        return answer(request) if callable(answer) else answer
