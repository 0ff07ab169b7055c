"""What `pip install` puts on a machine without a checkout: everything that the commands need, and no secret."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import __version__, toolchain

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parent.parent
PATIENCE_SECONDS = 180


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The wheel of this checkout, built without asking a registry."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", folder, ROOT], check=True, timeout=PATIENCE_SECONDS)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run the command line of the unpacked wheel in an empty folder: exit code and output."""
    site, elsewhere = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("elsewhere")
    zipfile.ZipFile(wheel).extractall(site)
    tools = os.pathsep.join(dict.fromkeys(str(path.parent) for path in toolchain.provide().values()))
    environment = os.environ | {
        "PYTHONPATH": str(site),
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "XDG_CACHE_HOME": str(elsewhere),
        "TMPDIR": str(elsewhere),
    }

    def run(*arguments: Any) -> Any:
        command = [sys.executable, "-m", "anthropic_exporter.cli", *arguments]
        done = subprocess.run(
            command,
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        return done.returncode, done.stdout.replace(str(site), "SITE"), done.stderr

    return run


def test_it_holds_the_package_the_bundle_and_nothing_that_is_ours_alone(wheel: Any) -> None:
    assert wheel.name == f"anthropic_exporter-{__version__}-py3-none-any.whl"
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {
        "anthropic_exporter",
        f"anthropic_exporter-{__version__}.dist-info",
    }
    for needed in (
        "py.typed",
        "pricing/prices.yml",
        "live/assets/page.html",
        "bundle/prometheus/rules/thresholds.yml",
        "bundle/alertmanager/alertmanager.yml",
        "bundle/alertmanager/templates/anthropic.tmpl",
        "bundle/grafana/dashboards/claude-cost.json",
    ):
        assert f"anthropic_exporter/{needed}" in names
    assert not [name for name in names if "secrets" in name or "__pycache__" in name]


def test_check_reads_the_bundle_inside_it(installed: Any) -> None:
    code, said, errors = installed("check")
    assert (code, errors) == (0, "")
    assert said.startswith("checked SITE/anthropic_exporter/bundle/prometheus, ")
    assert said.endswith(": no findings\n")


def test_the_demo_runs_to_its_notification(installed: Any) -> None:
    code, said, errors = installed("demo", "--calm", "5", "--requests", "20")
    assert (code, errors) == (0, ""), said
    assert "the notification arrives" in said
