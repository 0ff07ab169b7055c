"""Shapes of recording rules that repeat: growth of the ledger, resolved thresholds, usual paces, dollars of incidents.

A shape is a frozen value with a method `rule()`, which returns YAML. What depends on the user's Prometheus stays a
`${...}` in it; `bundle.py` fills that in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from textwrap import indent

from anthropic_exporter.rules.templates import condition_of

IDLE_AT_ZERO = ("cost_usd", "requests", "tokens_.+")  # shown as 0 for a process that is idle
AGO = {"step": "${step}", "recent": "${slow}", "minute": "1m", "hour": "1h"}
PAIR = ("feature", "model")
TOTAL = ', feature="", model=""'


def recording(name: str, expr: str) -> str:
    """A recording rule as YAML, at the indentation of a list item."""
    return f"- record: {name}\n  expr: |\n{indent(expr, '    ')}\n"


def guard(name: str) -> str:
    """The series of a threshold that has no overrides."""
    return f'anthropic_threshold{{threshold="{name}", feature="", model=""}}'


@dataclass(frozen=True)
class Growth:
    """The growth of some counters of the ledger in a window, summed over everything but the labels `by`.

    Attributes:
        record: name of the rule.
        of: which counters, as a regular expression on the label `of`.
        by: labels that stay. One beside feature and model is cut out of `of`, whose end in brackets it is.
        window: `fast` or `slow`, which the ledger records; the others are subtracted here (`recent`
            is the slow window of a ledger of any age).
        matchers: others than `of`.
        per_minute: a pace instead of an amount.
        living: only of features and models that some process counts.
        beside: another counter, where it has counted and these have not, they are 0.
    """

    record: str
    of: str
    by: tuple[str, ...]
    window: str
    matchers: str = ""
    per_minute: bool = False
    living: bool = True
    beside: str = ""

    def rule(self) -> str:
        """A recording rule."""
        expression = self.pace() if self.per_minute else self.total()
        if self.beside:
            expression += f"\nor 0 * {replace(self, of=self.beside).total()}"
        if self.window == "hour":  # known once the ledger is old enough
            clock = 'last_over_time(anthropic_ledger:now{part="clock"}[${memory}] offset 1h)'
            expression = f"(\n{indent(expression, '  ')}\n)\nand on () {clock}"
        return recording(self.record, expression)

    def pace(self) -> str:
        """An amount a minute, by the time that the ledger says has passed."""
        return f"60 * {self.total()}\n/ on () group_left () anthropic_ledger:{self.window}_seconds"

    def total(self) -> str:
        """The sum over the counters; empty if no process is alive."""
        grown = self.labelled(self.grown())
        if self.living and set(self.by) <= set(PAIR):
            on = f"on ({', '.join(self.by)})"
            alive = f"feature_model:anthropic_ledger:alive_{'fast' if self.window in ('fast', 'step') else 'slow'}"
            zeros = f"  or {on} 0 * {alive}\n" if self.of in IDLE_AT_ZERO else ""
            grown = f"\n  {grown}\n  and {on} {alive}\n{zeros}"
        return f"sum by ({', '.join(self.by)}) ({grown})"

    def grown(self) -> str:
        """The growth of each counter."""
        if self.window in ("fast", "slow"):
            return f"anthropic_ledger:increase_{self.window}{{{self.selector()}}}"
        when = "" if self.window in ("minute", "hour") else ', when="prompt"'
        now = f"anthropic_ledger:total{{{self.selector()}{when}}}"
        before = f"last_over_time({now}[${{memory}}] offset {AGO[self.window]})"
        return f"{now}\n  - ({before} or 0 * {now})"

    def selector(self) -> str:
        """The matchers of a counter."""
        operator = "=~" if re.search(r"[(|+*]", self.of) else "="
        return ", ".join(filter(None, (f'of{operator}"{self.of}"', self.matchers)))

    def labelled(self, series: str) -> str:
        """The series with the label that is cut out of `of`."""
        own = [label for label in self.by if label not in PAIR]
        return f'label_replace({series}, "{own[0]}", "$1", "of", "{self.of}")' if own else series


@dataclass(frozen=True)
class Resolved:
    """The threshold of each label set of `base`: the most specific override, or the default."""

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
class FrozenBaseline:
    """The baseline of a subject per minute; frozen during an incident, so that no incident becomes its own baseline."""

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
class IncidentCost:
    """Dollars above the baseline since an alert's condition began, including those that its window had already seen.

    Recorded while the condition or its alert holds. It comes before the alert, whose description shows it.
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
class Onset:
    """When the incident of an alert began: the last evaluation before its spending stayed above the halfway line.

    A cumulative sum (CUSUM, Page 1954) of what each step spends beyond halfway between usual and threshold. It starts
    over at 0, so it leaves 0 when the incident begins, and an alert that fires later finds that moment here. The cap
    lets it return to 0 within minutes of the incident's end.

    Attributes:
        alert: the alert whose description shows the moment.
        by: labels that stay.
        subjects: what has a sum, as an expression.
        above: how far a step was above halfway, as a part of halfway: -1 where nothing was spent.
    """

    alert: str
    by: tuple[str, ...]
    subjects: str
    above: str

    def rule(self) -> str:
        """Two recording rules."""
        level, on = "_".join(self.by) or "total", f"on ({', '.join(self.by)})"
        only = f'{{alertname="{self.alert}"}}'
        steps = f"{level}:anthropic_incident_steps_above:cusum"
        began = f"{level}:anthropic_incident_began_timestamp_seconds:cusum"
        so_far = f"({steps}{only} or {on} 0 * {self.subjects})"
        return "".join(
            f"{recording(name, expression)}  labels: {{alertname: {self.alert}}}\n"
            for name, expression in (
                (
                    steps,
                    (
                        "clamp(\n"
                        f"  (\n{indent(self.above, '    ')}\n  )\n"
                        f"  + {on} {so_far},\n"
                        "  0, ${onset_cap_steps}\n"
                        ")"
                    ),
                ),
                (
                    began,
                    (
                        f"{began}{only} and {on} {steps}{only} > 0\n"
                        f"or {on} timestamp({steps}{only} > 0) - 60 / ${{steps_a_minute}}"
                    ),
                ),
            )
        )


