"""The shipped rules on the collector's /metrics: hosts that are each below a threshold exceed it together."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from anthropic_exporter import Recorder, publish, stack
from collectors import Collecting, wait_until
from panels import SLOW, cached, empty_panels, plain
from queue_engines import Redis

pytest.importorskip("redis")
pytestmark = pytest.mark.stack
PATIENCE_SECONDS = 90


def test_a_rate_of_the_fleet_fires_the_alert_of_the_rules(tmp_path: Path) -> None:
    recorders = [Recorder(registry=None) for _ in range(3)]
    stopped = threading.Event()

    def spend() -> None:
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
                wait_until(lambda: empty_panels(running) <= SLOW, lambda: f"no data: {empty_panels(running) - SLOW}")
            finally:
                stopped.set()
                thread.join()
            ((labels, _),) = [(one["metric"], one["value"]) for one in running.query("anthropic_collector_queue_up")]
            assert labels["job"] == "anthropic"
            assert names(running) <= {"AnthropicCostRateHigh", "AnthropicWatchdog"}
        for publisher in publishers:
            publisher.close()


def names(running: stack.Stack) -> set[str]:
    return {one["labels"]["alertname"] for one in running.alerts()}
