"""A budget of the whole fleet is kept: it is overshot by no more than is spent in a period and a second."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet_budget import spend

pytest.importorskip("redis")
pytestmark = pytest.mark.stack
PERIOD_SECONDS = 1.0


def test_a_budget_of_four_processes_on_two_hosts(tmp_path: Path) -> None:
    outcome = spend(tmp_path, workers=4, hosts=2, budget=3.0, rate=20)
    assert 3.0 < outcome.spent <= 3.0 + outcome.pace * (PERIOD_SECONDS + 1.0)
