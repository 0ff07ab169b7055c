"""Keeps past values in slots of equal length, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

#: Slots of five minutes in an hour.
HOUR_SLOTS = 12
#: The end of the year 9999: a later slot is damage.
_LATEST_SECOND = 253_402_300_799


class SlotHistory:
    """Values per slot, the newest last; slots without a value are None.

    Args:
        step: seconds a slot.
        slots: how many are kept.
    """

    __slots__ = ("_values", "newest", "slots", "step")

    def __init__(self, step: int, slots: int) -> None:
        self.step = step
        self.slots = slots
        self.newest = -1
        self._values: list[float | None] = [None] * slots

    def put(self, slot: int, value: float) -> None:
        """Set the value of a slot, counted in steps since the epoch. Slots that are too old are dropped."""
        if slot > self.newest:
            for skipped in range(max(self.newest + 1, slot - self.slots + 1), slot):
                self._values[skipped % self.slots] = None
            self.newest = slot
        if slot > self.newest - self.slots:
            self._values[slot % self.slots] = value

    def get(self, slot: int) -> float | None:
        """The value of a slot; None if there is none."""
        if self.newest - self.slots < slot <= self.newest:
            return self._values[slot % self.slots]
        return None

    def hour(self, now: float) -> list[float]:
        """The values of the last hour of five-minute slots except the newest, where an incident may be starting."""
        running = int(now // self.step)
        return [value for value in map(self.get, range(running - HOUR_SLOTS - 1, running - 1)) if value is not None]

    def between(self, start: float, end: float) -> list[float]:
        """The values of all slots that overlap the time from `start` to `end`, seconds since the epoch."""
        slots = range(int(start // self.step), math.ceil(end / self.step))
        return [value for value in map(self.get, slots) if value is not None]

    def dump(self) -> dict[str, Any]:
        """As plain values for a file, the oldest first."""
        first = self.newest - self.slots + 1
        return {"newest": self.newest, "values": [_rounded(self.get(slot)) for slot in range(first, self.newest + 1)]}

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Take over what `dump` gave.

        Raises:
            ValueError: it is not what `dump` gives.
        """
        newest, values = dumped["newest"], dumped["values"]
        if type(newest) is not int or not isinstance(values, list) or len(values) > self.slots:
            raise ValueError("not a history")
        if not -1 <= newest <= _LATEST_SECOND // self.step or not all(map(_is_value, values)):
            raise ValueError("not a history")
        for slot, value in enumerate(values, start=newest - len(values) + 1):
            if value is not None:
                self.put(slot, float(value))


def _is_value(value: Any) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value < math.inf)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")
