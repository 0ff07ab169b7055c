"""Workers of one service that end with the test."""

from __future__ import annotations

import contextlib

import pytest
from workers import Worker, cell_files, free_port, wait_for


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
        made = []

        def make(at=None):
            worker = Worker(port if at is None else at, folder)
            owned.callback(lambda: worker.process.poll() is None and worker.kill())
            if at is None:
                made.append(worker)
                if sum(one.process.poll() is None for one in made) > 1:  # the first one notices that it is not alone
                    wait_for(lambda: len(cell_files(folder)) > 1, 60)
            return worker

        yield make
