"""Bounded label values: the first N distinct ones, or an allow-list; every other value is folded into `other`."""

from __future__ import annotations

from collections.abc import Iterable

from anthropic_exporter.call import NO_USAGE, OUTCOMES, STOP_REASONS, UNKNOWN_SHAPE, UNREADABLE
from anthropic_exporter.wire.usage import CACHE_MISS_REASONS

OTHER = "other"
_MAX_CHARS = 120

_LIMITS = {
    "model": 50,
    "feature": 100,
    "user": 200,
    "stop_reason": 50,
    "reason": 50,
    "tool": 50,
    "alertname": 100,
}
#: Documented words never fold, no matter how many others a server sends first.
_RESERVED = {
    "reason": (*OUTCOMES, *sorted(CACHE_MISS_REASONS), NO_USAGE, UNKNOWN_SHAPE, UNREADABLE),
    "stop_reason": STOP_REASONS,
    "tool": ("web_search", "web_fetch", "code_execution", "session_runtime"),
}


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
        """Admit these values too, beyond the limit."""
        self._known.update((value, value) for value in values)

    @property
    def names(self) -> list[str]:
        """The values let in so far, without "" and `other`."""
        return [value for value in dict.fromkeys(self._known.values()) if value not in ("", OTHER)]


def label_bounds(features: Iterable[str] | None = None, users: Iterable[str] | None = None) -> dict[str, Bounded]:
    """The bounds of all bounded labels, still empty. `features` and `users` are the only names admitted."""
    bounds = {label: Bounded(limit) for label, limit in _LIMITS.items()}
    for label, words in _RESERVED.items():
        bounds[label] = Bounded(_LIMITS[label] + len(words))
        for word in words:
            bounds[label].fold(word)
    bounds["outcome"] = Bounded(0, OUTCOMES)
    for label, allowed in (("feature", features), ("user", users)):
        if allowed is not None:
            bounds[label] = Bounded(0, allowed)
    return bounds