@dataclass(frozen=True)
class BeyondChance:
    """The share of a pace's requests that are not due to chance, or that share of the `pace`.

    Of the requests above the usual number in the pace's window, those that chance may add are left out: some
    standard deviations of a Poisson count, each the square root of the requests.
    """

    record: str
    requests: tuple[str, ...]
    pace: str = ""

    def rule(self) -> str:
        """A recording rule."""
        fast, slow = (self.share(*window) for window in zip(self.requests, ("${fast_of_slow} * ", ""), strict=True))
        share = f"{fast}\nor on (feature)\n{slow}"
        return recording(self.record, f"{self.pace} * on (feature) (\n{indent(share, '  ')}\n)" if self.pace else share)

    @staticmethod
    def share(requests: str, window: str) -> str:
        """At most 1; only with as many requests as the guard requires."""
        usual = f"{window}last_over_time(feature:anthropic_requests:baseline1h[5m])"
        return (
            "clamp_max(\n"
            "  (\n"
            f"    {requests} - ${{chance_deviations}} * sqrt({requests})\n"
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
    """An expression that returns one sample for each threshold without a default."""

    names: tuple[str, ...]

    def rule(self) -> str:
        """The `expr` of an alert."""
        absent = [f'absent(anthropic_threshold{{threshold="{name}", feature="", model=""}})' for name in self.names]
        return "expr: |\n" + indent("\nor ".join(absent), "  ") + "\n"


@dataclass(frozen=True)
class Budget:
    """A threshold on a sum: the default applies to everything together, an override to one feature in addition."""

    threshold: str

    def rule(self) -> str:
        """Two recording rules."""
        series = f'anthropic_threshold{{threshold="{self.threshold}", feature%s"", model=""}}'
        return recording(f"total:anthropic_{self.threshold}:threshold", f"max({series % '='})") + recording(
            f"feature:anthropic_{self.threshold}:threshold", f"max by (feature) ({series % '!='})"
        )


Rule = Growth | Resolved | Budget | MissingDefaults | FrozenBaseline | IncidentCost | BeyondChance | Onset
