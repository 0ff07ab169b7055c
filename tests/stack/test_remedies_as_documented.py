"""docs/remedies.md as it is written: its lines run, with addresses and paths of this machine, against real parts."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic

from anthropic_exporter import Recorder, SpendLimitExceeded, attribution
from anthropic_exporter.simulator import fake_api
from anthropic_exporter.standalone import exporter
from anthropic_exporter.web.routes import Request
from stack import alertmanagers
from stack.alertmanagers import alert, eventually
from support import Samples

pytestmark = pytest.mark.stack

DOCS = (Path(__file__).resolve().parents[2] / "docs/remedies.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
APPLICATION, STANDALONE = [block for block in BLOCKS if "def register" not in block], BLOCKS[-1]
COST = {"alertname": "AnthropicCostRateHigh", "severity": "critical", "feature": "chat", "remedy": "open_breaker"}
MISSES = {"alertname": "AnthropicCacheMissWaste", "severity": "critical", "feature": "chat"}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake_api.FakeApi]:
    with fake_api.start() as running:
        monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-none")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", running.url)
        yield running


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "alerts-token"
    path.write_text("a-long-random-word")
    return path


@pytest.fixture
def application(
    api: fake_api.FakeApi, token_file: Path, tmp_path: Path
) -> Iterator[tuple[dict[str, Any], alertmanagers.Alertmanager]]:
    """What the page's lines define; Alertmanager knows its webhook as the page says."""
    lines = "".join(APPLICATION).replace("/run/secrets/alerts-token", str(token_file))
    lines = lines.replace("Recorder()", "Recorder(registry=None)").replace('host="0.0.0.0", port=9464', "port=0")
    made: dict[Any, Any] = {}
    with alertmanagers.running(tmp_path / "am", "alertmanager.yml", {}) as running:
        exec(lines.replace("http://alertmanager:9093", running.url), made)
        path = tmp_path / "am/alertmanager.yml"
        hook = "      - {url: %s/alerts, http_config: {authorization: {credentials_file: %s}}}\n"
        shipped = "  - name: exporter\n    webhook_configs:\n"
        path.write_text(path.read_text().replace(shipped, shipped + hook % (made["server"].url, token_file)))
        running.kill()
        running.start()
        yield made, running
        for one in ("server", "remedies", "guard", "client"):
            made[one].close()


def call(client: Anthropic) -> None:
    with attribution(feature="chat"):
        client.messages.create(model="claude-opus-5-5", max_tokens=9, messages=[{"role": "user", "content": "hello"}])


def test_an_application_that_does_what_the_page_says(
    application: tuple[dict[str, Any], alertmanagers.Alertmanager], api: fake_api.FakeApi
) -> None:
    made, alertmanager = application
    client = made["client"]
    call(client)
    before = len(api.requests)
    alertmanager.send(alert(COST), alert(MISSES))
    eventually(lambda: made["paused"] == {"chat"}, 15)
    eventually(lambda: len(api.requests) > before, 15)
    assert api.requests[-1].body["max_tokens"] == 0
    eventually(lambda: made["guard"].breakers()[0].state == "open", 15)
    with pytest.raises(SpendLimitExceeded):
        call(client)
    applied = re.compile(r'^anthropic_remedy_actions_total\{outcome="applied",remedy="(\w+)"\} 1\.0$', re.MULTILINE)
    all_three = {"open_breaker", "refresh_cache", "pause_the_queue"}
    eventually(lambda: set(applied.findall(made["recorder"].render().decode())) == all_three, 15)


def test_a_file_for_the_standalone_exporter(
    recorder: Recorder, token_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], samples: Samples
) -> None:
    (tmp_path / "remedies.py").write_text(STANDALONE)
    settings = exporter.ExporterOptions(token_file=token_file, remedies=[tmp_path / "remedies.py"])
    told = {"status": "firing", "startsAt": "2026-11-21T12:00:00Z", "fingerprint": "1"}
    body = {"alerts": [told | {"labels": {"alertname": "AnthropicDailyCostBudgetExceeded", "feature": "chat"}}]}
    with contextlib.ExitStack() as owned:
        (alerts,) = (one for one in exporter.routes(recorder, settings, owned) if one.path == "/alerts")
        assert alerts.handle(Request("/alerts", "", {}, json.dumps(body).encode())).status == 200
    assert capfd.readouterr().out == "AnthropicDailyCostBudgetExceeded chat\n"
    eventually(lambda: not [one for one in threading.enumerate() if one.name == "anthropic-remedies"], 15)
