"""Rules over the past agree with promtool, evaluation by evaluation, for the shipped and for edited thresholds."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import histories
import printed
from anthropic_exporter.commands.main import run
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.history import remote_write
from anthropic_exporter.history.prometheus_api import TimeSeries
from anthropic_exporter.tuning.backtest import rules
from anthropic_exporter.tuning.backtest.rules import Rule
from anthropic_exporter.tuning.backtest.scrapes import Slice
from rules import promtool_tests
from rules import test_false_alarms as hour

SPAN = ("--last", "1h", "--until", "2026-01-01T01:00", "--lead", "1m")
FOUND = {"AnthropicCostRateHigh", "AnthropicCostSpike", "AnthropicErrorRateHigh"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An hour in a real Prometheus: a gap, a restart, a step of cost, failures."""
    with histories.prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        series = dict(hour.stored())
        series[(("__name__", "up"),)] = [float(not 300 <= step < 303) for step in range(hour.STEPS)]
        for start in range(0, hour.STEPS, 360):
            part = range(start, start + 360)
            histories.write_series(
                url,
                [
                    (dict(labels), [(hour.START + 5 * step, values[step]) for step in part if shows(values, step)])
                    for labels, values in series.items()
                ],
            )
        yield url


def shows(values: Any, step: Any) -> Any:
    return step < len(values) and values[step] is not None


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    made = tmp_path / "rules"
    made.mkdir()
    for name in hour.FILES:
        shutil.copy(promtool_tests.RULES / f"{name}.yml", made)
    return made


