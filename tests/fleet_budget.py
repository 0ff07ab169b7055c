"""Several processes of several hosts against one daily budget, through a real queue and collector."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

from anthropic_exporter import bundle
from collectors import PATIENCE_SECONDS, Collecting
from queue_engines import Redis

SPENDER = Path(__file__).with_name("fleet_spender.py")


class Outcome(NamedTuple):
    """Dollars, and dollars a second of all together."""

    spent: float
    pace: float


def spend(folder: Any, *, workers: Any, hosts: Any, budget: Any, rate: Any) -> Any:
    """Let everybody spend until everybody is stopped."""
    thresholds = folder / "thresholds.yml"
    thresholds.write_text(with_budgets(budget))
    with (
        Redis(folder / "redis") as queue,
        Collecting(queue.url, folder / "state", "--guard", str(thresholds)),
    ):
        running = [
            subprocess.Popen(
                [sys.executable, str(SPENDER), queue.url, f"host-{number % hosts}", str(rate)],
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(workers)
        ]
        rows = [tuple(map(float, one.communicate(timeout=3 * PATIENCE_SECONDS)[0].split())) for one in running]
    assert [one.returncode for one in running] == [0] * workers
    return Outcome(sum(usd for usd, _ in rows), sum(usd / seconds for usd, seconds in rows))


def with_budgets(usd: Any) -> Any:
    """The shipped thresholds with a daily budget of so many dollars, and none of tokens."""
    text = (bundle.path("prometheus") / "rules" / "thresholds.yml").read_text()
    for name, value in (("cost_usd_per_day", usd), ("tokens_per_day", 1e12)):
        text, number = re.subn(rf'expr: "[^"]*"(\n\s+labels: {{threshold: {name}}})', rf'expr: "{value}"\1', text)
        assert number == 1, name
    return text
