"""The largest value of the trailing minute, in constant time and memory."""

from __future__ import annotations

_SECONDS = 60


class SlidingMax:
    """Largest value per second of the trailing 60 s, in a ring.

    Reading does not reset anything, so that two scrapers see the same.
    """

    __slots__ = ("_seconds", "_values")

    def __init__(self) -> None:
        self._seconds = [-1] * (_SECONDS + 1)
        self._values = [0.0] * (_SECONDS + 1)

    def add(self, now: float, value: float) -> None:
        """Note a value at `now`, in seconds since the epoch."""
        second = int(now)
        slot = second % (_SECONDS + 1)
        if self._seconds[slot] != second:
            self._seconds[slot] = second
            self._values[slot] = value
        elif value > self._values[slot]:
            self._values[slot] = value

    def max(self, now: float) -> float:
        """The largest value of the 60 s before `now`; 0 where there was none."""
        oldest = int(now) - _SECONDS
        pairs = zip(self._seconds, self._values, strict=True)
        return max((value for second, value in pairs if oldest < second <= int(now)), default=0.0)
