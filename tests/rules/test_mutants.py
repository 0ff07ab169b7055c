"""What `make mutants` changes, and what it need not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rules import mutants

QUICK = ("errors", "latency", "meter")  # the tests of the other files take minutes for a mutant


@pytest.mark.parametrize("file", QUICK)
def test_a_change_of_a_rule_is_noticed(promtool: Path, file: Any) -> None:
    chosen = mutants.sample(file, 5, seed=mutants.SEED)
    verdicts = mutants.judged(promtool, chosen, 2, mutants.Memory(None), check=False)
    assert [str(verdict.mutant) for verdict in verdicts if verdict.valid and not verdict.caught_by] == []


def test_every_kind_of_change_is_made() -> None:
    assert list(mutants.changed_expressions('sum by (a, b) (rate(x{c=~"d|e"}[1m] offset 30s)) > 0')) == [
        ("1:1 sum -> max", 'max by (a, b) (rate(x{c=~"d|e"}[1m] offset 30s)) > 0'),
        ("1:5 by (a, b) -> by (b)", 'sum by (b) (rate(x{c=~"d|e"}[1m] offset 30s)) > 0'),
        ("1:5 by (a, b) -> by (a)", 'sum by (a) (rate(x{c=~"d|e"}[1m] offset 30s)) > 0'),
        ("1:16 rate -> increase", 'sum by (a, b) (increase(x{c=~"d|e"}[1m] offset 30s)) > 0'),
        ('1:22 {c=~"d|e"} -> {}', "sum by (a, b) (rate(x{}[1m] offset 30s)) > 0"),
        ('1:22 {c=~"d|e"} -> {c!~"d|e"}', 'sum by (a, b) (rate(x{c!~"d|e"}[1m] offset 30s)) > 0'),
        ('1:22 {c=~"d|e"} -> {c=~"e"}', 'sum by (a, b) (rate(x{c=~"e"}[1m] offset 30s)) > 0'),
        ('1:22 {c=~"d|e"} -> {c=~"d"}', 'sum by (a, b) (rate(x{c=~"d"}[1m] offset 30s)) > 0'),
        ("1:32 [1m] -> [120s]", 'sum by (a, b) (rate(x{c=~"d|e"}[120s] offset 30s)) > 0'),
        ("1:32 [1m] -> [30s]", 'sum by (a, b) (rate(x{c=~"d|e"}[30s] offset 30s)) > 0'),
        ("1:37 offset 30s -> offset 60s", 'sum by (a, b) (rate(x{c=~"d|e"}[1m] offset 60s)) > 0'),
        ("1:37 offset 30s -> offset 15s", 'sum by (a, b) (rate(x{c=~"d|e"}[1m] offset 15s)) > 0'),
        ("1:37 offset 30s -> nothing", 'sum by (a, b) (rate(x{c=~"d|e"}[1m] )) > 0'),
        ("1:50 > -> >=", 'sum by (a, b) (rate(x{c=~"d|e"}[1m] offset 30s)) >= 0'),
        ("1:50 > -> <", 'sum by (a, b) (rate(x{c=~"d|e"}[1m] offset 30s)) < 0'),
        ("1:52 0 -> 1", 'sum by (a, b) (rate(x{c=~"d|e"}[1m] offset 30s)) > 1'),
    ]


def test_every_excuse_is_needed_and_has_a_reason() -> None:
    everything = mutants.all_mutants(mutants.FILES)
    for entry in mutants.equivalents():
        assert entry["reason"].endswith(".")
        assert any(entry["file"] in (one.file, "*") and mutants.excused(one, entry) for one in everything), entry
    assert len([mutant for mutant in everything if not mutants.excuse(mutant)]) > 2000
