"""The dashboard without a Grafana: its shape, and that every series it asks for is one that exists."""

from __future__ import annotations

import importlib.util
import itertools
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from anthropic_exporter.metrics.families import FAMILIES, HISTOGRAM

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = json.loads((ROOT / "grafana/dashboards/claude-cost.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
DRAWN = [panel for panel in PANELS if panel["type"] != "text"]
QUERIES = [(panel["title"], target) for panel in DRAWN for target in panel["targets"]]
RULES = [
    rule
    for path in sorted((ROOT / "prometheus/rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
PROMETHEUS_OWN = {"up", "ALERTS", "ALERTS_FOR_STATE"}
SCRAPE_LABELS = {"job", "instance"}

STRING = re.compile(r'"(?:\\.|[^"\\])*"|`[^`]*`')
LABEL_LIST = re.compile(r"\b(by|on|group_left)\s*\(([^)]*)\)")
NAME = re.compile(r"(?<![\w:$.])[A-Za-z_:][\w:]*(?![\w:]|\s*\()")
WORDS = {"and", "or", "unless", "bool", "offset", "by", "on", "group_left"}


def series_of_families() -> dict[str, set[str]]:
    """Each series name that the exporter exposes, with its labels."""
    found = {}
    for family in FAMILIES:
        if family.kind == HISTOGRAM:
            found[f"{family.name}_bucket"] = {*family.labels, "le"}
        else:
            found[family.name] = set(family.labels)
    return found


EXPOSED = series_of_families()


def metrics(expr: str) -> set[str]:
    """The metric names of a query."""
    bare = re.sub(r"\{[^}]*\}|\[[^\]]*\]", "", LABEL_LIST.sub("", STRING.sub("", expr)))
    return set(NAME.findall(bare)) - WORDS


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    spec = importlib.util.spec_from_file_location("generate_dashboard", ROOT / "scripts/generate_dashboard.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_committed_dashboard_is_what_the_panels_file_says(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["generate_dashboard.py", "--check"])
    assert generator.main() == 0


def test_an_edited_dashboard_is_noticed(
    generator: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edited = tmp_path / "claude-cost.json"
    edited.write_text((ROOT / "grafana/dashboards/claude-cost.json").read_text().replace("Claude cost", "Costs"))
    monkeypatch.setattr(generator, "TARGET", edited)
    monkeypatch.setattr("sys.argv", ["generate_dashboard.py", "--check"])
    assert generator.main() == 1
    assert "run python scripts/generate_dashboard.py" in capsys.readouterr().err


def test_the_address_that_alerts_link_to() -> None:
    assert (DASHBOARD["uid"], DASHBOARD["title"], DASHBOARD["schemaVersion"]) == ("anthropic-cost", "Claude cost", 39)
    links = [rule["annotations"]["dashboard_url"] for rule in RULES if "dashboard_url" in rule.get("annotations", {})]
    assert links
    assert {re.sub(r"\?.*", "", link, flags=re.DOTALL) for link in links} == {
        "http://localhost:3000/d/anthropic-cost/claude-cost"
    }


def test_the_rows_answer_the_questions_in_order() -> None:
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert [row.split(" (")[0] for row in rows] == [
        "Now",
        "Where it goes",
        "Is it the cache?",
        "Requests",
        "Limits and the meter itself",
        "For finance",
    ]


def test_ids_are_unique() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))


def test_panels_lie_within_24_columns_and_never_on_each_other() -> None:
    taken: dict[Any, Any] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        columns = range(place["x"], place["x"] + place["w"])
        for cell in itertools.product(columns, range(place["y"], place["y"] + place["h"])):
            assert cell not in taken, f"{panel['title']} lies on {taken[cell]}"
            taken[cell] = panel["title"]


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_is(panel: dict[str, Any]) -> None:
    assert panel["title"]
    assert panel["description"].endswith(".")


@pytest.mark.parametrize("panel", DRAWN, ids=lambda panel: panel["title"])
def test_a_drawn_panel_has_a_unit_and_the_chosen_data_source(panel: dict[str, Any]) -> None:
    assert panel["fieldConfig"]["defaults"]["unit"]
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert {source["uid"] for source in sources} == {"${datasource}"}
    if panel["type"] != "table":
        assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize(("title", "target"), QUERIES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_query_asks_for_series_that_exist(title: str, target: dict[str, Any]) -> None:
    names = metrics(target["expr"])
    assert names
    assert names <= EXPOSED.keys() | RECORDED | PROMETHEUS_OWN


@pytest.mark.parametrize(("title", "target"), QUERIES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_query_uses_labels_that_its_metrics_have(title: str, target: dict[str, Any]) -> None:
    known = [EXPOSED[name] for name in metrics(target["expr"]) if name in EXPOSED]
    for name, matchers in re.findall(r"(\w+)\{([^}]*)\}", target["expr"]):
        if name in EXPOSED:
            assert set(re.findall(r"(\w+)\s*[=!]", STRING.sub("", matchers))) <= EXPOSED[name] | SCRAPE_LABELS
    for _, labels in LABEL_LIST.findall(target["expr"]):
        assert all(set(re.findall(r"\w+", labels)) <= labels_of for labels_of in known)


@pytest.mark.parametrize("panel", [one for one in DRAWN if one["type"] == "table"], ids=lambda panel: panel["title"])
def test_the_columns_of_a_table_join_because_no_query_keeps_the_name_of_its_metric(panel: dict[str, Any]) -> None:
    expressions = [target["expr"].replace("label_replace(", "") for target in panel["targets"]]
    if len(expressions) > 1:
        assert [text for text in expressions if not text.startswith("sum by (")] == []


@pytest.mark.parametrize(("title", "target"), QUERIES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_counter_is_only_read_by_its_growth(title: str, target: dict[str, Any]) -> None:
    counters = re.findall(r"\w+_total\b", target["expr"])
    assert counters == re.findall(r"(?:rate|increase)\((\w+_total)\b", target["expr"])


@pytest.mark.parametrize(("title", "target"), QUERIES, ids=lambda value: value if isinstance(value, str) else "")
def test_variables_are_those_of_the_dashboard_or_of_grafana(title: str, target: dict[str, Any]) -> None:
    own = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert own == {"datasource", "feature", "model"}
    of_grafana = {"__rate_interval", "__range"}
    assert set(re.findall(r"\$\{?([a-z_]\w*)", target["expr"])) <= own | of_grafana


def test_thresholds_are_drawn_from_the_series_the_alerts_compare_with() -> None:
    drawn = {
        (title, name)
        for title, target in QUERIES
        if target["legendFormat"].startswith("alert threshold")
        for name in re.findall(r'threshold="(\w+)"', target["expr"])
    }
    assert drawn == {
        ("Cost per minute by feature", "total_cost_usd_per_minute"),
        ("Cost per minute by feature", "cost_usd_per_minute"),
        ("Most expensive single request", "request_cost_usd"),
        ("Longest single answer", "request_output_tokens"),
        ("Cache miss ratio", "cache_miss_ratio"),
        ("Dollars lost to misses per minute", "cache_miss_cost_usd_per_minute"),
        ("Request duration", "latency_p95_seconds"),
        ("Time to first token", "ttft_p95_seconds"),
        ("Oldest request in flight", "stuck_request_seconds"),
        ("Rate limit left", "ratelimit_headroom_ratio"),
        ("Today against the budget", "cost_usd_per_day"),
    }
    known = {rule["labels"]["threshold"] for rule in RULES if rule.get("record") == "anthropic_threshold"}
    assert {name for _, name in drawn} <= known


def test_a_threshold_is_a_dashed_line_outside_the_stack() -> None:
    for panel in DRAWN:
        lines = {target["legendFormat"] for target in panel["targets"] if "threshold=" in target["expr"]}
        for name in lines & {"alert threshold", "alert threshold, total"}:
            looks = next(o for o in panel["fieldConfig"]["overrides"] if o["matcher"]["options"] == name)
            values = {entry["id"]: entry["value"] for entry in looks["properties"]}
            assert values["custom.lineStyle"]["fill"] == "dash"
            assert values["custom.stacking"]["mode"] == "none"
            assert values["color"]["fixedColor"] == "red"


def test_provisioning_points_at_the_stack() -> None:
    source = yaml.safe_load((ROOT / "grafana/provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    scrape = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scrape == "5s"
