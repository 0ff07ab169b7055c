"""Deployments that end with the test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployments.running import Deployment


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Any]:
    """Start a server: `deploy(source, "-m", "gunicorn", ...)`; `PORT` in an argument is its own port."""
    with contextlib.ExitStack() as owned:

        def start(source: Any, *command: Any, **environment: Any) -> Any:
            running = Deployment(tmp_path, source, command, environment)
            owned.callback(running.close)
            return running

        yield start
