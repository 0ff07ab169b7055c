from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from anthropic_exporter import toolchain
from anthropic_exporter.demo import runner
from anthropic_exporter.errors import ConfigurationError

pytestmark = pytest.mark.stack

PATIENCE_SECONDS = 90


@pytest.fixture
def recording_console() -> Iterator[Console]:
    yield Console(file=io.StringIO(), width=100)
    assert not [thread.name for thread in threading.enumerate() if thread.name == "sample-app-async"]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the demo as a person would, without a terminal; what it left running is found by its folder."""
    started = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "anthropic_exporter.cli", "demo", *arguments]
        environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=PATIENCE_SECONDS)


def left_behind(tmp_path: Path) -> list[str]:
    """The command lines of processes that work in our folder."""
    found = subprocess.run(["ps", "-A", "-ww", "-o", "args"], capture_output=True, text=True, check=True).stdout
    return [line for line in found.splitlines() if str(tmp_path) in line and "ps -A" not in line]


def until(process: subprocess.Popen[str], text: str) -> str:
    for line in process.stdout:
        if text in line:
            return line
    raise AssertionError(f"{text!r} was not said")


def test_the_cache_is_lost_the_alert_fires_and_the_notification_arrives(
    demo: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = demo("--calm", "12", "--requests", "150")
    said, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, said
    assert re.search(r"fired +Anthropic(CostRateHigh|CacheMissWaste) fires, \d+\.\d s after the deploy", said)
    assert re.search(r"notified +the notification arrives, \d+\.\d s after the deploy", said)
    assert re.search(r"Notified after \d+\.\d s and \d+\.\d\d USD instead of 9 h: \d,\d{3}\.\d\d USD saved\.", said)
    assert re.search(r"by the 150 requests played +36\.0\d USD +50,000 uncached tokens, opus-5-5", said)
    before_the_incident = said[: said.index("  incident  chat")]
    assert "fires" not in before_the_incident
    assert left_behind(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_ends_everything(demo: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    process = demo("--calm", "30")
    until(process, "calm ")
    assert len(left_behind(tmp_path)) == 2
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == 130
    assert left_behind(tmp_path) == []
    assert "Traceback" not in process.stdout.read()


def test_kept_parts_stay_up_until_ctrl_c(demo: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    process = demo("--calm", "1", "--requests", "20", "--keep")
    until(process, "Look around; Ctrl-C stops everything")
    urls = [until(process, name).split()[-1] for name in ("Prometheus", "Alertmanager", "metrics", "live page")]
    for url in urls:
        with urllib.request.urlopen(url, timeout=30) as response:
            assert response.status == 200, url
    assert len(left_behind(tmp_path)) == 2
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_SECONDS) == 143
    assert left_behind(tmp_path) == []


def test_without_prometheus_the_rest_runs_and_says_what_is_left_out(
    monkeypatch: pytest.MonkeyPatch, recording_console: Console
) -> None:
    def missing(_names: tuple[str, str]) -> None:
        raise ConfigurationError("prometheus 2.42 or later not found: put it on PATH")

    monkeypatch.setattr(toolchain, "find", lambda _name: None)
    monkeypatch.setattr(toolchain, "provide", missing)
    assert runner.run(runner.DemoOptions(calm=2.0, requests=20), recording_console) == 0
    said = recording_console.file.getvalue()  # type: ignore[attr-defined]
    assert "Skipped: Prometheus, Alertmanager and the notification: prometheus 2.42 or later not found" in said
    assert re.search(r"incident +\d+\.\d\d USD/min", said)
    assert "by the 20 requests played" in said
    assert "until a daily report, 9 h" in said


def test_a_notification_that_never_comes_is_1(monkeypatch: pytest.MonkeyPatch, recording_console: Console) -> None:
    monkeypatch.setattr("anthropic_exporter.demo.play._PATIENCE_SECONDS", 0.0)
    assert runner.run(runner.DemoOptions(calm=0.0, requests=1), recording_console) == 1
    assert "The notification did not arrive." in recording_console.file.getvalue()  # type: ignore[attr-defined]
