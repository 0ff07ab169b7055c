"""The export for vmalert on a real VictoriaMetrics that has a past: sums over restarts and midnight, and each alert.

Nothing is scraped and nothing waits: series are imported with their times, and expressions are asked for a moment.
"""

from __future__ import annotations

import datetime as dt
import json
import time
import urllib.parse
import urllib.request
from collections.abc import Generator
from typing import Any

import pytest
import yaml

from anthropic_exporter import export, toolchain
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.rules import Fit
from anthropic_exporter.rules.vmalert import reads
from anthropic_exporter.stack import running
from anthropic_exporter.stack.process import Process

pytestmark = pytest.mark.stack
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

    def __init__(self) -> None:
        self.lines: list[Any] = []

    def process(self, feature: Any, seen: Any, born: Any, dollars: Any, instance: Any = "a") -> None:
        """Scrapes at these moments of a process of an age, which shows some dollars at each moment."""
        life = f"{feature}-{born}"
        for at in seen:
            labels = f'life="{life}", instance="{instance}"'
            counter = f'{labels}, of="cost_usd", feature="{feature}", model="m", tier="standard"'
            self.lines += [
                f"anthropic_exporter_age_seconds{{{labels}}} {at - born} {at}000",
                f"anthropic_ledger_total{{{counter}}} {dollars(at)} {at}000",
            ]


def scrapes(start: Any, end: Any) -> Any:
    return range(start, end, SCRAPE)


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Generator[Any, Any, Any]:
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
    def __init__(self, url: Any) -> None:
        self.url = url

    def take(self, lines: Any) -> None:
        body = "\n".join(lines).encode()
        with urllib.request.urlopen(f"{self.url}/api/v1/import/prometheus", body, timeout=60):
            pass
        with urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=60):
            pass

    def ask(self, kind: Any, expression: Any, **times: Any) -> Any:
        asked = urllib.parse.urlencode({"query": expression, "nocache": 1, "latency_offset": "1ms", **times})
        with urllib.request.urlopen(f"{self.url}/api/v1/{kind}", asked.encode(), timeout=60) as response:
            return json.load(response)["data"]["result"]

    def by_feature(self, expression: Any, at: Any) -> Any:
        found = self.ask("query", expression, time=at)
        return {one["metric"]["feature"]: round(float(one["value"][1]), 6) for one in found}

    def record(self, rule: Any, start: Any, end: Any) -> None:
        """What a rule of the export records each minute, imported."""
        lines = []
        for one in self.ask("query_range", rule["expr"], start=start, end=end, step="60s"):
            labels = ", ".join(f'{key}="{value}"' for key, value in {**one["metric"], **rule.get("labels", {})}.items())
            lines += [f"{rule['record']}{{{labels}}} {value} {at}000" for at, value in one["values"]]
        self.take(lines)


def rules_named(*names: Any, **options: Any) -> Any:
    texts = export.files(Fit(format="vmalert", scrape_interval=SCRAPE, **options))
    files = (yaml.safe_load(texts[f"rules/{name}.yml"]) for name in ("ledger", "budget"))
    rules = [rule for document in files for group in document["groups"] for rule in group["rules"]]
    return [rule for name in names for rule in rules if rule["record" if "record" in rule else "alert"] == name]


def test_a_day_is_what_was_counted_since_midnight(past: Any) -> None:
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
    for rule in rules_named("anthropic_ledger:first_age", "anthropic_ledger:life", "anthropic_ledger:life_now"):
        past.record(rule, start, NOW)
        past.record(rule, MIDNIGHT + 15, MIDNIGHT + 15)

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
        past.record(today, at, at)
        past.record(day, at, at)
    past.record(today, NOW, NOW)
    assert past.by_feature(month["expr"], NOW)["steady"] == 539.75
    assert past.by_feature(month["expr"], NOW)["ended-yesterday"] == 50


