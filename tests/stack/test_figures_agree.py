"""The same question has one answer: in rules, panels and alerts, on `/live` and in the Guard, while calls go on."""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import Call, Inference, Recorder, ServiceHandle, Tokens, serve
from anthropic_exporter.guard import Guard, Limits
from anthropic_exporter.rules import Fit, settings
from foreign import Foreign, wait_for
from stack import panel_queries

pytestmark = pytest.mark.stack
OPUS, HAIKU = "claude-opus-5-5", "claude-haiku-5-5"
ODD = 'a"b\\c|.*{{ }} &c#d%日本'
ROUND = (
    Call(OPUS, inferences=(Inference(OPUS, Tokens(input=1_000, cache_read=4_000, output=2_000)),), feature="chat"),
    Call(HAIKU, inferences=(Inference(HAIKU, Tokens(input=500, output=700)),), feature="search"),
    Call(OPUS, inferences=(Inference(OPUS, Tokens(input=300, output=900)),), feature=ODD),
)
BATCH = Call(OPUS, inferences=(Inference(OPUS, Tokens(output=5_000)),), feature="chat", tier="batch", requests=0)
ROUNDS = 100
# 100 times 0.0448, 0.0004 and 0.0192, and ten batch results of 0.05 each
SPENT = {"chat": 4.98, "search": 0.04, ODD: 1.92}
BUDGET = 5
TODAY, MONTH = "anthropic_cost_usd:today", "anthropic_cost_usd:month"
PACES = "anthropic_cost_usd_per_minute:rate_slow"
#: Each of these is true at no second of the traffic.
NEVER = {
    "today is above the month": f"feature:{TODAY} > on (feature) feature:{MONTH}",
    "all of today is above all of the month": f"total:{TODAY} > on () total:{MONTH}",
    "today is above what is expected of it": f"feature:{TODAY} > on (feature) feature:{TODAY}_forecast",
    "the month is above what is expected of it": f"feature:{MONTH} > on (feature) feature:{MONTH}_forecast",
    "features are not the day's total": f"abs(sum(feature:{TODAY}) - on () total:{TODAY}) > 1e-9",
    "features are not the month's total": f"abs(sum(feature:{MONTH}) - on () total:{MONTH}) > 1e-9",
    "models are not their feature": (
        f"abs(sum by (feature) (feature_model:{PACES}) - on (feature) feature:{PACES}) > 1e-9"
    ),
}
#: Parts on one panel, and the whole on another.
PARTS = ("Cost per minute by model", "Cost per minute by type", "Cost per minute by user")
WHOLE = "Cost per minute by feature"


@pytest.fixture
def every_second(monkeypatch: pytest.MonkeyPatch) -> Fit:
    """Rules for scrapes and evaluations of one second, with windows that fill while the calls go on."""
    monkeypatch.setattr(settings, "SCRAPE_INTERVALS", range(1, 61))
    monkeypatch.setattr(settings, "_step", lambda _: 1)
    monkeypatch.setattr(settings, "_fast", lambda _: 5)
    monkeypatch.setattr(settings, "SLOW", 10)
    return Fit(scrape_interval=1, job="api")


@pytest.fixture
def spending() -> Iterator[tuple[Recorder, Guard, ServiceHandle]]:
    """A recorder with a Guard and the live page."""
    recorder = Recorder(registry=None)
    guard = Guard(recorder, Limits.shipped().replace(cost_usd_per_day=BUDGET))
    with serve(recorder, port=0, live=True, guard=guard) as server:
        yield recorder, guard, server
    guard.close()


def spend(recorder: Recorder) -> None:
    pause = threading.Event()
    for number in range(ROUNDS):
        for call in ROUND:
            recorder.record(call._replace(started_at=time.time(), user="acme"))
        if number % 10 == 0:
            recorder.record(BATCH._replace(started_at=time.time()))
        pause.wait(0.2)


