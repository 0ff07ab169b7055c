"""`bench/false_alarms`: the replay finds what Prometheus' own rule tests find, evaluation by evaluation."""

from __future__ import annotations

import re
from pathlib import Path

import lives
import promtool_tests
import pytest
import yaml
from bench.false_alarms import replay

from anthropic_exporter.history import ledger, remote_write

ROOT = Path(__file__).resolve().parent.parent.parent

STEP, STEPS = 5, 720
START = 1_767_225_600
FILES = ("thresholds", "ledger", "cost", "errors")


def test_an_alert_waits_for_its_time_and_is_kept_for_its_time():
    held = [0, 5, 10, 40, 45, 50, 55, 100]
    assert list(replay.firing(held, 5, 0, 0)) == [(0, 15), (40, 60), (100, 105)]
    assert list(replay.firing(held, 5, 10, 0)) == [(10, 15), (50, 60)]
    assert list(replay.firing(held, 5, 0, 30)) == [(0, 90), (100, 135)]
    assert list(replay.firing(held, 5, 0, 60)) == [(0, 165)]
    assert list(replay.firing([], 5, 0, 60)) == []


def test_a_rule_is_evaluated_at_its_own_offset_in_its_own_interval():
    rule = replay.Rule("x", "1", (), 60, 1500, alert=False)
    assert list(replay.evaluations(rule, 1800, 1950)) == [1801500, 1861500, 1921500]
    assert list(replay.evaluations(rule, 1805, 1860)) == []


def test_what_reads_itself_is_refused():
    rules = [
        replay.Rule("a:b:c", "a:b:c + 1", (), 5, 0, alert=False),
        replay.Rule("A", "a:b:c > 1", (), 5, 0, alert=True),
    ]
    with pytest.raises(SystemExit, match="recorded from itself"):
        list(replay.layers(rules))


def scrapes():
    """By series, one value a step; None where a scrape did not find it: a gap, a restart, a step, a new outcome."""
    found = {}
    counter = {"cost": 0.0, "success": 0.0, "api_error": 0.0}
    created = START
    for step in range(STEPS):
        if step == 360:
            counter, created = dict.fromkeys(counter, 0.0), START + step * STEP
        counter["cost"] += 0.02 + 0.3 * (480 <= step < 500) + 0.05 * (step >= 600)
        counter["success"] += 4
        counter["api_error"] += 2 * (540 <= step < 560)
        lost = 300 <= step < 303
        shown = {
            'anthropic_cost_usd_total{feature="chat", model="opus", tier="standard"}': counter["cost"],
            'anthropic_cost_usd_created{feature="chat", model="opus", tier="standard"}': created,
            'anthropic_request_cost_usd_max{feature="chat", model="opus"}': 0.01,
            'anthropic_requests_total{feature="chat", model="opus", outcome="success"}': counter["success"],
            'anthropic_requests_created{feature="chat", model="opus", outcome="success"}': created,
        }
        if counter["api_error"]:
            failed = 'feature="chat", model="opus", outcome="api_error"'
            shown |= {f"anthropic_requests_total{{{failed}}}": counter["api_error"]}
            shown |= {f"anthropic_requests_created{{{failed}}}": START + 540 * STEP}
        for series, value in shown.items():
            found.setdefault(series, [None] * step).append(None if lost else value)
    return found


def notation():
    """The same series as promtool reads them; its time begins at 0."""
    found = {}
    for series, values in scrapes().items():
        shifted = [value - START * ("_created" in series) if value is not None else None for value in values]
        text = " ".join("stale" if value is None else f"{value:.17g}" for value in shifted)
        found[series] = text.replace("stale " * 540, "_x540 ")
    return found


def stored():
    """The series with those of the ledger, as labels and one value a step."""
    series = lives.with_lives([{"series": one, "values": values} for one, values in notation().items()], STEP)
    found = {}
    for one in series:
        name, labels = lives.parsed(one["series"])
        found[tuple(sorted({"__name__": name, **labels}.items()))] = lives.values_of(one["values"])[:STEPS]
    return found


def by_promtool(promtool, folder):
    """Alert and second since the start at which it fired first, and for how many evaluations it did."""
    firing, whole = 'ALERTS{alertstate="firing"}', f"[{STEPS * STEP}s:{STEP}s]"
    asked = (f"min_over_time(timestamp({firing}){whole})", f"count_over_time({firing}{whole})")
    case = promtool_tests.Case(
        "replayed",
        FILES[2:],
        {
            "name": "replayed",
            "input_series": [{"series": series, "values": values} for series, values in notation().items()],
            "promql_expr_test": [
                {"eval_time": f"{(STEPS - 1) * STEP}s", "expr": one, "exp_samples": []} for one in asked
            ],
        },
    )
    told = promtool_tests.run(promtool, folder, case)
    first, count = (dict(re.findall(r'alertname="(\w+)"[^}]*\} ([\d.E+]+)', part)) for part in told.split("expr: ")[1:])
    return {name: (float(at), float(count[name])) for name, at in first.items()}


def by_replay(prometheus):
    groups = [
        group
        for name in FILES
        for group in yaml.safe_load((promtool_tests.RULES / f"{name}.yml").read_text())["groups"]
    ]
    rules = replay.Replay(prometheus, groups, 2)
    series = stored()
    pages = ledger.pages(
        (dict(labels), [(START + STEP * step, value) for step, value in enumerate(values) if value is not None])
        for labels, values in series.items()
    )
    for start in range(0, STEPS * STEP, replay.SLICE):
        steps = range(start // STEP, min((start + replay.SLICE) // STEP, STEPS))
        prometheus.write((labels, written(values, steps)) for labels, values in series.items())
        end = START + start + len(steps) * STEP
        rules.add(START + start, end, [page for page in pages if START + start <= page.at < end])
    alerts = {rule["alert"]: (rule, group) for group in groups for rule in group["rules"] if "alert" in rule}
    found = {}
    for name, held in rules.held.items():
        rule, group = alerts[name]
        durations = [replay.seconds(text) for text in (group["interval"], rule.get("for"), rule.get("keep_firing_for"))]
        for times in held.values():
            spans = list(replay.firing(times, *durations))
            if spans:
                end = START + STEPS * STEP
                lasted = sum(min(stop, end) - since for since, stop in spans)
                found[name] = (spans[0][0] - START, -(-lasted // STEP))
    return found


def written(values, steps):
    samples, alive = [], False
    for step in steps[: len(values)]:
        moment = remote_write.moment((START + step * STEP) * 1000)
        if values[step] is not None:
            samples.append(remote_write.sample(remote_write.value(values[step]), moment))
        elif alive or values[step - 1] is not None:
            samples.append(remote_write.sample(remote_write.STALE, moment))
        alive = values[step] is not None
    return samples


@pytest.mark.stack
def test_the_replay_tells_what_promtool_tells(promtool, prometheus, tmp_path):
    told = by_promtool(promtool, tmp_path / "promtool")
    (tmp_path / "prometheus").mkdir()
    with replay.Prometheus(prometheus, tmp_path / "prometheus") as running:
        replayed = by_replay(running)
    assert set(told) == {"AnthropicCostRateHigh", "AnthropicCostSpike", "AnthropicErrorRateHigh"}
    assert {name: (at - at % STEP, count) for name, (at, count) in replayed.items()} == told
