"""Deployments that end with the test."""

from __future__ import annotations

import contextlib

import pytest

from deployments.running import Deployment


@pytest.fixture
def deploy(tmp_path):
    """Start a server: `deploy(source, "-m", "gunicorn", ...)`; `PORT` in an argument is its own port."""
    with contextlib.ExitStack() as owned:

        def start(source, *command, **environment):
            running = Deployment(tmp_path, source, command, environment)
            owned.callback(running.close)
            return running

        yield start
