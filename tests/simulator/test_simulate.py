from __future__ import annotations

import itertools
import logging
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.simulator import running
from anthropic_exporter.simulator.workload import INCIDENTS

PATIENCE_SECONDS = 60


def some(seed: int) -> list[running.Episode]:
    return list(itertools.islice(running.episodes(seed, 600.0), 50))


def test_the_same_seed_draws_the_same_episodes_and_another_seed_others() -> None:
    assert some(1) == some(1) != some(2)


def test_every_incident_has_its_turn_and_most_of_the_time_is_calm() -> None:
    found = some(1)
    assert {one.incident for one in found} == set(INCIDENTS)
    assert all(420 <= one.calm + one.lasts <= 780 for one in found)
    assert all(one.calm == pytest.approx(2 * one.lasts) for one in found)


@pytest.fixture
def simulation() -> Iterator[None]:
    """A running simulation with an incident every second; stopped at the end, whatever happens."""
    stop = threading.Event()
    thread = threading.Thread(target=running.simulate, args=("127.0.0.1", 0, 1, 1.0, stop), daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join(PATIENCE_SECONDS)
    assert not thread.is_alive()


def until(wanted: Callable[..., Any]) -> Any:
    """What `wanted` returns, once it is something."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := wanted()):
        assert time.monotonic() < deadline
        threading.Event().wait(0.05)
    return found


def test_metrics_show_the_traffic_and_the_log_its_incidents(caplog: pytest.LogCaptureFixture, simulation: None) -> None:
    caplog.set_level(logging.INFO)
    address = until(lambda: re.search(r"http://127\.0\.0\.1:\d+/metrics", caplog.text))[0]

    def chat() -> re.Match[bytes] | None:
        with urllib.request.urlopen(address, timeout=30) as response:
            return re.search(rb'anthropic_requests_total\{.*feature="chat",.*\} [1-9]', response.read())

    assert until(chat)
    assert until(lambda: "repaired" in caplog.messages)
    assert any(line.startswith("incident: ") for line in caplog.messages)


def test_an_address_that_is_not_ours_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match=r"cannot listen on 192\.0\.2\.1:"):
        running.simulate("192.0.2.1", 0, 1, 1.0, threading.Event())
