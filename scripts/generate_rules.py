"""Write what repeats into prometheus/rules: exact increases, resolved thresholds, dollars of incidents, links.

Each rule file keeps its generated rules between a `# begin generated: NAME` and a `# end generated` line, in the group
of the alerts that use them. Run without arguments to write, with `--check` to exit 1 when a file would change.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

import yaml

ROOT = Path(__file__).resolve().parent.parent
RULES = ROOT / "prometheus" / "rules"
DASHBOARD = ROOT / "grafana" / "dashboards" / "claude-cost.json"
BLOCK = re.compile(
    r"^(?P<begin> *# begin generated: (?P<name>[\w-]+)\n)(?P<body>.*?)(?P<end> *# end generated\n)",
    re.MULTILINE | re.DOTALL,
)
SECONDS = {"5s": 5, "30s": 30, "1m": 60, "5m": 300, "10m": 600, "15s": 15, "15m": 900, "1h": 3600}
REACH = {"30s": "15s", "5m": "1m", "1h": "15m"}  # how old the value at the beginning of a window may be
PAIR = ("feature", "model")
TOTAL = ', feature="", model=""'


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
    requests: tuple[str, str]
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


def condition_of(alert: str) -> str:
    """The expression of an alert, as it stands in its file."""
    documents = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(RULES.glob("*.yml"))]
    rules = [rule for document in documents for group in document["groups"] for rule in group["rules"]]
    return next(str(rule["expr"]) for rule in rules if rule.get("alert") == alert)


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


def guard(name: str) -> str:
    """The series of a threshold that has no overrides."""
    return f'anthropic_threshold{{threshold="{name}", feature="", model=""}}'


def seen_above_usual(paces: tuple[str, str], usual: str, by: tuple[str, ...], judged_by_fast: str) -> str:
    """Dollars above the usual in the window that the alert looks at: 30 s or 5 minutes."""
    labels = ", ".join(by)
    (fast, slow), on = paces, f"on ({labels})"
    return f"({fast} - {on} {usual}) / 2\nand {on} {judged_by_fast}\nor {on} 5 * ({slow} - {on} {usual})"


def enough(requests: str, minimum: str) -> str:
    """Where there were as many requests as a guard wants."""
    return f"{requests} >= on () group_left () {guard(minimum)}"


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

PAIR_PACE = "feature_model:anthropic_cost_usd_per_minute"
PAIR_USUAL, FEATURE_USUAL, TOTAL_USUAL = (
    f"{level}:anthropic_cost_usd_per_minute:usual" for level in ("feature_model", "feature", "total")
)
MISS_PACE = "feature_model:anthropic_cache_miss_cost_usd_per_minute"
PAIR_SEEN = seen_above_usual(
    (f"{PAIR_PACE}:rate30s", f"{PAIR_PACE}:rate5m"),
    PAIR_USUAL,
    PAIR,
    enough("feature_model:anthropic_requests:increase30s", "cost_min_requests"),
)
PAIR_GROWTH = f"feature_model:anthropic_cost_usd:increase5s - on (feature, model) {PAIR_USUAL} / 12"
MISS_SEEN = seen_above_usual(
    (f"{MISS_PACE}:rate30s", f"{MISS_PACE}:rate5m"),
    f"{MISS_PACE}:usual",
    PAIR,
    "feature_model:anthropic_cache_misses:most30s",
)
MISS_GROWTH = f"feature_model:anthropic_cache_miss_cost_usd:increase5s - on (feature, model) {MISS_PACE}:usual / 12"

Rule = Increase | Resolved | Budget | MissingDefaults | Usual | Incident | BeyondChance
BLOCKS: dict[str, tuple[Rule, ...]] = {
    "cost": (
        *per_minute("feature_model", "cost_usd", "anthropic_cost_usd", PAIR, INTERACTIVE),
        *counted("feature_model:anthropic_requests", "anthropic_requests", PAIR),
        Resolved("cost_usd_per_minute", PAIR, COST),
        Resolved("cost_spike_ratio", FEATURE, COST),
        Resolved("request_cost_usd", PAIR, "anthropic_request_cost_usd_max"),
        Resolved("request_output_tokens", PAIR, "anthropic_request_output_tokens_max"),
    ),
    "cost-chance": (
        BeyondChance(
            "feature:anthropic_cost_usd_per_minute:beyond_chance",
            tuple(f"sum by (feature) (feature_model:anthropic_requests:increase{window})" for window in ("30s", "5m")),
            "feature:anthropic_cost_usd_per_minute:without_largest",
        ),
    ),
    "cost-incidents": (
        Increase(
            "feature_model:anthropic_cost_usd:increase5s", "anthropic_cost_usd", PAIR, "5s", INTERACTIVE, "", "30s"
        ),
        Usual(
            "cost_usd",
            PAIR,
            f"last_over_time({PAIR_PACE}:baseline1h[5m])",
            f"({COST})",
            'alertname=~"AnthropicCostRateHigh|AnthropicRequestUnusuallyExpensive"',
        ),
        Usual(
            "cost_usd",
            FEATURE,
            "last_over_time(feature:anthropic_cost_usd_per_minute:baseline[5m])",
            f"group by (feature) ({COST})",
            'alertname="AnthropicCostSpike"',
        ),
        Usual(
            "cost_usd",
            (),
            "sum(last_over_time(feature:anthropic_cost_usd_per_minute:baseline[5m]))",
            f"group({COST})",
            'alertname="AnthropicCostRateHigh"',
        ),
        Incident("AnthropicCostRateHigh", PAIR, PAIR_SEEN, PAIR_GROWTH),
        Incident(
            "AnthropicCostRateHigh",
            (),
            seen_above_usual(
                (f"sum({PAIR_PACE}:rate30s)", f"sum({PAIR_PACE}:rate5m)"),
                TOTAL_USUAL,
                (),
                enough("sum(feature_model:anthropic_requests:increase30s)", "cost_min_requests"),
            ),
            f"sum(feature_model:anthropic_cost_usd:increase5s) - on () {TOTAL_USUAL} / 12",
            f"total:anthropic_cost_usd_per_minute:now > on () {guard('total_cost_usd_per_minute')}",
        ),
        Incident(
            "AnthropicCostSpike",
            FEATURE,
            seen_above_usual(
                (f"sum by (feature) ({PAIR_PACE}:rate30s)", f"sum by (feature) ({PAIR_PACE}:rate5m)"),
                FEATURE_USUAL,
                FEATURE,
                enough("sum by (feature) (feature_model:anthropic_requests:increase30s)", "spike_min_requests"),
            ),
            f"sum by (feature) (feature_model:anthropic_cost_usd:increase5s) - on (feature) {FEATURE_USUAL} / 12",
        ),
        Incident("AnthropicRequestUnusuallyExpensive", PAIR, PAIR_SEEN, PAIR_GROWTH),
    ),
    "tokens": (
        *per_minute("feature", "tokens", "anthropic_tokens", FEATURE, INTERACTIVE),
        *counted("feature:anthropic_requests", "anthropic_requests", FEATURE),
        Increase("feature:anthropic_answers:increase30s", "anthropic_request_output_tokens_count", FEATURE, "30s"),
        Resolved("token_spike_ratio", FEATURE, TOKENS),
    ),
    "tokens-chance": (
        BeyondChance(
            "feature:anthropic_requests_beyond_chance:ratio",
            ("feature:anthropic_requests:increase30s", "feature:anthropic_requests:increase5m"),
        ),
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
    "cache-incidents": (
        *(
            Increase(f"feature_model:{counter}:increase5s", counter, PAIR, "5s", carried_over="30s")
            for counter in (
                "anthropic_cache_requests",
                "anthropic_cache_savings_usd",
                "anthropic_cache_write_premium_usd",
                "anthropic_cache_miss_cost_usd",
            )
        ),
        Usual(
            "cache_miss_cost_usd",
            PAIR,
            f"last_over_time({MISS_PACE}:baseline1h[5m])",
            f"({CACHE_MISS_COST})",
            'alertname=~"AnthropicCacheMissRateHigh|AnthropicCacheMissWaste"',
        ),
        Incident("AnthropicCacheMissWaste", PAIR, MISS_SEEN, MISS_GROWTH),
        # What the cache would have saved as it usually does, less what it saved; where that is not known, the misses.
        Incident(
            "AnthropicCacheMissRateHigh",
            PAIR,
            MISS_SEEN,
            "feature_model:anthropic_cache_requests:increase5s * on (feature, model)"
            " feature_model:anthropic_cache_savings_usd_per_request:usual\n"
            "    - on (feature, model) feature_model:anthropic_cache_savings_usd:increase5s\n"
            "    + on (feature, model) feature_model:anthropic_cache_write_premium_usd:increase5s\n"
            f"    or on (feature, model) {MISS_GROWTH}",
        ),
    ),
    "cache-churn": (
        *(
            Increase(f"feature_model:{counter}:increase1m", counter, PAIR, "1m", carried_over="10m")
            for counter in ("anthropic_cache_write_premium_usd", "anthropic_cache_savings_usd")
        ),
        Incident(
            "AnthropicCacheWriteChurn",
            PAIR,
            "feature_model:anthropic_cache_write_premium_usd:increase1h"
            " - on (feature, model) feature_model:anthropic_cache_savings_usd:increase1h",
            "feature_model:anthropic_cache_write_premium_usd:increase1m"
            " - on (feature, model) feature_model:anthropic_cache_savings_usd:increase1m",
        ),
    ),
    "cache-hour": tuple(
        Increase(f"feature_model:{counter}:increase1h", counter, PAIR, "1h")
        for counter in ("anthropic_cache_write_premium_usd", "anthropic_cache_savings_usd", "anthropic_cache_requests")
    ),
    "budget": (
        Increase("feature:anthropic_tokens:increase1m", "anthropic_tokens", FEATURE, "1m", carried_over="10m"),
        Increase("feature:anthropic_cost_usd:increase1m", "anthropic_cost_usd", FEATURE, "1m", carried_over="10m"),
        Budget("tokens_per_day"),
        Budget("cost_usd_per_day"),
    ),
    "budget-month": (Budget("cost_usd_per_month"),),
    "latency": (
        *counted("feature_model:anthropic_ended_requests", "anthropic_request_duration_seconds_count", PAIR),
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


# The panel of the dashboard that shows what an alert is about; where there is none, the list of open alerts.
PANELS = {
    "AnthropicCostRateHigh": "Cost per minute by feature",
    "AnthropicCostSpike": "Cost per minute by feature",
    "AnthropicRequestUnusuallyExpensive": "Most expensive single request",
    "AnthropicTokenSpike": "Tokens per minute by type",
    "AnthropicCacheMissRateHigh": "Cache read share of prompt tokens",
    "AnthropicCacheMissWaste": "Dollars lost to misses per minute",
    "AnthropicCacheWriteChurn": "What caching earns and costs per hour",
    "AnthropicDailyTokenBudgetExceeded": "Of each budget",
    "AnthropicDailyCostBudgetExceeded": "Of each budget",
    "AnthropicDailyBudgetForecast": "Of each budget",
    "AnthropicMonthlyBudgetForecast": "Of each budget",
    "AnthropicLatencyHigh": "Request duration",
    "AnthropicTimeToFirstTokenHigh": "Time to first token",
    "AnthropicRequestStuck": "Oldest request in flight",
    "AnthropicErrorRateHigh": "Failed share by feature",
    "AnthropicRateLimited": "Requests per minute by outcome",
    "AnthropicOverloaded": "Requests per minute by outcome",
    "AnthropicRateLimitHeadroomLow": "Rate limit left",
    "AnthropicUnpricedTokens": "Tokens without a price",
    "AnthropicRecordErrors": "Calls not recorded",
    "AnthropicLabelOverflow": "Labels folded",
    "AnthropicPricesStale": "Age of the price book",
    "AnthropicExporterDown": "Processes scraped",
    "AnthropicMeterStopped": "Last call recorded",
}
# An alert of two conditions: the first one's panel while this has an answer, the other panel otherwise.
OTHERWISE = {
    "AnthropicRequestUnusuallyExpensive": (
        "feature_model:anthropic_request_cost_usd:threshold{feature=%q, model=%q} < %f",
        "Longest single answer",
    ),
}
LINK = re.compile(
    r"(?P<url>dashboard_url: \S+?/claude-cost)(\?viewPanel=(\d+|{{ with .*?{{ end }}))?(?P<variables>[?&]var-.*)?$",
    re.MULTILINE,
)


def with_links(text: str) -> str:
    """The text of a rule file whose dashboard links open the alert's own panel."""
    ids = {panel["title"]: panel["id"] for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]}
    parts = re.split(r"(?m)^(?= *- alert: )", text)

    def linked(part: str) -> str:
        name = re.match(r" *- alert: (\w+)", part)
        panel = panel_of(name[1], ids) if name else ""
        return LINK.sub(
            lambda link: f"{link['url']}?viewPanel={panel}" + (link["variables"] or "").replace("?", "&", 1), part
        )

    return "".join(map(linked, parts))


def panel_of(alert: str, ids: dict[str, int]) -> str:
    """What stands for the panel in an alert's link: its number, or a template that chooses between two."""
    panel = str(ids[PANELS.get(alert, "Firing now")])
    if alert not in OTHERWISE:
        return panel
    query, other = OTHERWISE[alert]
    asked = f'query (printf "{query}" $labels.feature $labels.model $value)'
    return f"{{{{ with {asked} }}}}{panel}{{{{ else }}}}{ids[other]}{{{{ end }}}}"


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

    return with_links(BLOCK.sub(block, text))


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
