"""One scenario for every generated rule of a kind, so that none of them is tested less than the others.

An increase is asked at step 21 of a series that has a sample every sixth of its window, or every window; a threshold is
asked for each combination of a feature and a model that have overrides and that have none.
"""

from __future__ import annotations

import re
from typing import Any

from anthropic_exporter.rules import questions, shapes

OLD = -1_000_000
ASKED_AT_STEP = 21
NAME = re.compile(r"[a-z_:]\w*:\w[\w:]*|anthropic_\w+")


def cases(file: str) -> list[tuple[str, dict[str, Any]]]:
    """Name and test of each scenario for a rules file."""
    rules = [rule for name, rules in questions.BLOCKS.items() if name.split("-")[0] == file for rule in rules]
    increases = [rule for rule in rules if isinstance(rule, shapes.Increase)]
    found = [
        (f"increases over {window} are exact", increase_case([rule for rule in increases if rule.window == window]))
        for window in sorted({rule.window for rule in increases})
    ]
    carried = [rule for rule in increases if rule.carried_over]
    found += [
        (f"increases over {window} begin with it", inside_case([rule for rule in carried if rule.window == window]))
        for window in sorted({rule.window for rule in carried})
    ]
    if file == "meter":
        found.append(("each default that is missing is named, whatever its overrides", missing_case()))
    resolved = [rule for rule in rules if isinstance(rule, shapes.Resolved)]
    return found + ([("the most specific threshold wins", resolved_case(resolved))] if resolved else [])


def increase_case(rules: list[Any]) -> dict[str, Any]:
    step = step_of(rules[0])
    asked = f"{step * ASKED_AT_STEP:g}s"
    series: dict[str, str] = {}
    for rule in rules:
        for add in (scenario(rule, step), excluded(rule)):
            series |= add
    return {
        "interval": f"{step:g}s",
        "evaluation_interval": f"{step:g}s",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {"eval_time": asked, "expr": f"round({rule.record}, 1e-6)", "exp_samples": grown(rule)} for rule in rules
        ],
    }


def inside_case(rules: list[Any]) -> dict[str, Any]:
    """Counters that are scraped five times in a window; one restarts in the first half of it."""
    window = shapes.SECONDS[rules[0].window]
    values = {"steady": "0+1x120", "reset": "0+10x100 7x20"}
    series = {labelled(rule, rule_name(rule, "now"), who): value for rule in rules for who, value in values.items()}
    expected = {"steady": 5, "reset": 7}
    return {
        "interval": f"{window / 5:g}s",
        "evaluation_interval": f"{window}s",
        "input_series": [{"series": name, "values": value} for name, value in series.items()],
        "promql_expr_test": [
            {
                "eval_time": f"{window * ASKED_AT_STEP}s",
                "expr": f"round({rule.record}, 1e-6)",
                "exp_samples": [
                    {"labels": "{" + text(dict(zip(rule.by, (who, "m", "z"), strict=False))) + "}", "value": value}
                    for who, value in expected.items()
                ],
            }
            for rule in rules
        ],
    }


def step_of(rule: Any) -> float:
    """Seconds between samples: the window itself, where increases are carried over gaps, else a sixth of it."""
    return shapes.SECONDS[rule.window] / (1 if rule.carried_over else 6)


def scenario(rule: Any, step: float) -> dict[str, str]:
    """Two instances that count, one that rests, ones that restart, and ones that are seen for the first time."""
    now = step * ASKED_AT_STEP
    limit = now - shapes.SECONDS[rule.carried_over or rule.window] - 30
    values = {
        ("steady", "a"): "0+4x40",
        ("steady", "b"): "0+1x40",
        ("idle", "a"): "9x40",
        ("inside", "a"): "_x17 70x20",
        ("limit", "a"): "_x17 90x20",
        **(gaps(rule, step) if rule.carried_over else windows(rule, step)),
    }
    born = {"newborn": now - 4 * step - 1, "inside": limit + 1, "limit": limit}
    if rule.carried_over:
        born["newborn"] = now - 1
        values[("inside", "a")], values[("limit", "a")] = "_x21 70x20", "_x21 90x20"
    counted = {labelled(rule, rule_name(rule, "now"), *key): text for key, text in values.items()}
    return counted | {labelled(rule, rule_name(rule, "created"), who): f"_x17 {at:g}x20" for who, at in born.items()}


