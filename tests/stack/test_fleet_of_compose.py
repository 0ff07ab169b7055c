"""The commands of the compose profile `fleet`, as processes of this machine: queue, collector and both hosts."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from collectors import Collecting
from queue_engines import Redis

redis = pytest.importorskip("redis")
pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
QUEUE = "redis://queue:6379"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Redis]:
    program, *arguments = SERVICES["queue"]["command"]
    assert program == "redis-server"
    with Redis(tmp_path / "queue", *arguments) as running:
        yield running


def arguments_of(name: str, queue: Redis, state: Path) -> list[str]:
    """The command of a service with addresses and folders of this machine."""
    here = {QUEUE: queue.url, "/state": str(state), "0.0.0.0": "127.0.0.1"}
    here["/etc/prometheus/rules/thresholds.yml"] = str(ROOT / "prometheus/rules/thresholds.yml")
    here["${EXPORTER_NAME:-localhost}"] = "localhost"
    return [here.get(argument, argument) for argument in SERVICES[name]["command"]]


@contextlib.contextmanager
def running(arguments: list[str]) -> Iterator[Any]:
    command = [sys.executable, "-m", "anthropic_exporter.cli", *arguments, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_fleet_of_the_compose_stack_comes_up_and_survives_its_queue(queue: Redis, tmp_path: Path) -> None:
    assert SERVICES["collector"]["environment"] == {"ANTHROPIC_EXPORTER_QUEUE": QUEUE}
    command, *options = arguments_of("collector", queue, tmp_path / "state")
    assert (command, options[:2]) == ("collect", ["--state", str(tmp_path / "state")])
    with (
        running(arguments_of("host-1", queue, tmp_path)),
        running(arguments_of("host-2", queue, tmp_path)),
        Collecting(queue.url, tmp_path / "state", *options[2:]) as collector,
    ):
        collector.wait_for("anthropic_collector_members", 2.0)
        collector.wait_for("anthropic_exporter_workers", 2.0, state="alive", service="shop")
        published = redis.Redis(port=queue.port).xrevrange("anthropic-cells-breakers", count=1)
        assert b'"holding": []' in published[0][1][b"m"]
        queue.kill()
        collector.wait_for("anthropic_collector_queue_up", 0.0)
        queue.start()
        collector.wait_for("anthropic_collector_queue_up", 1.0)
        collector.wait_for("anthropic_exporter_workers", 2.0, state="alive", service="shop")
        assert collector.value("anthropic_collector_message_gaps_total") == 0.0
