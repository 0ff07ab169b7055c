"""Totals that only grow, and their values some seconds and minutes ago: windows in constant time and memory."""

from __future__ import annotations

from array import array

#: Seconds of a step of the history, and of the two windows that are shown.
STEP_SECONDS = 5
MINUTE_SECONDS = 60
QUARTER_SECONDS = 900
#: A chart's first point sums up the minute before it, and that minute's first percentiles look back one more.
KEPT_STEPS = (QUARTER_SECONDS + 2 * MINUTE_SECONDS) // STEP_SECONDS


class Marks:
    """What a list of totals was at the start of each of the last steps.

    What happened in between is a difference of totals, so that nothing drifts. Marks are made only when time has moved
    on; until then adding to the totals costs nothing here.

    Args:
        totals: the list, which its owner adds to.
        step: seconds a step.
        slots: how many steps can be looked back.
        now: monotonic seconds.
    """

    __slots__ = ("_marks", "_slots", "_step", "_totals", "current")

    def __init__(self, totals: list[float], step: int, slots: int, now: float) -> None:
        self.current = int(now) // step
        self._totals = totals
        self._step = step
        self._slots = slots + 1
        self._marks = array("d", totals) * self._slots

    def advance(self, now: float) -> None:
        """Close the steps that ended by `now`. The totals hold nothing of the step that begins."""
        step = int(now) // self._step
        missed = step - self.current
        if missed <= 0:
            return
        width, totals, marks = len(self._totals), array("d", self._totals), self._marks
        for begun in range(step - min(missed, self._slots) + 1, step + 1):
            slot = begun % self._slots * width
            marks[slot : slot + width] = totals
        self.current = step

    def at(self, step: int) -> array[float]:
        """The totals at the start of a step, or as far back as is known."""
        slot = self._slot(step)
        return self._marks[slot : slot + len(self._totals)]

    def one(self, field: int, step: int) -> float:
        """One of the totals at the start of a step."""
        return self._marks[self._slot(step) + field]

    def _slot(self, step: int) -> int:
        return max(step, self.current - self._slots + 1) % self._slots * len(self._totals)


class RecentTotals:
    """Totals with their last minute by the second and their last quarter of an hour by steps.

    Args:
        width: how many totals.
        now: monotonic seconds.
    """

    __slots__ = ("second", "seconds", "steps", "totals")

    def __init__(self, width: int, now: float) -> None:
        self.totals = [0.0] * width
        self.second = int(now)
        self.seconds = Marks(self.totals, 1, MINUTE_SECONDS, now)
        self.steps = Marks(self.totals, STEP_SECONDS, KEPT_STEPS, now)

    def advance(self, now: float) -> None:
        """Move on to `now`: before anything of this second is added, and before anything is read."""
        if int(now) > self.second:
            self.second = int(now)
            self.seconds.advance(now)
            self.steps.advance(now)

    def minute(self) -> list[float]:
        """What was added in the last 60 s, the running second included."""
        return _minus(self.totals, self.seconds.at(self.second - MINUTE_SECONDS + 1))

    def quarter(self) -> list[float]:
        """What was added in the last 15 minutes, the running step included."""
        return _minus(self.totals, self.steps.at(self._quarter_ago))

    def quarter_of(self, field: int) -> float:
        """One total of the last 15 minutes."""
        return self.totals[field] - self.steps.one(field, self._quarter_ago)

    def step(self, step: int, steps: int = 1) -> list[float]:
        """What was added in a closed step, or in several steps that end with it."""
        return _minus(self.steps.at(step + 1), self.steps.at(step + 1 - steps))

    def step_of(self, field: int, step: int) -> float:
        """One total of a closed step."""
        return self.steps.one(field, step + 1) - self.steps.one(field, step)

    @property
    def _quarter_ago(self) -> int:
        return self.steps.current - QUARTER_SECONDS // STEP_SECONDS + 1


def _minus(later: list[float] | array[float], earlier: array[float]) -> list[float]:
    return [now - then for now, then in zip(later, earlier, strict=True)]
