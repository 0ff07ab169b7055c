"""`anthropic-exporter export`: the bundle for a Prometheus that is already there."""

from __future__ import annotations

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from anthropic_exporter import bundle, toolchain
from anthropic_exporter.bundle import checks
from anthropic_exporter.commands.main import run as run_command
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.export import files, write
from anthropic_exporter.rules import Fit
from anthropic_exporter.rules import settings as rule_settings

RULES = bundle.path("prometheus") / "rules"
QUESTIONS = sorted(path.name for path in RULES.glob("*.yml"))


def rules_of(text: str) -> list[dict[str, Any]]:
    document = yaml.safe_load(text)
    document = document.get("spec", document)
    return [rule for group in document["groups"] for rule in group["rules"]]


def test_for_the_defaults_the_rules_are_the_shipped_ones() -> None:
    exported = files(Fit())
    assert {name: exported[f"rules/{name}"] for name in QUESTIONS} == {
        name: (RULES / name).read_text() for name in QUESTIONS
    }
    shipped = bundle.path("grafana") / "dashboards" / "claude-cost.json"
    assert exported["dashboards/claude-cost.json"] == shipped.read_text()


def test_a_question_can_be_left_out() -> None:
    exported = files(Fit(without=("meter", "latency")))
    assert {name for name in QUESTIONS if f"rules/{name}" not in exported} == {"meter.yml", "latency.yml"}


@pytest.mark.parametrize("seconds", [5, 15, 30, 60])
def test_no_window_of_the_dashboard_is_shorter_than_two_scrapes(seconds: int) -> None:
    text = files(Fit(scrape_interval=seconds))["dashboards/claude-cost.json"]
    json.loads(text)
    assert not re.search(r"(?:rate|increase)\([^()]*\[\d", text)


@pytest.mark.parametrize("seconds", [5, 15, 30, 60])
def test_no_growth_of_a_scraped_counter_is_asked_of_fewer_than_three_scrapes(seconds: int) -> None:
    """Neither by a rule nor by the text of an alert: with one sample there is no growth, and nothing says so."""
    texts = "".join(files(Fit(scrape_interval=seconds))[f"rules/{name}"] for name in QUESTIONS)
    windows = re.findall(r"(?:rate|increase)\((\w+)(?:{[^}]*})?\[(\w+)\]", texts)
    assert len(windows) > 10
    assert [name for name, window in windows if rule_settings.seconds(window) < 3 * seconds] == []


def test_mimir_gets_groups_of_at_most_20_rules_in_their_order() -> None:
    exported = files(Fit(format="mimir"))
    for name in QUESTIONS:
        document = yaml.safe_load(exported[f"rules/{name}"])
        assert document["namespace"] == f"anthropic-{name.removesuffix('.yml')}"
        assert max(len(group["rules"]) for group in document["groups"]) <= 20
        assert rules_of(exported[f"rules/{name}"]) == rules_of((RULES / name).read_text())
        names = [group["name"] for group in document["groups"]]
        assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", QUESTIONS)
def test_running_sums_stay_in_one_group_on_mimir(name: str) -> None:
    """Mimir evaluates groups independently. A figure of each evaluation may be neither missed nor taken twice."""
    groups = yaml.safe_load(files(Fit(format="mimir"))[f"rules/{name}"])["groups"]
    group_of = {rule["record"]: group["name"] for group in groups for rule in group["rules"] if "record" in rule}
    texts = {rule["record"]: rule["expr"] for group in groups for rule in group["rules"] if "record" in rule}
    words = re.compile(r"[a-zA-Z_:][\w:]*")
    added_up = {
        found for text in texts.values() for found in re.findall(r"sum_over_time\(([\w:]+)", text) if found in texts
    }
    assert added_up or name != "budget.yml"
    apart = [
        (record, read)
        for record, text in texts.items()
        for read in words.findall(text)
        if read in group_of
        and (record in added_up or re.search(rf"{read}[^)]*offset 1ms", text))
        and group_of[read] != group_of[record]
    ]
    assert apart == []


