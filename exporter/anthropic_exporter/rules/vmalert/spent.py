"""What processes counted in a time, computed in MetricsQL from their own series, because vmalert writes results later.

The counters of a process never fall within its `life`. So a growth is the counters at the end, minus those at the
start; a process that came later began at 0 if it was young when it was first seen, else with what it showed.
"""

from __future__ import annotations

from dataclasses import dataclass

from anthropic_exporter.rules.shapes import recording

COUNTERS = {"cost_usd": 'of="cost_usd"', "tokens": 'of=~"tokens_.+", of!="tokens_cache_read"'}
#: The last midnight; at midnight, the one before, so that the last evaluation of a day has all of it.
MIDNIGHT = "time() - 1 - (${now} - 1) % 86400"
_EACH = "max by (life, of, feature, model, tier)"
#: A process may be found late. Younger than this it counts from its start.
_LATE_SECONDS = 3600


@dataclass(frozen=True)
class WindowIncrease:
    """The growth of all counters in a window of a few scrapes.

    A process counts from the start of the window if it was seen in one of the two scrapes before it, and from 0 if it
    is young. Any other one counts since it was first seen in the window if `found`, else not at all.
    """

    window: str
    found: bool = False

    def rule(self) -> str:
        """A recording rule."""
        window, labels = f"${{{self.window}}}", "of, feature, model, tier"
        expression = (
            "WITH (\n"
            f"  known = max by (life) (last_over_time(anthropic_exporter_age_seconds[${{seen}}] offset {window}))\n"
            f"    or on (life) max by (life) (first_over_time(anthropic_exporter_age_seconds[{window}])) < ${{young}}\n"
            ")\n"
            f"sum by ({labels}) (\n"
            f"  {_EACH} (increase_pure(anthropic_ledger_total[{window}])) and on (life) known\n"
        )
        if self.found:
            shown = f"{_EACH} (increase_prometheus(anthropic_ledger_total[{window}]))"
            expression += f'  or label_replace({shown} unless on (life) known, "found", "1", "", "")\n'
        return recording(f"anthropic_ledger:increase_{self.window}", expression + ")")


@dataclass(frozen=True)
class Lives:
    """What each process had counted by each evaluation; the last value of one that ended is among them."""

    record: str

    def rule(self) -> str:
        """A recording rule for each of `COUNTERS`."""
        return "".join(
            f"{recording(self.record, _living(counters))}  labels: {{of: {of}}}\n" for of, counters in COUNTERS.items()
        )


@dataclass(frozen=True)
class SpendSince:
    """The growth of some counters by feature, from a moment within `span` until now.

    Attributes:
        record: name of the rule.
        of: which counters, a key of `COUNTERS`.
        start: the moment, as an expression.
        span: a duration that reaches back to it.
    """

    record: str
    of: str
    start: str
    span: str = "1d"

    def rule(self) -> str:
        """A recording rule."""
        lives = f'anthropic_ledger:life{{of="{self.of}"}}'
        return recording(
            self.record,
            "WITH (\n"
            f"  start = {self.start},\n"
            f"  shown = sum by (life, feature) (\n"
            f'    last_over_time(anthropic_ledger:life_now{{of="{self.of}"}}[${{lives}}])\n'
            f"    or on (life, feature) last_over_time({lives}[{self.span}])\n"
            f"      and on (life, feature) tlast_over_time({lives}[{self.span}]) > start\n"
            f"  ) and on (life) last_over_time(anthropic_ledger:first_age[{self.span}]),\n"
            f"  before = sum by (life, feature) (last_over_time({lives}[${{memory}}] @ start)),\n"
            f"  first = sum by (life, feature) (first_over_time({lives}[{self.span}])),\n"
            "  known = group by (life) (last_over_time(anthropic_ledger:first_age[${memory}] @ start)),\n"
            f"  young = max by (life) (first_over_time(anthropic_ledger:first_age[{self.span}])) < {_LATE_SECONDS}\n"
            ")\n"
            "clamp_min(sum by (feature) (\n"
            '  label_replace(shown, "part", "shown", "", "")\n'
            '  or label_replace(-(before and on (life, feature) shown), "part", "before", "", "")\n'
            "  or label_replace(\n"
            "    -(first and on (life, feature) shown unless on (life) (known or on (life) young)),\n"
            '    "part", "first", "", "")\n'
            "), 0)",
        )


def _living(counters: str) -> str:
    return f"sum by (life, feature) ({_EACH} (last_over_time(anthropic_ledger_total{{{counters}}}[${{lives}}])))"


BLOCKS: dict[str, tuple[WindowIncrease | Lives | SpendSince, ...]] = {
    "ledger-fast": (WindowIncrease("fast"),),
    "ledger-slow": (WindowIncrease("slow", found=True),),
    "ledger-lives-now": (Lives("anthropic_ledger:life_now"),),
    "ledger-lives": (Lives("anthropic_ledger:life"),),
    "budget-spent": (
        SpendSince("feature:anthropic_tokens:today", "tokens", MIDNIGHT),
        SpendSince("feature:anthropic_cost_usd:today", "cost_usd", MIDNIGHT),
        SpendSince("feature:anthropic_tokens:sum24h", "tokens", "time() - 86400"),
        SpendSince("feature:anthropic_cost_usd:sum24h", "cost_usd", "time() - 86400"),
        SpendSince("feature:anthropic_cost_usd:increase_hour", "cost_usd", "time() - 3600", "1h"),
    ),
}
