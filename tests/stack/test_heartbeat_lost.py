"""The standalone exporter receives the heartbeat: it says when Alertmanager was killed, in its log and to remedies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporters import TOKEN, Exporter
from stack import alertmanagers
from stack.alertmanagers import alert

pytestmark = pytest.mark.stack

#: Ten times as fast as shipped: a beat every 6 s.
BEAT = {"group_interval: 30s\n      repeat_interval: 50s": "group_interval: 3s\n      repeat_interval: 5s"}
OWN = """
def register(remedies):
    @remedies.on("AnthropicHeartbeatLost", undo=lambda alert: print("WELL AGAIN", flush=True))
    def call_somebody(alert):
        print("CALLED", alert.labels["severity"], flush=True)
"""
WATCHDOG = {"alertname": "AnthropicWatchdog", "severity": "none", "category": "meter"}


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "alerts-token"
    path.write_text(TOKEN)
    return path


@pytest.fixture
def exporter(token_file: Path, tmp_path: Path) -> Iterator[Exporter]:
    (tmp_path / "own.py").write_text(OWN)
    running = Exporter("--heartbeat-within", 15, "--token-file", token_file, "--remedies", tmp_path / "own.py")
    yield running
    running.close()


def with_the_token(exporter: Exporter, token_file: Path) -> dict[str, str]:
    """What to change in the shipped routing, so that both receivers send the token to this exporter."""
    authorization = f"        http_config: {{authorization: {{credentials_file: {token_file}}}}}\n"
    return {
        f"http://exporter:9464/{path}\n        send_resolved: {resolved}\n": (
            f"{exporter.url}/{path}\n        send_resolved: {resolved}\n{authorization}"
        )
        for path, resolved in (("alerts", "true"), ("heartbeat", "false"))
    }


def test_a_killed_alertmanager_is_reported_by_the_exporter_and_so_is_its_return(
    exporter: Exporter, token_file: Path, tmp_path: Path
) -> None:
    replacements = BEAT | with_the_token(exporter, token_file)
    with alertmanagers.running(tmp_path / "am", "alertmanager.yml", replacements) as alertmanager:
        alertmanager.send(alert(WATCHDOG))
        beats = r"^anthropic_exporter_last_heartbeat_timestamp_seconds (\S+)$"
        first = alertmanagers.eventually(lambda: re.search(beats, exporter.metrics(), re.MULTILINE), 20)
        beating = lambda: re.search(beats, exporter.metrics(), re.MULTILINE)[1] != first[1]  # noqa: E731
        alertmanagers.eventually(beating, 20)
        alertmanager.kill()
        assert "ERROR no heartbeat for 15 s: The heartbeat stopped: Prometheus or Alertmanager is down" in (
            exporter.says("no heartbeat")
        )
        exporter.says("CALLED critical")
        alertmanager.start()
        alertmanager.send(alert(WATCHDOG))
        exporter.says("WARNING the heartbeat is back")
        exporter.says("WELL AGAIN")
    assert 'alertname="AnthropicHeartbeatLost",severity="critical",status="firing"} 1.0' in exporter.metrics()
