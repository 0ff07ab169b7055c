"""Bounded label values: the first N distinct ones, or an allow-list; every other value is folded into `other`."""

from __future__ import annotations

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
        self._rooms = [None] * (0 if allowed is not None else limit)

    def fold(self, value: str) -> str:
        """The value itself, or `other` if there are too many values or it is too long.

        Needs no lock, because a signal handler may ask in the middle of it: each step is one operation of a dict or a
        list.
        """
        known = self._known.get(value)
        if known is not None:
            return known
        if len(value) > _MAX_CHARS:
            return OTHER
        readable = value.encode(errors="replace").decode()  # a lone surrogate cannot be shown
        try:
            self._rooms.pop()
        except IndexError:
            return self._known.get(value, OTHER)
        known = self._known.setdefault(value, readable)
        if known is not readable:  # another thread was faster
            self._rooms.append(None)
        return known

    def let_in(self, values: Iterable[str]) -> None:
        """Admit these values as well, beyond the limit."""
        self._known.update((value, value) for value in values)

    @property
    def names(self) -> list[str]:
        """The values let in so far, without "" and `other`."""
        return [value for value in dict.fromkeys(self._known.values()) if value not in ("", OTHER)]
