"""Remedies in a fleet: three processes, a real Alertmanager, and at the end a rule of a real Prometheus.

Each process calls the fake API through the real SDK. It is seen to be blocked and to pass again by what its calls get.
"""

from __future__ import annotations

import datetime as dt
import queue
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from anthropic_exporter import Recorder, stack
from anthropic_exporter.remedies import Remedies
from anthropic_exporter.remedies.polling import PolledAlertmanager
from anthropic_exporter.simulator import fake_api
from stack import alertmanagers
from stack.alertmanagers import alert
from support import Clock, Samples

pytestmark = pytest.mark.stack

HERE = Path(__file__).resolve().parent
DOCS = (HERE.parents[1] / "docs/remedies.md").read_text()
TOKEN = "a-long-random-word"
PATIENCE_SECONDS = 90.0
#: One poll of 5 s, or one notification; and the time that a call takes on a busy machine.
BLOCKED_WITHIN_SECONDS = 10.0
#: A poll; or the interval of 10 s at which Alertmanager tells of what changed in a group.
PASSES_WITHIN_SECONDS = 20.0
ABOUT = {
    "alertname": "AnthropicCostRateHigh",
    "severity": "critical",
    "category": "cost",
    "feature": "chat",
    "model": "claude-opus-5-5",
    "remedy": "open_breaker",
}
BLOCKED, PASSES = "blocked chat manual AnthropicCostRateHigh", "passes chat"


def documented(key: str) -> Any:
    """The block of YAML in docs/remedies.md that begins with this key."""
    (found,) = (block for block in re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL) if block.startswith(f"{key}:"))
    return yaml.safe_load(found)[key]


class Application:
    """One process of the fleet, and what it said last of each feature."""

    def __init__(self, api: str, alertmanager: str = "", token_file: Path | str = "") -> None:
        command = [sys.executable, str(HERE / "remedied.py"), api, alertmanager, str(token_file)]
        self._child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._lines: Any = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.said: list[Any] = []
        self.address = self._next(time.monotonic() + PATIENCE_SECONDS)

    def _listen(self) -> None:
        for line in self._child.stdout:
            self._lines.put((time.monotonic(), line.strip()))
        self._lines.put((time.monotonic(), ""))

    def _next(self, deadline: float) -> str:
        at, line = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
        assert line, f"it ended; it said {self.said}"
        self.said.append((at, line))
        return line

    def wait_for(self, text: str, within: float) -> float:
        """When it said this, at the latest after so many seconds."""
        deadline = time.monotonic() + within
        try:
            while self._next(deadline) != text:
                pass
        except queue.Empty:
            raise AssertionError(f"{text!r} was not said within {within} s, but {self.said}") from None
        return self.said[-1][0]

    def close(self) -> None:
        self._child.kill()
        self._child.wait()
        while self._lines.get(timeout=10)[1]:
            pass
        self._child.stdout.close()


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    with fake_api.start(fake_api.Behaviour(speed=1_000_000.0)) as running:
        yield running.url


@pytest.fixture
def fleet(api: str) -> Iterator[Callable[..., list[Application]]]:
    """Start three processes at once; all of them pass when it returns."""
    started = []

    def start(**options: Any) -> list[Application]:
        with_threads = [threading.Thread(target=lambda: started.append(Application(api, **options))) for _ in range(3)]
        for one in with_threads:
            one.start()
        for one in with_threads:
            one.join()
        assert len(started) == 3
        for one in started:  # type: ignore[assignment]
            one.wait_for(PASSES, PATIENCE_SECONDS)  # type: ignore[attr-defined]
        return started

    yield start
    for one in started:
        one.close()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "alerts-token"
    path.write_text(TOKEN)
    return path


