"""Workers, queue and collector are killed under traffic: nothing is lost but a killed worker's last period.

The same for longer, and with figures: `bench/fleet/kills.py`.
"""

from __future__ import annotations

import pytest

from fleet_under_fire import Fire

pytest.importorskip("redis")
pytestmark = pytest.mark.stack


def test_kills_under_traffic(tmp_path):
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


def test_kills_of_workers_that_count_together_lose_nothing(tmp_path):
    with Fire(tmp_path, workers=2, mapped=True) as fire:
        kills = (fire.kill_sender, fire.kill_collector, fire.kill_sender, fire.kill_queue, fire.kill_worker)
        for kill in kills:
            fire.traffic(300)
            kill()
        fire.traffic(300)
        outcome = fire.end()
    assert (outcome.falls, outcome.lost_beyond_the_last_period, outcome.counted_twice) == (0, 0, 0)
    assert outcome.shown >= outcome.recorded > 1500


def test_a_queue_that_is_down_for_several_periods_loses_nothing(tmp_path):
    with Fire(tmp_path) as fire:
        fire.traffic(200)
        fire.queue.kill()
        fire.traffic(2000)  # several periods
        fire.queue.start()
        outcome = fire.end(in_order=True)
    assert (outcome.falls, outcome.shown) == (0, outcome.recorded)
