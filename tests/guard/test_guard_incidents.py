"""The catalogue of incidents against the Guard: told within a second, by no other alert than expected, and stopped."""

from __future__ import annotations

from typing import Any

import pytest
from bench.detection import incidents
from bench.guard import guard_incidents

TELLING = [one for one in incidents.INCIDENTS if not guard_incidents.METER & set(one.told_by)]


@pytest.mark.parametrize("incident", TELLING, ids=lambda incident: incident.name)
def test_an_incident_is_reported_within_a_second_after_its_condition_holds(incident: Any) -> None:
    played = guard_incidents.play(incident)
    assert played.told_at is not None
    assert played.held_at is None or played.told_at - played.held_at < 1.0
    slow = {"AnthropicLatencyHigh"} if incident.name == "output explosion" else set()  # its answers take 12 s, too
    assert played.told <= set(incident.told_by) | slow


@pytest.mark.parametrize("name", ["cache lost", "runaway agent loop", "one user exploding", "model misrouted"])
def test_a_breaker_keeps_the_loss_below_a_dollar(name: str) -> None:
    played = guard_incidents.play(next(one for one in incidents.INCIDENTS if one.name == name), end=60)
    assert played.opened_at < 30
    assert played.lost_usd(played.opened_at) < 1.0


@pytest.mark.parametrize("incident", TELLING, ids=lambda incident: incident.name)
def test_ordinary_traffic_reports_nothing(incident: Any) -> None:
    ordinary = incident._replace(broken=incident.ordinary, ramp_seconds=0.0)
    assert guard_incidents.play(ordinary, warm=2400, end=90).told == frozenset()
