"""`bench/false_alarms`: the replay finds what Prometheus' own rule tests find, evaluation by evaluation."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from bench.false_alarms import agreement, many, run, screen, traffic

from anthropic_exporter.history import ledger, remote_write
from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.stack.scratch import ScratchPrometheus
from anthropic_exporter.tuning.backtest import rules as backtest_rules
from anthropic_exporter.tuning.backtest.replay import SLICE_SECONDS, Replay
from anthropic_exporter.tuning.backtest.rules import Rule
from rules import lives, promtool_tests

ROOT = Path(__file__).resolve().parent.parent.parent

STEP, STEPS = 5, 720
START = 1_767_225_600
FILES = ("thresholds", "ledger", "cost", "errors")


def test_groups_are_evaluated_at_different_moments_between_two_scrapes() -> None:
    rules = [Rule("x", "1", (), group, 5.0, is_alert=False) for group in ("a", "b", "anthropic-thresholds", "a")]
    assert run.phases(rules) == {
        "anthropic-thresholds": 0.5,
        "a": pytest.approx(1.833, abs=1e-3),
        "b": pytest.approx(3.167, abs=1e-3),
    }


def test_a_firing_alert_has_its_severity_its_second_and_its_length() -> None:
    rule = Rule("A", "x", (("severity", "warning"),), "g", 5.0, is_alert=True, wait=10.0, keep=30.0)
    held = {rule: {(("feature", "chat"),): [run.START + 100.0 + 5 * step for step in range(4)]}}
    assert list(run.all_fired(held)) == [run.Fired("A", "warning", {"feature": "chat"}, 110, 40)]  # type: ignore[arg-type]


def scrapes() -> Any:
    """By series, one value a step; None where a scrape did not find it: a gap, a restart, a step, a new outcome."""
    found: dict[Any, Any] = {}
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


def notation() -> Any:
    """The same series as promtool reads them; its time begins at 0."""
    found = {}
    for series, values in scrapes().items():
        shifted = [value - START * ("_created" in series) if value is not None else None for value in values]
        text = " ".join("stale" if value is None else f"{value:.17g}" for value in shifted)
        found[series] = text.replace("stale " * 540, "_x540 ")
    return found


def stored() -> Any:
    """The series with those of the ledger, as labels and one value a step."""
    series = lives.with_lives([{"series": one, "values": values} for one, values in notation().items()], STEP)
    found = {}
    for one in series:
        name, labels = lives.parsed(one["series"])
        found[tuple(sorted({"__name__": name, **labels}.items()))] = lives.values_of(one["values"])[:STEPS]
    return found


def by_promtool(promtool: Any, folder: Any) -> Any:
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


def by_replay(url: Any, folder: Any) -> Any:
    for name in FILES:
        shutil.copy(promtool_tests.RULES / f"{name}.yml", folder)
    rules = backtest_rules.read(folder)
    first = sorted(rules, key=lambda rule: not backtest_rules.is_read_first(rule.group))  # as promtool is asked to
    replay = Replay(Prometheus(url), rules, STEP, run.phases(first))
    series = stored()
    pages = ledger.pages(
        (dict(labels), [(START + STEP * step, value) for step, value in enumerate(values) if value is not None])
        for labels, values in series.items()
    )
    for start in range(0, STEPS * STEP, SLICE_SECONDS):
        steps = range(start // STEP, min((start + SLICE_SECONDS) // STEP, STEPS))
        remote_write.write(url, ((labels, written(values, steps)) for labels, values in series.items()))
        end = START + start + len(steps) * STEP
        replay.evaluate(START + start, end, [page for page in pages if START + start <= page.at < end])
    found = {}
    for rule, held in replay.held.items():
        for times in held.values():
            if spans := list(backtest_rules.spans(times, rule)):
                end = START + STEPS * STEP
                lasted = sum(min(last + rule.interval, end) - since for since, last, _ in spans)
                found[rule.name] = (spans[0][0] - START, -(-lasted // STEP))
    return found


def written(values: Any, steps: Any) -> Any:
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
def test_the_replay_says_what_promtool_says(promtool: Path, tmp_path: Path) -> None:
    expected = by_promtool(promtool, tmp_path / "promtool")
    with ScratchPrometheus(tmp_path) as scratch:
        (tmp_path / "rules").mkdir()
        replayed = by_replay(scratch.url, tmp_path / "rules")
    assert set(expected) == {"AnthropicCostRateHigh", "AnthropicCostSpike", "AnthropicErrorRateHigh"}
    assert {name: (at - at % STEP, count) for name, (at, count) in replayed.items()} == expected


@pytest.mark.stack
def test_a_series_that_changes_between_two_windows_is_one_series(tmp_path: Path) -> None:
    """Of `a or b`, a range query answers two series that a rule records as one."""
    fast = [30, 30, 5, 5, 30, 5]
    rules = [
        Rule("anthropic_ledger:total", "0", (), "anthropic-ledger", 5.0, is_alert=False),
        Rule("now", "anthropic_fast > 10 or anthropic_slow", (), "g", 5.0, is_alert=False),
        Rule("Alert", "anthropic_fast > 10 or anthropic_slow", (("severity", "warning"),), "g", 5.0, is_alert=True),
        Rule("Other", "now > 0", (("severity", "warning"),), "g", 5.0, is_alert=True),
    ]
    with ScratchPrometheus(tmp_path) as scratch:
        for name, values in (("anthropic_fast", fast), ("anthropic_slow", [12] * 6)):
            samples = written(values, range(6))
            remote_write.write(scratch.url, [((("__name__", name), ("feature", "chat")), samples)])
        replay = Replay(Prometheus(scratch.url), rules, STEP, {"anthropic-ledger": 0.0, "g": 1.0})
        replay.evaluate(START, START + 6 * STEP, [])
        (found,) = Prometheus(scratch.url).range("now", START + 1, START + 26, STEP)
    moments = [START + 1.0 + STEP * step for step in range(6)]
    assert found.points == tuple(zip(moments, [30.0, 30.0, 12.0, 12.0, 30.0, 12.0], strict=True))
    assert [list(held.values()) for held in replay.held.values()] == [[moments], [moments]]


def test_skipped_calls_leave_the_calls_after_them_as_they_are() -> None:
    """Whoever judges some hours draws the same calls in them as whoever judges all."""
    whole, some = run.Scrapes(1, 60), run.Scrapes(1, 60)
    whole.until(0, 36_000)
    some.skip(0, 34_200)
    some.until(34_200, 36_000)
    recent = [[process.recent for process in one.processes] for one in (whole, some)]
    assert sum(map(len, recent[0])) == 66
    assert recent[0] == recent[1]


def test_baselines_of_a_half_hour_read_the_hour_and_a_half_before_and_yesterday() -> None:
    found = run.with_history({100})
    assert [number for number in sorted(found) if number >= 0] == [51, 52, 53, 54, 97, 98, 99, 100]


def test_a_gap_that_is_shorter_than_the_memory_of_the_ledger_is_filled() -> None:
    assert {number for number in run.with_history({200, 206}) if number > 190} == set(range(197, 207))
    assert {number for number in run.with_history({200, 207}) if number > 190} == {*range(197, 201), *range(204, 208)}


def test_the_screen_keeps_the_half_hours_of_events_and_no_quiet_night() -> None:
    drawn = screen.drawn(1, 60, 2 * traffic.DAY)
    kept = screen.Screen(drawn, 60, run.defaults(run.RULES / "thresholds.yml")).kept()
    assert {(traffic.DAY + 14 * traffic.HOUR) // SLICE_SECONDS} <= kept  # a deploy
    assert not kept & set(range(12))
    assert len(kept) < 10


@pytest.mark.stack
def test_a_judge_of_some_hours_agrees_with_a_judge_of_all() -> None:
    found = agreement.compared(many.Task(60, 1), ease=0.5, days=0.5)
    assert (found.left_out, found.different) == ([], [])
    assert found.evaluations.keys() >= {"AnthropicCostSpike", "AnthropicTokenSpike"}
    assert found.with_condition < found.kept < 24


def test_no_alert_in_some_weeks_says_how_many_there_may_be() -> None:
    assert many.at_most(0) == pytest.approx(2.9957, abs=1e-4)  # -ln 0.05
    assert many.at_most(1) == pytest.approx(4.7439, abs=1e-4)
