"""What is usual: the greatest of the last hour, the same time yesterday and a week ago, per feature.

Learned from what was spent, in slots, so that a restart loses at most the running one. An incident does not become
usual: while one runs, no slot teaches more than the spike threshold, and one bad quarter of an hour in the last hour
does not count at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from anthropic_exporter.guard.conditions import Usual

SLOT_SECONDS = 300
_HOUR_SLOTS = 12
_DAY, _WEEK = 86_400, 604_800
_LONG_SECONDS = 1800
_LONG_SLOTS = (_WEEK + _DAY) // _LONG_SECONDS


class History:
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
        """The value of a slot; None where there is none."""
        if self.newest - self.slots < slot <= self.newest:
            return self._values[slot % self.slots]
        return None

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
            ValueError: it is no such thing.
        """
        newest, values = dumped["newest"], dumped["values"]
        if not isinstance(newest, int) or not isinstance(values, list):
            raise ValueError("no history")  # noqa: TRY004 - a damaged file, not a wrong argument
        for slot, value in enumerate(values, start=newest - len(values) + 1):
            if isinstance(value, int | float) and math.isfinite(value) and value >= 0:
                self.put(slot, float(value))


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


class Series:
    """One quantity of one feature: its last hours in slots, its last days in half hours. Values are per minute."""

    def __init__(self) -> None:
        self.recent = History(SLOT_SECONDS, 2 * _HOUR_SLOTS)
        self.long = History(_LONG_SECONDS, _LONG_SLOTS)
        self.fixed: float | None = None

    def learn(self, slot: int, per_minute: float) -> None:
        """Take in the slot that ended."""
        self.recent.put(slot, per_minute)
        end = (slot + 1) * SLOT_SECONDS
        half_hour = slot * SLOT_SECONDS // _LONG_SECONDS
        values = self.recent.between(half_hour * _LONG_SECONDS, end)
        self.long.put(half_hour, sum(values) / len(values))

    def usual(self, now: float, calibration_seconds: float) -> float | None:
        """What is usual now, per minute; None while not enough is known."""
        if self.fixed is not None:
            return self.fixed
        hour = self.recent.between(now - 3600 - SLOT_SECONDS, now)
        if len(hour) * SLOT_SECONDS < min(calibration_seconds, 3600) or self._known_since(now) < calibration_seconds:
            return None
        days = (self.long.between(now - ago - 900, now - ago + 900) for ago in (_DAY, _WEEK))
        return max(robust_mean(hour), *(sum(values) / len(values) if values else 0.0 for values in days))

    def _known_since(self, now: float) -> float:
        known = len(self.long.between(now - _WEEK - _DAY, now)) * _LONG_SECONDS
        return max(known, len(self.recent.between(now - 7200, now)) * SLOT_SECONDS)


def robust_mean(values: list[float]) -> float:
    """The mean with its greatest quarter cut down to the next value; the plain one where that leaves nothing."""
    ordered = sorted(values)
    cut = len(ordered) - len(ordered) // 4
    if not ordered[cut - 1]:
        return sum(ordered) / len(ordered)
    return (sum(ordered[:cut]) + ordered[cut - 1] * (len(ordered) - cut)) / len(ordered)


