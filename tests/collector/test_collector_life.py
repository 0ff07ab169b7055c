"""The collector's page carries the ledger: one life for all publishers, as long as the totals go on."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter.collector.collector import Collector
from anthropic_exporter.collector.running import CollectorOptions, run
from anthropic_exporter.collector.state_file import CollectorFolder
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.transport.cells_message import encode
from collector.test_collector import Log
from collectors import value_of
from fleet_messages import message, requests
from support import NOON, Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., tuple[str, CollectorFolder]]]:
    log = Log()
    log.messages += [
        message_of(identity="one", service="api", cells={0: 171.0}),
        message_of(identity="two", service="batch", cells={0: 29.0}),
    ]
    folders = []

    def make(name: str) -> tuple[str, CollectorFolder]:
        folder = CollectorFolder(tmp_path / name)
        assert folder.take()
        folders.append(folder)
        collector = Collector(folder, log.open_at, clock=clock, wall=clock)  # type: ignore[arg-type]
        collector.step(0)
        collector.save()
        return collector.render().decode(), folder

    yield make
    for folder in folders:
        folder.close()


def message_of(**of: Any) -> bytes:
    return encode(message(requests(), **of))


def lives(page: str) -> set[str]:
    return set(re.findall(r'life="(\w+)"', page))


def test_services_are_one_life_and_their_requests_one_sum(
    opened: Callable[..., tuple[str, CollectorFolder]], clock: Clock
) -> None:
    page, _ = opened("state")
    assert value_of(page, "anthropic_ledger_total", of="requests") == 200.0
    assert len(lives(page)) == 1
    assert value_of(page, "anthropic_exporter_start_timestamp_seconds") == NOON
    assert "anthropic_ledger_total{" in page
    assert not re.search(r"anthropic_ledger_total\{[^}]*service=", page)


def test_the_life_continues_with_the_state_and_its_age_with_the_clock(
    opened: Callable[..., tuple[str, CollectorFolder]], clock: Clock
) -> None:
    before, folder = opened("state")
    folder.close()
    clock.now += 42
    after, _ = opened("state")
    assert lives(after) == lives(before)
    assert value_of(after, "anthropic_exporter_age_seconds") == 42.0


def test_a_collector_that_lost_its_state_has_another_life(opened: Callable[..., tuple[str, CollectorFolder]]) -> None:
    assert lives(opened("state")[0]) != lives(opened("another")[0])


def test_a_broken_web_configuration_ends_a_standby_too_before_it_touches_anything(tmp_path: Path) -> None:
    web_config = tmp_path / "web.yml"
    web_config.write_text("basic_auth_users: {alice: secret}\n")
    settings = CollectorOptions("redis://127.0.0.1:1", tmp_path / "state", web_config=web_config)
    with pytest.raises(ConfigurationError, match=r"web\.yml:1: alice: "):
        run(settings, threading.Event())
    assert not (tmp_path / "state").exists()