def test_a_rate_is_what_was_counted_in_its_window(past: Any) -> None:
    history = History()
    at = MIDNIGHT - 12 * HOUR
    long_ago = at - 10 * HOUR
    history.process("working", scrapes(at - 600, at + 1), long_ago, lambda now: (now - long_ago) / 2)
    history.process("new", [at - 20, at - 5], at - 22, lambda now: 7 if now > at - 10 else 3)
    history.process("unknown", scrapes(at - 45, at + 1), long_ago, lambda now: 5_000 + (now - at + 45))
    history.process("restarted", scrapes(at - 600, at - 40), long_ago, lambda now: 100 + (now > at - 60) * 10)
    history.process("restarted", scrapes(at - 30, at + 1), at - 31, lambda _: 110)
    history.process("back", [*scrapes(at - 1500, at - 600), at - 20, at - 5], long_ago, lambda now: now - long_ago)
    history.process("gone", scrapes(at - 600, at - 70), long_ago, lambda now: now - long_ago)
    history.process("missed-one", [at - 75, at - 45, at - 30, at - 15], long_ago, lambda now: now - long_ago)
    past.take(history.lines)
    soon, later = rules_named("anthropic_ledger:increase_fast", "anthropic_ledger:increase_slow")
    assert past.by_feature(soon["expr"], at) == {"working": 30, "new": 7, "restarted": 120, "missed-one": 60, "gone": 0}
    # Over five minutes, what is not known at their start counts since it was seen.
    found = past.by_feature(later["expr"], at)
    assert {feature: found[feature] for feature in ("working", "new", "unknown", "back")} == {
        "working": 150,
        "new": 7,
        "unknown": 45,
        "back": 15,
    }


def test_labels_that_are_kept_keep_sums_apart(past: Any) -> None:
    at = MIDNIGHT - 20 * HOUR
    labels = 'of="cost_usd", feature="chat", model="m", tier="standard"'
    lines = []
    for number, namespace in enumerate(("prod", "staging"), start=1):
        for seen in (at - 20, at - 5):
            life = f'life="{namespace}", namespace="{namespace}"'
            lines += [
                f"anthropic_exporter_age_seconds{{{life}}} {seen - at + 22} {seen}000",
                f"anthropic_ledger_total{{{life}, {labels}}} {number * 2} {seen}000",
            ]
    past.take(lines)
    options: dict[str, Any] = {"keep_labels": ("namespace",)}
    for name in ("increase_fast", "first_age", "life_now"):
        for rule in rules_named(f"anthropic_ledger:{name}", **options):
            past.record(rule, at, at)
    for rule in rules_named("anthropic_ledger:increase_fast", "feature:anthropic_cost_usd:today", **options):
        found = past.ask("query", rule["expr"], time=at)
        assert {one["metric"]["namespace"]: one["value"][1] for one in found} == {"prod": "2", "staging": "4"}


def fast(of: Any, value: Any, **labels: Any) -> Any:
    """The growth of a counter in the fast window."""
    return ("anthropic_ledger:increase_fast", {"of": of, **PLACE, **labels}, value)


def slow(of: Any, value: Any, **labels: Any) -> Any:
    """The growth of a counter in the slow window."""
    return ("anthropic_ledger:increase_slow", {"of": of, **PLACE, **labels}, value)


def counted(of: Any, value: Any) -> Any:
    """A counter of a young process."""
    return ("anthropic_ledger_total", {"life": "young", "of": of, **PLACE}, value)