def windows(rule: Any, step: float) -> dict[tuple[str, str], str]:
    """Where the window begins in a gap, the last sample before it is just young enough, or just too old."""
    reach = int(shapes.SECONDS[shapes.REACH[rule.window]] / step)
    begin = ASKED_AT_STEP - 6
    young, old = max(1, reach - 1), reach + 1
    return {
        ("reset", "a"): "0+10x16 7x24",
        ("young_reset", "a"): "_x10 100x7 3x30",
        ("newborn", "a"): "_x17 50x20",
        ("gap", "a"): f"0+10x{begin - young} _x{young} {10 * (begin - young) + 150}x24",
        ("lost", "a"): f"0+10x{begin - old} _x{old} 5000x24",
        ("reset_in_gap", "a"): f"0+10x{begin - young} _x{young} 8x24",
        ("reset_lost", "a"): f"0+10x{begin - old} _x{old} 8x24",
    }


def gaps(rule: Any, step: float) -> dict[tuple[str, str], str]:
    """The last sample before the gap is just inside of what is carried over, or just outside."""
    reach = int(shapes.SECONDS[rule.carried_over] / step)
    short, long = reach - 2, reach
    return {
        ("reset", "a"): "0+10x20 7x24",
        ("reset_in_gap", "a"): f"0+10x{20 - short} _x{short} 8x24",
        ("gap", "a"): f"0+10x{20 - short} _x{short} {10 * (20 - short) + 150}x24",
        ("lost", "a"): f"0+10x{20 - long - 1} _x{long + 1} 5000x24",
        ("reset_lost", "a"): f"0+10x{20 - long - 1} _x{long + 1} 8x24",
        ("up_and_reset", "a"): "0x19 100 7x24",
        ("newborn", "a"): "_x21 50x20",
    }


def excluded(rule: Any) -> dict[str, str]:
    """What the rule's matchers leave out, in each of its branches."""
    others = {"tier": {"tier": "batch"}, "type": {"type": "output"}}
    found: dict[str, str] = {}
    for labels in (label for matcher, label in others.items() if matcher in rule.matchers):
        for who, values in (("steady", "0+1000x40"), ("reset", "9000x20 500x24"), ("newborn", "_x21 5000x20")):
            found[labelled(rule, rule_name(rule, "now"), who, "x", **labels)] = values
        found[labelled(rule, rule_name(rule, "created"), "newborn", "x", **labels)] = f"_x21 {10**5}x20"
    return found


def grown(rule: Any) -> list[dict[str, Any]]:
    growth = {
        "steady": 30,
        "idle": 0,
        "reset": 7,
        "young_reset": 3,
        "newborn": 50,
        "inside": 70,
        "gap": 150,
        "reset_in_gap": 8,
    }
    if rule.carried_over:
        growth = {"steady": 5, "idle": 0, "reset": 7, "reset_in_gap": 8, "gap": 150, "newborn": 50, "inside": 70}
        growth["up_and_reset"] = 7
    minutes = shapes.SECONDS[rule.window] / 60 if "per_minute" in rule.record else 1
    return [
        {"labels": "{" + text(dict(zip(rule.by, (who, "m", "z"), strict=False))) + "}", "value": value / minutes}
        for who, value in growth.items()
    ]


def rule_name(rule: Any, kind: str) -> str:
    if kind == "now":
        return rule.counter if rule.counter.endswith("_count") else f"{rule.counter}_total"
    return rule.counter.removesuffix("_count") + "_created"


def labelled(rule: Any, name: str, who: str, instance: str = "a", **others: str) -> str:
    labels = dict(zip(rule.by, (who, "m", "z"), strict=False))
    if "type" in rule.matchers or "tier" in rule.matchers:
        labels |= {"tier": "standard", "type": "cache_read"}
    return f"{name}{{{text(labels | others | {'instance': instance})}}}"


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
        "alert_rule_test": [{"eval_time": "30s", "alertname": "AnthropicThresholdMissing", "exp_alerts": told}],
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
    expected: dict[tuple[str, ...], float | str] = {
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