def evaluate_every_second(rules: Path) -> None:
    """Budgets too, which are evaluated once a minute, and with a budget that these calls exceed."""
    for path in rules.glob("*.yml"):
        text = re.sub(r"interval: \d+m\b", "interval: 1s", path.read_text(encoding="utf-8"))
        if path.stem == "thresholds":
            text = re.sub(r'expr: "[\d.]+"(\n +labels: {threshold: cost_usd_per_day})', rf'expr: "{BUDGET}"\1', text)
        path.write_text(text, encoding="utf-8")


def by_feature(prometheus: Foreign, expression: str) -> dict[str, float]:
    return {one["metric"].get("feature", ""): float(one["value"][1]) for one in prometheus.vector(expression)}


def only(prometheus: Foreign, expressions: list[str]) -> set[float]:
    """The values of panels of one title, which are one each."""
    return {round(prometheus.value(one), 9) for one in expressions}


def state(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/live/state", timeout=10) as response:
        found: dict[str, Any] = json.load(response)
    return found


def test_figures_agree_while_calls_continue_and_afterwards(
    tmp_path: Path, every_second: Fit, spending: tuple[Recorder, Guard, ServiceHandle]
) -> None:
    recorder, guard, server = spending
    day = time.gmtime().tm_yday
    jobs = [("api", f"127.0.0.1:{server.port}", "prod")]
    with Foreign(tmp_path, every_second, jobs, interval=1, edit=evaluate_every_second) as prometheus:
        wait_for(prometheus.has_scraped)
        began = time.time()
        spend(recorder)
        wait_for(lambda: by_feature(prometheus, f"feature:{TODAY}") == pytest.approx(SPENT, abs=1e-9))
        if time.gmtime().tm_yday != day:
            pytest.skip("midnight has passed")

        seconds = int(time.time() - began)
        for what, expression in NEVER.items():
            assert prometheus.vector(f"count_over_time(({expression})[{seconds}s:1s])") == [], what
            for series in re.findall(r"[a-z_]+:[\w:]+", expression):
                assert prometheus.vector(f"last_over_time({series}[{seconds}s])"), series
        whole = panel_queries.queries(window="10s")[WHOLE][0]
        for title in PARTS:
            (parts,) = panel_queries.queries(window="10s")[title]
            differ = f"abs(sum({parts}) - on () sum({whole})) > 1e-9"
            assert prometheus.vector(f"count_over_time(({differ})[{seconds}s:1s])") == [], title
            assert prometheus.vector(f"count_over_time(({parts})[{seconds}s:1s])"), title

        assert {spent.feature: spent.usd for spent in guard.today()} == pytest.approx(SPENT, abs=1e-9)
        live = state(server.port)
        assert sum(live["total"][:6]) == pytest.approx(6.94, abs=1e-6)
        assert {row[0]: row[3] for row in live["features"]} == pytest.approx(SPENT, abs=1e-6)
        shown = panel_queries.queries()
        assert only(prometheus, shown["Spent today"]) == only(prometheus, shown["Spent this month"]) == {6.94}
        assert by_feature(prometheus, shown["Spent in range by feature"][0]) == pytest.approx(SPENT, abs=1e-9)
        assert only(prometheus, panel_queries.queries(panel_queries.chosen(ODD))["Spent today"]) == {6.94, 1.92}
        assert only(prometheus, panel_queries.queries(panel_queries.chosen("chat", ODD))["Spent today"]) == {6.94, 6.9}
        (alert,) = wait_for(lambda: [one for one in prometheus.ask("alerts")["alerts"] if is_of_the_budget(one)])
        assert alert["annotations"]["description"].startswith(
            "All features together cost 6.94 USD since 00:00 UTC; the budget is 5.00 USD a day."
        )
        (told,) = [one for one in guard.alerts() if one.name == "AnthropicDailyCostBudgetExceeded"]
        assert told.description.startswith("All features together: 6.94 USD; the threshold is 5.00 USD")


def is_of_the_budget(alert: dict[str, Any]) -> bool:
    labels = alert["labels"]
    return labels["alertname"] == "AnthropicDailyCostBudgetExceeded" and "6.94" in alert["annotations"]["description"]
