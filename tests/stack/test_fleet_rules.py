"""The shipped rules on the collector's /metrics: hosts that are each below a threshold exceed it together."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from anthropic_exporter import Call, Inference, Recorder, Tokens, publish, stack
from collectors import Collecting, wait_until
from queue_engines import Redis

pytest.importorskip("redis")
pytestmark = pytest.mark.stack
MODEL = "claude-opus-5-5"
DASHBOARD = json.loads((Path(__file__).resolve().parents[2] / "grafana/dashboards/claude-cost.json").read_text())
#: Panels of slow windows, days and months: they need more than this test's minute.
SLOW = {
    "Cost per request by feature",
    "Expected by 24:00 UTC",
    "Expected by month's end",
    "Expected of the month's budget",
    "Of each budget",
    "Of the day's budget",
    "Pace per hour",
    "Spent this month",
    "Spent today",
}
PATIENCE_SECONDS = 90


def test_a_pace_of_the_fleet_fires_the_alert_of_the_rules(tmp_path):
    recorders = [Recorder(registry=None) for _ in range(3)]
    stopped = threading.Event()

    def spend():
        """Each host spends 0.96 USD a minute: only all three together exceed the threshold of 2."""
        while not stopped.wait(1.0):
            for recorder in recorders:
                recorder.record(plain(time.time()))
                recorder.record(cached(time.time(), cache_write_5m=20))
                recorder.record(cached(time.time(), cache_read=2_000))

    with Redis(tmp_path / "redis") as queue, Collecting(queue.url, tmp_path / "state") as collector:
        publishers = [
            publish(recorder, queue.url, service="api", host=f"host-{number}")
            for number, recorder in enumerate(recorders)
        ]
        with stack.start([collector.url.removeprefix("http://")], folder=tmp_path / "stack") as running:
            wait_until(lambda: running.query("up{job='anthropic'} == 1"), seconds=PATIENCE_SECONDS)
            thread = threading.Thread(target=spend)
            thread.start()
            try:
                wait_until(lambda: "AnthropicCostRateHigh" in names(running), seconds=PATIENCE_SECONDS)
                wait_until(lambda: not empty_panels(running), lambda: f"no data: {empty_panels(running)}")
            finally:
                stopped.set()
                thread.join()
            ((labels, _),) = [(one["metric"], one["value"]) for one in running.query("anthropic_collector_queue_up")]
            assert labels["job"] == "anthropic"
            assert names(running) <= {"AnthropicCostRateHigh", "AnthropicWatchdog"}
        for publisher in publishers:
            publisher.close()


def plain(now):
    return Call(MODEL, inferences=(Inference(MODEL, Tokens(input=1000, output=600)),), feature="chat", started_at=now)


def cached(now, **tokens):
    """A request with all that panels show: its cache, a retry, a stream, rate limits."""
    return Call(
        MODEL,
        inferences=(Inference(MODEL, Tokens(input=10, output=5, **tokens)),),
        feature="search",
        user="acme",
        started_at=now,
        duration_seconds=1.5,
        call_duration_seconds=1.5,
        time_to_first_token_seconds=0.4,
        stop_reason="end_turn",
        thinking_tokens=1,
        cache_asked=True,
        cache_miss_reason="system_changed" if "cache_write_5m" in tokens else "",
        retry_reason="overloaded_error",
        rate_limit_headers={
            b"anthropic-ratelimit-requests-limit": b"50",
            b"anthropic-ratelimit-requests-remaining": b"49",
        },
    )


def empty_panels(running):
    """Panels of the dashboard that have no data, of those that need no more than a minute."""
    found = set()
    for panel in DASHBOARD["panels"]:
        queries = [target["expr"] for target in panel.get("targets", ())]
        if queries and not any(running.query(filled(query)) for query in queries):  # each of them is asked
            found.add(panel["title"])
    return found - SLOW


def filled(query):
    """A query as Grafana sends it."""
    for name, value in (("feature", ".*"), ("model", ".*"), ("__rate_interval", "1m"), ("__range", "5m")):
        query = query.replace(f"${name}", value).replace(f"${{{name}}}", value)
    return query


def names(running):
    return {one["labels"]["alertname"] for one in running.alerts()}
