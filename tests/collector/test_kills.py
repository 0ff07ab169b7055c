"""Workers, queue and collector are killed under traffic: nothing is lost but a killed worker's last period.

The same for longer, and with figures: `bench/fleet/kills.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from collectors import wait_until
from fleet_under_fire import Fire

resource = pytest.importorskip("resource")

pytest.importorskip("redis")
pytestmark = pytest.mark.stack


def test_kills_under_traffic(tmp_path: Path) -> None:
    with Fire(tmp_path) as fire:
        for kill in (fire.kill_worker, fire.kill_collector, fire.kill_queue, fire.kill_worker, fire.kill_collector):
            fire.traffic(300)
            kill()
        fire.traffic(300)
        outcome = fire.end()
    assert outcome.falls == 0
    assert outcome.lost_beyond_the_last_period == 0
    assert outcome.counted_twice == 0
    assert outcome.recorded > 1500


def test_kills_of_workers_that_count_together_lose_nothing(tmp_path: Path) -> None:
    with Fire(tmp_path, workers=2, mapped=True) as fire:
        kills = (fire.kill_sender, fire.kill_collector, fire.kill_sender, fire.kill_queue, fire.kill_worker)
        for kill in kills:
            fire.traffic(300)
            kill()
        fire.traffic(300)
        outcome = fire.end()
    assert (outcome.falls, outcome.lost_beyond_the_last_period, outcome.counted_twice) == (0, 0, 0)
    assert outcome.shown >= outcome.recorded > 1500


def test_a_queue_that_is_down_for_several_periods_loses_nothing(tmp_path: Path) -> None:
    with Fire(tmp_path) as fire:
        fire.traffic(200)
        fire.queue.kill()
        fire.traffic(2000)  # several periods
        fire.queue.start()
        outcome = fire.end(in_order=True)
    assert (outcome.falls, outcome.shown) == (0, outcome.recorded)


def test_a_host_that_is_partitioned_and_back_loses_nothing(tmp_path: Path) -> None:
    with Fire(tmp_path, mapped=True) as fire:
        fire.traffic(200)
        fire.relay.cut()
        fire.traffic(2000)
        fire.relay.mend()
        outcome = fire.end(in_order=True)
    assert (outcome.falls, outcome.lost_beyond_the_last_period, outcome.counted_twice) == (0, 0, 0)


def test_a_disk_that_is_full_for_a_while_loses_nothing(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk."""
    with Fire(tmp_path, mapped=True) as fire:
        fire.traffic(200)
        pid = fire.collector.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1000, limits[1]))
        wait_until(lambda: fire.collector.value("anthropic_collector_errors_total", stage="state") > 0)
        before = fire.collector.value("anthropic_requests_total")
        wait_until(lambda: fire.collector.value("anthropic_requests_total") > before)  # a stale meter would be worse
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        wait_until(lambda: fire.collector.value("anthropic_collector_state_age_seconds") < 1.5)
        fire.kill_collector()
        outcome = fire.end()
    assert (outcome.falls, outcome.lost_beyond_the_last_period, outcome.counted_twice) == (0, 0, 0)
