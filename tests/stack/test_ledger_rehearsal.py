"""What promtool cannot play: a Prometheus that is killed, frozen, and cut off from its target, and the ledger after it.

Scraped and evaluated every second, with the rules that fit, so that each gap is as many scrapes long as at 5 s.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from anthropic_exporter import Call, Inference, Recorder, Tokens, serve
from anthropic_exporter.rules import Fit, settings
from foreign import Foreign, wait_for
from host.workers import Worker, scrape, total
from ports import free_port

pytestmark = pytest.mark.stack
MODEL = "claude-opus-5-5"
CALL = Call(MODEL, inferences=(Inference(MODEL, Tokens(output=2_000)),), feature="chat")
A_CALL_USD = 0.04
CALLS_A_SECOND = 4
USD_A_MINUTE = 60 * CALLS_A_SECOND * A_CALL_USD
TOTAL = 'sum(anthropic_ledger:total{of="cost_usd"})'
LATE = 'sum(anthropic_ledger:total{of="cost_usd", when="late"})'
PACE = "sum(feature_model:anthropic_cost_usd_per_minute:rate_fast)"
SCRAPED = 'sum(anthropic_ledger_total{of="cost_usd"})'
KILLED_SECONDS, FROZEN_SECONDS, CUT_OFF_SECONDS = 8, 3, 12


class Spending:
    """Calls of a recorder at a steady pace, until it is stopped."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.calls = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self.stopped.wait(1 / CALLS_A_SECOND):
            self.recorder.record(CALL._replace(started_at=time.time()))
            self.calls += 1

    def stop(self) -> float:
        """Dollars that were spent in all."""
        self.stopped.set()
        self.thread.join()
        return self.calls * A_CALL_USD


@pytest.fixture
def every_second(monkeypatch: pytest.MonkeyPatch) -> Fit:
    """Rules for scrapes and evaluations of one second."""
    monkeypatch.setattr(settings, "SCRAPE_INTERVALS", range(1, 61))
    monkeypatch.setattr(settings, "_step", lambda _: 1)
    return Fit(scrape_interval=1, job="api")


def wait_until_grown(prometheus: Foreign) -> None:
    """Until the ledger has gone on from where it stands."""
    before = prometheus.value(TOTAL)
    wait_for(lambda: prometheus.value(TOTAL) > before + A_CALL_USD)


def test_the_ledger_is_exact_after_a_kill_a_freeze_and_a_gap(tmp_path: Path, every_second: Fit) -> None:
    recorder = Recorder(registry=None)
    server = serve(recorder, port=0)
    spending = Spending(recorder)
    try:
        with Foreign(tmp_path, every_second, [("api", f"127.0.0.1:{server.port}", "prod")], interval=1) as prometheus:
            wait_for(lambda: prometheus.value(PACE) > 0)
            began = time.time()

            os.kill(prometheus.process.pid, signal.SIGKILL)
            prometheus.process.close()
            time.sleep(KILLED_SECONDS)
            prometheus.start()
            wait_until_grown(prometheus)

            os.kill(prometheus.process.pid, signal.SIGSTOP)
            time.sleep(FROZEN_SECONDS)
            os.kill(prometheus.process.pid, signal.SIGCONT)
            wait_until_grown(prometheus)
            late_before = prometheus.value(LATE)

            port = server.port
            server.close()
            time.sleep(CUT_OFF_SECONDS)
            server = serve(recorder, port=port)
            wait_for(lambda: prometheus.value(LATE) > late_before)
            wait_until_grown(prometheus)

            spent = spending.stop()
            wait_for(lambda: prometheus.value(SCRAPED) == pytest.approx(spent, abs=1e-6))
            wait_for(lambda: prometheus.value(TOTAL) == pytest.approx(spent, abs=1e-6))
            seconds = int(time.time() - began)
            assert prometheus.value(f'sum(resets(anthropic_ledger:total{{of="cost_usd"}}[{seconds}s]))') == 0
            late = prometheus.value(LATE)
            assert late <= (CUT_OFF_SECONDS + KILLED_SECONDS + 10) * CALLS_A_SECOND * A_CALL_USD
            assert late > 0
            # a catch-up may fall into one window at most: docs/ledger.md
            assert prometheus.value(f"max_over_time({PACE}[{seconds}s:1s])") < 1.7 * USD_A_MINUTE
    finally:
        spending.stop()
        server.close()


def test_a_process_that_is_replaced_while_prometheus_is_away_loses_no_more_than_its_gap(
    tmp_path: Path, every_second: Fit
) -> None:
    """Its successor at the same address has spent as much: a counter that regained its value.

    Where Prometheus knows created-timestamp-zero-ingestion, it adds zeros at the dates of `_created`.
    """
    first, second = Recorder(registry=None), Recorder(registry=None)
    server = serve(first, port=0)
    try:
        for _ in range(20):
            first.record(CALL._replace(started_at=time.time()))
        jobs = [("api", f"127.0.0.1:{server.port}", "prod")]
        with Foreign(tmp_path, every_second, jobs, 1, "created-timestamp-zero-ingestion") as prometheus:
            wait_for(lambda: prometheus.value(TOTAL) == pytest.approx(20 * A_CALL_USD))
            os.kill(prometheus.process.pid, signal.SIGKILL)
            prometheus.process.close()
            port = server.port
            server.close()
            for _ in range(20):
                second.record(CALL._replace(started_at=time.time()))
            server = serve(second, port=port)
            prometheus.start()
            wait_for(lambda: prometheus.value(TOTAL) == pytest.approx(40 * A_CALL_USD))
    finally:
        server.close()


def test_a_crash_loop_of_a_process_that_is_alone_is_exact_though_most_lives_are_shorter_than_a_scrape(
    tmp_path: Path, every_second: Fit
) -> None:
    port, calls = free_port(), 0
    began = time.time()
    with Foreign(tmp_path, every_second, [("api", f"127.0.0.1:{port}", "prod")], interval=1) as prometheus:
        for number in range(12):
            worker = Worker(port, tmp_path)
            worker.record(10)
            calls += 10
            if number % 3:
                worker.stop()
            else:  # what nobody had scraped is copied ten times a second
                wait_for(lambda: total(scrape(port)) == calls)  # noqa: B023 - called at once
                worker.kill()
        worker = Worker(port, tmp_path)
        worker.record(10)
        spent = (calls + 10) * 0.00414
        wait_for(lambda: prometheus.value(SCRAPED) == pytest.approx(spent, abs=1e-9))
        wait_for(lambda: prometheus.value(TOTAL) == pytest.approx(spent, abs=1e-9))
        wait_until_still(prometheus)
        assert prometheus.value(TOTAL) == pytest.approx(spent, abs=1e-9)
        seconds = int(time.time() - began) + 1
        of = '{of="requests"}'
        assert prometheus.value(f"sum(resets(anthropic_ledger:total{of}[{seconds}s]))") == 0
        assert prometheus.value(f"sum(resets(anthropic_requests_total[{seconds}s]))") == 0
        assert prometheus.value(f"count(count by (life) (count_over_time(anthropic_ledger_total[{seconds}s])))") == 1
        assert prometheus.value(f"max_over_time({PACE}[{seconds}s:1s])") < 3 * spent / (seconds / 60)
        worker.stop()


def wait_until_still(prometheus: Foreign) -> None:
    """Wait for some more evaluations."""
    tick = "max(timestamp(anthropic_ledger:total))"
    until = prometheus.value(tick) + 4
    wait_for(lambda: prometheus.value(tick) >= until)
