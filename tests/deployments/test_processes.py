"""uvicorn, multiprocessing, Celery and Django, as people start them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import toolchain
from deployments.applications import CELERY, DAEMON, DJANGO, MULTIPROCESSING, UVICORN
from deployments.running import needs
from host.workers import scrape, wait_for
from ports import free_port


@needs("starlette")
def test_uvicorn_workers_count_together(deploy: Any) -> None:
    server = deploy(UVICORN, "-m", "uvicorn", "application:app", "--workers", "3", "--port", "PORT")
    wait_for(lambda: server.get("/metrics/"), 40)
    server.ask(20)
    server.settled()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_pool_counts_with_its_parent(deploy: Any, method: Any) -> None:
    server = deploy(MULTIPROCESSING, "application.py", method)
    assert int(server.process.stdout.readline()) >= 1
    server.settled(31)


@needs("django")
def test_a_management_command_beside_the_development_server_counts_and_disturbs_nothing(deploy: Any) -> None:
    server = deploy(DJANGO, "application.py", "runserver", "--noreload", "PORT")
    wait_for(server.get, 30)
    command = [sys.executable, "application.py", "nightly"]
    for _ in range(2):
        subprocess.run(command, cwd=server.folder, env=server.environment, check=True, timeout=60)
    server.ask(3)
    server.settled(2)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Any]:
    port = free_port()
    server = toolchain.provide(["redis-server"])["redis-server"]
    with contextlib.ExitStack() as owned:
        command = [str(server), "--port", str(port), "--save", "", "--dir", str(tmp_path), "--bind", "127.0.0.1"]
        process = owned.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        owned.callback(process.kill)
        yield f"redis://127.0.0.1:{port}/0"


@needs("celery")
@needs("redis")
@pytest.mark.parametrize(
    "options", [(), ("--max-tasks-per-child", "1"), ("-P", "solo"), ("-P", "threads")], ids=" ".join
)
def test_celery_tasks_count_though_their_processes_end(deploy: Any, redis: Any, options: Any) -> None:
    command = ("-m", "celery", "-A", "application", "worker", "-c", "2", "--without-gossip", "--without-mingle")
    server = deploy(CELERY, *command, *options, REDIS=redis)
    send = "from application import ask\nprint(len([r.get(timeout=60) for r in [ask.delay() for _ in range(8)]]))"
    environment = {**server.environment, "REDIS": redis}
    command = [sys.executable, "-c", send]  # type: ignore[assignment]
    printed = subprocess.check_output(command, cwd=server.folder, env=environment, text=True, timeout=90)
    assert printed.strip() == "8"
    server.settled(8)
    if "-P" in options:  # all tasks ran in the parent; the process that sent them has ended
        line = 'anthropic_exporter_workers{state="alive"} 1.0\n'
        assert wait_for(lambda: line in scrape(server.metrics_port))


def test_a_daemon_that_closes_every_descriptor_continues_what_its_parent_counted(deploy: Any) -> None:
    server = deploy(DAEMON, "application.py", ANTHROPIC_EXPORTER_RUNTIME_DIR=".")  # and that leaves its folder
    server.settled(3)
