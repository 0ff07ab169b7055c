from __future__ import annotations

from fractions import Fraction

from anthropic_exporter.metrics import exact_sum


def test_what_an_addition_rounds_off_is_added_later() -> None:
    block = [2.0**53, 0.0]
    for _ in range(4):
        exact_sum.add(block, 0, 1, 1.0)
    assert block == [2.0**53 + 4, 0.0]


def test_a_large_amount_on_a_small_sum_loses_nothing() -> None:
    block = [0.0, 0.0]
    for amount in (1.0, 2.0**60, 1.0, 1.0):
        exact_sum.add(block, 0, 1, amount)
    assert Fraction(block[0]) + Fraction(block[1]) == 2**60 + 3


def test_settling_adds_what_gathered_and_starts_over() -> None:
    block = [2.0**53, 0.5, 3.0, 0.25, 0.0, 0.0]  # two totals, what gathered for each, what was rounded off of each
    exact_sum.settle(block, totals=0, added=2, rests=4, number=2)
    assert block == [2.0**53 + 4, 0.75, 0.0, 0.0, -1.0, 0.0]
    exact_sum.settle(block, totals=0, added=2, rests=4, number=2)
    assert block == [2.0**53 + 4, 0.75, 0.0, 0.0, -1.0, 0.0]
