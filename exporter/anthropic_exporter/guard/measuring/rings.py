"""Sliding windows in constant time and memory: sums and maxima of the last seconds and minutes."""

from __future__ import annotations

from array import array
from operator import sub


class Ring:
    """Totals that only grow, and their values at the end of each of the last steps.

    The sum over a window is a difference of two totals, as in Prometheus, so nothing has to be subtracted again.

    Args:
        totals: the list that its owner adds to.
        step: seconds a step; a window is longer than asked by one step at most.
        seconds: the longest window.
        second: seconds of a clock that never goes back.
    """

    __slots__ = ("_marks", "_slots", "_step", "at", "totals")

    def __init__(self, totals: list[float], step: int, seconds: int, second: int) -> None:
        self.totals = totals
        self.at = second // step
        self._step = step
        self._slots = seconds // step + 2
        self._marks = array("d", bytes(8 * len(totals) * self._slots))

    def advance(self, second: int) -> None:
        """Move on to `second`."""
        step = second // self._step
        if step <= self.at:
            return
        totals = array("d", self.totals)
        width, slots, marks = len(totals), self._slots, self._marks
        for past in range(max(self.at, step - slots), step):
            slot = past % slots * width
            marks[slot : slot + width] = totals
        self.at = step

    def before(self, seconds: int, second: int) -> array[float]:
        """The totals at least `seconds` before the step of `second` began."""
        width, start = len(self.totals), second // self._step - seconds // self._step - 1
        if start >= self.at:
            return array("d", self.totals)
        slot = start % self._slots * width
        return self._marks[slot : slot + width]

    def sums(self, seconds: int, second: int) -> list[float]:
        """What was added within the last `seconds`, the current step included."""
        before = self.before(seconds, second)
        return list(map(sub, self.totals, before))


class Peaks:
    """The largest value of each of the last steps.

    Args:
        step: seconds a step.
        seconds: the longest window.
    """

    __slots__ = ("_step", "_values", "at")

    def __init__(self, step: int, seconds: int) -> None:
        self._step = step
        self._values = array("d", bytes(8 * (seconds // step + 1)))
        self.at = -1

    def advance(self, second: int, value: float) -> None:
        """Add the largest value since the last call, then move on to `second`."""
        slot = self.at % len(self._values)
        self._values[slot] = max(self._values[slot], value)
        step, slots = second // self._step, len(self._values)
        for passed in range(max(self.at + 1, step - slots + 1), step + 1):
            self._values[passed % slots] = 0.0
        self.at = max(step, self.at)

    def max(self, seconds: int, second: int) -> float:
        """The largest value of the last `seconds`, to the step; 0 without values."""
        slots, newest = len(self._values), second // self._step
        steps = range(max(newest - seconds // self._step, self.at - slots + 1), min(newest, self.at) + 1)
        return max((self._values[step % slots] for step in steps), default=0.0)
