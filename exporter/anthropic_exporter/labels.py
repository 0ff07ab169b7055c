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
        self._room = 0 if allowed is not None else limit

    def fold(self, value: str) -> str:
        """The value itself, or `other` where it is one too many or too long for a name."""
        known = self._known.get(value)
        if known is not None:
            return known
        if self._room <= 0 or len(value) > _MAX_CHARS:
            return OTHER
        self._room -= 1
        self._known[value] = readable = value.encode(errors="replace").decode()  # a lone surrogate cannot be shown
        return readable

    @property
    def names(self) -> list[str]:
        """The values let in so far, without "" and `other`."""
        return [value for value in dict.fromkeys(self._known.values()) if value not in ("", OTHER)]