@pytest.fixture
def backtest(source: Any, folder: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COLUMNS", "160")

    def run_it(*arguments: Any, span: Any = SPAN) -> Any:
        code = run(["backtest", "--prometheus", source, "--rules", str(folder), *span, *arguments])
        return code, capsys.readouterr()

    return run_it


@pytest.mark.stack
def test_it_agrees_with_promtool_to_the_evaluation(backtest: Any, promtool: Path, tmp_path: Path) -> None:
    code, shown = backtest("--json")
    assert code == 1
    (fired,) = json.loads(shown.out)["sets"].values()
    expected = hour.by_promtool(promtool, tmp_path / "promtool")
    assert expected.keys() == FOUND
    first: dict[Any, Any] = {}
    for one in fired:
        first.setdefault(one["alert"], one["start"] - hour.START)
    counts = dict.fromkeys(first, 0)
    for one in fired:
        counts[one["alert"]] += round(one["seconds"] / 5) + 1
    assert {alert: (math.floor(at / 5) * 5, counts[alert]) for alert, at in first.items()} == expected


@pytest.mark.stack
def test_dollars_until_the_alert_and_while_it_fires(backtest: Any) -> None:
    _, shown = backtest("--json")
    (fired,) = json.loads(shown.out)["sets"].values()
    cost = next(one for one in fired if one["alert"] == "AnthropicCostRateHigh" and one["labels"].get("feature"))
    assert cost["labels"] == {"category": "cost", "feature": "chat", "model": "opus"} | cost["labels"]
    # from the 480th step on 0.32 dollars a scrape
    steps = round((cost["start"] - hour.START) / 5 - 480)
    assert 1 <= steps <= 6
    assert cost["until_usd"] == pytest.approx(0.32 * steps, abs=0.33)
    assert cost["while_usd"] > cost["until_usd"]


@pytest.mark.stack
def test_two_sets_of_thresholds_side_by_side(backtest: Any, folder: Any, tmp_path: Path) -> None:
    high = tmp_path / "high.yml"
    shipped = (folder / "thresholds.yml").read_text()
    assert 'expr: "2"\n        labels: {threshold: cost_usd_per_minute}' in shipped
    high.write_text(shipped.replace('expr: "2"\n', 'expr: "50"\n'))
    code, shown = backtest("--thresholds", str(folder / "thresholds.yml"), "--thresholds", str(high))
    assert code == 1
    assert "Side by side" in shown.out
    row = next(line for line in shown.out.split("Side by side")[1].splitlines() if "CostRateHigh" in line)
    shipped_count, high_count = (int(cell) for cell in row.replace("│", " ").split()[1:])
    assert shipped_count >= 1
    assert high_count == 0


@pytest.mark.stack
def test_json_has_every_figure_of_the_tables(
    backtest: Any, folder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", printed.WIDE)
    low = tmp_path / "low.yml"
    low.write_text((folder / "thresholds.yml").read_text().replace('expr: "2"\n', 'expr: "1"\n'))
    both = ("--thresholds", str(folder / "thresholds.yml"), "--thresholds", str(low))

    def run_it(*arguments: str) -> Any:
        code, shown = backtest(*both, *arguments)
        tables, _, _ = shown.out.partition("With --lead")
        return code, shown._replace(out=tables)

    found = printed.same(run_it, printed.backtest, "--all")
    assert {one["alert"] for fired in found["sets"].values() for one in fired} == FOUND


@pytest.mark.stack
def test_a_rule_that_cannot_be_evaluated_is_named(source: Any, folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "mine.yml"
    path.write_text("groups: [{name: mine, rules: [{alert: AnthropicMine, expr: 'sum((anthropic_cost_usd_total'}]}]")
    assert run(["backtest", "--prometheus", source, *SPAN, "--rules", str(folder)]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("anthropic-exporter: rule AnthropicMine of the group mine: ")
    assert "parse error: unclosed left parenthesis" in last
    assert "127.0.0.1" not in last


@pytest.mark.stack
def test_a_folder_that_is_none_is_one_line(source: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "none"
    assert run(["backtest", "--prometheus", source, *SPAN, "--rules", str(missing)]) == 2
    assert capsys.readouterr().err.startswith(f"anthropic-exporter: {missing}: there is no such folder")


@pytest.mark.stack
def test_a_folder_without_rules_is_one_line(source: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = run(["backtest", "--prometheus", source, "--rules", str(tmp_path), *SPAN])
    assert code == 2
    assert capsys.readouterr().err == (
        f"anthropic-exporter: {tmp_path}: has no ledger rules; give --rules a folder such as prometheus/rules\n"
    )


# --- pure


def rule(**fields: Any) -> Any:
    return Rule(
        **{"name": "A", "expression": "x", "labels": (), "group": "g", "interval": 5, "is_alert": True} | fields  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("wait", "keep", "expected"),
    [
        (0, 0, [(0, 10, True), (40, 55, True), (100, 100, False)]),
        (10, 0, [(10, 10, True), (50, 55, True)]),
        (0, 30, [(0, 85, True), (100, 130, False)]),
        (0, 60, [(0, 160, False)]),
    ],
)
def test_an_alert_waits_for_its_time_and_is_kept_for_its_time(wait: Any, keep: Any, expected: Any) -> None:
    held = [0, 5, 10, 40, 45, 50, 55, 100]
    assert list(rules.spans(held, rule(wait=wait, keep=keep))) == expected
    assert list(rules.spans([], rule())) == []


def test_what_reads_itself_is_refused() -> None:
    found = [rule(name="a:b:c", expression="a:b:c + 1", is_alert=False), rule(expression="a:b:c > 1")]
    with pytest.raises(ConfigurationError, match="a:b:c: reads its own results"):
        rules.layers(found)


def test_durations_are_read_as_prometheus_reads_them() -> None:
    assert [rules.seconds(one) for one in ("1m30s", "5s", "2h", "1d", "1w", "500ms", None)] == [
        *(90, 5, 7_200, 86_400, 604_800),
        *(0.5, 0),
    ]


@pytest.mark.parametrize(
    "text", ["groups: 3", "groups: [3]", "groups: [{rules: [{record: x}]}]", "groups: [{name: g, rules: [{expr: x}]}]"]
)
def test_another_file_is_one_line(tmp_path: Path, text: Any) -> None:
    (tmp_path / "own.yml").write_text(text)
    with pytest.raises(ConfigurationError, match=r"own.yml: is not a rule file"):
        rules.read(tmp_path)


def ended(found: Any) -> Any:
    """Moments at which the written samples end a series."""
    return {dict(labels)["__name__"]: [one.count(remote_write.STALE) for one in samples] for labels, samples in found}


def test_a_series_ends_where_its_target_was_scraped_without_it() -> None:
    where = {"job": "anthropic", "instance": "a"}
    up = TimeSeries({"__name__": "up", **where}, tuple((5.0 * number, 1.0) for number in range(6)))
    gone = TimeSeries({"__name__": "gone", **where}, ((0.0, 1.0), (5.0, 1.0)))
    alive: dict[Any, Any] = {}
    assert ended(Slice([up, gone]).written(alive)) == {"up": [0] * 6, "gone": [0, 0, 1]}
    assert [dict(labels)["__name__"] for labels in alive] == ["up"]


def test_a_target_that_is_gone_ends_all_its_series_in_the_slice_after() -> None:
    other = TimeSeries(
        {"__name__": "up", "job": "x", "instance": "b"}, tuple((5.0 * number, 1.0) for number in range(20))
    )
    up = TimeSeries({"__name__": "up", "job": "x", "instance": "a"}, ((0.0, 1.0), (5.0, 1.0), (10.0, 1.0)))
    cost = TimeSeries({"__name__": "cost", "job": "x", "instance": "a"}, ((0.0, 1.0), (5.0, 2.0), (10.0, 2.0)))
    assert ended(Slice([other, up, cost]).written({}))["cost"] == [0, 0, 0, 1]
