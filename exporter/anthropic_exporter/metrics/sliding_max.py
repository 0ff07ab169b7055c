"""The largest value of the trailing minute."""

from __future__ import annotations

from collections import deque

_SECONDS = 60
# One a second is kept; more only where the clock goes back and forth.
_MOST = 2 * _SECONDS


class SlidingMax:
    """Largest value of the trailing 60 s. Reading resets nothing, so that two scrapers see the same.

    Keeps only values that can still become the largest: newer ones are smaller, at most one a second, so that adding
    costs a comparison or two, and reading looks at the oldest that is young enough.
    """

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: deque[tuple[int, float]] = deque(maxlen=_MOST)

    def add(self, second: int, value: float) -> None:
        """Note a value of a second, counted from the epoch."""
        kept = self._kept
        while kept:
            newest, least = kept[-1]
            if value < least:
                if newest == second:
                    return
                break
            kept.pop()
        kept.append((second, value))
        while kept[0][0] <= second - _SECONDS:
            kept.popleft()

    def max(self, now: float) -> float:
        """The largest value of the 60 s before `now`; 0 if there was none."""
        newest = int(now)
        for second, value in self._kept:
            if newest - _SECONDS < second <= newest:
                return value
        return 0.0