def test_the_operator_gets_the_same_rules() -> None:
    exported = files(Fit(format="prometheus-rule", scrape_interval=30))
    for name in QUESTIONS:
        document = yaml.safe_load(exported[f"rules/{name}"])
        assert (document["kind"], document["metadata"]["name"]) == (
            "PrometheusRule",
            f"anthropic-{name.removesuffix('.yml')}",
        )
    monitor = yaml.safe_load(exported["podmonitor.yml"])
    assert monitor["spec"]["podMetricsEndpoints"] == [{"port": "anthropic", "interval": "30s"}]
    routing = yaml.safe_load(exported["alertmanagerconfig.yml"])["spec"]
    assert routing["route"]["groupBy"] == ["alertname", "feature", "model", "job", "instance"]
    assert routing["route"]["routes"][2]["matchers"] == [{"name": "severity", "value": "critical", "matchType": "="}]
    assert {one["name"] for one in routing["receivers"]} == {"exporter", "heartbeat"}


def test_the_route_works_in_a_larger_tree() -> None:
    route = yaml.safe_load(files(Fit())["alertmanager/route.yml"])
    shipped = yaml.safe_load((bundle.path("alertmanager") / "alertmanager.yml").read_text())
    (one,) = route["routes"]
    assert {key: value for key, value in one.items() if key not in ("matchers", "continue")} == shipped["route"]
    assert {key: route[key] for key in ("inhibit_rules", "receivers")} == {
        key: shipped[key] for key in ("inhibit_rules", "receivers")
    }


def test_edited_thresholds_are_kept_and_the_new_ones_are_beside_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["export", "--out", str(tmp_path)]) == 0
    edited = tmp_path / "rules/thresholds.yml"
    edited.write_text(edited.read_text().replace('expr: "2"', 'expr: "7"', 1))
    capsys.readouterr()
    assert run_command(["export", "--out", str(tmp_path), "--scrape-interval", "30s"]) == 0
    assert 'expr: "7"' in edited.read_text()
    assert "interval: 10s" in (tmp_path / "rules/thresholds.yml.new").read_text()
    printed = capsys.readouterr().out
    assert f"kept      {edited}: it was edited, or is of another version; the new one is {edited}.new" in printed


def test_thresholds_without_edits_follow_the_scrape_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for interval in ("15s", "60s"):
        assert run_command(["export", "--out", str(tmp_path), "--scrape-interval", interval]) == 0
    assert "interval: 15s" in (tmp_path / "rules/thresholds.yml").read_text()
    assert not (tmp_path / "rules/thresholds.yml.new").exists()
    assert f"written   {tmp_path}/rules/thresholds.yml\n" in capsys.readouterr().out


