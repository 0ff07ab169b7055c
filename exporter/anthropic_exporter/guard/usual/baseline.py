"""The baseline of a feature: the maximum of the last hour, the same time yesterday, and the same time a week ago.

For dollars and tokens also of the last quarter of an hour: a morning triples in an hour, an incident in less.
Baselines are learned in slots, so that a restart loses at most the current one. An incident does not become usual:
while it lasts, no slot raises the baseline, and one bad quarter of an hour in the last hour does not count at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from anthropic_exporter.bundle.detection import detection_numbers
from anthropic_exporter.guard.measuring.spikes import Usual
from anthropic_exporter.guard.usual.history import HOUR_SLOTS, SlotHistory
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.quantiles import quantile

SLOT_SECONDS = 300
_DAY, _WEEK = 86_400, 604_800
_LONG_SECONDS = 1800
_LONG_SLOTS = (_WEEK + _DAY) // _LONG_SECONDS
_USUAL_ANSWERS = detection_numbers().usual_answers_quantile
_LENGTHS = f.REQUEST_OUTPUT_TOKENS.buckets


class RateHistory:
    """One quantity of one feature: its last hours in slots, its last days in half hours. Values are per minute."""

    def __init__(self) -> None:
        self.recent = SlotHistory(SLOT_SECONDS, 2 * HOUR_SLOTS)
        self.long = SlotHistory(_LONG_SECONDS, _LONG_SLOTS)
        self.fixed: float | None = None

    def learn(self, slot: int, per_minute: float) -> None:
        """Take in the slot that ended."""
        self.recent.put(slot, per_minute)
        end = (slot + 1) * SLOT_SECONDS
        half_hour = slot * SLOT_SECONDS // _LONG_SECONDS
        values = self.recent.between(half_hour * _LONG_SECONDS, end)
        self.long.put(half_hour, sum(values) / len(values))

    def usual(self, now: float, calibration_seconds: float) -> float | None:
        """What is usual now, per minute; None while too little is known."""
        if self.fixed is not None:
            return self.fixed
        hour = self.recent.between(now - 3600 - SLOT_SECONDS, now)
        if len(hour) * SLOT_SECONDS < min(calibration_seconds, 3600) or self._known_since(now) < calibration_seconds:
            return None
        before = self.recent.between(now - 1200, now - 2 * SLOT_SECONDS)
        days = (self.long.between(now - ago - 900, now - ago + 900) for ago in (_DAY, _WEEK))
        return max(robust_mean(hour), *(sum(values) / len(values) if values else 0.0 for values in (before, *days)))

    def _known_since(self, now: float) -> float:
        known = len(self.long.between(now - _WEEK - _DAY, now)) * _LONG_SECONDS
        return max(known, len(self.recent.between(now - 7200, now)) * SLOT_SECONDS)

    def dump(self) -> dict[str, Any]:
        """As plain values for a file."""
        return {"fixed": self.fixed, "recent": self.recent.dump(), "long": self.long.dump()}

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Take over what `dump` gave."""
        fixed = dumped["fixed"]
        if fixed is not None and not (type(fixed) in (int, float) and 0 <= fixed < math.inf):
            raise ValueError("not a baseline")
        self.fixed = fixed
        self.recent.load(dumped["recent"])
        self.long.load(dumped["long"])


def robust_mean(values: list[float]) -> float:
    """The mean with its largest quarter reduced to the next value; the plain mean if that leaves nothing."""
    ordered = sorted(values)
    cut = len(ordered) - len(ordered) // 4
    if not ordered[cut - 1]:
        return sum(ordered) / len(ordered)
    return (sum(ordered[:cut]) + ordered[cut - 1] * (len(ordered) - cut)) / len(ordered)


class Shares:
    """Which share of its prompt a feature on a model usually reads from the cache: that of the last hour."""

    def __init__(self) -> None:
        self._read = SlotHistory(SLOT_SECONDS, 2 * HOUR_SLOTS)
        self._prompt = SlotHistory(SLOT_SECONDS, 2 * HOUR_SLOTS)

    def learn(self, slot: int, read: float, prompt: float) -> None:
        """Take in the tokens of the slot that ended."""
        self._read.put(slot, read)
        self._prompt.put(slot, prompt)

    def usual(self, now: float, calibration_seconds: float) -> float | None:
        """The share, 0 to 1; None while too little is known, or if there was no prompt."""
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


