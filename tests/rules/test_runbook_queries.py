"""The queries of the runbooks, asked of a real Prometheus that scrapes a recorder in the middle of many incidents."""

from __future__ import annotations

import contextlib
import re
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import Call, Inference, Recorder, Tokens, serve, stack
from anthropic_exporter.attribution import Attribution

pytestmark = pytest.mark.stack

PAGES = Path(__file__).resolve().parent.parent.parent / "docs" / "runbooks"
QUERIES = [
    (path.stem, query.strip())
    for path in sorted(PAGES.glob("*.md"))
    for query in re.findall(r"```promql\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
]
PATIENCE_SECONDS = 240
NEEDS_AN_HOUR = "a baseline asks for half an hour of data"
NEEDS_A_LEDGER = "the ledger knows a window once it is as old: five minutes, or an hour"
NOT_RUNNING = "reconcile --watch does not run here"
ALL_COUNTED = "every recorder here is of this version"
NO_COLLECTOR = "no collector is scraped here, and no process publishes or follows"
NOTHING_GIVEN_UP = "no limit is reached here, no callback fails, and no session ends"
UNANSWERED = {
    'sum by (feature, outcome) (increase(anthropic_requests_total{outcome=~"abandoned|cancelled|timeout"}[10m]))': (
        NOTHING_GIVEN_UP
    ),
    'sum by (job, instance, callback, result) (increase(anthropic_guard_callbacks_total{result!="ok"}[1h]))': (
        NOTHING_GIVEN_UP
    ),
    "sum by (job, instance, limit) (increase(anthropic_exporter_limits_reached_total[1h]))": NOTHING_GIVEN_UP,
    "sum by (model) (increase(anthropic_exporter_session_cost_mismatches_total[1h]))": NOTHING_GIVEN_UP,
    "sum by (job, instance, label) (anthropic_exporter_merge_folded_series > 0)": NOTHING_GIVEN_UP,
    "sum by (job, instance, label) (increase(anthropic_collector_label_overflow_total[1h]))": NO_COLLECTOR,
    "anthropic_collector_queue_up or anthropic_collector_state_age_seconds": NO_COLLECTOR,
    "sum by (instance, stage) (increase(anthropic_collector_errors_total[15m]))": NO_COLLECTOR,
    "job_instance:anthropic_exporter_uncounted_record_timestamp_seconds:max": ALL_COUNTED,
    "anthropic_collector_lag_seconds": NO_COLLECTOR,
    "sum by (instance, result) (rate(anthropic_collector_messages_total[5m]))": NO_COLLECTOR,
    "anthropic_collector_last_message_age_seconds > 30": NO_COLLECTOR,
    "anthropic_collector_hosts": NO_COLLECTOR,
    "sum by (instance, reason) (increase(anthropic_collector_ignored_cells_total[1h]))": NO_COLLECTOR,
    "sum by (instance, result) (increase(anthropic_collector_messages_total[1h]))": NO_COLLECTOR,
    "increase(anthropic_collector_message_gaps_total[1h])": NO_COLLECTOR,
    "sum by (job, instance, result) (increase(anthropic_publish_messages_total[15m]))": NO_COLLECTOR,
    "time() - anthropic_publish_last_success_timestamp_seconds": NO_COLLECTOR,
    "anthropic_guard_fleet_followed": NO_COLLECTOR,
    "sum by (job, instance) (increase(anthropic_guard_failed_open_total[1d]))": NO_COLLECTOR,
    "(time() - anthropic_reconcile_last_success_timestamp_seconds) / 3600": NOT_RUNNING,
    "max by (model, tier, cause) (anthropic_reconcile_drift_usd) > 0": NOT_RUNNING,
    "sum by (model, tier, type, side) (anthropic_reconcile_tokens)": NOT_RUNNING,
    "feature_model:anthropic_cache_read_share:ratio": NEEDS_A_LEDGER,
    'feature_model:anthropic_incident_cost_usd:sum{alertname="AnthropicCacheMissRateHigh"}': NEEDS_A_LEDGER,
    "feature_model:anthropic_request_duration_seconds:p95_slow": NEEDS_A_LEDGER,
    "topk(5, feature_model:anthropic_cache_savings_usd:increase_hour)": NEEDS_A_LEDGER,
    "topk(5, feature_model:anthropic_cache_write_premium_usd:increase_hour)": NEEDS_A_LEDGER,
    'topk(5, feature_model_outcome:anthropic_requests:increase_slow{outcome="rate_limit_error"})': NEEDS_A_LEDGER,
    'feature:anthropic_incident_cost_usd:sum{alertname="AnthropicCostSpike"}': NEEDS_AN_HOUR,
    "feature:anthropic_cost_usd_per_minute:beyond_chance"
    " / on (feature) last_over_time(feature:anthropic_cost_usd_per_minute:baseline[5m])": NEEDS_AN_HOUR,
    "feature:anthropic_tokens_per_minute:now"
    " / on (feature) last_over_time(feature:anthropic_tokens_per_minute:baseline[5m])": NEEDS_AN_HOUR,
    "feature:anthropic_request_output_tokens:baseline": NEEDS_AN_HOUR,
    "last_over_time(feature_model:anthropic_cache_read_share:baseline1h[5m])": NEEDS_AN_HOUR,
}
MODEL = "claude-opus-5-5"
CALL = Call(
    MODEL,
    feature="chat",
    user="acme",
    inferences=(Inference(MODEL, Tokens(input=100, cache_write_5m=20_000, output=300)),),
    duration_seconds=12.0,
    time_to_first_token_seconds=4.0,
    cache_asked=True,
)
READ = (Inference(MODEL, Tokens(input=100, cache_read=20_000, output=300)),)
LONG = (Inference(MODEL, Tokens(input=100, output=20_000)),)


class Stranger(BaseHTTPRequestHandler):
    """A program that answers on the port, and is none of ours."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b"something_else 1\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def stranger() -> Iterator[Any]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def limits_nearly_used_up() -> dict[bytes, bytes]:
    full_again = datetime.now(timezone.utc) + timedelta(minutes=5)
    values = {b"limit": b"1000", b"remaining": b"20", b"reset": full_again.strftime("%Y-%m-%dT%H:%M:%SZ").encode()}
    return {b"anthropic-ratelimit-tokens-" + name: value for name, value in values.items()}


def incidents() -> list[Call]:
    """What one second of everything at once leaves: a lost cache, errors, refusals, slow and long answers."""
    nothing = CALL._replace(inferences=(), cache_asked=False)
    refused = [nothing._replace(outcome=outcome) for outcome in ("rate_limit_error", "overloaded_error", "api_error")]
    others = [
        CALL._replace(user="umbrella", cache_miss_reason="system_changed"),
        CALL._replace(feature="search", inferences=READ),
        CALL._replace(inferences=LONG, stop_reason="max_tokens"),
        CALL._replace(retry_reason="overloaded_error", rate_limit_headers=limits_nearly_used_up()),
        CALL._replace(model="claude-unheard-of", inferences=(Inference("claude-unheard-of", Tokens(input=9)),)),
        CALL._replace(feature="not on the list"),
    ]
    return [CALL] * 6 + refused * 3 + others


def fail(_call: Call) -> None:
    raise RuntimeError


def evaluate_more_often(running: Any) -> None:
    """What is evaluated every minute or five, every five seconds: no query depends on it, and a test need not wait."""
    for path in running.folder.glob("prometheus/rules/*.yml"):
        text = path.read_text(encoding="utf-8")
        path.write_text(re.sub(r"interval: [15]m\b", "interval: 5s", text), encoding="utf-8")
    urllib.request.urlopen(urllib.request.Request(running.prometheus_url + "/-/reload", method="POST"))


def asked(running: Any, queries: Any) -> Any:
    """Those that are answered with something; fails for one that is refused."""
    answered = set()
    for query in queries:
        try:
            if running.query(query):
                answered.add(query)
        except urllib.error.HTTPError as error:
            pytest.fail(f"{query}: {error.read()!r}")
    return answered


@pytest.fixture
def running() -> Iterator[Any]:
    """A recorder amid its incidents, scraped beside a process that went down and a program that is none of ours."""
    recorder = Recorder(registry=None, features=["chat", "search"])
    recorder.subscribe(fail)
    recorder.begin(1, MODEL, Attribution("chat", "acme"))
    with serve(recorder, port=0) as server, serve(recorder, port=0) as leaving, stranger() as other:
        targets = [f"127.0.0.1:{server.port}", f"127.0.0.1:{leaving.port}", other]
        with stack.start(targets) as running:
            evaluate_more_often(running)
            yield running, recorder, leaving


def test_every_query_is_answered_with_something(running: Any) -> None:
    prometheus, recorder, leaving = running
    expected = {query for _, query in QUERIES} - UNANSWERED.keys()
    waiting, began = set(expected), time.monotonic()
    while waiting and time.monotonic() < began + PATIENCE_SECONDS:
        for call in incidents():
            recorder.record(call._replace(started_at=time.time()))
        recorder.record_usage(model=MODEL, usage={"of": "an unknown shape"}, feature="chat")
        time.sleep(1)
        if time.monotonic() > began + 20:
            leaving.close()
        waiting -= asked(prometheus, waiting)
    assert not waiting, "\n".join(sorted(waiting))
    assert asked(prometheus, UNANSWERED) == set()


def test_every_page_has_queries_and_no_excuse_is_left_over() -> None:
    assert {page for page, _ in QUERIES} == {path.stem for path in PAGES.glob("*.md")}
    assert UNANSWERED.keys() <= {query for _, query in QUERIES}
