"""The largest value of the trailing minute, in constant time and memory."""

from __future__ import annotations

_SECONDS = 60
_SLOTS = _SECONDS + 1


class SlidingMax:
    """Largest value per second of the trailing 60 s. Reading resets nothing, so that two scrapers see the same.

    The running second is kept outside the ring: within it, adding a value costs two comparisons.
    """

    __slots__ = ("_current", "_ring", "_second")

    def __init__(self) -> None:
        self._second = -1
        self._current = 0.0
        self._ring = [(-1, 0.0)] * _SLOTS

    def add(self, second: int, value: float) -> None:
        """Note a value of a second, counted from the epoch."""
        if second != self._second:
            self._ring[self._second % _SLOTS] = (self._second, self._current)
            self._second, self._current = second, value
        elif value > self._current:
            self._current = value

    def max(self, now: float) -> float:
        """The largest value of the 60 s before `now`; 0 where there was none."""
        newest = int(now)
        values = [(self._second, self._current), *self._ring]
        return max((value for second, value in values if newest - _SECONDS < second <= newest), default=0.0)
