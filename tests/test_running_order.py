"""Long files begin first, and those that wait run beside those that compute."""

from __future__ import annotations

from pathlib import Path

import pytest

import running_order
from running_order import Expected


def test_the_table_names_files_that_exist_the_longest_first() -> None:
    assert [path for path in running_order.table() if not path.exists()] == []
    seconds = [one.seconds for one in running_order.table().values()]
    assert seconds == sorted(seconds, reverse=True)
    lines = running_order.TABLE.read_text(encoding="utf-8").splitlines()
    assert {line.split("\t")[1] for line in lines if not line.startswith("#")} == {"waits", "computes"}


def test_each_kind_is_spread_over_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {
        Path("long"): Expected(60.0, True),
        Path("short"): Expected(20.0, True),
        Path("rules"): Expected(30.0, False),
    }
    monkeypatch.setattr(running_order, "table", lambda: known)
    new, also_new = Path("new"), Path("new with a server")
    found = running_order.positions([*reversed(known), new, also_new], {also_new})
    assert found == {
        Path("long"): 0.0,
        Path("short"): pytest.approx(60 / 82),
        also_new: pytest.approx(80 / 82),
        Path("rules"): 0.0,
        new: pytest.approx(30 / 32),
    }
