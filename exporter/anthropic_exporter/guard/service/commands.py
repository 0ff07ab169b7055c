"""Carries breakers opened or closed by hand to every process of a service."""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

OPEN, CLOSE = "open", "close"
_MOST_KEPT = 200


class Command(NamedTuple):
    """A command given to one process. `until` is a Unix time; None: until it is closed by hand."""

    name: str
    scope: str
    do: str
    reason: str = ""
    until: float | None = None
    identity: str = ""

    def signed(self) -> Command:
        """The same command with a new identity."""
        return self._replace(identity=secrets.token_hex(8))


class Commands:
    """The commands of a service in their order, each carried out once in this process.

    Args:
        carry_out: does what a command says in this process.
    """

    def __init__(self, carry_out: Callable[[Command], None]) -> None:
        self._carry_out = carry_out
        self._done: deque[str] = deque(maxlen=2 * _MOST_KEPT)
        self.kept: list[Command] = []

    def note_done(self, command: Command) -> None:
        """This process has carried it out."""
        self._done.append(command.identity)

    def take(self, commands: Iterable[Command], now: float) -> None:
        """Carry out new commands that have not expired, and keep the latest for each name."""
        for one in commands:
            if one.identity not in self._done:
                self._done.append(one.identity)
                if one.until is None or one.until > now:
                    self._carry_out(one)
            others = [other for other in self.kept if other[:2] != one[:2]]
            self.kept = [*others[-_MOST_KEPT:], one]
        self.kept = [one for one in self.kept if one.until is None or one.until > now]


def loaded(values: Any) -> list[Command]:
    """Commands from their plain values; values that are not commands are ignored."""
    return [Command(**one) for one in values if _is_command(one)] if isinstance(values, list) else []


def _is_command(one: Any) -> bool:
    if not isinstance(one, Mapping) or one.keys() != set(Command._fields):
        return False
    words = all(isinstance(one[key], str) for key in ("name", "scope", "do", "reason", "identity"))
    return words and one["do"] in (OPEN, CLOSE) and (one["until"] is None or isinstance(one["until"], (int, float)))
