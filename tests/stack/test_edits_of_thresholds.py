"""An edit of thresholds.yml on a running Prometheus: live within 10 seconds, or refused and told."""

from __future__ import annotations

import time
import urllib.error
import urllib.request

import pytest

from anthropic_exporter import stack

pytestmark = pytest.mark.stack

LIVE_WITHIN_SECONDS = 10.0
TOLD_WITHIN_SECONDS = 40.0
DEFAULT = 'anthropic_threshold{threshold="cost_usd_per_minute", feature="", model=""}'


def reload(running):
    request = urllib.request.Request(f"{running.prometheus_url}/-/reload", method="POST")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


def wait_for(running, query, wanted, within):
    """Seconds until the only sample of a query has this value."""
    begun = time.monotonic()
    while time.monotonic() - begun < within:
        if [found["value"][1] for found in running.query(query)] == [wanted]:
            return time.monotonic() - begun
        time.sleep(0.2)
    pytest.fail(f"{query} was not {wanted} within {within:.0f} s")
    return within


def test_an_edit_is_live_within_10_seconds_and_a_broken_one_changes_nothing_and_alerts():
    with stack.start([]) as running:
        path = running.folder / "prometheus" / "rules" / "thresholds.yml"
        shipped = path.read_text()
        wait_for(running, DEFAULT, "2", TOLD_WITHIN_SECONDS)

        path.write_text(
            shipped.replace(
                'expr: "2"\n        labels: {threshold: cost_usd', 'expr: "7"\n        labels: {threshold: cost_usd'
            )
        )
        assert reload(running) == 200
        wait_for(running, DEFAULT, "7", LIVE_WITHIN_SECONDS)

        path.write_text("groups: [{name: broken, rules: [{record: x, expr: '('}]}]")
        assert reload(running) == 500
        told = running.receiver.wait_for(
            lambda one: one.alertname == "AnthropicConfigReloadFailed", TOLD_WITHIN_SECONDS
        )
        assert told is not None
        assert [found["value"][1] for found in running.query(DEFAULT)] == ["7"]
