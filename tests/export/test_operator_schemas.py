"""What `export --format prometheus-rule` writes is valid by the operator's published schemas."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from anthropic_exporter.export import files
from anthropic_exporter.rules import Fit

pytestmark = pytest.mark.stack
#: The schemas of the operator's custom resource definitions as an npm package, read 2026-11-30.
PACKAGE = "@kubernetes-models/prometheus-operator@6.0.0"
SCRIPT = Path(__file__).with_name("operator_schemas.mjs")
PATIENCE_SECONDS = 300


@pytest.fixture(scope="module")
def validate(tmp_path_factory: pytest.TempPathFactory) -> Any:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed: the operator's schemas come from an npm package")
    folder = tmp_path_factory.mktemp("schemas")
    (folder / "package.json").write_text('{"private": true, "type": "module"}')
    install = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
    subprocess.run(install, cwd=folder, check=True, capture_output=True, timeout=PATIENCE_SECONDS)
    shutil.copy(SCRIPT, folder)

    def run(documents: Any) -> Any:
        return subprocess.run(
            ["node", SCRIPT.name],
            cwd=folder,
            input=json.dumps(documents),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )

    return run


def documents(**settings: Any) -> Any:
    exported = files(Fit(format="prometheus-rule", **settings))
    return [yaml.safe_load(text) for name, text in exported.items() if name.endswith(".yml")]


@pytest.mark.parametrize("seconds", [5, 60])
def test_every_object_is_valid(validate: Any, seconds: int) -> None:
    done = validate(documents(scrape_interval=seconds))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wrong_field_is_seen(validate: Any) -> None:
    exported = documents()
    monitor = next(one for one in exported if one["kind"] == "PodMonitor")
    monitor["spec"]["podMetricsEndpoints"][0]["interval"] = "soon"
    assert validate(exported).returncode != 0
