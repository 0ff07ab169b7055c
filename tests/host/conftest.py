"""Workers of one service that end with the test."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host.workers import Worker, wait_for
from ports import free_port


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def start(port: int, folder: Path) -> Iterator[Callable[..., Worker]]:
    """Start a worker: `start()` for one of the service, `start(port)` for one of another."""
    with contextlib.ExitStack() as owned:
        made = []

        def make(at: int | None = None) -> Worker:
            worker = Worker(port if at is None else at, folder)
            owned.callback(lambda: worker.process.poll() is None and worker.kill())
            if at is None:
                made.append(worker)
                running = [one for one in made if one.process.poll() is None]
                for one in running if len(running) > 1 else ():  # the first one has to notice that it is not alone
                    wait_for(lambda one=one: one.ask("recorder.membership.is_shared") == "True", 60)
            return worker

        yield make
