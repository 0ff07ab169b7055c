"""The ledger against what processes do, run by promtool."""

from __future__ import annotations

import pytest

from rules import ledger_cases, promtool_tests

CASES = [
    promtool_tests.Case(name, ("ledger", "cost"), {"name": name} | test) for name, test in ledger_cases.CASES.items()
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_behaviour(promtool, tmp_path, case):
    assert promtool_tests.run(promtool, tmp_path, case) == ""
