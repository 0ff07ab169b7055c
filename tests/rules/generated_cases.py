"""One scenario for every generated rule of a kind, so that none of them is tested less than the others.

A growth is asked of a ledger that counts everything at once; a threshold is asked for each combination of a feature and
a model that have overrides and that have none.
"""

from __future__ import annotations

import re
from typing import Any

from anthropic_exporter.rules import questions, shapes

NAME = re.compile(r"[a-z_:]\w*:\w[\w:]*|anthropic_\w+")


def cases(file: str) -> list[tuple[str, dict[str, Any]]]:
    """Name and test of each scenario for a rules file."""
    rules = [rule for name, rules in questions.BLOCKS.items() if name.split("-")[0] == file for rule in rules]
    found = []
    if growths := [rule for rule in rules if isinstance(rule, shapes.Growth)]:
        found.append(("what the ledger grew by is summed over its own counters", growth_case(growths)))
    if file == "meter":
        found.append(("each default that is missing is named, whatever its overrides", missing_case()))
    resolved = [rule for rule in rules if isinstance(rule, shapes.Resolved)]
    return found + ([("the most specific threshold wins", resolved_case(resolved))] if resolved else [])


# --- growth of the ledger

COUNTERS = {  # dollars, tokens and so on in each step of 5 s, by what is counted; two tiers, and a batch beside them
    **{("cost_usd", tier): value for tier, value in (("standard", 2), ("priority", 1), ("batch", 64))},
    **{
        (f"tokens_{kind}", "standard"): 4.0 * number for number, kind in enumerate(("input", "cache_read", "output"), 1)
    },
    ("tokens_cache_write_5m", "priority"): 16,
    ("tokens_input", "batch"): 1000,
    **{(of, ""): value for of, value in (("requests", 8), ("requests_timeout", 1), ("cache_requests_hit", 5))},
    **{(of, ""): value for of, value in (("cache_requests_miss", 3), ("cache_miss_cost_usd", 6))},
    **{(of, ""): value for of, value in (("cache_savings_usd", 7), ("cache_write_premium_usd", 9))},
    **{(of, ""): value for of, value in (("unpriced_tokens", 11), ("record_errors_usage", 12))},
    **{(of, ""): value for of, value in (("label_overflow_user", 13), ("unmetered_no_usage", 14))},
    **{(of, ""): value for of, value in (("stale_scrapes", 15), ("guard_callbacks_dropped", 17))},
    **{(of, ""): value for of, value in (("session_cost_mismatches", 18), ("guard_callbacks_ok", 19))},
}
STEPS = {"fast": 6, "slow": 60, "recent": 60, "step": 1, "minute": 12, "hour": 720}
BORN, LATE = 10, 1000
#: Steps for which a process is away: longer than one is alive that does not answer.
AWAY = 8
#: Windows of what budgets read, which have in them what counts late.
LATE_COUNTS = ("minute", "hour")


def growth_case(rules: list[Any]) -> dict[str, Any]:
    """Five processes: one counts steadily, one is born in the last step, one comes back in it, one is gone, one idles.

    The second counts ten times a step of the first, of another model, and shows counters at 0 beside. What the third
    counted while it was away, a thousand times a step, is late: in no pace, and in every budget. The fourth was the
    only one of its feature, which no longer shows. The last has answered nothing: its feature is at 0.
    """
    last = max(STEPS[rule.window] for rule in rules) + 40
    idle = {(of, "idle"): 0.0 for of, _ in COUNTERS}
    away = f"x{last - AWAY - 1} _x{AWAY}"
    series = [
        *process("a", "0x900", "0+5x900", "m", {key: f"0+{value:g}x900" for key, value in COUNTERS.items()}),
        *process(
            "b",
            f"_x{last} {5 * last - 2}",
            f"_x{last} 2",
            "n",
            {key: f"_x{last} {BORN * value:.12g}" for key, value in (COUNTERS | idle).items()},
        ),
        *process(
            "c",
            f"0{away} 0",
            f"0+5{away} {5 * last}",
            "m",
            {key: f"0{away} {LATE * value:.12g}" for key, value in COUNTERS.items()},
        ),
        *process("d", "0x20", "0+5x20", "m", {key: f"0+{value:g}x20" for key, value in COUNTERS.items()}, "gone"),
        *process("e", "0x900", "0+5x900", "m", {("requests", ""): "0x900"}, "idle"),
    ]
    return {
        "input_series": series,
        "promql_expr_test": [
            {"eval_time": f"{5 * last}s", "expr": f"round({rule.record}, 1e-6)", "exp_samples": grown(rule)}
            for rule in rules
        ],
    }


def process(
    life: str, started: str, age: str, model: str, counted: dict[tuple[str, str], str], feature: str = "f"
) -> list[dict[str, str]]:
    """The series of a process, as promtool writes their values."""
    own = f'life="{life}", feature="{feature}", model="{model}"'
    return [
        {"series": f'anthropic_exporter_start_timestamp_seconds{{life="{life}"}}', "values": started},
        {"series": f'anthropic_exporter_age_seconds{{life="{life}"}}', "values": age},
        *(
            {"series": f'anthropic_ledger_total{{{own}, of="{of}", tier="{tier}"}}', "values": values}
            for (of, tier), values in counted.items()
        ),
    ]


