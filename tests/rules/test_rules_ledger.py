"""The ledger against what processes do, run by promtool."""

from __future__ import annotations

from pathlib import Path

import pytest

from rules import ledger_cases, promtool_tests

CASES = [
    promtool_tests.Case(name, ("ledger", "cost"), {"name": name} | test) for name, test in ledger_cases.CASES.items()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_behaviour(promtool: Path, tmp_path: Path, case: promtool_tests.Case) -> None:
    assert promtool_tests.run(promtool, tmp_path, case) == ""
