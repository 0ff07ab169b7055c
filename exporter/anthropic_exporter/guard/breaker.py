"""Circuit breakers: closed, open, half-open; per feature, per model or for everything. Know nothing of requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, NamedTuple

from anthropic_exporter.call import NO_FAILURE, Call
from anthropic_exporter.errors import ConfigurationError, SpendLimitExceeded
from anthropic_exporter.guard.anomalies import (
    CONDITIONS,
    DAILY,
    ERROR_RATE,
    OVERLOADED,
    RATE_LIMITED,
    RUNAWAY,
    Identity,
    Measure,
    against,
)
from anthropic_exporter.guard.clock import Moment
from anthropic_exporter.metrics.bounded_labels import OTHER

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"
BLOCK, DEGRADE, OBSERVE = "block", "degrade", "observe"
SCOPES = ("feature", "model", "total")
MANUAL = "manual"
_DAY = 86_400
#: The most names that one breaker may stop by hand at a time.
_MOST_CIRCUITS = 1_000
#: What a condition is measured by, if not by feature and model.
_MEASURED_BY = {
    "cost_spike": "feature",
    "token_spike": "feature",
    "rate_limited": "model",
    "overloaded": "model",
}
_FAILURES = frozenset({ERROR_RATE.key, RATE_LIMITED.key, OVERLOADED.key})
_DATE = re.compile(r"-\d{8}$")

#: Conditions that hold for the whole fleet.
Held = Mapping[Identity, Measure]


class Labels(NamedTuple):
    """Whose request it is: the feature and the model as they are shown, and the feature as the code named it."""

    feature: str
    model: str
    named_feature: str

    @property
    def features(self) -> tuple[str, ...]:
        """Every name of the feature, each once."""
        if self.named_feature == self.feature:
            return (self.feature,)
        return (self.feature, self.named_feature)


class BreakerState(NamedTuple):
    """The current state of a breaker for one feature, one model or everything.

    `state` is "closed", "open" or "half_open"; `reason` is the condition that opened it, or "manual"; `limit` and
    `window` describe it in words; `blocked` counts requests that were stopped, degraded or would have been since it
    opened. Times are Unix seconds.
    """

    scope: str
    name: str
    state: str
    action: str
    reason: str = ""
    limit: str = ""
    window: str = ""
    opened_at: float | None = None
    retry_at: float | None = None
    blocked: int = 0


class Circuit:
    """One breaker of one name, from the first time it opens."""

    __slots__ = (
        "_half_open_wall",
        "_muted",
        "_probed_at",
        "_probes_left",
        "_returned",
        "_tripped",
        "blocked",
        "limit",
        "name",
        "opened_at",
        "reason",
        "retry_at",
        "scope",
        "state",
        "window",
    )

    def __init__(self, scope: str, name: str) -> None:
        self.scope = scope
        self.name = name
        self.state = CLOSED
        self.reason = self.limit = self.window = ""
        self.opened_at = 0.0
        self.retry_at: float | None = None
        self.blocked = 0
        self._tripped: set[Identity] = set()
        self._muted: set[Identity] = set()
        self._probes_left = self._returned = 0
        self._probed_at = self._half_open_wall = 0.0

    def trip(self, measure: Measure, at: Moment, seconds: float) -> None:
        """A condition holds: open, and stay open for as long as it does."""
        if measure.identity in self._muted or (self.state == OPEN and self.reason == MANUAL):
            return
        self._tripped.add(measure.identity)
        if self.state != OPEN:
            self._open(measure.condition.key, at.now)
            self.retry_at = at.now + seconds
        if measure.condition.key in DAILY:
            self.retry_at = at.now + _DAY - at.wall % _DAY
        if self.reason == measure.condition.key:
            self.limit, self.window = against(measure), measure.condition.window

    def open_by_hand(self, why: str, at: Moment, seconds: float | None) -> None:
        """Open until it is closed by hand, or for `seconds`."""
        self._open(MANUAL, at.now)
        self._tripped.clear()
        self.retry_at = None if seconds is None else at.now + seconds
        self.limit, self.window = why, "until closed by hand" if seconds is None else f"for {seconds:.0f} s"

    def close(self, *, mute: bool) -> None:
        """Let everything through. `mute`: conditions that hold now must end before they can open it again."""
        self._muted = set(self._tripped) if mute else set()
        self._tripped.clear()
        self.state, self.reason, self.limit, self.window, self.retry_at = CLOSED, "", "", "", None

    def advance(self, at: Moment, holds: Callable[[Identity], bool], seconds: float, probes: int) -> None:
        """Advance the time: open becomes half-open when its conditions are over; lost probes are sent again."""
        self._muted = {one for one in self._muted if holds(one)}
        if self.state == OPEN and self.retry_at is not None and at.now >= self.retry_at:
            if self.reason == MANUAL:
                self.close(mute=False)
            elif any(map(holds, self._tripped)):
                self.retry_at = at.now + seconds
            else:
                self._half_open(at, probes)
        elif self.state == HALF_OPEN and not self._probes_left and at.now - self._probed_at >= seconds:
            self._half_open(at, probes)

    def release(self, over: AbstractSet[Identity]) -> None:
        """Close, if only these conditions of the fleet kept it open: this process cannot measure their end."""
        if self._tripped & over:
            self._tripped -= over
            if not self._tripped and self.state != CLOSED and self.reason != MANUAL:
                self.close(mute=False)

    def admits(self, at: Moment) -> bool:
        """Whether a request may pass: all when closed, none when open, the probes when half-open."""
        if self.state == HALF_OPEN and self._probes_left:
            self._probes_left -= 1
            self._probed_at = at.now
            return True
        return self.state == CLOSED

    def ended(self, call: Call, at: Moment, seconds: float, probes: int) -> None:
        """A call ended and opened nothing: when all probes have ended, the circuit closes.

        A failed call says nothing about cost, so another probe is let through in its place; if failures opened the
        circuit, they open it again.
        """
        if self.state != HALF_OPEN or call.started_at < self._half_open_wall:
            return
        if call.outcome in NO_FAILURE:
            self._returned += 1
            if self._returned >= probes:
                self.close(mute=False)
        elif self.reason in _FAILURES:
            self._open(self.reason, at.now)
            self.retry_at = at.now + seconds
        else:
            self._probes_left = min(self._probes_left + 1, probes)

    def tries_again(self, ahead: float) -> float | None:
        """When it lets a probe through, by a clock that its moments are `ahead` of."""
        return None if self.retry_at is None else self.retry_at - ahead

    def _open(self, reason: str, now: float) -> None:
        self.state, self.reason = OPEN, reason
        self.opened_at = now
        self.blocked = 0

    def _half_open(self, at: Moment, probes: int) -> None:
        self.state = HALF_OPEN
        self._tripped.clear()
        self._probes_left, self._returned = probes, 0
        self._probed_at, self._half_open_wall = at.now, at.wall


class Breaker:
    """What opens it, for whom, and what then happens to requests. Made by `Guard.breaker`.

    Args:
        scope: "feature", "model" or "total": what an open breaker stops.
        when: the conditions that open it, by key.
        action: "block", "degrade" or "observe".
        degrade: for "degrade": gets the request of the SDK, returns the one to send instead.
        exempt: features that are never stopped.
        open_seconds: the shortest time it stays open, and the longest duration of a probe.
        probes: calls that pass when half-open; it closes when they succeeded and no condition holds.
        include_other: whether it stops `other` as a whole: the names beyond the limit of labels.

    Raises:
        ConfigurationError: an argument makes no sense.
    """

    def __init__(
        self,
        *,
        scope: str,
        when: Iterable[str],
        action: str,
        degrade: Callable[[Any], Any] | None,
        exempt: Iterable[str],
        open_seconds: float,
        probes: int,
        include_other: bool = False,
    ) -> None:
        self.scope = scope
        self.when = frozenset((when,) if isinstance(when, str) else when)
        self.action = action
        self.degrade = degrade
        self.exempt = frozenset((exempt,) if isinstance(exempt, str) else exempt)
        self.open_seconds = open_seconds
        self.probes = probes
        self.include_other = include_other
        self._circuits: dict[tuple[str, str], Circuit] = {}
        self._check()

    def _check(self) -> None:
        _one_of("scope", self.scope, SCOPES)
        _one_of("action", self.action, (OBSERVE, BLOCK, DEGRADE))
        for key in sorted(self.when):
            _one_of("when", key, sorted(CONDITIONS))
            measured_by = _MEASURED_BY.get(key, self.scope)
            if self.scope not in (measured_by, "total"):
                raise ConfigurationError(
                    f"breaker: {key} is measured by {measured_by}; use scope={measured_by!r} or scope='total'"
                )
        if (self.action == DEGRADE) != callable(self.degrade):
            raise ConfigurationError("breaker: action='degrade' and degrade=... go together; give both or neither")
        if not (self.open_seconds > 0 and self.probes >= 1):
            raise ConfigurationError("breaker: open_seconds must be above 0 and probes at least 1")

    @property
    def for_tasks(self) -> bool:
        """Whether it stops tasks that exceed their own limits."""
        return RUNAWAY.key in self.when

    @property
    def closed(self) -> bool:
        """Whether it stops no request."""
        return all(circuit.state == CLOSED for circuit in self._circuits.values())

    def trip(self, measure: Measure, at: Moment) -> None:
        """Take a measurement whose condition holds."""
        if measure.condition.key in self.when and measure.scope != "task":
            name = self._name(measure)
            if name is not None and (self.include_other or name[1] != OTHER):
                self._circuit(*name).trip(measure, at, self.open_seconds)

    def advance(self, at: Moment, holds: Callable[[Identity], bool]) -> None:
        """Advance the time."""
        for circuit in self._circuits.values():
            circuit.advance(at, holds, self.open_seconds, self.probes)

    def release(self, over: AbstractSet[Identity]) -> None:
        """Handle conditions of the fleet that have ended, or are no longer reported."""
        for circuit in self._circuits.values():
            circuit.release(over)

    def ended(self, call: Call, at: Moment) -> None:
        """A call with these labels ended."""
        if call.feature not in self.exempt:
            for circuit in self._of((call.feature,), call.model):
                circuit.ended(call, at, self.open_seconds, self.probes)

    def stops(self, labels: Labels, at: Moment, holds: Callable[[Identity], bool]) -> Circuit | None:
        """The circuit that stops a request, and counts it; None if it may pass."""
        if self.exempts(labels):
            return None
        for circuit in self._of(labels.features, labels.model):
            circuit.advance(at, holds, self.open_seconds, self.probes)
            if not circuit.admits(at):
                circuit.blocked += 1
                return circuit
        return None

    def exempts(self, labels: Labels) -> bool:
        """Whether a request of this feature is never stopped."""
        return not self.exempt.isdisjoint(labels.features)

    def open(self, scope: str, name: str, why: str, at: Moment, seconds: float | None) -> None:
        """Open by hand.

        Raises:
            ConfigurationError: the name is `other`, which this breaker does not stop, or too many names are open.
        """
        if name == OTHER and not self.include_other:
            raise ConfigurationError(
                f"{scope} {OTHER!r} is the sum of all names beyond the label limit; "
                "to stop them together, create the breaker with include_other=True"
            )
        self._make_room()
        self._circuit(scope, name).open_by_hand(why, at, seconds)

    def close(self, scope: str, name: str) -> None:
        """Close by hand; does nothing if it is closed."""
        circuit = self._circuits.get((scope, self._bare(name)))
        if circuit is not None and circuit.state != CLOSED:
            circuit.close(mute=True)

    def states(self, ahead: float = 0.0) -> Iterator[BreakerState]:
        """Its current states: one for each name that is not closed, or a single closed one.

        Their times are those that a clock shows which its moments are `ahead` of.
        """
        shut = [circuit for circuit in self._circuits.values() if circuit.state != CLOSED]
        if not shut:
            yield BreakerState(self.scope, "", CLOSED, self.action)
        for one in shut:
            what = (one.reason, one.limit, one.window)
            times = (one.opened_at - ahead, one.tries_again(ahead))
            yield BreakerState(one.scope, one.name, one.state, self.action, *what, *times, one.blocked)

    def _circuit(self, scope: str, name: str) -> Circuit:
        key = (scope, self._bare(name))
        circuit = self._circuits.get(key)
        if circuit is None:
            circuit = self._circuits[key] = Circuit(*key)
        return circuit

    def _make_room(self) -> None:
        """Forget names that are not stopped. Those of conditions are bounded like labels; those by hand are not."""
        if len(self._circuits) < _MOST_CIRCUITS:
            return
        for key, circuit in list(self._circuits.items()):
            if circuit.state == CLOSED:
                del self._circuits[key]
        if len(self._circuits) >= _MOST_CIRCUITS:
            raise ConfigurationError(f"{_MOST_CIRCUITS} names are already stopped; close some, or use scope='total'")

    def _of(self, features: Iterable[str], model: str) -> list[Circuit]:
        if not self._circuits:
            return []
        names = {"feature": features, "model": (self._bare(model),)}.get(self.scope, ())
        keys = dict.fromkeys((*((self.scope, name) for name in names), ("total", "")))
        return [circuit for key in keys if (circuit := self._circuits.get(key)) is not None]

    def _name(self, measure: Measure) -> tuple[str, str] | None:
        """The name that a measurement stops; a feature's budget does not stop a model."""
        if self.scope == "total" or measure.scope == "total":
            return ("total", "")
        if measure.scope not in (self.scope, "place"):
            return None
        return (self.scope, measure.feature if self.scope == "feature" else measure.model)

    def _bare(self, name: str) -> str:
        """A model's name without its date: a requested alias equals the model that answers."""
        return _DATE.sub("", name) if self.scope == "model" else name


def exceeded(circuit: Circuit, ahead: float) -> SpendLimitExceeded:
    """The error for a request that a circuit stops; `ahead` as in `Breaker.states`."""
    what = (circuit.scope, circuit.name, circuit.reason, circuit.limit, circuit.window)
    return SpendLimitExceeded(*what, circuit.tries_again(ahead))


def _one_of(name: str, value: str, allowed: Iterable[str]) -> None:
    if value not in allowed:
        raise ConfigurationError(f"breaker: {name} {value!r} is not one of {', '.join(allowed)}")
