"""gunicorn: every worker class, preload or not, workers that are recycled, reloaded and killed."""

from __future__ import annotations

import os
import signal
from http.client import HTTPException
from typing import Any

import pytest

from deployments.applications import GUNICORN, UVICORN
from deployments.running import needs
from host.workers import total, wait_for

pytestmark = needs("gunicorn")
GUNICORN_COMMAND = ("-m", "gunicorn", "-b", "127.0.0.1:PORT", "--no-control-socket", "-w", "3")


@pytest.mark.parametrize(
    "options",
    [(), ("--preload",), ("-k", "gthread", "--threads", "2"), ("--preload", "-k", "gthread", "--threads", "2")],
    ids=" ".join,
)
def test_every_call_of_every_worker_is_on_the_one_port(deploy: Any, options: Any) -> None:
    server = deploy(GUNICORN, *GUNICORN_COMMAND, *options, "application:app")
    server.until_it_answers()
    server.ask(30)
    server.settled()
    assert [total(server.get("/metrics")) for _ in range(6)] == [30] * 6


@needs("uvicorn_worker")
def test_uvicorn_workers_count_together(deploy: Any) -> None:
    command = (*GUNICORN_COMMAND, "-k", "uvicorn_worker.UvicornWorker")
    server = deploy(UVICORN, *command, "application:app")
    wait_for(lambda: server.get("/metrics/"), 30)
    server.ask(20)
    server.settled()


@pytest.mark.parametrize(
    "options", [(), ("-k", "gthread", "--threads", "8", "--max-requests-jitter", "4")], ids=" ".join
)
def test_workers_that_are_recycled_after_some_requests_lose_nothing(deploy: Any, options: Any) -> None:
    server = deploy(GUNICORN, *GUNICORN_COMMAND, "--max-requests", "7", *options, "application:app")
    server.until_it_answers()
    assert len(server.ask(60)) > 3
    server.settled()


def test_what_a_hung_worker_counted_before_gunicorn_aborts_it_is_not_lost(deploy: Any) -> None:
    server = deploy(GUNICORN, *GUNICORN_COMMAND, "--timeout", "5", "application:app")
    server.until_it_answers()
    server.ask(6)
    with pytest.raises((OSError, HTTPException)):  # SIGABRT
        server.get("/hang")
    server.ask(6)
    server.settled(1)


def test_a_reload_and_killed_workers_lose_nothing(deploy: Any) -> None:
    server = deploy(GUNICORN, *GUNICORN_COMMAND, "application:app")
    server.until_it_answers()
    before = server.ask(20)
    os.kill(server.process.pid, signal.SIGHUP)
    wait_for(lambda: int(server.get()) not in before or None)
    server.settled()
    for worker in server.ask(12):
        os.kill(worker, signal.SIGKILL)
    server.ask(10)
    server.settled()


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=" ".join)
def test_a_service_that_is_killed_and_started_again_continues(deploy: Any, options: Any) -> None:
    server = deploy(GUNICORN, *GUNICORN_COMMAND, *options, "application:app")
    server.until_it_answers()
    server.ask(15)
    server.close()
    port = str(server.metrics_port)
    again = deploy(GUNICORN, *GUNICORN_COMMAND, *options, "application:app", METRICS_PORT=port)
    again.until_it_answers()
    again.ask(1)
    again.settled(15)
