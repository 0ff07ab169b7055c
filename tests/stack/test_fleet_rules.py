"""The shipped rules on the collector's /metrics: hosts that are each below a threshold exceed it together."""

from __future__ import annotations

import threading
import time

import pytest

from anthropic_exporter import Call, Inference, Recorder, Tokens, publish, stack
from collectors import Collecting, wait_until
from queue_engines import Redis

pytest.importorskip("redis")
pytestmark = pytest.mark.stack
MODEL = "claude-opus-5-5"
PATIENCE_SECONDS = 90


def test_a_pace_of_the_fleet_fires_the_alert_of_the_rules(tmp_path):
    recorders = [Recorder(registry=None) for _ in range(3)]
    stopped = threading.Event()

    def spend():
        """Each host spends 0.96 USD a minute: only all three together exceed the threshold of 2."""
        while not stopped.wait(1.0):
            for recorder in recorders:
                tokens = Tokens(input=1000, output=600)
                recorder.record(
                    Call(MODEL, inferences=(Inference(MODEL, tokens),), feature="chat", started_at=time.time())
                )

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
            finally:
                stopped.set()
                thread.join()
            ((labels, _),) = [(one["metric"], one["value"]) for one in running.query("anthropic_collector_queue_up")]
            assert labels["job"] == "anthropic"
            assert names(running) <= {"AnthropicCostRateHigh", "AnthropicWatchdog"}
        for publisher in publishers:
            publisher.close()


def names(running):
    return {one["labels"]["alertname"] for one in running.alerts()}
