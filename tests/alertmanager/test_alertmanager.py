"""The shipped routing as it is written: both files load, every alert has its receiver, and only receivers differ."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from anthropic_exporter import toolchain
from anthropic_exporter.errors import ConfigurationError

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "alertmanager"
CONFIGS = ("alertmanager.yml", "alertmanager.full.yml")
TABLE = (Path(__file__).parent / "routes.tsv").read_text(encoding="utf-8")
ROUTES = list(csv.DictReader(TABLE.splitlines(), delimiter="\t"))


@pytest.fixture(scope="module")
def amtool() -> str:
    try:
        return str(toolchain.provide(["amtool"])["amtool"])
    except ConfigurationError as error:
        pytest.skip(str(error))


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((SHIPPED / name).read_text())


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def rule(name: str) -> dict[str, Any]:
    groups = yaml.safe_load((ROOT / "prometheus/rules/meter.yml").read_text())["groups"]
    return next(one for group in groups for one in group["rules"] if one.get("alert") == name)


@pytest.mark.parametrize("name", CONFIGS)
def test_amtool_accepts_the_file_and_its_templates(amtool: str, name: str) -> None:
    done = run(amtool, "check-config", str(SHIPPED / name))
    assert done.returncode == 0, done.stderr
    assert "SUCCESS" in done.stdout
    assert "1 templates" in done.stdout
    assert "FAILED" not in done.stdout


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("row", ROUTES, ids=lambda row: row["labels"])
def test_labels_lead_to_the_receiver_that_the_table_names(amtool: str, name: str, row: dict[str, str]) -> None:
    path = str(SHIPPED / name)
    command = (amtool, "config", "routes", "test", f"--config.file={path}", f"--verify.receivers={row[name]}")
    done = run(*command, *row["labels"].split())
    assert done.returncode == 0, done.stderr


def test_a_wrong_receiver_in_the_table_would_be_found(amtool: str) -> None:
    path = str(SHIPPED / "alertmanager.full.yml")
    command = (amtool, "config", "routes", "test", f"--config.file={path}", "--verify.receivers=chat")
    assert run(*command, "severity=critical").returncode == 1


def test_the_table_has_every_alert_with_the_labels_of_its_rule() -> None:
    rules = [
        rule
        for path in (ROOT / "prometheus/rules").glob("*.yml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
    ]
    alerts = {
        f"alertname={rule['alert']} severity={rule['labels']['severity']} category={rule['labels']['category']}"
        for rule in rules
        if "alert" in rule
    }
    assert len(alerts) >= 30
    assert alerts <= {row["labels"] for row in ROUTES}


def test_both_files_route_group_inhibit_and_mute_the_same_way_and_differ_in_receivers_only() -> None:
    default, full = map(read, CONFIGS)
    for route in (default["route"], full["route"], *default["route"]["routes"], *full["route"]["routes"]):
        del route["receiver"]
    assert default["route"] == full["route"]
    assert default["inhibit_rules"] == full["inhibit_rules"]
    assert default["time_intervals"] == full["time_intervals"]


def test_the_default_needs_no_secret_and_reaches_only_the_exporter() -> None:
    text = (SHIPPED / "alertmanager.yml").read_text()
    assert "_file:" not in text
    assert {
        hook["url"] for receiver in read("alertmanager.yml")["receivers"] for hook in receiver["webhook_configs"]
    } == {
        "http://exporter:9464/alerts",
        "http://exporter:9464/heartbeat",
    }


def test_the_full_file_holds_no_secret_and_its_readme_names_each_file() -> None:
    text = (SHIPPED / "alertmanager.full.yml").read_text()
    named = set(re.findall(r"_file: /etc/alertmanager/secrets/(\w+)", text))
    assert named == {"smtp_password", "webhook_token", "slack_webhook_url", "pagerduty_routing_key"}
    readme = (SHIPPED / "secrets/README.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE)) == named
    assert not re.search(r"(api_url|routing_key|password|credentials): ", text)


def test_secrets_are_ignored_by_git(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    folder = tmp_path / "alertmanager/secrets"
    folder.mkdir(parents=True)
    (folder / ".gitignore").write_text((SHIPPED / "secrets/.gitignore").read_text())
    (folder / "README.md").touch()
    (folder / "slack_webhook_url").touch()
    listed = run("git", "-C", str(tmp_path), "ls-files", "--others", "--exclude-standard").stdout.split()
    assert sorted(listed) == ["alertmanager/secrets/.gitignore", "alertmanager/secrets/README.md"]


@pytest.mark.parametrize("name", CONFIGS)
def test_a_page_is_grouped_by_feature_or_process_and_waits_at_most_five_seconds(name: str) -> None:
    route = read(name)["route"]
    assert route["group_by"] == ["alertname", "feature", "model", "job", "instance"]
    regrouped = [each["matchers"] for each in route["routes"] if "group_by" in each]
    assert regrouped == [['alertname="AnthropicWatchdog"']]
    assert route["group_wait"] == "5s"
    critical = next(each for each in route["routes"] if each["matchers"] == ['severity="critical"'])
    assert critical["group_wait"] == "0s"


@pytest.mark.parametrize("name", CONFIGS)
def test_what_cannot_be_delivered_waits_until_a_dead_exporter_would_have_muted_it(name: str) -> None:
    critical = next(each for each in read(name)["route"]["routes"] if each["matchers"] == ['severity="critical"'])
    (later,) = critical["routes"]
    assert later["matchers"] == ['alertname="AnthropicAlertsNotDelivered"']
    assert later["group_by"] == ["alertname", "integration", "alertmanager"]  # none waits less because another did
    # A delivery fails after the group's interval; a dead target is missed at the next scrape, and that evaluated.
    fails = seconds(critical["group_interval"]) + seconds(later["group_wait"])
    timing = yaml.safe_load((ROOT / "prometheus/prometheus.yml").read_text())["global"]
    missed = seconds(timing["scrape_interval"]) + seconds(timing["evaluation_interval"])
    assert fails > missed + seconds(rule("AnthropicExporterDown")["for"])


@pytest.mark.parametrize("name", CONFIGS)
def test_only_info_is_muted_out_of_hours(name: str) -> None:
    config = read(name)
    muted = [each["matchers"] for each in config["route"]["routes"] if "mute_time_intervals" in each]
    assert muted == [['severity="info"']]
    assert "mute_time_intervals" not in config["route"]


DASHBOARD = "http://localhost:3000/d/anthropic-cost/claude-cost?viewPanel=10&var-feature=chat"


def render(
    amtool: str,
    folder: Path,
    template: str,
    alerts: list[dict[str, Any]],
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> str:
    """What Alertmanager would send for a group of alerts that fire."""
    labels = {"alertname": "AnthropicCostRateHigh", "severity": "critical", **(labels or {})}
    annotations = {"dashboard_url": DASHBOARD, **(annotations or {})}
    data = {
        "receiver": "chat",
        "status": "firing",
        "alerts": alerts,
        "groupLabels": {},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "http://localhost:9093",
    }
    (folder / "data.json").write_text(json.dumps(data))
    done = run(
        *(amtool, "template", "render", f"--template.glob={folder}/*.tmpl", f"--template.data={folder / 'data.json'}"),
        f'--template.text={{{{ template "{template}" . }}}}',
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def firing(**fields: Any) -> dict[str, Any]:
    return {
        "status": "firing",
        "labels": {},
        "annotations": {"description": "Too much."},
        "startsAt": "2026-11-21T12:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        **fields,
    }


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    shutil.copy(SHIPPED / "templates/anthropic.tmpl", tmp_path)
    return tmp_path


def test_the_address_of_grafana_is_changed_in_one_place(amtool: str, templates: Path) -> None:
    path = templates / "anthropic.tmpl"
    text = path.read_text()
    assert text.count(' "http://localhost:3000" ') == 1
    path.write_text(text.replace(' "http://localhost:3000" ', ' "https://grafana.example.org" '))
    moved = DASHBOARD.replace("http://localhost:3000", "https://grafana.example.org")
    for name, wanted in (
        ("anthropic.text", f"Dashboard: {moved}"),
        ("anthropic.html", f'<a href="{moved}">Dashboard</a>'),
        ("anthropic.dashboard", moved),
    ):
        found = render(amtool, templates, name, [firing()])
        assert wanted in found
        assert "localhost" not in found


#: A mention, a link with a name, one without, formatting, a second line, an escape, and a mark that turns text around.
HOSTILE = "<!channel> & <https://evil.example|your bank> *now*\n@here\x1b[2J \u202etxt https://evil.example"
ESCAPED = (
    "&lt;!channel&gt; &amp; &lt;https:\u2060//evil.example|your bank&gt; *\u2060now* @\u2060here [2J  txt "
    "https:\u2060//evil.example"
)
PLAIN = "<!channel> & <https:\u2060//evil.example|your bank> *now* @here [2J  txt https:\u2060//evil.example"


@pytest.mark.parametrize(("channel", "escaped"), [("slack.", ESCAPED), ("", PLAIN)])
def test_a_label_is_one_line_of_text_without_mentions_and_links(
    amtool: str, templates: Path, channel: str, escaped: str
) -> None:
    one = firing(annotations={"description": f"{HOSTILE} spends 5.20 USD a minute."})
    labels = {"severity": "critical", "feature": HOSTILE, "model": HOSTILE, "instance": HOSTILE}
    title = render(amtool, templates, f"anthropic.{channel}title", [one], labels=labels)
    assert title == f"CRITICAL Cost Rate High · {escaped} · {escaped} · {escaped}"
    text = render(amtool, templates, f"anthropic.{channel}text", [one], annotations={"summary": HOSTILE})
    assert text.splitlines()[:4] == [escaped, "", f"{escaped} spends 5.20 USD a minute.", "Since 12:00 UTC, Sat 21 Nov"]


def test_slack_says_what_the_other_channels_say(amtool: str, templates: Path) -> None:
    over = firing(status="resolved", endsAt="2026-11-21T12:07:00Z")
    for alerts in ([firing()], [firing(), over], [firing(), firing()]):
        for name in ("title", "text"):
            plain = render(amtool, templates, f"anthropic.{name}", alerts)
            assert render(amtool, templates, f"anthropic.slack.{name}", alerts) == plain


def test_slack_is_sent_its_own_templates() -> None:
    for receiver in read("alertmanager.full.yml")["receivers"]:
        for slack in receiver.get("slack_configs", ()):
            assert [slack[key] for key in ("title", "text", "fallback")] == [
                f'{{{{ template "anthropic.slack.{name}" . }}}}' for name in ("title", "text", "title")
            ]


def test_only_alerts_that_still_fire_are_counted_in_the_title(amtool: str, templates: Path) -> None:
    over = firing(status="resolved", endsAt="2026-11-21T12:07:00Z")
    assert render(amtool, templates, "anthropic.title", [firing(), over]) == "CRITICAL Cost Rate High"
    assert render(amtool, templates, "anthropic.title", [firing(), firing()]) == "CRITICAL Cost Rate High · 2 alerts"
    text = render(amtool, templates, "anthropic.text", [firing(), over])
    assert text.splitlines()[:5] == [
        "Too much.",
        "Since 12:00 UTC, Sat 21 Nov",
        "",
        "Back to normal. Before: Too much.",
        "Since 12:00 UTC, Sat 21 Nov until 12:07 UTC",
    ]
