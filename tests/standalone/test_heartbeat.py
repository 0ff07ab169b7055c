from __future__ import annotations

from typing import Any

import pytest

from anthropic_exporter.standalone.heartbeat import Heartbeat
from support import Clock


@pytest.fixture
def silence() -> Clock:
    return Clock(0.0)


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def heartbeat(silence: Clock, told: list[Any]) -> Heartbeat:
    return Heartbeat(180.0, told.append, silence)


def test_it_reports_once_that_the_heartbeat_stopped_and_once_that_it_is_back(
    heartbeat: Heartbeat, silence: Clock, told: list[Any]
) -> None:
    heartbeat.beat()
    for silence.now in (60.0, 179.9):
        heartbeat.look()
    assert told == []
    for silence.now in (180.0, 240.0):
        heartbeat.look()
    assert [(one.name, one.status) for one in told] == [("AnthropicHeartbeatLost", "firing")]
    heartbeat.beat()
    heartbeat.look()
    heartbeat.look()
    assert [one.status for one in told] == ["firing", "resolved"]
    assert told[0].key == told[1].key


def test_the_next_loss_is_another_firing(heartbeat: Heartbeat, silence: Clock, told: list[Any]) -> None:
    for began in (0.0, 1000.0):
        silence.now = began
        heartbeat.beat()
        heartbeat.look()
        silence.now = began + 180.0
        heartbeat.look()
    assert [one.status for one in told] == ["firing", "resolved", "firing"]
    assert told[0].key != told[2].key


def test_a_heartbeat_that_never_came_is_not_missed(heartbeat: Heartbeat, silence: Clock, told: list[Any]) -> None:
    silence.now = 10_000.0
    heartbeat.look()
    assert told == []


def test_closing_before_it_was_started_and_twice_is_fine(heartbeat: Heartbeat) -> None:
    heartbeat.close()
    heartbeat.start()
    heartbeat.close()
    heartbeat.close()