class Shares:
    """Which share of its prompt a feature on a model usually reads from the cache: that of the last hour."""

    def __init__(self) -> None:
        self._read = History(SLOT_SECONDS, 2 * _HOUR_SLOTS)
        self._prompt = History(SLOT_SECONDS, 2 * _HOUR_SLOTS)

    def learn(self, slot: int, read: float, prompt: float) -> None:
        """Take in the tokens of the slot that ended."""
        self._read.put(slot, read)
        self._prompt.put(slot, prompt)

    def usual(self, now: float, calibration_seconds: float) -> float | None:
        """The share, 0 to 1; None while not enough is known, or where there was no prompt."""
        prompts = self._prompt.between(now - 3600 - SLOT_SECONDS, now - SLOT_SECONDS)
        if len(prompts) * SLOT_SECONDS < min(calibration_seconds, 3600) or not sum(prompts):
            return None
        return sum(self._read.between(now - 3600 - SLOT_SECONDS, now - SLOT_SECONDS)) / sum(prompts)

    def dump(self) -> dict[str, Any]:
        """As plain values for a file."""
        return {"read": self._read.dump(), "prompt": self._prompt.dump()}

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Take over what `dump` gave."""
        self._read.load(dumped["read"])
        self._prompt.load(dumped["prompt"])


class Baselines:
    """What every feature usually spends, and what it reads from the cache.

    Args:
        calibration_seconds: how much must be known of a feature before its spikes are told.
    """

    def __init__(self, calibration_seconds: float = 1800.0) -> None:
        self._calibration_seconds = calibration_seconds
        self._cost: dict[str, Series] = {}
        self._tokens: dict[str, Series] = {}
        self._shares: dict[tuple[str, str], Shares] = {}

    def fix(self, feature: str, *, cost_usd_per_minute: float | None, tokens_per_minute: float | None) -> None:
        """Say what is usual instead of learning it; None goes back to what was learned."""
        self._cost.setdefault(feature, Series()).fixed = cost_usd_per_minute
        self._tokens.setdefault(feature, Series()).fixed = tokens_per_minute

    def learn(self, feature: str, slot: int, usual: Usual) -> None:
        """Take in what a feature spent per minute in a slot that ended."""
        self._cost.setdefault(feature, Series()).learn(slot, usual.cost_usd)
        self._tokens.setdefault(feature, Series()).learn(slot, usual.tokens)

    def usual(self, feature: str, now: float) -> Usual | None:
        """What a feature usually spends at this time; None while that is being learned."""
        cost, tokens = self._cost.get(feature), self._tokens.get(feature)
        if cost is None or tokens is None:
            return None
        usual_cost = cost.usual(now, self._calibration_seconds)
        usual_tokens = tokens.usual(now, self._calibration_seconds)
        if usual_cost is None and usual_tokens is None:
            return None
        unknown = math.inf  # nothing exceeds what nobody knows
        return Usual(
            unknown if usual_cost is None else usual_cost,
            unknown if usual_tokens is None else usual_tokens,
        )

    def learn_share(self, feature: str, model: str, slot: int, read: float, prompt: float) -> None:
        """Take in the tokens read from the cache, and those of the whole prompts, of a slot that ended."""
        self._shares.setdefault((feature, model), Shares()).learn(slot, read, prompt)

    def usual_share(self, feature: str, model: str, now: float) -> float | None:
        """The share of the prompt that is usually read from the cache; None while that is being learned."""
        shares = self._shares.get((feature, model))
        return None if shares is None else shares.usual(now, self._calibration_seconds)

    @property
    def features(self) -> Iterable[str]:
        """Every feature that anything is known of."""
        return list(self._cost)

    def dump(self) -> dict[str, Any]:
        """As plain values for a file."""
        shares: dict[str, dict[str, Any]] = {}
        for (feature, model), one in list(self._shares.items()):
            shares.setdefault(feature, {})[model] = one.dump()
        return {
            feature: {
                "cost_usd": _dump(self._cost[feature]),
                "tokens": _dump(self._tokens[feature]),
                "shares": shares.get(feature, {}),
            }
            for feature in list(self._cost)
        }

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Take over what `dump` gave.

        Raises:
            ValueError: it is no such thing.
        """
        try:
            for feature, parts in dumped.items():
                self._cost[feature], self._tokens[feature] = _load(parts["cost_usd"]), _load(parts["tokens"])
                for model, share in parts["shares"].items():
                    self._shares.setdefault((feature, model), Shares()).load(share)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("no baselines") from error


def _dump(series: Series) -> dict[str, Any]:
    return {"fixed": series.fixed, "recent": series.recent.dump(), "long": series.long.dump()}


def _load(dumped: Mapping[str, Any]) -> Series:
    series = Series()
    fixed = dumped["fixed"]
    series.fixed = float(fixed) if fixed is not None else None
    series.recent.load(dumped["recent"])
    series.long.load(dumped["long"])
    return series