def test_rule_files_of_an_earlier_export_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Prometheus would go on loading them; a file of the user is named too, and neither is removed."""
    assert run_command(["export", "--out", str(tmp_path)]) == 0
    (tmp_path / "rules/shop.yml").write_text("groups: []\n")
    assert "not ours" not in capsys.readouterr().out
    assert run_command(["export", "--out", str(tmp_path), "--without", "meter", "--format", "mimir"]) == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not ours")]
    said = "is not part of this export; rules/*.yml loads it, so remove it unless it is yours"
    assert printed == [f"not ours  {tmp_path}/rules/{name}.yml: {said}" for name in ("meter", "shop")]
    assert (tmp_path / "rules/meter.yml").exists()


def test_two_exports_at_once_leave_whole_files_and_nothing_else(tmp_path: Path) -> None:
    """Also of processes that have one id, as two containers do."""
    texts = {f"rules/{number}.yml": f"{number}\n" * 4000 for number in range(40)}
    with ThreadPoolExecutor(4) as pool:
        outcomes = [one.result() for one in [pool.submit(write, texts, tmp_path) for _ in range(4)]]
    assert {outcome.what for one in outcomes for outcome in one} <= {"written", "unchanged"}
    assert {path.name: path.read_text() for path in (tmp_path / "rules").iterdir()} == {
        name.removeprefix("rules/"): text for name, text in texts.items()
    }


def test_the_summary_says_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["export", "--out", str(tmp_path / "new" / "folder")]) == 0
    printed = capsys.readouterr().out
    assert f"written   {tmp_path}/new/folder/rules/cost.yml" in printed
    assert "  3. anthropic-exporter check --prometheus" in printed


def test_what_cannot_be_written_is_one_line_and_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run_command(["export", "--out", str(tmp_path / "file" / "below")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"anthropic-exporter: {tmp_path}/file/below/rules/thresholds.yml: cannot be written: Not a directory"


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, *_args: str, **_kwargs: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", fail)
    with pytest.raises(ConfigurationError, match=r"a\.yml: cannot be written: No space left on device"):
        write({"a.yml": "text"}, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            ["--scrape-interval", "1s"],
            "scrape interval 1 s: use 5 to 60 seconds; a scrape job may have an interval of its own",
        ),
        (["--scrape-interval", "1m30s"], "scrape interval 90 s: use 5 to 60 seconds"),
        (["--scrape-interval", "5m"], "scrape interval 300 s: use 5 to 60 seconds"),
        (["--scrape-interval", "1h"], "scrape interval 3600 s: use 5 to 60 seconds"),
        (["--scrape-interval", ""], "'' is not a duration such as 15s or 1m"),
        (["--utc-offset", "+14:30"], "'+14:30' is not an offset such as +2 or -5:30, from -12 to +14"),
        (["--utc-offset", "-12:15"], "'-12:15' is not an offset such as +2 or -5:30, from -12 to +14"),
        (["--scrape-interval", "soon"], "'soon' is not a duration such as 15s or 1m"),
        (["--utc-offset", "+15"], "'+15' is not an offset such as +2 or -5:30"),
        (["--format", "json"], "'json' is not one of 'rules', 'prometheus-rule', 'mimir'"),
    ],
)
def test_a_wrong_option_is_one_line_and_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    assert run_command(["export", "--out", str(tmp_path), *arguments]) == 2
    (printed,) = capsys.readouterr().err.splitlines()
    assert line in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.stack
@pytest.mark.parametrize("seconds", [5, 15, 60])
def test_promtool_accepts_every_file(tmp_path: Path, seconds: int) -> None:
    write(files(Fit(scrape_interval=seconds)), tmp_path)
    promtool = toolchain.provide(["promtool"])["promtool"]
    rules = [str(path) for path in sorted((tmp_path / "rules").glob("*.yml"))]
    done = subprocess.run([promtool, "check", "rules", *rules], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def downs(seconds: Any) -> Any:
    """`up` of a target that misses a scrape, answers the next one 10 s late, and goes; when it is silent, and down."""
    first, late, gone = 2 * seconds, 3 * seconds + (10 if seconds > 10 else 0), 6 * seconds
    shown = {
        0: 1,
        seconds: 1,
        first: 0,
        late: 1,
        4 * seconds: 1,
        5 * seconds: 1,
        gone: 0,
        7 * seconds: 0,
        8 * seconds: 0,
    }
    values = " ".join(str(shown.get(at, "_")) for at in range(0, 8 * seconds + 5, 5))
    silent = [*range(first, gone + seconds, 5)]
    return values, silent, gone + 2 * seconds


@pytest.mark.stack
@pytest.mark.parametrize("seconds", [5, 15, 30, 60])
def test_a_target_is_down_after_two_failed_scrapes_and_not_after_one(tmp_path: Path, seconds: int) -> None:
    document = yaml.safe_load(files(Fit(scrape_interval=seconds))["rules/meter.yml"])
    for rule in document["groups"][0]["rules"]:
        rule.pop("annotations", None)
    values, silent, down = downs(seconds)
    labels = {"job": "anthropic", "instance": "a", "severity": "critical", "category": "meter"}
    expected = [
        *({"eval_time": f"{at}s", "alertname": "AnthropicExporterDown", "exp_alerts": []} for at in silent),
        {"eval_time": f"{down}s", "alertname": "AnthropicExporterDown", "exp_alerts": [{"exp_labels": labels}]},
    ]
    series = [{"series": 'up{job="anthropic", instance="a"}', "values": values}]
    test = {"interval": "5s", "input_series": series, "alert_rule_test": expected}
    (tmp_path / "meter.yml").write_text(yaml.safe_dump(document))
    step = document["groups"][0]["interval"]
    (tmp_path / "test.yml").write_text(
        yaml.safe_dump({"rule_files": ["meter.yml"], "evaluation_interval": step, "tests": [test]})
    )
    promtool = toolchain.provide(["promtool"])["promtool"]
    command: list[Any] = [promtool, "test", "rules", "test.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("form", ["rules", "mimir"])
def test_labels_that_are_kept_route_and_inhibit_apart(form: str) -> None:
    route = files(Fit(keep_labels=("namespace", "team"), format=form))["alertmanager/route.yml"]
    assert "group_by: [alertname, feature, model, job, instance, namespace, team]" in route
    assert "equal: [category, feature, model, namespace, team]" in route
    assert "equal: [job, instance, namespace, team]" in route
    yaml.safe_load(route)


def test_days_of_another_time_zone_are_named_in_rules_and_panels() -> None:
    exported = files(Fit(utc_offset_minutes=-330))
    assert "since 00:00 UTC-05:30" in exported["rules/budget.yml"]
    dashboard = exported["dashboards/claude-cost.json"]
    assert "Dollars since 00:00 UTC-05:30." in dashboard
    assert not re.search(r"UTC(?!-05:30)", dashboard)


def test_mimir_evaluates_the_ledger_in_one_group() -> None:
    groups = yaml.safe_load(files(Fit(format="mimir", keep_labels=("namespace",)))["rules/ledger.yml"])["groups"]
    assert [group["name"] for group in groups] == ["anthropic-ledger"]


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"without": ("ledger",)}, "ledger cannot be left out: the other rules read it"),
        ({"without": ("tokens",)}, "tokens cannot be left out without cost: its rules read it"),
        ({"keep_labels": ("user",)}, "label 'user' cannot be kept: name a label of your targets"),
        ({"job": ""}, "job '' is not a regular expression of Prometheus"),
        ({"job": "("}, r"job '\(' is not a regular expression: missing \)"),
        ({"job": "(?!a)b"}, r"job '\(\?!a\)b' is not a regular expression of Prometheus"),
        ({"job": "a++"}, r"job 'a\+\+' is not a regular expression of Prometheus \(RE2\)"),
        ({"job": r"\u65e5"}, r"job '\\\\u65e5' is not a regular expression of Prometheus"),
        ({"job": "a{2000}"}, r"job 'a\{2000\}' is not a regular expression of Prometheus"),
        ({"job": "(?x)a"}, r"job '\(\?x\)a' is not a regular expression of Prometheus"),
        ({"job": "a\nb"}, r"job 'a\\nb' is not a regular expression of Prometheus"),
        ({"dashboard_url": "grafana/d/x"}, "dashboard URL 'grafana/d/x': expected an address such as https://host"),
        ({"dashboard_url": 'http://g/"{{'}, "dashboard URL .*: expected an address such as https://host"),
        ({"runbook_url": "http://r?page=1"}, r"runbook URL 'http://r\?page=1': expected an address such as https"),
        ({"without": ("metre",)}, "'metre' is not a rule file; leave out one of budget, cache, cost, errors"),
        ({"keep_labels": ("feature",)}, "label 'feature' cannot be kept: name a label of your targets"),
        ({"keep_labels": ("my label",)}, "label 'my label' cannot be kept: name a label of your targets"),
    ],
)
def test_what_no_rules_can_be_written_for_is_refused(options: dict[str, tuple[str]], line: str) -> None:
    with pytest.raises(ConfigurationError, match=line):
        Fit(**options)  # type: ignore[arg-type]


def test_a_refused_option_is_one_line_and_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["export", "--out", str(tmp_path), "--without", "ledger"]) == 2
    assert capsys.readouterr().err.strip().endswith("ledger cannot be left out: the other rules read it")


def test_no_rules_read_those_of_a_question_that_may_be_left_out() -> None:
    """A question that is left out takes its records with it; a rule that read them would be wrong and say nothing."""
    rules = {name: rules_of((RULES / name).read_text()) for name in QUESTIONS}
    records = {name: {rule["record"] for rule in own if "record" in rule} for name, own in rules.items()}
    read = {
        name: set(re.findall(r"[\w:]+", " ".join(str(rule["expr"]) for rule in own))) for name, own in rules.items()
    }
    found = {
        (asked.removesuffix(".yml"), reader.removesuffix(".yml"))
        for asked, own in records.items()
        for reader, words in read.items()
        if asked not in (reader, "ledger.yml", "thresholds.yml") and words & own - records[reader]
    }
    assert found == set(rule_settings.READ_BY.items())


@pytest.mark.stack
@pytest.mark.parametrize(
    ("job", "matched", "name"),
    [
        ('my "job"', 'my "job"', r'"my \"job\""'),
        (r"api\.eu|web", "api.eu", "api.eu"),
        ("api.*", "api-7", "anthropic"),
        ("it's {{x}} ${y}", None, "anthropic"),
        (r"[[:alpha:]]+-\pL|\Qa+b\E", "a+b", "anthropic"),
        ("null", "null", '"null"'),
        ("日本", "日本", '"日本"'),
    ],
)
def test_jobs_of_any_name_are_watched(tmp_path: Path, job: str, matched: str | None, name: str) -> None:
    """A quote ended the text, and a backslash was read by PromQL before it was one of the regular expression."""
    exported = files(Fit(job=job))
    assert f"- job_name: {name}\n" in exported["prometheus/scrape_config.yml"]
    assert yaml.safe_load(exported["prometheus/scrape_config.yml"])[0]["job_name"]
    write(exported, tmp_path)
    promtool = toolchain.provide(["promtool"])["promtool"]
    quoted = json.dumps(matched or "", ensure_ascii=False)
    test = {
        "rule_files": ["rules/meter.yml"],
        "evaluation_interval": "5s",
        "tests": [
            {
                "interval": "5s",
                "input_series": [{"series": f"up{{job={quoted}}}", "values": "0x20"}],
                "promql_expr_test": [
                    {
                        "expr": 'count(ALERTS{alertname="AnthropicExporterDown", alertstate="firing"})',
                        "eval_time": "1m",
                        "exp_samples": [{"value": 1}] if matched else [],
                    }
                ],
            }
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump(test, allow_unicode=True))
    ran = subprocess.run(
        [promtool, "test", "rules", "test.yml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_an_address_of_a_dashboard_may_have_a_query() -> None:
    exported = files(Fit(dashboard_url="http://g/d/x?orgId=2", runbook_url="http://r/"))
    assert "dashboard_url: http://g/d/x?orgId=2&viewPanel=10&var-feature=" in exported["rules/cost.yml"]
    assert "runbook_url: http://r/AnthropicCostSpike.md" in exported["rules/cost.yml"]


def test_omitted_rule_files_cause_no_findings(tmp_path: Path) -> None:
    write(files(Fit(without=("meter", "fleet"))), tmp_path)
    assert checks.thresholds(tmp_path) == []
