"""`anthropic-exporter export --format vmalert`: what the rules may read, and what is left out by name."""

from __future__ import annotations

import functools
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from anthropic_exporter import bundle, toolchain
from anthropic_exporter.commands.main import run as run_command
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.export import files, left_out, write
from anthropic_exporter.rules import Fit, generate
from anthropic_exporter.rules.vmalert.inlining import inline, reads

FIT = Fit(format="vmalert")
PAGE = (Path(__file__).parents[2] / "docs/existing-prometheus.md").read_text()
LEFT_OUT_ALERTS = {"AnthropicCountedLate"}
FITS = [
    FIT,
    Fit(format="vmalert", scrape_interval=60, keep_labels=("namespace",), utc_offset_minutes=-330, job="shop/.*"),
    Fit(format="vmalert", scrape_interval=15, without=("meter", "budget")),
]


@functools.cache
def groups_of(fit: Any) -> Any:
    exported = files(fit)
    texts = [text for name, text in exported.items() if name.startswith("rules/")]
    return [group for text in texts for group in yaml.safe_load(text)["groups"]]


def rules_of(fit: Any) -> Any:
    return [rule for group in groups_of(fit) for rule in group["rules"]]


@functools.cache
def shipped_rules(fit: Any) -> Any:
    return [
        rule for text in generate(fit).values() for group in yaml.safe_load(text)["groups"] for rule in group["rules"]
    ]


def queries_of(rule: Any) -> Any:
    """Queries in the texts of an alert."""
    texts = " ".join(rule.get("annotations", {}).values())
    return re.findall(r'query (?:\(printf )?"((?:[^"\\]|\\.)*)"', texts)


@pytest.mark.parametrize("fit", FITS)
def test_no_rule_reads_the_result_of_another_one_of_the_same_evaluation(fit: Any) -> None:
    """vmalert writes results after the evaluation, so each is read over a range, at an offset or at a moment."""
    recorded = {rule["record"] for rule in rules_of(fit) if "record" in rule}
    read = [(rule, one) for rule in rules_of(fit) for one in reads(rule["expr"])]
    assert len(read) > 200
    assert [(rule, one) for rule, one in read if not one.past] == []
    assert {one.name for _, one in read} <= recorded


@pytest.mark.parametrize("fit", FITS)
def test_what_cannot_be_expressed_is_gone_from_expressions_and_texts(fit: Any) -> None:
    text = "".join(text for name, text in files(fit).items() if name.startswith("rules/"))
    for word in (
        "keep_firing_for",
        "anthropic_incident",
        "cusum",
        "began:",
        ":usual",
        "anthropic_ledger:total",
        "when=",
    ):
        assert word not in text


def test_every_alert_and_every_recorded_series_is_there_or_named() -> None:
    names = {rule.get("alert") or rule["record"] for rule in rules_of(FIT)}
    shipped = shipped_rules(Fit())
    alerts = {rule["alert"] for rule in shipped if "alert" in rule}
    assert alerts - names == LEFT_OUT_ALERTS
    named = " ".join(left_out(FIT))
    internal = re.compile(
        r"^anthropic_ledger:(born|known|now|age|increment|total)$|:ledger$|:increase_minute$|:anthropic_\w+:ours$"
    )
    missing = {rule["record"] for rule in shipped if "record" in rule} - names
    assert {one for one in missing if one.partition(":")[2] not in named and not internal.search(one)} == set()
    assert left_out(Fit()) == []


def test_the_page_names_omitted_rules() -> None:
    section = " ".join(PAGE[PAGE.index("## VictoriaMetrics and vmalert") :].split())
    assert [name for name in left_out(FIT) if name.removeprefix("panel ").strip("'") not in section] == []


def test_an_alert_reads_only_recorded_series() -> None:
    recorded = {rule["record"] for rule in rules_of(FIT) if "record" in rule}
    asked = {read.name for rule in rules_of(FIT) for query in queries_of(rule) for read in reads(query)}
    assert len(asked) > 20
    assert asked <= recorded


def test_a_label_that_is_missing_is_an_empty_text() -> None:
    """In a template of vmalert it is `<no value>`, and `%!q(<nil>)` in a query."""
    texts = [text for rule in rules_of(FIT) for text in rule.get("annotations", {}).values()]
    assert re.findall(r'(?<!\(or )\$labels\.\w+|\(or \$labels\.\w+ (?!"")', " ".join(texts)) == []


def test_a_number_that_is_not_recorded_yet_leaves_no_hole_in_a_text() -> None:
    """A record is written after the evaluation in which its alert may fire already; thresholds are read themselves."""
    texts = " ".join(rule["annotations"]["description"] for rule in rules_of(FIT) if "annotations" in rule)
    number = r'\{\{ with query (?:(?!\}\}).)*\}\}\{\{ \. \| first \| value \| printf "[^"]*" \}\}\{\{ (end|else) \}\}'
    found = re.findall(number, texts)
    assert len(found) > 30
    assert set(found) == {"else"}
    assert "total:anthropic_cost_usd_per_day:threshold" not in texts
    day = r'with query "anthropic_threshold{threshold=\"cost_usd_per_day\", feature=\"\", model=\"\"}"'
    assert texts.count(day) == 2