PLACE = {"feature": "f", "model": "m", "tier": "standard"}
PAIR = {"feature": "f", "model": "m"}
FEATURE = {"feature": "f"}
PROCESS = {"job": "anthropic", "instance": "a"}
GROUP = {"group": "anthropic-cost", "file": "cost.yml", **PROCESS}
BUSY = (fast("requests", 100), slow("requests", 500), fast("cost_usd", 0.01), slow("cost_usd", 0.05))
ASKED = (fast("cache_requests_miss", 60), fast("cache_requests_hit", 2), slow("tokens_input", 500_000))
YOUNG = ("anthropic_exporter_age_seconds", {"life": "young"}, 600)
#: What makes each alert fire: name, labels, value, and seconds before the evaluation, if not 5.
CASES = {
    "AnthropicCostRateHigh": [*BUSY, fast("cost_usd", 9, tier="fast")],
    "AnthropicCostSpike": [
        *BUSY,
        fast("cost_usd", 1, tier="fast"),
        ("anthropic_request_cost_usd_max", PAIR, 0.01),
        ("feature:anthropic_cost_usd_per_minute:baseline", FEATURE, 0.1),
        ("feature:anthropic_cost_usd_per_minute:baseline15m", FEATURE, 0.1),
        ("feature:anthropic_requests:baseline1h", FEATURE, 50),
        ("feature:anthropic_cost_usd_per_minute:risen", FEATURE, 0.9, 20),
    ],
    "AnthropicRequestUnusuallyExpensive": [("anthropic_request_cost_usd_max", PAIR, 3)],
    "AnthropicTokenSpike": [
        *BUSY,
        fast("tokens_output", 100_000),
        ("feature:anthropic_tokens_per_minute:baseline", FEATURE, 10_000),
        ("feature:anthropic_tokens_per_minute:baseline15m", FEATURE, 10_000),
        ("feature:anthropic_requests:baseline1h", FEATURE, 50),
        ("feature:anthropic_tokens_per_minute:risen", FEATURE, 100_000, 20),
    ],
    "AnthropicCacheMissRateHigh": [*BUSY, *ASKED],
    "AnthropicCacheMissWaste": [*BUSY, *ASKED, fast("cache_miss_cost_usd", 5)],
    "AnthropicCacheWriteChurn": [
        *BUSY,
        *((*slow("cache_write_premium_usd", 1), 300 * number + 5) for number in range(13)),
        ("anthropic_ledger:tick", {}, 1, 3_700),
    ],
    "AnthropicDailyTokenBudgetExceeded": [YOUNG, counted("tokens_output", 2e6)],
    "AnthropicDailyCostBudgetExceeded": [YOUNG, counted("cost_usd", 5_000)],
    "AnthropicDailyBudgetForecast": [YOUNG, counted("cost_usd", 60)],
    "AnthropicMonthlyBudgetForecast": [YOUNG, counted("cost_usd", 5_000)],
    "AnthropicLatencyHigh": [("feature_model:anthropic_request_duration_seconds:p95_slow", PAIR, 90)],
    "AnthropicTimeToFirstTokenHigh": [("feature_model:anthropic_time_to_first_token_seconds:p95_slow", PAIR, 90)],
    "AnthropicRequestStuck": [("anthropic_longest_inflight_silence_seconds", PAIR, 4_000)],
    "AnthropicErrorRateHigh": [*BUSY, fast("requests_timeout", 40)],
    "AnthropicRateLimited": [*BUSY, fast("requests_rate_limit_error", 60)],
    "AnthropicOverloaded": [*BUSY, fast("requests_overloaded_error", 60)],
    "AnthropicRateLimitHeadroomLow": [
        ("anthropic_ratelimit_remaining", {"model": "m", "resource": "requests"}, 1),
        ("anthropic_ratelimit_limit", {"model": "m", "resource": "requests"}, 100),
        ("anthropic_ratelimit_reset_timestamp_seconds", {"model": "m", "resource": "requests"}, 4e9),
    ],
    "AnthropicUnpricedTokens": [slow("unpriced_tokens", 9)],
    "AnthropicUnmeteredResponses": [*BUSY, slow("unmetered_no_usage", 9)],
    "AnthropicRecordErrors": [*BUSY, slow("record_errors_read", 9)],
    "AnthropicLabelOverflow": [*BUSY, slow("label_overflow_user", 9)],
    "AnthropicRecorderDrops": [*BUSY, slow("stale_scrapes", 9)],
    "AnthropicSessionCostMismatch": [slow("session_cost_mismatches", 1)],
    "AnthropicPricesStale": [("anthropic_exporter_prices_checked_timestamp_seconds", PROCESS, 1e9)],
    "AnthropicExporterDown": [("up", PROCESS, 0)],
    "AnthropicTargetsGone": [("anthropic_exporter_build_info", PROCESS, 1, 1_800)],
    "AnthropicWorkersLost": [
        ("anthropic_exporter_workers", {**PROCESS, "state": "lost"}, 0, 300),
        ("anthropic_exporter_workers", {**PROCESS, "state": "lost"}, 5),
    ],
    "AnthropicMeterStopped": [("up", PROCESS, 1)],
    "AnthropicRuleEvaluationSlow": [
        (
            "vmalert_iteration_duration_seconds",
            {**GROUP, "quantile": "0.9"},
            9,
        ),
        ("vmalert_iteration_interval_seconds", GROUP, 5),
    ],
    "AnthropicRuleEvaluationFailing": [("vmalert_recording_rules_error", {"group": "anthropic-cost", "id": "1"}, 1)],
    "AnthropicConfigReloadFailed": [("vmalert_config_last_reload_successful", PROCESS, 0)],
    "AnthropicAlertsNotDelivered": [
        ("vmalert_alerts_send_errors_total", {"addr": "http://alertmanager"}, 0, 100),
        ("vmalert_alerts_send_errors_total", {"addr": "http://alertmanager"}, 5),
    ],
    "AnthropicWatchdog": [],
    "AnthropicCollectorBlind": [("anthropic_collector_queue_up", PROCESS, 0)],
    "AnthropicCollectorLag": [("anthropic_collector_lag_seconds", PROCESS, 60)],
    "AnthropicHostsLost": [("anthropic_collector_hosts", {**PROCESS, "state": "lost"}, 1)],
    "AnthropicCollectorDrops": [
        ("anthropic_collector_messages_total", {**PROCESS, "result": "unreadable"}, 0, 100),
        ("anthropic_collector_messages_total", {**PROCESS, "result": "unreadable"}, 5),
    ],
    "AnthropicPublishingFails": [("anthropic_publish_last_success_timestamp_seconds", PROCESS, 1e9)],
    "AnthropicFleetGuardFailedOpen": [("anthropic_guard_fleet_followed", PROCESS, 0)],
    "AnthropicBillDrift": [
        ("anthropic_reconcile_drift_usd", {"model": "m", "tier": "standard", "cause": "prices"}, 100),
        ("anthropic_reconcile_cost_usd", {**PROCESS, "model": "m", "tier": "standard", "side": "billed"}, 200),
    ],
    "AnthropicBillNotCompared": [("anthropic_reconcile_last_success_timestamp_seconds", PROCESS, 1e9)],
    "AnthropicThresholdMissing": [],
}
#: One hour of a day for each alert, so that none sees what another one needs.
MOMENTS = {alert: MIDNIGHT - (number + 2) * DAY // 2 + 2 * HOUR for number, alert in enumerate(CASES)}


def lines_at(at: Any, given: Any) -> Generator[Any, Any, Any]:
    for name, labels, value, *before in given:
        written = ", ".join(f'{key}="{text}"' for key, text in labels.items())
        yield f"{name}{{{written}}} {value} {at - (before[0] if before else 5)}000"


def thresholds() -> Any:
    document = yaml.safe_load(export.files(FIT)["rules/thresholds.yml"])
    rules = [rule for group in document["groups"] for rule in group["rules"]]
    return [("anthropic_threshold", rule["labels"], rule["expr"]) for rule in rules]


FIT = Fit(format="vmalert", scrape_interval=SCRAPE)
RULES = [
    rule
    for name, text in export.files(FIT).items()
    if name.startswith("rules/")
    for group in yaml.safe_load(text)["groups"]
    for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule["expr"] for rule in RULES if "alert" in rule}


def settle(past: Any, expression: Any, at: Any, done: Any) -> None:
    """Record what an expression reads, and what that reads, unless it is given."""
    for name in {read.name for read in reads(expression)} - done:
        done.add(name)
        for rule in (rule for rule in RULES if rule.get("record") == name):
            settle(past, rule["expr"], at, done)
            past.record(rule, at, at)


def fires(past: Any, alert: Any, at: Any, given: Any) -> Any:
    past.take(lines_at(at, given))
    settle(past, ALERTS[alert], at, {"anthropic_condition:value", *(name for name, *_ in given)})
    return past.ask("query", ALERTS[alert], time=at)


def test_every_alert_has_a_case() -> None:
    assert set(CASES) == set(ALERTS)


@pytest.mark.parametrize("alert", CASES)
def test_each_alert_fires_on_what_it_is_for_and_not_without(past: Any, alert: Any) -> None:
    at = MOMENTS[alert]
    given = [] if alert == "AnthropicThresholdMissing" else thresholds()
    always = {"AnthropicWatchdog", "AnthropicThresholdMissing"}
    assert bool(fires(past, alert, at, given)) == (alert in always)
    found = fires(past, alert, at, CASES[alert])
    assert found
    assert not {"le", "life", "of"} & {label for one in found for label in one["metric"]}
