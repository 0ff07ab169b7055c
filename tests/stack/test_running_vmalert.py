"""The export for vmalert on a real vmalert and VictoriaMetrics: what fires, what resolves, what stays silent, and sums.

`python -m bench.detection.vmalert` measures how many seconds it takes, and waits for what resolves after minutes.
"""

from __future__ import annotations

import re
import threading
import urllib.error
import urllib.request
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from bench.detection.vmalert import CHEAP, COST, ERRORS, EXPENSIVE, Alerts, Running, Traffic, a_call

from anthropic_exporter import export, toolchain
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.rules import Fit
from collectors import wait_until
from stack.panel_queries import queries

pytestmark = pytest.mark.stack
BUDGET, METER = "AnthropicDailyTokenBudgetExceeded", "AnthropicMeterStopped"
#: Panels that show what happens here.
WITH_DATA = {
    "Cost per minute by feature",
    "Failed share by feature",
    "Share of the daily budget",
    "Requests per minute by outcome",
    "Spent this month",
    "Spent today",
    "Tokens per minute by type",
}
#: Where much else runs, evaluations and scrapes take longer than their interval, and the agent spends more meanwhile.
OF_A_BUSY_MACHINE = {"AnthropicRuleEvaluationSlow", "AnthropicExporterDown", "AnthropicDailyCostBudgetExceeded"}
#: Output tokens at 20 dollars a million.
CHEAP_USD = 0.0004


class Page:
    """A process that answers with a text; at first it has none of our metrics."""

    def __init__(self) -> None:
        outer = self
        self.text = "other_metric 1\n"

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(outer.text.encode())

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def show(self, family: Any, port: Any) -> None:
        """From now on, the lines of a family on the page of another process."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines(keepends=True)
        self.text = "".join(line for line in lines if line.startswith(family))

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def parts() -> Generator[Any, Any, Any]:
    """Alerts, two processes and a page, closed at the end."""
    try:
        toolchain.provide(["vmalert", "victoria-metrics"])
    except ConfigurationError as error:
        pytest.skip(str(error))
    alerts, page = Alerts(), Page()
    processes = Traffic(a_call("chat", CHEAP)), Traffic(a_call("web", CHEAP))
    yield alerts, page, *processes
    for one in (*processes, alerts, page):
        one.close()


def errors_of(store: Any, fit: Any) -> Generator[Any, Any, Any]:
    """Each expression of the export that the store cannot evaluate."""
    texts = [text for name, text in export.files(fit).items() if name.startswith("rules/")]
    rules = [rule for text in texts for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    assert len(rules) > 150
    for rule in rules:
        try:
            store.query(rule["expr"])
        except urllib.error.HTTPError as error:
            yield rule.get("alert") or rule["record"], error.read()


def test_incidents_fire_and_nothing_else_does(tmp_path: Path, parts: Any) -> None:
    alerts, page, api, web = parts
    with Running(tmp_path, Fit(format="vmalert"), [api.port, web.port, page.port], alerts) as store:
        api.calls += [a_call("agent", EXPENSIVE)] * 3
        api.calls += [a_call("broken", CHEAP), a_call("broken", CHEAP, "api_error")]

        # A process restarts, and what both of its lives counted is in the day.
        wait_until(lambda: store.query('anthropic_ledger:increase_fast{of="requests"}').get("web", 0) > 0)
        web.calls = []
        scraped = 'sum by (feature) (anthropic_ledger_total{of="requests"})'
        wait_until(lambda: store.query(scraped).get("web") == web.counted["web"])
        web.restart()
        before = web.counted["web"]
        web.calls = [a_call("web", CHEAP)]
        wait_until(lambda: web.counted["web"] == before + 20)
        web.calls = [a_call("page", CHEAP)]

        for alert, subject in ((COST, "agent"), (ERRORS, "broken"), (BUDGET, ""), (METER, f"127.0.0.1:{page.port}")):
            alerts.wait_for(alert, subject)

        page.show("anthropic_exporter_build_info", web.port)
        alerts.wait_for(METER, f"127.0.0.1:{page.port}", end=True)

        today = "feature:anthropic_cost_usd:today"
        wait_until(lambda: store.query(today).get("web") == pytest.approx((before + 20) * CHEAP_USD))
        assert list(errors_of(store, Fit(format="vmalert"))) == []
        assert store.failing() == []
        panels = queries(dashboard=tmp_path / "claude/dashboards/claude-cost.json")
        for title in WITH_DATA:  # the group of the month is evaluated seldom
            wait_until(lambda asked=panels[title]: any(store.query(one) for one in asked))
    for text in alerts.texts.values():
        assert not re.search(r"<no value>|%!|NaN|threshold is +USD|budget is +tokens", text)
    cost = alerts.texts[COST, "agent"]
    assert "agent on claude-opus-5-5" in cost
    assert "the threshold is 2.00 USD a minute" in cost
    assert {feature for _, feature in alerts.began} & {"chat", "web", "page"} == set()
    assert {name for name, _ in alerts.began} - OF_A_BUSY_MACHINE == {COST, ERRORS, BUDGET, METER, "AnthropicWatchdog"}
