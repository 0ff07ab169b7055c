from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import bundle, stack
from anthropic_exporter.errors import ConfigurationError
from stack.alertmanagers import eventually

pytestmark = pytest.mark.stack

PATIENCE_SECONDS = 60


def alive(pid: Any) -> Any:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_shipped_rules_and_routing_run_and_the_heartbeat_arrives() -> None:
    with stack.start(["127.0.0.1:9"]) as running:
        assert running.receiver.wait_for_heartbeat(PATIENCE_SECONDS)
        threshold = 'anthropic_threshold{threshold="cost_usd_per_minute", feature="", model=""}'
        (default,) = eventually(lambda: running.query(threshold), PATIENCE_SECONDS)
        assert default["value"][1] == "2"
        jobs = eventually(lambda: len(found := running.query("up")) == 3 and found, PATIENCE_SECONDS)
        assert {target["metric"]["job"] for target in jobs} == {"anthropic", "prometheus", "alertmanager"}
        down = running.receiver.wait_for(lambda one: one.alertname == "AnthropicExporterDown", PATIENCE_SECONDS)
        assert down is not None
        assert down.labels["instance"] == "127.0.0.1:9"
        folder = running.folder
        assert (folder / "prometheus.log").exists()
    assert not folder.exists()


def test_a_start_that_fails_ends_what_it_started_and_keeps_the_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []
    original = stack.process.Process.__init__

    def remember(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        started.append(self.pid)

    shutil.copytree(bundle.path("prometheus"), tmp_path / "broken")
    (tmp_path / "broken/rules/cost.yml").write_text("groups: [{name: x, rules: [{record: x, expr: '('}]}]")
    shipped = {"alertmanager": bundle.path("alertmanager"), "prometheus": tmp_path / "broken"}
    monkeypatch.setattr(bundle, "path", shipped.__getitem__)
    monkeypatch.setattr(stack.process.Process, "__init__", remember)
    with pytest.raises(ConfigurationError, match=r"prometheus exited with code .*cost\.yml"):
        stack.start([], folder=tmp_path / "work")
    assert len(started) == 2
    assert not any(alive(pid) for pid in started)
    assert "level=" in (tmp_path / "work/prometheus.log").read_text()
