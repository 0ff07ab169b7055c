"""Write the repetitive recording rules into prometheus/rules: exact increases, resolved thresholds, missing defaults.

Each rule file keeps its generated rules between a `# begin generated: NAME` and a `# end generated` line, in the group
of the alerts that use them. Run without arguments to write, with `--check` to exit 1 when a file would change.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

RULES = Path(__file__).resolve().parent.parent / "prometheus" / "rules"
BLOCK = re.compile(
    r"^(?P<begin> *# begin generated: (?P<name>[\w-]+)\n)(?P<body>.*?)(?P<end> *# end generated\n)",
    re.MULTILINE | re.DOTALL,
)
SECONDS = {"30s": 30, "1m": 60, "5m": 300, "10m": 600, "1h": 3600}
PAIR = ("feature", "model")


@dataclass(frozen=True)
class Increase:
    """What a counter grew by in a window, exactly: the value now minus the value a window ago.

    `rate()` never sees what a series was born with, and extrapolates. Here a series that was not there a window ago
    counts in full if its client says that it was created since, and a value that fell (a restart) counts as it stands.
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
        before = f"{now}{selector} offset {self.window}"
        if self.carried_over:
            before = f"last_over_time({now}{selector}[{self.carried_over}] offset {self.window})"
        newborn = SECONDS[self.carried_over or self.window] + 30
        return recording(
            self.record,
            f"{self.factor}sum by ({', '.join(self.by)}) (\n"
            f"  {now}{selector} - ({before} <= {now}{selector})\n"
            f"  or {now}{selector} < {before}\n"
            f"  or {now}{selector} and time() - {created}{selector} < {newborn} unless {before}\n"
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
class MissingDefaults:
    """An expression that yields one sample for each threshold whose default is gone."""

    def rule(self) -> str:
        """The `expr` of an alert."""
        absent = [
            f'absent(anthropic_threshold{{threshold="{name}", feature="", model=""}})' for name in defaults_in_use()
        ]
        return "expr: |\n" + indent("\nor ".join(absent), "  ") + "\n"


def recording(name: str, expr: str) -> str:
    """A recording rule as YAML, at the indentation of a list item."""
    return f"- record: {name}\n  expr: |\n{indent(expr, '    ')}\n"


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


def per_minute(level: str, subject: str, counter: str, by: tuple[str, ...], matchers: str = "") -> tuple[Increase, ...]:
    """The pace of a counter, over the fast window and over the slow one."""
    return tuple(
        Increase(f"{level}:anthropic_{subject}_per_minute:rate{window}", counter, by, window, matchers, factor)
        for window, factor in (("30s", "2 * "), ("5m", "0.2 * "))
    )


def either(record: str, operation: str = "increase") -> str:
    """Whatever either window knows: the fast one is there sooner, the slow one bridges a gap in scraping."""
    return f"{record}:{operation}30s or {record}:{operation}5m"


def counted(record: str, counter: str, by: tuple[str, ...], matchers: str = "") -> tuple[Increase, ...]:
    """The growth of a counter, over the fast window and over the slow one."""
    return tuple(Increase(f"{record}:increase{window}", counter, by, window, matchers) for window in ("30s", "5m"))


FEATURE, MODEL = ("feature",), ("model",)
COST = either("feature_model:anthropic_cost_usd_per_minute", "rate")
TOKENS = either("feature:anthropic_tokens_per_minute", "rate")
CACHE = either("feature_model_result:anthropic_cache_requests")
CACHE_MISS_COST = either("feature_model:anthropic_cache_miss_cost_usd_per_minute", "rate")
OUTCOMES = either("feature_model_outcome:anthropic_requests")
# Results of a batch arrive all at once, hours after they were paid for: budgets count them, paces do not.
INTERACTIVE = 'tier!="batch"'

Rule = Increase | Resolved | Budget | MissingDefaults
BLOCKS: dict[str, tuple[Rule, ...]] = {
    "cost": (
        *per_minute("feature_model", "cost_usd", "anthropic_cost_usd", PAIR, INTERACTIVE),
        *counted("feature_model:anthropic_requests", "anthropic_requests", PAIR),
        Resolved("cost_usd_per_minute", PAIR, COST),
        Resolved("cost_spike_ratio", FEATURE, COST),
        Resolved("request_cost_usd", PAIR, "anthropic_request_cost_usd_max"),
        Resolved("request_output_tokens", PAIR, "anthropic_request_output_tokens_max"),
    ),
    "tokens": (
        *per_minute("feature", "tokens", "anthropic_tokens", FEATURE, INTERACTIVE),
        *counted("feature:anthropic_requests", "anthropic_requests", FEATURE),
        Resolved("token_spike_ratio", FEATURE, TOKENS),
    ),
    "cache": (
        *counted("feature_model_result:anthropic_cache_requests", "anthropic_cache_requests", (*PAIR, "result")),
        *per_minute("feature_model", "prompt_tokens", "anthropic_tokens", PAIR, f'{INTERACTIVE}, type!="output"'),
        *per_minute(
            "feature_model", "cache_read_tokens", "anthropic_tokens", PAIR, f'{INTERACTIVE}, type="cache_read"'
        ),
        *per_minute("feature_model", "cache_miss_cost_usd", "anthropic_cache_miss_cost_usd", PAIR),
        Resolved("cache_miss_ratio", PAIR, CACHE),
        Resolved("cache_read_share_drop", PAIR, CACHE),
        Resolved("cache_miss_cost_usd_per_minute", PAIR, CACHE_MISS_COST),
    ),
    "cache-hour": tuple(
        Increase(f"feature_model:anthropic_cache_{what}_usd:increase1h", f"anthropic_cache_{what}_usd", PAIR, "1h")
        for what in ("write_premium", "savings")
    ),
    "budget": (
        Increase("feature:anthropic_tokens:increase1m", "anthropic_tokens", FEATURE, "1m", carried_over="10m"),
        Increase("feature:anthropic_cost_usd:increase1m", "anthropic_cost_usd", FEATURE, "1m", carried_over="10m"),
        Budget("tokens_per_day"),
        Budget("cost_usd_per_day"),
    ),
    "budget-month": (Budget("cost_usd_per_month"),),
    "latency": (
        Increase(
            "feature_model:anthropic_ended_requests:increase5m", "anthropic_request_duration_seconds_count", PAIR, "5m"
        ),
        Increase(
            "feature_model:anthropic_streams:increase5m", "anthropic_time_to_first_token_seconds_count", PAIR, "5m"
        ),
        Resolved("latency_p95_seconds", PAIR, "anthropic_request_duration_seconds_count"),
        Resolved("ttft_p95_seconds", PAIR, "anthropic_time_to_first_token_seconds_count"),
        Resolved("stuck_request_seconds", PAIR, "anthropic_oldest_inflight_request_age_seconds"),
    ),
    "errors": (
        *counted("feature_model_outcome:anthropic_requests", "anthropic_requests", (*PAIR, "outcome")),
        Resolved("error_ratio", PAIR, OUTCOMES),
        Resolved("rate_limited_ratio", MODEL, OUTCOMES),
        Resolved("overloaded_ratio", MODEL, OUTCOMES),
        Resolved("ratelimit_headroom_ratio", MODEL, "anthropic_ratelimit_limit"),
    ),
    "meter": (
        *(
            Increase(f"{label}:anthropic_exporter_{what}:increase5m", f"anthropic_exporter_{what}", (label,), "5m")
            for label, what in (("model", "unpriced_tokens"), ("stage", "record_errors"), ("label", "label_overflow"))
        ),
    ),
    "missing-defaults": (MissingDefaults(),),
}


def defaults_in_use() -> list[str]:
    """Names of the thresholds that the rules read, whether they resolve overrides or not."""
    text = "".join(
        path.read_text(encoding="utf-8") for path in sorted(RULES.glob("*.yml")) if path.stem != "thresholds"
    )
    guards = re.findall(r'anthropic_threshold{threshold="(\w+)"', BLOCK.sub("", text))
    resolved = [rule.threshold for rules in BLOCKS.values() for rule in rules if isinstance(rule, Resolved | Budget)]
    return sorted({*guards, *resolved})


def regenerate(text: str) -> str:
    """The text of a rule file with its generated blocks written anew.

    Raises:
        KeyError: the file has a block that this script does not know.
    """

    def block(match: re.Match[str]) -> str:
        rules = "".join(rule.rule() for rule in BLOCKS[match["name"]])
        return match["begin"] + indent(rules, match["begin"][: match["begin"].index("#")]) + match["end"]

    return BLOCK.sub(block, text)


def main() -> int:
    """Write the generated blocks, or say which files differ."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file would change")
    check = parser.parse_args().check
    stale = [
        path for path in sorted(RULES.glob("*.yml")) if regenerate(path.read_text("utf-8")) != path.read_text("utf-8")
    ]
    for path in stale:
        print(f"{path.name}: {'differs from what scripts/generate_rules.py writes' if check else 'written'}")
        if not check:
            path.write_text(regenerate(path.read_text("utf-8")), encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
