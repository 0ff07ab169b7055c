"""An edit of thresholds.yml on a running Prometheus: live within 10 seconds, or refused and told.

Asked for by `/-/reload`, and noticed by Prometheus itself where it can: on the command line of docker-compose.yml.
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from anthropic_exporter import stack, toolchain
from anthropic_exporter.stack.process import Process
from stack.alertmanagers import reload

pytestmark = pytest.mark.stack

COMPOSE = yaml.safe_load((Path(__file__).resolve().parents[2] / "docker-compose.yml").read_text())
LIVE_WITHIN_SECONDS = 10.0
TOLD_WITHIN_SECONDS = 40.0
DEFAULT = 'anthropic_threshold{threshold="cost_usd_per_minute", feature="", model=""}'
SHIPPED = 'expr: "2"\n        labels: {threshold: cost_usd_per_minute}'
BROKEN = "groups: [{name: broken, rules: [{record: x, expr: '('}]}]"
LOADED = 'prometheus_config_last_reload_successful{job="prometheus"}'


def values(running: stack.Stack, query: str) -> list[str]:
    return [found["value"][1] for found in running.query(query)]


def wait_for(running: stack.Stack, query: str, wanted: str, within: float) -> None:
    """Until the only sample of a query has this value."""
    begun = time.monotonic()
    while values(running, query) != [wanted]:
        assert time.monotonic() - begun < within, f"{query} was not {wanted} within {within:.0f} s"
        time.sleep(0.2)


def edited(shipped: str, value: int) -> str:
    assert SHIPPED in shipped
    return shipped.replace(SHIPPED, SHIPPED.replace('"2"', f'"{value}"'))


@pytest.fixture
def running() -> Iterator[stack.Stack]:
    with stack.start([]) as started:
        yield started


@pytest.fixture
def thresholds(running: stack.Stack) -> Path:
    path = running.folder / "prometheus" / "rules" / "thresholds.yml"
    wait_for(running, DEFAULT, "2", TOLD_WITHIN_SECONDS)
    return path


def is_told(running: stack.Stack) -> bool:
    named = lambda one: one.alertname == "AnthropicConfigReloadFailed" and one.firing  # noqa: E731
    return running.receiver.wait_for(named, TOLD_WITHIN_SECONDS) is not None


def test_an_edit_is_live_within_10_seconds_and_a_broken_one_changes_nothing_and_alerts(
    running: stack.Stack, thresholds: Path
) -> None:
    thresholds.write_text(edited(thresholds.read_text(), 7))
    assert reload(running.prometheus_url) == 200
    wait_for(running, DEFAULT, "7", LIVE_WITHIN_SECONDS)

    thresholds.write_text(BROKEN)
    assert reload(running.prometheus_url) == 500
    assert is_told(running)
    assert values(running, DEFAULT) == ["7"]


class TestWithoutBeingAsked:
    """The Prometheus of the compose file; only its paths and its address are other ones."""

    @pytest.fixture
    def running(self, running: stack.Stack) -> Iterator[Any]:
        tool = toolchain.provide(["prometheus"])["prometheus"]
        said = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True)
        if int(re.search(r"version (\d+)\.", said.stdout + said.stderr)[1]) < 3:
            pytest.skip("Prometheus reloads by itself since 3.0")
        running.prometheus.close()
        with self.composed(tool, running):
            yield running

    @contextlib.contextmanager
    def composed(self, tool: Any, running: Any) -> Iterator[None]:
        here = {
            "--config.file=/etc/prometheus/prometheus.yml": f"--config.file={running.folder}/prometheus/prometheus.yml",
            "--storage.tsdb.path=/prometheus": f"--storage.tsdb.path={running.folder}/prometheus-data",
        }
        command = COMPOSE["services"]["prometheus"]["command"]
        assert here.keys() <= set(command)
        url = running.prometheus_url
        listening = [f"--web.listen-address={url.removeprefix('http://')}", f"--web.external-url={url}"]
        log = running.folder / "prometheus-of-compose.log"
        process = Process([str(tool), *(here.get(flag, flag) for flag in command), *listening], log, f"{url}/-/ready")
        try:
            process.wait_until_ready()
            yield
        finally:
            process.close()

    def test_an_edit_is_live_within_10_seconds(self, running: stack.Stack, thresholds: Path) -> None:
        shipped = thresholds.read_text()
        thresholds.write_text(edited(shipped, 7))
        wait_for(running, DEFAULT, "7", LIVE_WITHIN_SECONDS)

        # As an editor saves: a new file under the old name.
        fresh = thresholds.with_suffix(".new")
        fresh.write_text(edited(shipped, 8))
        fresh.replace(thresholds)
        wait_for(running, DEFAULT, "8", LIVE_WITHIN_SECONDS)

        (thresholds.parent / "own.yml").write_text("groups: [{name: own, rules: [{record: own, expr: '17'}]}]")
        wait_for(running, "own", "17", LIVE_WITHIN_SECONDS)

    def test_a_broken_edit_changes_nothing_and_alerts_until_it_is_fixed(
        self, running: stack.Stack, thresholds: Path
    ) -> None:
        shipped = thresholds.read_text()
        thresholds.write_text(BROKEN)
        assert is_told(running)
        assert values(running, DEFAULT) == ["2"]

        thresholds.write_text(edited(shipped, 9))
        wait_for(running, DEFAULT, "9", LIVE_WITHIN_SECONDS)
        wait_for(running, LOADED, "1", LIVE_WITHIN_SECONDS)

    def test_a_broken_edit_that_is_taken_back_is_well_again_after_a_reload(
        self, running: stack.Stack, thresholds: Path
    ) -> None:
        """Prometheus compares with what it loaded last, and sees no change (3.5 and 3.14)."""
        shipped = thresholds.read_text()
        thresholds.write_text(BROKEN)
        wait_for(running, LOADED, "0", TOLD_WITHIN_SECONDS)
        thresholds.write_text(shipped)
        assert reload(running.prometheus_url) == 200
        wait_for(running, LOADED, "1", LIVE_WITHIN_SECONDS)
