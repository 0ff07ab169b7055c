"""What is usual, learned from the windows as time passes; kept over restarts."""

from __future__ import annotations

from collections.abc import Iterable

from anthropic_exporter.guard import anomalies as kinds
from anthropic_exporter.guard.measuring import windows as w
from anthropic_exporter.guard.measuring.levels import Sums, added
from anthropic_exporter.guard.measuring.spikes import NO_ANSWERS, Usual
from anthropic_exporter.guard.measuring.windows import PlaceWindows
from anthropic_exporter.guard.notifications.alerts import Alerts
from anthropic_exporter.guard.usual.baseline import SLOT_SECONDS, Baselines

_ANOMALIES = frozenset({kinds.COST_RATE.key, kinds.COST_SPIKE.key, kinds.TOKEN_SPIKE.key, kinds.REQUEST_COST.key})
_CACHE_ANOMALIES = frozenset({kinds.CACHE_MISS_RATE.key, kinds.CACHE_MISS_COST.key})
_REMEMBERED_SECONDS = 60
#: An anomaly that lasts this long becomes the baseline.
_RELEARN_SECONDS = 7200.0


class Learning:
    """Feeds the baselines slot by slot, and caches their answers for a minute.

    Args:
        calibration_seconds: how long a feature must be known before its spikes fire.
        least_answers: how many answers an hour must have had before their length is known.
    """

    def __init__(self, calibration_seconds: float, least_answers: float) -> None:
        self.baselines = Baselines(calibration_seconds, least_answers)
        self._slot = -1
        self._whole = False
        self._asked_at = -1
        self._usual: dict[str, Usual | None] = {}
        self._shares: dict[tuple[str, str], float | None] = {}

    def usual(self, feature: str, wall: float) -> Usual | None:
        """What a feature usually spends at this time; None while that is being learned."""
        self._forget(wall)
        if feature not in self._usual:
            self._usual[feature] = self.baselines.usual(feature, wall)
        return self._usual[feature]

    def share(self, place: PlaceWindows, wall: float) -> float | None:
        """The share of its prompt that a place usually reads from the cache; None while that is being learned."""
        self._forget(wall)
        key = (place.feature, place.model)
        if key not in self._shares:
            self._shares[key] = self.baselines.usual_share(*key, wall)
        return self._shares[key]

    def fix(self, feature: str, *, cost_usd_per_minute: float | None, tokens_per_minute: float | None) -> None:
        """Set the baseline instead of learning it."""
        self.baselines.fix(feature, cost_usd_per_minute=cost_usd_per_minute, tokens_per_minute=tokens_per_minute)
        self._usual.clear()

    def learn(self, places: Iterable[PlaceWindows], alerts: Alerts, now: float, wall: float) -> bool:
        """Take in the slot that ended, if one did. Returns True if there is something new to keep."""
        slot = int(wall // SLOT_SECONDS)
        ended, self._slot = self._slot, slot
        if slot == ended:
            return False
        whole, self._whole = self._whole, slot == ended + 1 or ended < 0
        if slot != ended + 1 or not whole:
            return False
        by_feature: dict[str, list[Sums]] = {feature: [] for feature in self.baselines.features}
        for place in places:
            by_feature.setdefault(place.feature, []).append(Sums(place, now))
        for feature, sums in by_feature.items():
            self._learn_feature(feature, sums, ended, alerts.since(feature, _ANOMALIES), now)
            if alerts.since(feature, _CACHE_ANOMALIES) is None:
                for one in sums:
                    read, prompt = one.slow[w.CACHE_READ], one.slow[w.PROMPT]
                    self.baselines.learn_share(feature, one.place.model, ended, read, prompt)
        self._asked_at = -1
        return True

    def _learn_feature(self, feature: str, sums: list[Sums], slot: int, anomalous: float | None, now: float) -> None:
        spent = _spent(sums)
        answers: list[float] | None = _answers(sums)
        if anomalous is not None and now - anomalous < _RELEARN_SECONDS:
            usual = self.baselines.usual(feature, slot * SLOT_SECONDS)
            if usual is not None:
                spent, answers = Usual(*map(min, spent, usual)), None
        self.baselines.learn(feature, slot, spent)
        self.baselines.learn_answers(feature, slot, answers)

    def _forget(self, wall: float) -> None:
        minute = int(wall) // _REMEMBERED_SECONDS
        if minute != self._asked_at:
            self._asked_at = minute
            self._usual.clear()
            self._shares.clear()


def _spent(sums: list[Sums]) -> Usual:
    """Dollars, tokens and requests a minute of the slot that ended."""
    fields = ((w.COST,), (w.PROMPT, w.OUTPUT), (w.REQUESTS,))
    return Usual(*(sum(one.per_minute(field, w.SLOW_SECONDS) for one in sums for field in some) for some in fields))


def _answers(sums: list[Sums]) -> list[float]:
    """The answers of the slot that ended, by the buckets of their length."""
    return added([NO_ANSWERS, *(one.spread(w.SLOW_SECONDS, 1).answers or NO_ANSWERS for one in sums)])