def test_panels_read_recorded_series_except_those_listed() -> None:
    recorded = {rule["record"] for rule in rules_of(FIT) if "record" in rule}
    dashboard = json.loads(files(FIT)["dashboards/claude-cost.json"])
    empty = {
        panel["title"]
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
        if {read.name for read in reads(re.sub(r"\$\{[^}]*\}", "x", target["expr"]))} - recorded
    }
    assert empty == {"Time to detection", "From onset and from firing to delivery"}
    assert {f"panel {title!r}" for title in empty} <= set(left_out(FIT))


def test_growth_over_the_time_that_a_panel_shows_is_read_from_the_processes() -> None:
    text = files(FIT)["dashboards/claude-cost.json"]
    shipped = (bundle.path("grafana") / "dashboards" / "claude-cost.json").read_text()
    assert text.count("increase_pure(anthropic_ledger_total{") == shipped.count("offset $__range or 0 * ") == 3
    assert "offset $__range" not in text
    for panel in json.loads(text)["panels"]:
        for target in panel.get("targets", ()):
            assert target["expr"].count("(") == target["expr"].count(")")


def test_every_group_asks_for_results_of_now() -> None:
    """VictoriaMetrics answers with what it had 30 s ago unless a query says otherwise."""
    groups = [group for group in groups_of(FIT) if group["name"] != "anthropic-thresholds"]
    assert len(groups) > 10
    assert {json.dumps(group["params"]) for group in groups} == {'{"nocache": ["1"], "latency_offset": ["1ms"]}'}


def test_an_alert_that_keeps_firing_records_its_condition() -> None:
    rules = rules_of(FIT)
    conditions = {
        rule["labels"]["alertname"]: rule["expr"].strip() for rule in rules if rule.get("labels", {}).get("alertname")
    }
    keeping = {rule["alert"] for rule in shipped_rules(Fit()) if "keep_firing_for" in rule} - LEFT_OUT_ALERTS
    assert set(conditions) == keeping
    (alert,) = [rule["expr"] for rule in rules if rule.get("alert") == "AnthropicCostRateHigh"]
    condition, _, held = alert.rpartition("\nor ")
    assert condition.strip("()\n") == conditions["AnthropicCostRateHigh"].strip("()\n")
    assert held.strip() == (
        'label_del(last_over_time(anthropic_condition:value{alertname="AnthropicCostRateHigh"}[2m]), '
        '"__name__", "alertname")'
    )


def test_files_and_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["export", "--out", str(tmp_path), "--format", "vmalert", "--scrape-interval", "15s"]) == 0
    printed = capsys.readouterr().out
    assert "left out  AnthropicCountedLate, anthropic_" in printed
    assert "panel 'Time to detection'" in re.sub(r"\s+", " ", printed)
    assert f"  1. vmalert -dryRun -rule='{tmp_path}/rules/*.yml'" in printed
    jobs = yaml.safe_load((tmp_path / "victoriametrics/scrape_config.yml").read_text())
    assert [(job["job_name"], job["scrape_interval"]) for job in jobs] == [("anthropic", "15s"), ("vmalert", "15s")]
    assert not (tmp_path / "prometheus").exists()
    assert (tmp_path / "alertmanager/route.yml").exists()


def test_edited_thresholds_are_kept(tmp_path: Path) -> None:
    write(files(FIT), tmp_path)
    edited = tmp_path / "rules/thresholds.yml"
    edited.write_text(edited.read_text().replace('expr: "2"', 'expr: "7"', 1))
    outcomes = write(files(FIT), tmp_path)
    assert [outcome.path for outcome in outcomes if outcome.what == "kept"] == [edited]
    assert 'expr: "7"' in edited.read_text()


def test_the_ledger_cannot_be_left_out() -> None:
    with pytest.raises(ConfigurationError, match="ledger cannot be left out: the other rules read it"):
        Fit(format="vmalert", without=("ledger",))


@pytest.mark.stack
@pytest.mark.parametrize("fit", FITS)
def test_vmalert_accepts_every_file(tmp_path: Path, fit: Any) -> None:
    write(files(fit), tmp_path)
    vmalert = toolchain.provide(["vmalert"])["vmalert"]
    done = subprocess.run(
        [vmalert, "-dryRun", f"-rule={tmp_path}/rules/*.yml"], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


DEFINITIONS = {"a:b:rate": 'sum by (result) (l:x{of="r"})', "a:b:now": 'a:b:rate > 2 and a:b:rate{result!~"x|y"}'}


class TestInlining:
    def inlined(self, expression: Any) -> Any:
        return " ".join(inline(expression, DEFINITIONS, {"l:x": "25s"}.get).split())

    def test_what_a_definition_reads_comes_before_it(self) -> None:
        assert self.inlined("a:b:now") == (
            'WITH ( a_b_rate = ( sum by (result) (last_over_time(l:x{of="r"}[25s])) ), '
            'a_b_now = ( a_b_rate > 2 and label_mismatch(a_b_rate, "result", "x|y") ) ) a_b_now'
        )

    def test_matchers_become_functions(self) -> None:
        assert self.inlined('a:b:rate{result="a.b", model=~"c|d"}').endswith(
            'label_match(label_match(a_b_rate, "result", "a\\.b"), "model", "c|d")'
        )

    @pytest.mark.parametrize(
        "past", ["avg_over_time(a:b:now[1h] offset 5m)", "a:b:now offset 5m", 'a:b:now{m="x"}[5m]']
    )
    def test_the_past_is_read_as_it_is(self, past: Any) -> None:
        assert self.inlined(past) == past

    def test_what_no_rule_records_is_read_as_it_is(self) -> None:
        assert self.inlined('other:x{l="1"} + up') == 'other:x{l="1"} + up'
