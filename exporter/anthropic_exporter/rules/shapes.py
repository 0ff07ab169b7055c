"""Shapes of recording rules that repeat: exact increases, resolved thresholds, usual paces, dollars of incidents.

A shape is a frozen value with a method `rule()`, which returns YAML. What depends on the user's Prometheus stays a
`${...}` in it; `bundle.py` fills that in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from textwrap import indent

from anthropic_exporter.rules.templates import condition_of

SECONDS = {"5s": 5, "30s": 30, "1m": 60, "5m": 300, "10m": 600, "15s": 15, "15m": 900, "1h": 3600}
REACH = {"30s": "15s", "5m": "1m", "1h": "15m"}  # how old the value at the beginning of a window may be
PAIR = ("feature", "model")
TOTAL = ', feature="", model=""'


def recording(name: str, expr: str) -> str:
    """A recording rule as YAML, at the indentation of a list item."""
    return f"- record: {name}\n  expr: |\n{indent(expr, '    ')}\n"


def guard(name: str) -> str:
    """The series of a threshold that has no overrides."""
    return f'anthropic_threshold{{threshold="{name}", feature="", model=""}}'


@dataclass(frozen=True)
class Increase:
    """What a counter grew by in a window, exactly: the value now minus the value a window ago.

    `rate()` never sees what a series was born with, and extrapolates. Here a series that was not there a window ago
    counts in full if its client says that it was created since, and a value that fell (a restart) counts as it stands.
    A window whose beginning lies in a gap of scrapes has no increase: from before the gap it would be too large.
    """

    record: str
    counter: str
    by: tuple[str, ...]
    window: str
    matchers: str = ""
    factor: str = ""
    carried_over: str = ""

    def rule(self) -> str:
        """A recording rule."""
        now = f"{self.counter}_total" if not self.counter.endswith("_count") else self.counter
        created = re.sub(r"_count$", "", self.counter) + "_created"
        selector = f"{{{self.matchers}}}" if self.matchers else ""
        before = f"last_over_time({now}{selector}[{self.carried_over or REACH[self.window]}] offset {self.window})"
        newborn = SECONDS[self.carried_over or self.window] + 30
        return recording(
            self.record,
            f"{self.factor}sum by ({', '.join(self.by)}) (\n"
            f"  {now}{selector} - ({before} <= {now}{selector})\n"
            f"  or {now}{selector} < {before}\n"
            f"  or {now}{selector} and time() - {created}{selector} < {newborn}\n"
            ")",
        )


@dataclass(frozen=True)
class Resolved:
    """The threshold that holds for each label set of `base`: the most specific override, or the default."""

    threshold: str
    by: tuple[str, ...]
    base: str

    def rule(self) -> str:
        """A recording rule."""
        subjects = f"group by ({', '.join(self.by)}) ({self.base})"
        parts = [
            f"{subjects}\n  * on ({', '.join(fixed)}) group_left () max by ({', '.join(fixed)}) ({self.series(fixed)})"
            for fixed in self.precedence()
        ]
        name = f"{'_'.join(self.by)}:anthropic_{self.threshold}:threshold"
        return recording(name, f"\nor on ({', '.join(self.by)})\n".join(parts))

    def precedence(self) -> list[tuple[str, ...]]:
        """Sets of labels that an override may fix, most specific first."""
        return [PAIR, ("feature",), ("model",), ()] if self.by == PAIR else [self.by, ()]

    def series(self, fixed: tuple[str, ...]) -> str:
        """The overrides that fix exactly these labels."""
        matchers = [f'{label}{"!=" if label in fixed else "="}""' for label in PAIR]
        return f'anthropic_threshold{{threshold="{self.threshold}", {", ".join(matchers)}}}'


@dataclass(frozen=True)
class Usual:
    """What a subject usually spends a minute; held during an incident, so that none becomes its own usual."""

    spending: str
    by: tuple[str, ...]
    known: str
    subjects: str
    incidents: str

    def rule(self) -> str:
        """A recording rule."""
        level = "_".join(self.by) or "total"
        name = f"{level}:anthropic_{self.spending}_per_minute:usual"
        labels = ", ".join(self.by)
        return recording(
            name,
            f"{name} and on ({labels}) {level}:anthropic_incident_cost_usd:sum{{{self.incidents}}}\n"
            f"or on ({labels}) {self.known}\n"
            f"or on ({labels}) 0 * {self.subjects}",
        )


@dataclass(frozen=True)
class Incident:
    """Dollars above what is usual since an alert's condition began, and what the window had seen of it before.

    It goes on while the condition or its alert holds and is gone with both. It stands before the alert, whose
    description shows it.
    """

    alert: str
    by: tuple[str, ...]
    seen: str
    growth: str
    condition: str = ""

    def rule(self) -> str:
        """A recording rule."""
        labels = ", ".join(self.by)
        name = f"{'_'.join(self.by) or 'total'}:anthropic_incident_cost_usd:sum"
        so_far = f'{name}{{alertname="{self.alert}"}}'
        firing = f'ALERTS{{alertname="{self.alert}", alertstate="firing"{"" if self.by else TOTAL}}}'
        expression = (
            "clamp_min(\n"
            f"  {so_far} + on ({labels}) ({self.growth})\n"
            f"  or on ({labels}) {so_far}\n"
            f"  or on ({labels}) ({indent(self.seen, '  ').strip()})\n"
            f"  or on ({labels}) ({self.growth}),\n"
            "  0\n"
            ")\n"
            f"and on ({labels}) (\n"
            f"{indent((self.condition or condition_of(self.alert)).strip(), '  ')}\n"
            f"  or {firing}\n"
            ")"
        )
        return recording(name, expression) + f"  labels: {{alertname: {self.alert}}}\n"


@dataclass(frozen=True)
class BeyondChance:
    """Which share of the requests of a pace did not come by chance, or that share of the `pace`.

    A quarter of the guard is left out of the requests above the usual number, in the window that the pace is of.
    """

    record: str
    requests: tuple[str, ...]
    pace: str = ""

    def rule(self) -> str:
        """A recording rule."""
        fast, slow = (self.share(*window) for window in zip(self.requests, ("0.1 * ", ""), strict=True))
        share = f"{fast}\nor on (feature)\n{slow}"
        return recording(self.record, f"{self.pace} * on (feature) (\n{indent(share, '  ')}\n)" if self.pace else share)

    @staticmethod
    def share(requests: str, window: str) -> str:
        """At most 1; only where there were as many requests as the guard wants."""
        usual = f"{window}last_over_time(feature:anthropic_requests:baseline1h[5m])"
        return (
            "clamp_max(\n"
            "  (\n"
            f"    {requests} - on () group_left () 0.25 * {guard('spike_min_requests')}\n"
            f"      > on (feature) {usual}\n"
            f"    or on (feature) {usual}\n"
            f"    or on (feature) {requests}\n"
            f"  ) / on (feature) {requests},\n"
            "  1\n"
            ")\n"
            f"and on (feature) {requests}\n"
            f"  >= on () group_left () {guard('spike_min_requests')}"
        )


@dataclass(frozen=True)
class MissingDefaults:
    """An expression that yields one sample for each threshold whose default is gone."""

    names: tuple[str, ...]

    def rule(self) -> str:
        """The `expr` of an alert."""
        absent = [f'absent(anthropic_threshold{{threshold="{name}", feature="", model=""}})' for name in self.names]
        return "expr: |\n" + indent("\nor ".join(absent), "  ") + "\n"


@dataclass(frozen=True)
class Budget:
    """A threshold on a sum: the default holds for everything together, an override for one feature beside it."""

    threshold: str

    def rule(self) -> str:
        """Two recording rules."""
        series = f'anthropic_threshold{{threshold="{self.threshold}", feature%s"", model=""}}'
        return recording(f"total:anthropic_{self.threshold}:threshold", f"max({series % '='})") + recording(
            f"feature:anthropic_{self.threshold}:threshold", f"max by (feature) ({series % '!='})"
        )


Rule = Increase | Resolved | Budget | MissingDefaults | Usual | Incident | BeyondChance
