"""The README by its word: each snippet runs, against the fake API, as it stands there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from anthropic_exporter import bundle
from anthropic_exporter.bundle import checks
from anthropic_exporter.simulator.fake_api import FakeApi

pytest_plugins = ("fixtures_fake_api",)

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PATIENCE_SECONDS = 60
#: Before the snippets: their default port may be somebody's. After them: what they made is looked at.
PREAMBLE = """
import functools
import urllib.request
import anthropic_exporter
made = []
def serve(*arguments, _serve=anthropic_exporter.serve, **options):
    made.append(_serve(*arguments, **options, port=0))
    return made[-1]
anthropic_exporter.serve = serve
anthropic_exporter.publish = lambda *_, **__: None  # the queue of the page is not there
"""
LOOK = """
import asyncio
asyncio.run(answer("why?"))
print(urllib.request.urlopen(made[-1].url + "/metrics", timeout=30).read().decode())
print(urllib.request.urlopen(made[-1].url + "/live", timeout=30).status, "live")
"""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def test_the_python_runs_in_the_order_of_the_page_and_counts(fake_api: FakeApi, tmp_path: Path) -> None:
    snippets = "\n".join(blocks("python"))
    environment = os.environ | {"ANTHROPIC_API_KEY": "sk-ant-test", "ANTHROPIC_BASE_URL": fake_api.base_url}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREAMBLE + snippets + LOOK],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    counted = (
        r'^anthropic_requests_total\{feature="summarise",model="claude-opus-5-5",outcome="success",user="acme"\} 1'
    )
    assert re.search(counted, done.stdout, re.MULTILINE)
    assert done.stdout.endswith("200 live\n")


@pytest.mark.stack
def test_the_threshold_that_it_shows_can_be_added_to_the_file(tmp_path: Path) -> None:
    shutil.copytree(bundle.path("prometheus"), tmp_path, dirs_exist_ok=True)
    (snippet,) = blocks("yaml")
    file = tmp_path / "rules/thresholds.yml"
    file.write_text(file.read_text() + re.sub(r"^", "      ", snippet, flags=re.MULTILINE).rstrip() + "\n")
    assert checks.prometheus(tmp_path) == []
    assert "feature: nightly-report" in file.read_text().splitlines()[-1]


EXTRAS = {"cli", "prices", "report", "redis", "nats", "kafka", "web"}


def test_what_it_says_to_install_exists() -> None:
    wanted = set(re.findall(r"anthropic-exporter\[(\w+)\]", README)) | set(
        re.findall(r"likewise \[(\w+)\] and \[(\w+)\]", README)[0]
    )
    declared = (
        (ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2].partition("\n\n[")[0]
    )
    assert wanted == set(re.findall(r"^(\w+) = \[", declared, re.MULTILINE)) == EXTRAS