class Requests:
    """How many requests a feature usually has a minute: the mean of the last hour."""

    def __init__(self) -> None:
        self._recent = SlotHistory(SLOT_SECONDS, HOUR_SLOTS + 2)

    def learn(self, slot: int, per_minute: float) -> None:
        """Take in the slot that ended."""
        self._recent.put(slot, per_minute)

    def usual(self, now: float) -> float:
        """Requests a minute; infinite if unknown."""
        hour = self._recent.hour(now)
        return sum(hour) / len(hour) if hour else math.inf

    def dump(self) -> dict[str, Any]:
        """As plain values for a file."""
        return self._recent.dump()

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Take over what `dump` gave."""
        self._recent.load(dumped)


class AnswerLengths:
    """The length that nineteen in twenty answers of a feature do not exceed: over the last hour, by histogram buckets.

    Args:
        least: an hour with fewer answers is ignored.
    """

    def __init__(self, least: float) -> None:
        self._least = least
        self._counts = [SlotHistory(SLOT_SECONDS, HOUR_SLOTS + 2) for _ in range(len(_LENGTHS) + 1)]
        self._long = SlotHistory(_LONG_SECONDS, _LONG_SLOTS)

    def learn(self, slot: int, counts: Sequence[float] | None) -> None:
        """Take in the answers of the slot that ended, by bucket; None repeats the hour before it."""
        now = (slot + 1) * SLOT_SECONDS
        if counts is None:
            hours = [history.hour(now) for history in self._counts]
            counts = [sum(hour) / len(hour) if hour else 0.0 for hour in hours]
        for history, count in zip(self._counts, counts, strict=True):
            history.put(slot, count)
        longest = self._p95(now)
        if longest is not None:
            self._long.put(now // _LONG_SECONDS, longest)

    def usual(self, now: float, calibration_seconds: float) -> float:
        """In tokens; infinite while too little is known."""
        known = len(self._counts[0].between(now - 3600 - SLOT_SECONDS, now)) * SLOT_SECONDS
        hour = self._p95(now)
        if hour is None or known < min(calibration_seconds, 3600):
            return math.inf
        # An hour that ended 23 hours ago began at this time yesterday.
        days = (self._long.get(int(now - ago + 3600) // _LONG_SECONDS) for ago in (_DAY, _WEEK))
        return max(hour, *(day or 0.0 for day in days))

    def _p95(self, now: float) -> float | None:
        counts = [sum(history.hour(now)) for history in self._counts]
        return quantile(_USUAL_ANSWERS, counts, _LENGTHS) if sum(counts) >= max(1.0, self._least) else None

    def dump(self) -> dict[str, Any]:
        """As plain values for a file."""
        return {"counts": [history.dump() for history in self._counts], "long": self._long.dump()}

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Take over what `dump` gave."""
        for history, one in zip(self._counts, dumped["counts"], strict=True):
            history.load(one)
        self._long.load(dumped["long"])


class FeatureBaseline:
    """What is usual for one feature: dollars, tokens, requests, and the length of answers."""

    def __init__(self, least_answers: float) -> None:
        self.cost, self.tokens = RateHistory(), RateHistory()
        self.requests = Requests()
        self.answers = AnswerLengths(least_answers)

    def learn(self, slot: int, spent: Usual) -> None:
        """Add the spend per minute of a slot that has ended."""
        self.cost.learn(slot, spent.cost_usd)
        self.tokens.learn(slot, spent.tokens)
        self.requests.learn(slot, spent.requests)

    def usual(self, now: float, calibration_seconds: float) -> Usual | None:
        """What is usual now; None while nothing is known."""
        cost, tokens = (one.usual(now, calibration_seconds) for one in (self.cost, self.tokens))
        if cost is None and tokens is None:
            return None
        return Usual(
            math.inf if cost is None else cost,
            math.inf if tokens is None else tokens,
            self.requests.usual(now),
            self.answers.usual(now, calibration_seconds),
        )

    def dump(self) -> dict[str, Any]:
        """As plain values for a file."""
        return {
            "cost_usd": self.cost.dump(),
            "tokens": self.tokens.dump(),
            "requests": self.requests.dump(),
            "answers": self.answers.dump(),
        }

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Take over what `dump` gave; older files lack requests and answers."""
        self.cost.load(dumped["cost_usd"])
        self.tokens.load(dumped["tokens"])
        if "answers" in dumped:
            self.requests.load(dumped["requests"])
            self.answers.load(dumped["answers"])


class Baselines:
    """The baselines of all features: their spend, and their cache reads.

    Args:
        calibration_seconds: how long a feature must be known before its spikes fire.
        least_answers: how many answers an hour must have had before their length is known.
    """

    def __init__(self, calibration_seconds: float = 1800.0, least_answers: float = 20.0) -> None:
        self._calibration_seconds = calibration_seconds
        self._least_answers = least_answers
        self._features: dict[str, FeatureBaseline] = {}
        self._shares: dict[tuple[str, str], Shares] = {}

    def _of(self, feature: str) -> FeatureBaseline:
        if feature not in self._features:
            self._features[feature] = FeatureBaseline(self._least_answers)
        return self._features[feature]

    def fix(self, feature: str, *, cost_usd_per_minute: float | None, tokens_per_minute: float | None) -> None:
        """Set the baseline instead of learning it; None returns to the learned one."""
        known = self._of(feature)
        known.cost.fixed, known.tokens.fixed = cost_usd_per_minute, tokens_per_minute

    def learn(self, feature: str, slot: int, spent: Usual) -> None:
        """Take in what a feature spent per minute in a slot that ended."""
        self._of(feature).learn(slot, spent)

    def learn_answers(self, feature: str, slot: int, counts: Sequence[float] | None) -> None:
        """Take in its answers by the buckets of their length; None teaches what is usual once more."""
        self._of(feature).answers.learn(slot, counts)

    def usual(self, feature: str, now: float) -> Usual | None:
        """What a feature usually does at this time; None while that is being learned."""
        known = self._features.get(feature)
        return None if known is None else known.usual(now, self._calibration_seconds)

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
        return list(self._features)

    def dump(self) -> dict[str, Any]:
        """As plain values for a file."""
        shares: dict[str, dict[str, Any]] = {}
        for (feature, model), one in list(self._shares.items()):
            shares.setdefault(feature, {})[model] = one.dump()
        return {
            feature: {**known.dump(), "shares": shares.get(feature, {})}
            for feature, known in list(self._features.items())
        }

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Take over what `dump` gave.

        Raises:
            ValueError: it is not what `dump` returns.
        """
        fresh = Baselines(self._calibration_seconds, self._least_answers)
        try:
            for feature, parts in dumped.items():
                fresh._of(feature).load(parts)
                for model, share in parts["shares"].items():
                    fresh._shares.setdefault((feature, model), Shares()).load(share)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("not baselines") from error
        self._features, self._shares = fresh._features, fresh._shares
