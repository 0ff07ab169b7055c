"""Every Python block of README and docs runs as a reader pastes it: the real SDK against the fake API over HTTP.

A block that cannot run alone is mended on its page. What its reader has already, such as `client`, is in `needs.py`.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter.simulator.fake_api import FakeApi
from certificates import Certificates
from documentation.blocks import ROOT, Block, all_blocks
from documentation.needs import LEFT_OUT, NEEDS, Needs
from ports import free_port
from queue_engines import Redis
from stack import alertmanagers

pytest_plugins = ("fixtures_fake_api",)

BLOCKS = all_blocks()
RUNNER = Path(__file__).with_name("pasted.py")
#: Paths that a page names on a server of its reader.
ELSEWHERE = re.compile(r"/run/secrets|/var/lib/app|/run/my-service")
PORT = re.compile(r"\b946[45]\b")


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with Redis(tmp_path_factory.mktemp("queue")) as running:
        yield {"redis://queue:6379": running.url, "redis://localhost:6379": running.url}


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[dict[str, str]]:
    with alertmanagers.running(tmp_path / "alertmanager", "alertmanager.yml", {}) as running:
        yield {"http://alertmanager:9093": running.url}


@pytest.fixture
def certificates(tmp_path: Path) -> dict[Any, Any]:
    certificates = Certificates(tmp_path)
    certificates.config("web.yml", "  client_auth_type: RequireAndVerifyClientCert", "  client_ca_file: ca.crt")
    return {}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The working folder of a reader: the repository's files, and the secrets that pages name."""
    (tmp_path / "prometheus").symlink_to(ROOT / "prometheus")
    for secret in ("slack", "pagerduty", "alerts-token"):
        (tmp_path / secret).write_text("https://hooks.invalid/a-long-random-word")
    return tmp_path


def write_file(block: Block, place: Path) -> None:
    """Write a block into the file that its first line names."""
    path = place / block.text.partition("\n")[0].removeprefix("# ")
    path.parent.mkdir(exist_ok=True)
    path.write_text(block.text)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_a_block_runs_as_it_is_written(
    block: Block, place: Path, fake_api: FakeApi, request: pytest.FixtureRequest
) -> None:
    needs = NEEDS.get(block.name, Needs())
    for module in needs.modules:
        if importlib.util.find_spec(module) is None:
            compile(block.text, block.page, "exec")
            pytest.skip(f"{module} is not installed: compiled only")
    for name in needs.files:
        write_file(next(other for other in BLOCKS if other.name == name), place)
    addresses = request.getfixturevalue(needs.engine) if needs.engine else {}
    port, text = free_port(), block.text
    for shown, real in addresses.items():
        text = text.replace(shown, real)
    text = PORT.sub(str(port), ELSEWHERE.sub(str(place), text))
    job = {
        "page": str(ROOT / block.page),
        "line": block.line,
        "text": text,
        "left_out": "".join(LEFT_OUT[name] for name in LEFT_OUT if name in needs.names),
        "names": needs.names,
        "then": needs.then,
        "port": port,
    }
    environment = os.environ | {
        "ANTHROPIC_API_KEY": "sk-ant-test",
        "ANTHROPIC_BASE_URL": fake_api.base_url,
        "ANTHROPIC_EXPORTER_RUNTIME_DIR": str(place),
        "HOME": str(place),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # nothing is fetched
    }
    # Other libraries leave connections to the garbage collector.
    lenient = ("-W", "ignore::ResourceWarning") if needs.modules else ()
    done = subprocess.run(
        [sys.executable, "-W", "error", *lenient, str(RUNNER)],
        input=json.dumps(job),
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_what_blocks_need_names_blocks() -> None:
    assert sorted(set(NEEDS) - {block.name for block in BLOCKS}) == []
