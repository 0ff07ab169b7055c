"""A Celery soft time limit interrupts a call at any instruction: the recorder goes on, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from deployments.applications import CELERY_CALLS
from deployments.running import needs
from host.workers import scrape, total, wait_for
from queue_engines import Redis

pytestmark = [needs("celery"), needs("redis")]
pytest_plugins = ("fixtures_fake_api",)
COMMAND = ("-m", "celery", "-A", "application", "worker", "-c", "2", "--without-gossip", "--without-mingle")
SEND = """
from application import ask
def outcome(slow):
    try:
        return ask.apply_async(args=[slow]).get(timeout=120)
    except Exception:  # the SDK turns what interrupts it into a connection error
        return "limit"

print([outcome(slow) for slow in (False, True, False, True, False)])
"""


def test_a_call_that_a_soft_time_limit_interrupts_is_counted_and_the_next_ones_too(
    deploy: Any, start_fake_api: Any, tmp_path: Path
) -> None:
    quick, slow = start_fake_api(), start_fake_api(speed=0.001)
    with Redis(tmp_path / "queue") as redis:
        server = deploy(CELERY_CALLS, *COMMAND, REDIS=redis.url, QUICK=quick.base_url, SLOW=slow.base_url)
        done = subprocess.check_output(
            [sys.executable, "-c", SEND],
            cwd=server.folder,
            env=os.environ | server.environment,
            text=True,
            timeout=180,
        )
        assert done.strip() == "['answered', 'limit', 'answered', 'limit', 'answered']"

        def outcomes() -> Any:
            page = scrape(server.metrics_port)
            return [total(page, "anthropic_requests_total", one) for one in ('outcome="success"', "outcome")]

        assert wait_for(lambda: outcomes() == [3, 5], 60)
        wait_for(lambda: total(scrape(server.metrics_port), "anthropic_inflight_requests") == 0)  # within a second
        page = scrape(server.metrics_port)
        assert total(page, "anthropic_exporter_record_errors_total") == 0
