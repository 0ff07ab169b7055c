"""The export for vmalert on a real vmalert and VictoriaMetrics: what fires, what resolves, what stays silent, and sums.

`python -m bench.detection.vmalert` measures how many seconds it takes, and waits for what resolves after minutes.
"""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml
from bench.detection.vmalert import CHEAP, COST, ERRORS, EXPENSIVE, Alerts, Running, Traffic, a_call

from anthropic_exporter import export, toolchain
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.rules import Fit
from anthropic_exporter.stack import running
from anthropic_exporter.stack.process import Process
from collectors import wait_until

pytestmark = pytest.mark.stack
BUDGET, METER = "AnthropicDailyTokenBudgetExceeded", "AnthropicMeterStopped"
#: Evaluations and scrapes may take longer than their interval where much else runs.
OF_A_BUSY_MACHINE = {"AnthropicRuleEvaluationSlow", "AnthropicExporterDown"}
#: Output tokens at 20 dollars a million.
CHEAP_USD = 0.0004


class Page:
    """A process that answers with a text; at first it has none of our metrics."""

    def __init__(self):
        outer = self
        self.text = "other_metric 1\n"

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(outer.text.encode())

            def log_message(self, *_):
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def show(self, family, port):
        """From now on, the lines of a family on the page of another process."""
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
            lines = response.read().decode().splitlines(keepends=True)
        self.text = "".join(line for line in lines if line.startswith(family))

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def parts():
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


def errors_of(store, fit):
    """Each expression of the export that the store cannot evaluate."""
    texts = [text for name, text in export.files(fit).items() if name.startswith("rules/")]
    rules = [rule for text in texts for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]
    assert len(rules) > 150
    for rule in rules:
        try:
            store.query(rule["expr"])
        except urllib.error.HTTPError as error:
            yield rule.get("alert") or rule["record"], error.read()


def test_incidents_fire_and_nothing_else_does(tmp_path, parts):
    alerts, page, api, web = parts
    with Running(tmp_path, Fit(format="vmalert"), [api.port, web.port, page.port], alerts) as store:
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

        api.calls += [a_call("agent", EXPENSIVE)] * 5
        api.calls += [a_call("broken", CHEAP), a_call("broken", CHEAP, "api_error")]
        for alert, subject in ((COST, "agent"), (ERRORS, "broken"), (BUDGET, ""), (METER, f"127.0.0.1:{page.port}")):
            alerts.wait_for(alert, subject)

        page.show("anthropic_exporter_build_info", web.port)
        alerts.wait_for(METER, f"127.0.0.1:{page.port}", end=True)

        today = "feature:anthropic_cost_usd:today"
        wait_until(lambda: store.query(today).get("web") == pytest.approx((before + 20) * CHEAP_USD))
        assert list(errors_of(store, Fit(format="vmalert"))) == []
        assert store.failing() == []
    assert {feature for _, feature in alerts.began} & {"chat", "web", "page"} == set()
    assert {name for name, _ in alerts.began} - OF_A_BUSY_MACHINE == {COST, ERRORS, BUDGET, METER, "AnthropicWatchdog"}


SCRAPE = 15
DAY, HOUR, MINUTE = 86_400, 3600, 60
#: A midnight between two days of one month.
MIDNIGHT = next(
    midnight
    for midnight in range(int(time.time()) // DAY * DAY - DAY, 0, -DAY)
    if dt.datetime.fromtimestamp(midnight, dt.timezone.utc).day > 1
)
NOW = MIDNIGHT + 6 * 3600


class History:
    """Scrapes that a store imports: of processes with one counter each, a feature of its own."""

    def __init__(self):
        self.lines = []

    def process(self, feature, seen, born, dollars, instance="a"):
        """Scrapes at these moments of a process of an age, which shows some dollars at each moment."""
        life = f"{feature}-{born}"
        for at in seen:
            labels = f'life="{life}", instance="{instance}"'
            counter = f'{labels}, of="cost_usd", feature="{feature}", model="m", tier="standard"'
            self.lines += [
                f"anthropic_exporter_age_seconds{{{labels}}} {at - born} {at}000",
                f"anthropic_ledger_total{{{counter}}} {dollars(at)} {at}000",
            ]


def scrapes(start, end):
    return range(start, end, SCRAPE)


@pytest.fixture(scope="module")
def past(tmp_path_factory):
    """A store without rules and scrapes; it answers about what is imported."""
    try:
        program = toolchain.provide(["victoria-metrics"])["victoria-metrics"]
    except ConfigurationError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("past")
    with running.free_ports(1) as (port,):
        url = f"http://127.0.0.1:{port}"
    command = [str(program), f"-httpListenAddr=127.0.0.1:{port}", f"-storageDataPath={folder / 'data'}"]
    process = Process(command, folder / "store.log", f"{url}/health")
    process.wait_until_ready()
    yield Past(url)
    process.close()


class Past:
    def __init__(self, url):
        self.url = url

    def take(self, lines):
        body = "\n".join(lines).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/import/prometheus", body, timeout=60):
            pass
        with urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=60):
            pass

    def ask(self, kind, expression, **times):
        asked = urllib.parse.urlencode({"query": expression, "nocache": 1, "latency_offset": "1ms", **times})
        with urllib.request.urlopen(f"{self.url}/api/v1/{kind}", asked.encode(), timeout=60) as response:
            return json.load(response)["data"]["result"]

    def by_feature(self, expression, at):
        found = self.ask("query", expression, time=at)
        return {one["metric"]["feature"]: round(float(one["value"][1]), 6) for one in found}

    def record(self, rule, start, end):
        """What a rule of the export records each minute, imported."""
        lines = []
        for one in self.ask("query_range", rule["expr"], start=start, end=end, step="60s"):
            labels = ", ".join(f'{key}="{value}"' for key, value in {**one["metric"], **rule.get("labels", {})}.items())
            lines += [f"{rule['record']}{{{labels}}} {value} {at}000" for at, value in one["values"]]
        self.take(lines)


