"""PROMETHEUS_MULTIPROC_DIR: a service that exposes its own metrics by MultiProcessCollector shows ours beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.applications import MULTIPROC
from deployments.running import needs
from host.workers import scrape, total, wait_for

pytestmark = needs("gunicorn")


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=" ".join)
def test_both_are_whole_whichever_worker_answers(deploy: Any, tmp_path: Path, options: Any) -> None:
    (tmp_path / "multiproc").mkdir()
    command = ("-m", "gunicorn", "-b", "127.0.0.1:PORT", "--no-control-socket", "-w", "3", *options)
    server = deploy(MULTIPROC, *command, "application:app", PROMETHEUS_MULTIPROC_DIR=str(tmp_path / "multiproc"))
    server.until_it_answers()
    server.ask(20)

    def shown() -> Any:
        page = server.get("/metrics")
        return total(page, "anthropic_requests_total"), total(page, "own_requests_total")

    assert wait_for(lambda: shown() == (20, 20), 60)
    assert {shown() for _ in range(6)} == {(20, 20)}
    assert total(scrape(server.metrics_port)) == 20
    assert total(server.get("/metrics"), "anthropic_request_duration_seconds_count") == 20
