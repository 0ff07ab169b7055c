"""Services of one process that are stopped and started again, as people and their frameworks do it."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import Any

import pytest

from deployments.applications import ALONE, DJANGO, GUARDED_ALONE, GUNICORN, UVICORN, UVICORN_AT_IMPORT
from deployments.running import needs
from host.workers import scrape, total, wait_for

pytest_plugins = ("fixtures_fake_api",)
ENDS = [
    pytest.param(signal.SIGINT, "default", id="Ctrl-C"),
    pytest.param(signal.SIGTERM, "handled", id="SIGTERM"),
    pytest.param(signal.SIGTERM, "default", id="SIGTERM that nobody handles"),
    pytest.param(signal.SIGKILL, "default", id="kill -9"),
]


@pytest.mark.parametrize(("stop_by", "sigterm"), ENDS)
def test_a_plain_program_continues_its_counters(deploy: Any, stop_by: Any, sigterm: Any) -> None:
    server = deploy(ALONE, "application.py", "PORT", SIGTERM=sigterm)
    for _ in range(3):
        server.until_it_answers()
        server.ask(4)
        server.settled()
        if sigterm == "handled" or stop_by == signal.SIGINT:  # else up to a tenth of a second is lost
            server.ask(1)
        server.restart(stop_by=stop_by)
    server.until_it_answers()
    server.settled()
    assert len(server.watch.lives) == 1


@pytest.mark.parametrize(("stop_by", "sigterm"), ENDS[:2])
def test_what_nobody_had_scraped_is_not_lost(deploy: Any, stop_by: Any, sigterm: Any) -> None:
    server = deploy(ALONE, "application.py", "PORT", SIGTERM=sigterm, UNWATCHED="1")
    for _ in range(2):
        wait_for(server.get, 30)
        server.restart(stop_by=stop_by)
    wait_for(server.get, 30)
    assert total(scrape(server.metrics_port)) == server.answered == 3


@needs("starlette")
@pytest.mark.parametrize("source", [UVICORN, UVICORN_AT_IMPORT], ids=["in its lifespan", "at import"])
def test_uvicorn_with_one_worker_loses_nothing_that_ends_while_it_shuts_down(deploy: Any, source: Any) -> None:
    server = deploy(source, "-m", "uvicorn", "application:app", "--port", "PORT")
    for _ in range(2):
        wait_for(lambda: server.get("/metrics/"), 40)
        server.ask(3)
        server.restart(stop_by=signal.SIGTERM)
    wait_for(lambda: server.get("/metrics/"), 40)
    server.settled()
    assert len(server.watch.lives) == 1
    if source == UVICORN_AT_IMPORT:
        slow = threading.Thread(target=server.get, args=("/slow",))
        slow.start()
        wait_for(lambda: server.watch.newest > server.answered)
        server.restart(stop_by=signal.SIGTERM)
        slow.join(30)
        wait_for(lambda: server.get("/metrics/"), 40)
        server.settled(30)


@needs("gunicorn")
@pytest.mark.parametrize("options", [(), ("--preload",), ("--max-requests", "3")], ids=" ".join)
def test_gunicorn_with_one_worker_continues(deploy: Any, options: Any) -> None:
    command = ("-m", "gunicorn", "-b", "127.0.0.1:PORT", "--no-control-socket", "-w", "1", *options)
    server = deploy(GUNICORN, *command, "application:app")
    for _ in range(2):
        server.until_it_answers()
        server.ask(4)
        server.process.send_signal(signal.SIGHUP)
        server.ask(4)
        server.restart(stop_by=signal.SIGTERM)
    server.until_it_answers()
    server.settled()
    assert len(server.watch.lives) == 1


@needs("django")
def test_the_development_server_of_django_continues_when_a_file_changes(deploy: Any) -> None:
    server = deploy(DJANGO, "application.py", "runserver", "PORT")
    wait_for(server.get, 40)
    before = server.ask(2)
    for _ in range(2):
        before = _reloaded(server, before)
        server.ask(2)
    server.settled()
    assert len(server.watch.lives) == 1


def _reloaded(server: Any, before: set[int]) -> Any:
    """Change the file until the reloader notices, which is when it has seen it unchanged; the new process."""
    for _ in range(20):
        with (server.folder / "application.py").open("a") as file:
            file.write("#\n")
        with contextlib.suppress(AssertionError):
            return wait_for(lambda: server.ask(1) - before, 4)
    raise AssertionError("the server did not reload")


def test_a_daily_budget_is_spent_once_over_restarts(deploy: Any, start_fake_api: Any) -> None:
    """Each call costs ten cents, a little more than the day's 60 allow six times."""
    api = start_fake_api(output_tokens=100_000, output_sigma=0.0)
    limits = repr({"cost_usd_per_day": 0.6})
    server = deploy(GUARDED_ALONE, "application.py", API=api.base_url, LIMITS=limits)
    spent, answers = [], []
    for _ in range(4):
        for query in ("", "", "today"):
            server.process.stdin.write(f"{query}\n".encode())
            server.process.stdin.flush()
            answers.append(server.process.stdout.readline().decode().strip())
        spent.append(round(float(answers.pop()), 6))
        server.process.stdin.close()  # it ends by itself
        server.process.wait(30)
        server.restart(stop_by=signal.SIGTERM)
    assert spent == [0.200016, 0.400032, 0.600048, 0.600048]
    assert answers == ["answered"] * 6 + ["stopped by daily_cost"] * 2
