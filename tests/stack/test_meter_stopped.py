"""Requests of a real client hang for 15 minutes and nothing is recorded: AnthropicMeterStopped on the shipped rule.

The 15 minutes have passed when the test begins: the applications' clocks are set, what their /metrics show at each
time is back-filled into Prometheus, and from then on it is scraped.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import stack, toolchain
from anthropic_exporter.simulator import fake_api
from stack.alertmanagers import eventually

pytestmark = pytest.mark.stack

HERE = Path(__file__).resolve().parent
PATIENCE_SECONDS = 90.0
PAST_SECONDS, STEP_SECONDS = 17 * 60, 15
#: What the rule reads, with its labels and its value.
SHOWN = r"^(anthropic_inflight_requests|anthropic_exporter_last_record_timestamp_seconds)(?:\{(.*)\})? (\S+)$"
HANGS = fake_api.Scripted(body=(fake_api.Chunk(b"", after=3600),))


class Application:
    def __init__(self, api: fake_api.FakeApi) -> None:
        self._api = api
        command: list[Any] = [sys.executable, str(HERE / "standing.py"), api.base_url]
        self.child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.address = self.child.stdout.readline().strip()

    def told(self, line: str) -> None:
        self.child.stdin.write(f"{line}\n")
        self.child.stdin.flush()
        assert self.child.stdout.readline() == "done\n"

    def hang(self) -> None:
        before = len(self._api.requests)
        self._api.push(HANGS)
        self.told("leave")
        eventually(lambda: len(self._api.requests) > before, PATIENCE_SECONDS)

    def samples(self, at: int) -> Iterator[tuple[str, str]]:
        """Lines of OpenMetrics, as a scrape at this time would be kept."""
        with urllib.request.urlopen(f"http://{self.address}/metrics", timeout=10) as response:
            text = response.read().decode()
        for name, labels, value in re.findall(SHOWN, text, re.MULTILINE):
            target = f'job="anthropic",instance="{self.address}"'
            yield name, f"{name}{{{','.join(filter(None, (target, labels)))}}} {value} {at}\n"

    def close(self) -> None:
        self.child.kill()
        self.child.communicate()


@pytest.fixture(scope="module")
def applications() -> Iterator[list[Application]]:
    with fake_api.start(fake_api.Behaviour(speed=1_000_000)) as api:
        started = [Application(api) for _ in range(2)]
        yield started
        for one in started:
            one.close()


@pytest.fixture(scope="module")
def past(applications: list[Application]) -> dict[str, list[str]]:
    """By name, the lines of 17 minutes; in both a call hangs since their beginning, in the second others go well."""
    _, well = applications
    now = int(time.time())
    lines: dict[Any, Any] = {}
    for at in range(now - PAST_SECONDS, now, STEP_SECONDS):
        first = at == now - PAST_SECONDS
        for one in applications:
            one.told(f"at {at}")
            if first or (one is well and (at - now) % 300 == 0):
                one.told("call")
            if first:
                one.hang()
            for name, line in one.samples(at):
                lines.setdefault(name, []).append(line)
    for one in applications:
        one.told("now")
    return lines


@pytest.fixture(scope="module")
def running(
    applications: list[Application], past: dict[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[stack.Stack]:
    folder = tmp_path_factory.mktemp("stopped")
    text = folder / "past.txt"
    text.write_text("".join(f"# TYPE {name} gauge\n{''.join(lines)}" for name, lines in past.items()) + "# EOF\n")
    promtool = toolchain.provide(["promtool"])["promtool"]
    command: list[Any] = [promtool, "tsdb", "create-blocks-from", "openmetrics", text, folder / "prometheus-data"]
    subprocess.run(command, check=True, capture_output=True)
    with stack.start([one.address for one in applications], folder=folder) as started:
        yield started


def test_requests_that_hang_for_15_minutes_while_nothing_is_recorded_are_reported(
    running: stack.Stack, applications: list[Application]
) -> None:
    stopped, well = applications
    named = lambda one: one.alertname == "AnthropicMeterStopped"  # noqa: E731
    told = running.receiver.wait_for(named, PATIENCE_SECONDS)
    assert told is not None
    assert (told.labels["instance"], told.labels["severity"]) == (stopped.address, "critical")
    assert "had requests in flight for 15 minutes and recorded none" in told.annotations["description"]
    inflight = {one["metric"]["instance"]: one["value"][1] for one in running.query("anthropic_inflight_requests")}
    assert inflight == {stopped.address: "1", well.address: "1"}
    assert all(one.child.poll() is None for one in applications)
    firing = [one["labels"] for one in running.alerts() if one["labels"]["alertname"] == "AnthropicMeterStopped"]
    assert [one["instance"] for one in firing] == [stopped.address]
