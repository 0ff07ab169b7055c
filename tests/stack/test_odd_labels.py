"""Features, models and instances of any name, in every alert, link and panel, on a real Prometheus.

Every alert of the bundle fires for each name, on a figure of 7 in each series that its texts ask for. What it says of
an odd name is what it says of a plain one.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from foreign import Foreign, wait_for
from stack import panel_queries

pytestmark = pytest.mark.stack
ROOT = Path(__file__).resolve().parents[2]
PLAIN = "ordinary-name"
ODD = (
    'a"b\\c',
    "a|b",
    "a&b=c#d",
    ".*",
    "日本",
    "two words",
    "{{ .Labels }}",
    "100%q",
    "$1 ${2}",
    "it's [x]+?^",
    "<b>&amp;</b>",
    "two\nlines\tand a tab",
    '"',
    "ends with \\",
    "long " * 40,
    "\u202eright to left \U0001f680",
    "c++ (beta)/\\d",
)
RULES = [
    rule
    for path in sorted((ROOT / "prometheus" / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}
#: The labels that a person or a server names; others have words of ours.
NAMED = ("feature", "model", "instance", "user", "resource", "host", "service", "tier")
_LABEL = re.compile(r"\$labels\.(\w+)")
_QUERY = re.compile(r'query (?:\(printf )?"((?:[^"\\]|\\.)*)"')
_SERIES = re.compile(r"\b(?:\w+:)?anthropic_[\w:]+")
_ALERTNAME = re.compile(r'alertname=\\"(\w+)\\"')


def series(labels: dict[str, str], value: str = "7") -> str:
    """An expression of one sample with these labels."""
    expression = f"vector({value})"
    for name, text in labels.items():
        quoted = json.dumps(text.replace("$", "$$"), ensure_ascii=False)
        expression = f'label_replace({expression}, "{name}", {quoted}, "", "")'
    return expression


def labels_of(rule: dict[str, Any], name: str) -> dict[str, str]:
    """The labels that the texts of an alert show, with one name for all that are named by others."""
    shown = {*_LABEL.findall(" ".join(rule["annotations"].values())), "feature", "model"}
    return {label: name if label in NAMED else "word" for label in sorted(shown)}


def recorded() -> list[dict[str, Any]]:
    """Every series that a text asks for, of each name."""
    names: set[tuple[str, str]] = set()
    for rule in ALERTS.values():
        for query in _QUERY.findall(rule["annotations"]["description"]):
            alerts = _ALERTNAME.findall(query) or [""]
            names |= {(one, alert) for one in _SERIES.findall(query) for alert in alerts}
    found = []
    for (name, alert), value in ((pair, one) for pair in sorted(names) for one in (PLAIN, *ODD)):
        labels = {"feature": value, "model": value, "user": value, "host": value, "service": value}
        growing = "time()" if name.endswith("_total") else "7"
        extra = {"alertname": alert} if alert else {}
        found.append({"record": name, "expr": series(labels | extra, growing)})
    return found


def fired() -> list[dict[str, Any]]:
    """Every alert for every name, at once."""
    found = []
    for rule in ALERTS.values():
        expressions = [series(labels_of(rule, name)) for name in (PLAIN, *ODD)]
        kept = {key: rule[key] for key in ("alert", "labels", "annotations")}
        found.append(kept | {"expr": "\nor ".join(expressions)})
    return found


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    folder = tmp_path_factory.mktemp("odd")
    (folder / "claude" / "rules").mkdir(parents=True)
    groups = [
        {"name": "figures", "interval": "1s", "rules": recorded()},
        {"name": "alerts", "interval": "1s", "rules": fired()},
    ]
    text = yaml.safe_dump({"groups": groups}, allow_unicode=True)
    (folder / "claude" / "rules" / "odd.yml").write_text(text, encoding="utf-8")
    with Foreign(folder, None, [], interval=1) as started:
        yield started


@pytest.fixture(scope="module")
def said(prometheus: Foreign) -> Any:
    """The annotations of each alert by the name that it fired for, once the counters among the series have grown."""

    def complete() -> dict[tuple[str, str], dict[str, str]] | None:
        found = {}
        for one in prometheus.ask("alerts")["alerts"]:
            labels = one["labels"]
            found[labels["alertname"], labels.get("feature", "")] = one["annotations"]
        grown = found.get(("AnthropicCostRateHigh", ODD[-1]), {}).get("description", "")
        return found if "Most of it for user" in grown else None

    return wait_for(complete)


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_the_same_of_every_name(said: Any, alert: Any) -> None:
    plain = said[alert, PLAIN]
    for name in ODD:
        odd = said[alert, name]
        assert odd["description"] == plain["description"].replace(PLAIN, name)
        assert odd["summary"] == plain["summary"]
    assert not re.search(r"<error|no value|%!", json.dumps([said[alert, name] for name in (PLAIN, *ODD)]))


@pytest.mark.parametrize("alert", ALERTS)
def test_its_links_lead_to_its_feature_and_model(said: Any, alert: Any) -> None:
    template = ALERTS[alert]["annotations"]["dashboard_url"]
    for name in (PLAIN, *ODD):
        assert said[alert, name]["runbook_url"] == f"http://localhost:9464/runbooks/{alert}.md"
        link = urllib.parse.urlsplit(said[alert, name]["dashboard_url"])
        assert (link.netloc, link.path, link.fragment) == ("localhost:3000", "/d/anthropic-cost/claude-cost", "")
        asked = urllib.parse.parse_qs(link.query, strict_parsing=True)
        assert asked["viewPanel"][0].isdigit()
        for variable in ("feature", "model"):
            if f"var-{variable}={{{{" in template:
                assert asked[f"var-{variable}"] == [name]


@pytest.mark.parametrize("name", ODD)
def test_every_panel_can_be_asked_about_it(prometheus: Foreign, name: str) -> None:
    for expressions in panel_queries.queries(panel_queries.chosen(name), panel_queries.chosen(name, PLAIN)).values():
        for expression in expressions:
            prometheus.vector(expression)


@pytest.mark.parametrize("name", ODD)
def test_a_panel_shows_the_feature_that_is_chosen_and_no_other(prometheus: Foreign, name: str) -> None:
    chosen = panel_queries.chosen(name)
    lines = panel_queries.queries(chosen, chosen)["Request duration"]
    (threshold,) = [line.partition(" or ")[0] for line in lines if line.startswith("min(")]
    found = prometheus.vector(threshold.removeprefix("min(").removesuffix(")"))
    assert [(one["metric"]["feature"], one["metric"]["model"]) for one in found] == [(name, name)]
