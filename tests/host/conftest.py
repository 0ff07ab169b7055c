"""Workers of one service that end with the test."""

from __future__ import annotations

import contextlib

import pytest
from workers import Worker, free_port


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def folder(tmp_path):
    return tmp_path


@pytest.fixture
def start(port, folder):
    """Start a worker: `start()` for one of the service, `start(port)` for one of another."""
    with contextlib.ExitStack() as owned:

        def make(at=None):
            worker = Worker(port if at is None else at, folder)
            owned.callback(lambda: worker.process.poll() is None and worker.kill())
            return worker

        yield make