def rules_named(*names, **options):
    texts = export.files(Fit(format="vmalert", scrape_interval=SCRAPE, **options))
    files = (yaml.safe_load(texts[f"rules/{name}.yml"]) for name in ("ledger", "budget"))
    rules = [rule for document in files for group in document["groups"] for rule in group["rules"]]
    return [rule for name in names for rule in rules if rule["record" if "record" in rule else "alert"] == name]


def test_a_day_is_what_was_counted_since_midnight(past):
    history = History()
    start = MIDNIGHT - 3 * HOUR
    history.process("steady", scrapes(start, NOW), start, lambda at: (at - start) / MINUTE)
    history.process("born", scrapes(MIDNIGHT + HOUR, NOW), MIDNIGHT + HOUR - 5, lambda _: 7)
    old = MIDNIGHT - 40 * HOUR
    history.process("found-old", scrapes(MIDNIGHT + HOUR, NOW), old, lambda at: 5_000 + (at > NOW - HOUR) * 10)
    history.process("found-late", scrapes(MIDNIGHT + HOUR, NOW), MIDNIGHT + HOUR - 600, lambda _: 8)
    for number in range(40):
        born = MIDNIGHT + 2 * HOUR + 45 * number
        history.process(
            "crash-loop", scrapes(born + 3, born + 40), born, lambda at, born=born: 3 if at > born + 30 else 1
        )
    history.process("ended-yesterday", scrapes(start, MIDNIGHT - HOUR), start, lambda _: 50)
    history.process("ended-at-midnight", scrapes(start, MIDNIGHT - 20), start, lambda _: 50)
    for instance in ("a", "b"):
        history.process(
            "seen-twice", scrapes(MIDNIGHT - HOUR, NOW), start, lambda at: 9 if at > MIDNIGHT else 4, instance
        )
    away = [*scrapes(start, MIDNIGHT - HOUR // 2), *scrapes(MIDNIGHT + HOUR // 2, NOW)]
    history.process("away-at-midnight", away, start, lambda at: 25 if at > MIDNIGHT else 10)
    past.take(history.lines)
    for rule in rules_named("anthropic_ledger:first_age", "anthropic_ledger:life"):
        past.record(rule, start, NOW)

    (today,), (hour,) = (
        rules_named("feature:anthropic_cost_usd:today"),
        rules_named("feature:anthropic_cost_usd:increase_hour"),
    )
    found = past.by_feature(today["expr"], NOW)
    assert {feature: dollars for feature, dollars in found.items() if dollars} == {
        "steady": 359.75,  # the last scrape is 15 s ago
        "born": 7,
        "found-old": 10,
        "found-late": 8,
        "crash-loop": 120,
        "seen-twice": 5,
        "away-at-midnight": 15,
    }
    # At midnight the day that ends is whole; a second later the next one has begun.
    assert past.by_feature(today["expr"], MIDNIGHT)["steady"] == 180
    assert past.by_feature(today["expr"], MIDNIGHT + 15)["steady"] == 0.25
    # Six hours ahead of UTC, the day began six hours earlier.
    (ahead,) = rules_named("feature:anthropic_cost_usd:today", utc_offset_minutes=360)
    assert past.by_feature(ahead["expr"], NOW)["steady"] == 539.75
    last_hour = past.by_feature(hour["expr"], NOW)
    assert {feature: dollars for feature, dollars in last_hour.items() if dollars} == {"steady": 59.75, "found-old": 10}

    # The month is the days before, each by its last evaluation, and today.
    (day,), (month,) = (
        rules_named("feature_day_month:anthropic_cost_usd:today"),
        rules_named("feature:anthropic_cost_usd:month"),
    )
    for at in (MIDNIGHT - HOUR, MIDNIGHT, MIDNIGHT + MINUTE, NOW - MINUTE):
        past.record(day, at, at)
    assert past.by_feature(month["expr"], NOW)["steady"] == 539.75
    assert past.by_feature(month["expr"], NOW)["ended-yesterday"] == 50


def test_a_pace_is_what_was_counted_in_its_window(past):
    history = History()
    at = MIDNIGHT - 12 * HOUR
    long_ago = at - 10 * HOUR
    history.process("working", scrapes(at - 600, at + 1), long_ago, lambda now: (now - long_ago) / 2)
    history.process("new", [at - 20, at - 5], at - 22, lambda now: 7 if now > at - 10 else 3)
    history.process("unknown", scrapes(at - 45, at + 1), long_ago, lambda now: 5_000 + (now - at + 45))
    history.process("restarted", scrapes(at - 600, at - 40), long_ago, lambda now: 100 + (now > at - 60) * 10)
    history.process("restarted", scrapes(at - 30, at + 1), at - 31, lambda _: 110)
    history.process("back", [*scrapes(at - 900, at - 300), at - 20, at - 5], long_ago, lambda now: now - long_ago)
    history.process("gone", scrapes(at - 600, at - 70), long_ago, lambda now: now - long_ago)
    history.process("missed-one", [at - 75, at - 45, at - 30, at - 15], long_ago, lambda now: now - long_ago)
    past.take(history.lines)
    (fast,) = rules_named("anthropic_ledger:increase_fast")
    assert past.by_feature(fast["expr"], at) == {
        "working": 30,
        "new": 7,
        "unknown": 45,
        "restarted": 120,
        "back": 15,
        "missed-one": 60,
    }