def is_blocked_and_passes_again(
    fleet: list[Application], alertmanager: alertmanagers.Alertmanager, passes_within: float
) -> None:
    """Every process, within the bounds; and no other feature was touched."""
    began = dt.datetime.now(dt.timezone.utc)
    sent = time.monotonic()
    alertmanager.send(alert(ABOUT, starts=began.isoformat()))
    for one in fleet:
        assert one.wait_for(BLOCKED, PATIENCE_SECONDS) - sent < BLOCKED_WITHIN_SECONDS
    ended = dt.datetime.now(dt.timezone.utc)
    sent = time.monotonic()
    alertmanager.send(alert(ABOUT, starts=began.isoformat(), ends=ended.isoformat()))
    for one in fleet:
        assert one.wait_for(PASSES, PATIENCE_SECONDS) - sent < passes_within
    assert not [line for one in fleet for _, line in one.said if line.startswith("blocked search")]


def test_every_process_that_asks_alertmanager_opens_its_breaker_and_closes_it_again(
    fleet: Callable[..., list[Application]], tmp_path: Path
) -> None:
    with alertmanagers.running(tmp_path / "am", "alertmanager.yml", {}) as running:
        is_blocked_and_passes_again(fleet(alertmanager=running.url), running, BLOCKED_WITHIN_SECONDS)


def test_every_process_that_gets_the_webhook_opens_its_breaker_and_closes_it_again(
    fleet: Callable[..., list[Application]], tmp_path: Path, token_file: Path
) -> None:
    three = fleet(token_file=token_file)
    (receiver,) = documented("receivers")
    (hook,) = receiver["webhook_configs"]
    hooks = [
        hook
        | {
            "url": hook["url"].replace("app:9464", one.address),
            "http_config": {"authorization": {"credentials_file": str(token_file)}},
        }
        for one in three
    ]
    assert hook["http_config"]["authorization"].keys() == {"credentials_file"}
    shipped = "  - name: exporter\n    webhook_configs:\n"
    added = "".join(f"      - {yaml.safe_dump(one, default_flow_style=True, width=1_000).strip()}\n" for one in hooks)
    with alertmanagers.running(tmp_path / "am", "alertmanager.yml", {shipped: shipped + added}) as running:
        is_blocked_and_passes_again(three, running, PASSES_WITHIN_SECONDS)


def test_a_webhook_with_another_token_opens_nothing(
    fleet: Callable[..., list[Application]], tmp_path: Path, token_file: Path
) -> None:
    """Alertmanager keeps trying; what it is told stands in its own log and metrics."""
    (tmp_path / "other").write_text("another word")
    three = fleet(token_file=token_file)
    shipped = "  - name: exporter\n    webhook_configs:\n"
    hook = "      - {url: 'http://%s/alerts', http_config: {authorization: {credentials_file: %s}}}\n"
    added = "".join(hook % (one.address, tmp_path / "other") for one in three)
    with alertmanagers.running(tmp_path / "am", "alertmanager.yml", {shipped: shipped + added}) as running:
        running.send(alert(ABOUT))

        def refused() -> bool:
            with urllib.request.urlopen(f"{running.url}/metrics", timeout=30) as response:
                found = re.search(
                    r'notifications_failed_total\{integration="webhook".*\} (\d+)', response.read().decode()
                )
            return found and int(found[1]) >= 3  # type: ignore[return-value]

        alertmanagers.eventually(refused, 30)
    assert {line for one in three for _, line in one.said if line.startswith("blocked")} == set()


def test_an_alertmanager_that_was_restarted_ends_no_alert_until_prometheus_had_time_to_repeat_itself(
    tmp_path: Path,
) -> None:
    clock = Clock(0.0)
    with alertmanagers.running(tmp_path / "am", "alertmanager.yml", {}) as running:
        source = PolledAlertmanager(running.url, clock=clock)
        assert source.look() == ([], True)
        running.send(alert(ABOUT), alert({**ABOUT, "feature": "search", "remedy": ""}))
        seen = alertmanagers.eventually(lambda: source.look().active, 5)
        assert [(one.feature, one.remedy) for one in seen] == [("chat", "open_breaker")]
        running.kill()
        with pytest.raises(OSError, match="refused"):
            source.look()
        running.start()
        assert source.look() == ([], False)
        clock.now = 119.0
        assert source.look() == ([], False)
        clock.now = 120.0
        assert source.look() == ([], True)


