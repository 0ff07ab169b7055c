"""The Guard's time: `now` is monotonic, `wall` is what the clock shows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple


class Moment(NamedTuple):
    """One instant in Unix seconds: `now` is monotonic; `wall` is what the clock shows."""

    now: float
    wall: float

    @property
    def ahead(self) -> float:
        """How far `now` is ahead of the clock, because the clock was set back."""
        return self.now - self.wall


class GuardClock:
    """A wall clock, with a second time that continues when the wall clock is set back.

    Args:
        read: seconds since the epoch.
        on_second: called with the wall time, once in each second in which the time is read.

    Attributes:
        read: as given.
        second: the latest second of the time that never goes back.
        ahead: how many seconds that time is ahead of the wall clock.
        began: the wall second that `second` stands for; it ends at `ends`.
    """

    def __init__(self, read: Callable[[], float], on_second: Callable[[float], None]) -> None:
        self.read = read
        self.ahead = 0
        self._on_second = on_second
        self.reset()

    def reset(self) -> None:
        """Forget the current second, as a forked child must."""
        self._lock = threading.RLock()
        self.second = -1
        self.began = self.ends = -1.0

    def moment(self) -> Moment:
        """Now."""
        wall = self.read()
        if not self.began <= wall < self.ends:
            self.turn(wall)
        return Moment(wall + self.ahead, wall)

    def turn(self, wall: float) -> None:
        """Begin another second.

        One second back does not mean that the clock was set back: another thread may read it earlier and arrive later.
        """
        with self._lock:
            began = int(wall)
            behind = self.second - (began + self.ahead)
            if behind > 1:
                self.ahead += behind
            self.second = max(self.second, began + self.ahead)
            self.began, self.ends = float(began), began + 1.0
            self._on_second(wall)

    def reached(self, at: Moment) -> float:
        """`at.now`, or the later second that another thread has begun since."""
        return max(at.now, float(self.second))
