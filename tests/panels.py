"""What shows that rules and panels work on a page: traffic for every panel, and the panels without data."""

from __future__ import annotations

import json
from pathlib import Path

from anthropic_exporter import Call, Inference, Tokens
from anthropic_exporter.stack import Stack

MODEL = "claude-opus-5-5"
DASHBOARD = json.loads((Path(__file__).resolve().parents[1] / "grafana/dashboards/claude-cost.json").read_text())
#: They show what the standalone exporter received of Alertmanager.
BY_RECEIVER = {"Time to detection", "From onset and from firing to delivery"}
#: Panels of slow windows, days and months: they have data after five minutes.
SLOW = {
    "Cost per request by feature",
    "Forecast for today",
    "Forecast for this month",
    "Forecast share of the monthly budget",
    "Share of each budget",
    "Share of the daily budget",
    "Pace per hour",
    "Spent this month",
    "Spent today",
}


def plain(now: float) -> Call:
    return Call(MODEL, inferences=(Inference(MODEL, Tokens(input=1000, output=600)),), feature="chat", started_at=now)


def cached(now: float, **tokens: int) -> Call:
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


def empty_panels(running: Stack) -> set[str]:
    """Titles of panels of the dashboard that have no data."""
    found = set()
    for panel in DASHBOARD["panels"]:
        queries = [target["expr"] for target in panel.get("targets", ())]
        if queries and not any(running.query(filled(query)) for query in queries):  # each of them is asked
            found.add(panel["title"])
    return found - BY_RECEIVER


def filled(query: str) -> str:
    """A query as Grafana sends it."""
    for name, value in (("feature", ".*"), ("model", ".*"), ("__rate_interval", "1m"), ("__range", "5m")):
        for written in (f"${{{name}:regex}}", f"${{{name}}}", f"${name}"):
            query = query.replace(written, value)
    return query