def test_one_of_two_alertmanagers_may_be_dead(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    failures = Samples(registry)
    seen = []

    def note(one: Any) -> None:
        seen.append(one.status)

    with (
        alertmanagers.running(tmp_path / "am", "alertmanager.yml", {}) as running,
        Remedies(Recorder(registry=registry)) as remedies,
    ):
        remedies.on(remedy="open_breaker", undo=lambda one: seen.append(one.status))(
            lambda one: seen.append(one.status)
        )
        remedies.watch("http://127.0.0.1:9", running.url, every_seconds=0.2)
        began = dt.datetime.now(dt.timezone.utc).isoformat()
        running.send(alert(ABOUT, starts=began))
        alertmanagers.eventually(lambda: seen == ["firing"], 10)
        running.send(alert(ABOUT, starts=began, ends=dt.datetime.now(dt.timezone.utc).isoformat()))
        alertmanagers.eventually(lambda: seen == ["firing", "resolved"], 10)
        assert failures("anthropic_exporter_record_errors_total", stage="remedies_poll") >= 2


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[stack.Stack]:
    """The shipped rules, with the label as documented; an alert that is over is told after 10 s and not after 2 min."""
    with stack.start([], folder=tmp_path / "stack") as running:
        folder = running.folder / "prometheus"
        config = yaml.safe_load((folder / "prometheus.yml").read_text())
        config["alerting"] |= documented("alerting")
        (applications,) = (job for job in config["scrape_configs"] if job["job_name"] == "anthropic")
        del applications["static_configs"]
        applications["file_sd_configs"] = [{"files": [str(folder / "fleet.yml")], "refresh_interval": "1s"}]
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        cost = folder / "rules/cost.yml"
        cost.write_text(cost.read_text().replace("keep_firing_for: 2m", "keep_firing_for: 10s"))
        with urllib.request.urlopen(f"{running.prometheus_url}/-/reload", b"", timeout=10) as answer:
            assert answer.status == 200
        yield running


def test_the_shipped_file_asks_for_nothing_and_has_the_documented_lines_as_a_comment() -> None:
    text = (HERE.parents[1] / "prometheus/prometheus.yml").read_text()
    assert "alert_relabel_configs" not in yaml.safe_load(text)["alerting"]
    turned_on = re.sub(r"^  # (?=alert_relabel_configs:|  )", "  ", text, flags=re.MULTILINE)
    assert yaml.safe_load(turned_on)["alerting"].items() >= documented("alerting").items()


def test_a_rule_of_prometheus_blocks_the_whole_fleet_and_lets_it_pass_when_it_is_over(
    fleet: Callable[..., list[Application]], prometheus: stack.Stack
) -> None:
    three = fleet(alertmanager=prometheus.alertmanager_url)
    targets = [{"targets": [one.address for one in three]}]
    (prometheus.folder / "prometheus/fleet.yml").write_text(yaml.safe_dump(targets))
    told = prometheus.receiver.wait_for(lambda one: one.alertname == "AnthropicCostRateHigh", PATIENCE_SECONDS)
    assert told is not None
    assert (told.labels["feature"], told.labels["remedy"]) == ("chat", "open_breaker")
    for one in three:
        one.wait_for(BLOCKED, BLOCKED_WITHIN_SECONDS)
    over = lambda one: one.alertname == "AnthropicCostRateHigh" and not one.firing  # noqa: E731
    assert prometheus.receiver.wait_for(over, PATIENCE_SECONDS) is not None
    for one in three:
        one.wait_for(PASSES, PASSES_WITHIN_SECONDS)
    assert not [line for one in three for _, line in one.said if line.startswith("blocked search")]
