"""docs/guard.md and docs/live.md by their word: their Python runs as it stands there, against the fake API."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter.simulator.fake_api import FakeApi

pytest_plugins = ("fixtures_fake_api", "fixtures_service")

ROOT = Path(__file__).resolve().parent.parent.parent
OVERRUN = """
from anthropic import Anthropic

client = Anthropic(middleware=[recorder.middleware()])
ASK = {"model": "claude-opus-5-5", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
for _ in range(4):
    recorder.record_usage(model="claude-opus-5-5", usage={"input_tokens": 150_000, "output_tokens": 1}, feature="chat")
with attribution(feature="chat"):
    print(client.messages.create(**ASK).model)
print(sorted({alert.name for alert in guard.alerts()}))
print([(state.action, state.state, state.blocked) for state in guard.breakers()])
"""


def run(page: Any, tmp_path: Any, before: Any = "", after: Any = "", **environment: Any) -> Any:
    """What it prints; folders of a server are below `tmp_path`."""
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / page).read_text(), re.MULTILINE | re.DOTALL)
    program = before + "\n".join(blocks) + after
    for folder in ("/run/secrets", "/var/lib/app"):
        program = program.replace(folder, str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


#: No test speaks to anybody but this machine.
NEARBY = """
import functools, anthropic_exporter.guard
anthropic_exporter.guard.pagerduty = functools.partial(anthropic_exporter.guard.pagerduty, url="{url}/pagerduty")
anthropic_exporter.serve = functools.partial(anthropic_exporter.serve, port=0)
"""
LOOK = """
from urllib.request import urlopen
print(urlopen(server.url + "/live", timeout=30).status)
"""


@pytest.mark.stack
def test_the_guard_is_as_its_page_shows_it(fake_api: FakeApi, service: Any, tmp_path: Path) -> None:
    (tmp_path / "slack").write_text(f"{service.url}/slack")
    (tmp_path / "pagerduty").write_text("a key")
    here = {"ANTHROPIC_BASE_URL": fake_api.base_url, "ANTHROPIC_API_KEY": "sk-ant-test"}
    said = run("guard.md", tmp_path, before=NEARBY.format(url=service.url), after=OVERRUN, **here)
    assert said == [
        "claude-haiku-5-5",
        "['AnthropicCostRateHigh']",
        "[('observe', 'open', 1), ('degrade', 'open', 1)]",
    ]
    assert {path for path, _, _ in service.received} == {"/slack", "/pagerduty"}
    assert "chat" in (tmp_path / "guard/budgets.json").read_text()


@pytest.mark.stack
def test_the_live_page_is_as_its_page_shows_it(service: Any, tmp_path: Path) -> None:
    assert run("live.md", tmp_path, before=NEARBY.format(url=service.url), after=LOOK) == ["200"]
