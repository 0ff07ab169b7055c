"""uWSGI: a master that forks after the import, and workers that import it each."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from deployments.applications import GUNICORN
from host.workers import total

UWSGI = shutil.which("uwsgi", path=str(Path(sys.executable).parent))
pytestmark = pytest.mark.skipif(UWSGI is None, reason="uWSGI is not installed")
LAUNCH = "import os, sys; os.execv(sys.argv[1], sys.argv[1:])"


@pytest.mark.parametrize(
    "options",
    [(), ("--lazy-apps",), ("--import", "uwsgidecorators"), ("--py-call-uwsgi-fork-hooks",)],
    ids=" ".join,
)
def test_workers_count_together(deploy: Any, options: Any) -> None:
    command = ("--http", "127.0.0.1:PORT", "--master", "--processes", "4", "--enable-threads", "--die-on-term")
    source = GUNICORN.replace("def app(", "def application(")
    server = deploy(source, "-c", LAUNCH, UWSGI, *command, *options, "--module", "application")
    server.until_it_answers()
    server.ask(20)
    server.settled()
    assert total(server.get("/metrics")) == 20