def grown(rule: Any) -> list[dict[str, Any]]:
    steadily = 12 if rule.per_minute else STEPS[rule.window]
    at_once = 12 / STEPS[rule.window] if rule.per_minute else 1
    late = LATE * (rule.window in LATE_COUNTS)
    sums: dict[tuple[str, ...], float] = {}
    for (of, tier), value in COUNTERS.items():
        match = re.fullmatch(rule.of, of)
        if match and not (tier == "batch" and "batch" in rule.matchers):
            places = [("f", "m", steadily + late), ("f", "n", BORN * at_once)]
            if not set(rule.by) <= {"feature", "model"}:  # by another label, what is gone stays at 0
                places.append(("gone", "m", 0))
            for feature, model, factor in places:
                own = {"feature": feature, "model": model}
                key = tuple(own.get(label, match[1] if match.groups() else "") for label in rule.by)
                sums[key] = sums.get(key, 0) + value * factor
    if "feature" in rule.by:
        pairs = set(rule.by) <= {"feature", "model"}
        shown = [of for of in (rule.of, rule.beside) if re.fullmatch(of, "requests")]
        if shown or (rule.living and pairs and rule.of in shapes.IDLE_AT_ZERO):
            sums[tuple({"feature": "idle", "model": "m"}[label] for label in rule.by)] = 0
    return [
        {"labels": "{" + text(dict(zip(rule.by, key, strict=True))) + "}", "value": value}
        for key, value in sums.items()
    ]


def text(labels: dict[str, str]) -> str:
    return ", ".join(f'{key}="{value}"' for key, value in labels.items())


# --- thresholds


def missing_case() -> dict[str, Any]:
    names = list(questions.names_of_thresholds())
    left = [{"threshold": name, label: "nobody", "value": "1"} for name in names for label in ("feature", "model")]
    told = [{"exp_labels": {"threshold": name}} for name in names]
    return {
        "without": names,
        "thresholds": [*left, {"threshold": "another", "value": "1"}],
        "alert_rule_test": [{"eval_time": "1m", "alertname": "AnthropicThresholdMissing", "exp_alerts": told}],
    }


OVERRIDES = (
    {"feature": "search", "model": "opus"},
    {"feature": "search"},
    {"model": "opus"},
    {"feature": "mail"},
    {"feature": "pair", "model": "haiku"},
)
VALUES = (8e6, 2e6, 4e6, 3e6, 9e6)


def resolved_case(rules: list[Any]) -> dict[str, Any]:
    added = [
        {"threshold": rule.threshold, **override, "value": f"{value:.0f}"}
        for rule in rules
        for override, value in zip(OVERRIDES, VALUES, strict=True)
    ]
    decoys = [{"threshold": "another", **override, "value": "99000000"} for override in (*OVERRIDES, {})]
    series = {name: values for rule in rules for name, values in subjects(rule).items()}
    return {
        "thresholds": added + decoys,
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "eval_time": "30s",
                "expr": threshold(rule),
                "exp_samples": won(rule),
            }
            for rule in rules
        ],
    }


def subjects(rule: Any) -> dict[str, str]:
    """The first name of a base knows all pairs but one, the second knows that one only."""
    names = NAME.findall(rule.base)
    pairs = [("search", "opus"), ("search", "haiku"), ("chat", "opus"), ("", "opus"), ("chat", "haiku")]
    pairs += [("mail", "opus"), ("pair", "opus"), ("pair", "haiku")]
    known = [*((names[0], pair) for pair in pairs), (names[-1], ("sum", "fable"))]
    return {f'{name}{{feature="{feature}", model="{model}", x="y"}}': "1x12" for name, (feature, model) in known}


def threshold(rule: Any) -> str:
    return f"{'_'.join(rule.by)}:anthropic_{rule.threshold}:threshold"


def won(rule: Any) -> list[dict[str, Any]]:
    specific, feature, model, mail, pair = VALUES
    default = "${" + rule.threshold + "}"
    expected: dict[tuple[str, ...], float | str] = {  # type: ignore[assignment]
        ("feature", "model"): {
            ("search", "opus"): specific,
            ("search", "haiku"): feature,
            ("chat", "opus"): model,
            ("", "opus"): model,
            ("chat", "haiku"): default,
            ("sum", "fable"): default,
            ("mail", "opus"): mail,
            ("pair", "opus"): model,
            ("pair", "haiku"): pair,
        },
        ("feature",): {
            ("search",): feature,
            ("mail",): mail,
            ("pair",): default,
            ("chat",): default,
            ("",): default,
            ("sum",): default,
        },
        ("model",): {("opus",): model, ("haiku",): default, ("fable",): default},
    }[rule.by]
    return [
        {"labels": f"{threshold(rule)}{{{text(dict(zip(rule.by, labels, strict=True)))}}}", "value": value}
        for labels, value in expected.items()
    ]
