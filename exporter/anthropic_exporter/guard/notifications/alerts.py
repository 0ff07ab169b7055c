"""Turns measurements that come and go into alerts with a beginning and an end, each sent once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from anthropic_exporter.guard.anomalies import KINDS, Identity, Measure, describe, kind_of, measure_of

FIRING, RESOLVED = "firing", "resolved"


class Alert(NamedTuple):
    """What callbacks get. The same names and labels as the Prometheus rules. Times are seconds since the epoch."""

    name: str
    severity: str
    category: str
    status: str
    feature: str
    model: str
    value: float
    threshold: float
    summary: str
    description: str
    started_at: float
    ended_at: float | None = None
    condition: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """As Alertmanager shows them, without empty labels."""
        named = {"alertname": self.name, "severity": self.severity, "category": self.category}
        return named | {key: value for key, value in (("feature", self.feature), ("model", self.model)) if value}


class _Active:
    """One alert between its beginning and its end."""

    __slots__ = ("held_at", "holding", "measure", "started_at", "told")

    def __init__(self, measure: Measure, now: float) -> None:
        self.measure = measure
        self.started_at = now
        self.held_at = now
        self.holding = True
        self.told = False

    def dump(self) -> dict[str, Any]:
        """As plain values."""
        times = {"started_at": self.started_at, "held_at": self.held_at, "holding": self.holding, "sent": self.told}
        measure = self.measure._asdict() | {"condition": kind_of(self.measure.condition)}
        return measure | times

    @classmethod
    def load(cls, dumped: Mapping[str, Any]) -> _Active:
        """Make it from what `dump` gave."""
        made = cls(measure_of(dumped), float(dumped["started_at"]))
        made.held_at, made.holding, made.told = float(dumped["held_at"]), bool(dumped["holding"]), bool(dumped["sent"])
        return made


class Alerts:
    """The alerts of a Guard. Fires at once; resolves when the value stayed below for a while; never flaps.

    Args:
        hysteresis: the part of the threshold by which the value must fall below it to count as over.
        resolve_seconds: how long a condition must be over before its alert is; each condition's own where not given.
        cooldown_seconds: an alert that fires again within this time is sent after it, if it still fires.
    """

    def __init__(
        self, *, hysteresis: float = 0.1, cooldown_seconds: float = 300.0, resolve_seconds: float | None = None
    ) -> None:
        self._resolve_seconds = resolve_seconds
        self._factor = 1.0 - hysteresis
        self._cooldown_seconds = cooldown_seconds
        self._active: dict[Identity, _Active] = {}
        self._told_at: dict[Identity, float] = {}

    def saw(self, measure: Measure, now: float) -> bool:
        """Take one measurement. Returns True if its condition holds now, including hysteresis."""
        active = self._active.get(measure.identity)
        if active is None:
            if measure.holds:
                self._active[measure.identity] = _Active(measure, now)
            return measure.holds
        active.holding = measure.value > measure.threshold * self._factor
        if active.holding:
            active.held_at = now
        if measure.holds:  # an alert that has only not resolved yet is not news
            active.measure = measure
        return active.holding

    def settle(self, measured: Iterable[Measure], now: float) -> None:
        """Take the measurements of everything: a condition that was not measured does not hold."""
        opened = self._active
        seen = set()
        for measure in measured:
            if measure.holds or (opened and measure.identity in opened):
                seen.add(measure.identity)
                self.saw(measure, now)
        for identity, active in opened.items():
            if identity not in seen:
                active.holding = False

    def news(self, now: float, ahead: float = 0.0) -> list[Alert]:
        """Alerts that have started firing or resolved since the last call.

        Their times are those that a clock shows which `now` is `ahead` of.
        """
        news = []
        for identity, active in list(self._active.items()):
            if not active.told and now - self._told_at.get(identity, float("-inf")) >= self._cooldown_seconds:
                active.told = True
                self._told_at[identity] = now
                news.append(_alert(active, None, ahead))
            if not active.holding and now - active.held_at >= self._resolves_after(active):
                del self._active[identity]
                if active.told:
                    news.append(_alert(active, now, ahead))
        self._forget_old(now)
        return news

    def _resolves_after(self, active: _Active) -> float:
        own = active.measure.condition.resolve_seconds
        return own if self._resolve_seconds is None else self._resolve_seconds

    def holding(self, identity: Identity) -> bool:
        """Whether this very condition holds now."""
        active = self._active.get(identity)
        return active is not None and active.holding

    def holding_measures(self) -> list[Measure]:
        """The latest measurement of every condition that holds now."""
        return [active.measure for active in self._active.values() if active.holding]

    def firing(self, ahead: float = 0.0) -> list[Alert]:
        """The alerts that are open, the oldest first; times as in `news`."""
        return [_alert(active, None, ahead) for active in sorted(self._active.values(), key=lambda one: one.started_at)]

    def since(self, feature: str, keys: Iterable[str]) -> float | None:
        """Since when an alert of one of these conditions is open for the feature; None if none is."""
        found = [
            one.started_at for identity, one in self._active.items() if identity[2] == feature and identity[0] in keys
        ]
        return min(found, default=None)

    def dump(self) -> dict[str, Any]:
        """As plain values, for the process that judges next."""
        return {
            "active": [one.dump() for one in list(self._active.values())],
            "sent_at": [[*identity, at] for identity, at in list(self._told_at.items())],
        }

    def load(self, dumped: Mapping[str, Any]) -> None:
        """Take over what `dump` gave; conditions that this version does not know are left out.

        Raises:
            ValueError: it is not what `dump` gives.
        """
        try:
            active = [_Active.load(one) for one in dumped["active"] if one["condition"] in KINDS]
            self._active = {one.measure.identity: one for one in active}
            self._told_at = {(str(a), str(b), str(c), str(d)): float(at) for a, b, c, d, at in dumped["sent_at"]}
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError("not alerts") from error

    def _forget_old(self, now: float) -> None:
        if len(self._told_at) > len(self._active):
            self._told_at = {
                identity: at
                for identity, at in self._told_at.items()
                if identity in self._active or now - at < self._cooldown_seconds
            }


def _alert(active: _Active, ended_at: float | None, ahead: float) -> Alert:
    measure = active.measure
    condition = measure.condition
    return Alert(
        name=condition.alertname,
        severity=condition.severity,
        category=condition.category,
        status=FIRING if ended_at is None else RESOLVED,
        feature=measure.feature,
        model=measure.model,
        value=measure.value,
        threshold=measure.threshold,
        summary=condition.summary,
        description=describe(measure),
        started_at=active.started_at - ahead,
        ended_at=None if ended_at is None else ended_at - ahead,
        condition=condition.key,
    )
