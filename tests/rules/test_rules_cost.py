"""cost.test.yml, run by promtool."""

from __future__ import annotations

from pathlib import Path

import pytest

from rules import promtool_tests


@pytest.mark.parametrize("case", promtool_tests.cases("cost"), ids=lambda case: case.name)
def test_behaviour(promtool: Path, tmp_path: Path, case: promtool_tests.Case) -> None:
    assert promtool_tests.run(promtool, tmp_path, case) == ""
