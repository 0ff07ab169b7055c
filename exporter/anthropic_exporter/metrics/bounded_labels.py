"""Bounded label values: the first N distinct ones, or an allow-list; every other value is folded into `other`."""

from __future__ import annotations

import threading
from collections.abc import Iterable

OTHER = "other"
_MAX_CHARS = 120


class Bounded:
    """The values of one label.

    Args:
        limit: how many distinct values are let in, first come, first served; "" and "other" do not count.
        allowed: only these values are let in, where given.
    """

    def __init__(self, limit: int, allowed: Iterable[str] | None = None) -> None:
        self._known: dict[str, str] = {"": "", OTHER: OTHER}
        self._known.update((value, value) for value in allowed or ())
        self._room = 0 if allowed is not None else limit
        self._lock = threading.Lock()  # only for a new value: breakers ask from the application's threads

    def fold(self, value: str) -> str:
        """The value itself, or `other` where it is one too many or too long for a name."""
        known = self._known.get(value)
        if known is not None:
            return known
        readable = value.encode(errors="replace").decode()  # a lone surrogate cannot be shown
        with self._lock:
            if self._room > 0 and len(value) <= _MAX_CHARS and value not in self._known:
                self._room -= 1
                self._known[value] = readable
            return self._known.get(value, OTHER)

    def let_in(self, values: Iterable[str]) -> None:
        """Let these values in as well, however many there are already."""
        with self._lock:
            self._known.update((value, value) for value in values)

    @property
    def names(self) -> list[str]:
        """The values let in so far, without "" and `other`."""
        return [value for value in dict.fromkeys(self._known.values()) if value not in ("", OTHER)]
