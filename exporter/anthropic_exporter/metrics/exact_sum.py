"""Sums many small amounts exactly: rounding errors are kept, and added later.

Plain addition of 10,000,000 amounts may be off by 1.1e-9 of the sum (half of its last bit each time); these sums stay
within rounding of the exact one (`bench/speed/additions.py`).
Source: the error-free sum of two floats, Knuth, The Art of Computer Programming, volume 2, 4.2.2, theorem B.
"""

from __future__ import annotations

from collections.abc import MutableSequence

#: How many amounts may be added plainly before they are settled: they are then off by at most 8e-12.
SETTLE_EVERY = 65_536


def add(block: MutableSequence[float], total: int, rest: int, amount: float) -> None:
    """Add an amount to `block[total]`; `block[rest]` keeps the rounding error."""
    before, amount = block[total], amount + block[rest]
    after = before + amount
    added = after - before
    block[total] = after
    block[rest] = (before - (after - added)) + (amount - added)


def settle(block: MutableSequence[float], totals: int, added: int, rests: int, number: int) -> None:
    """Add `number` amounts from `added` on to those from `totals` on, and reset the former."""
    for index in range(number):
        amount = block[added + index]
        if amount:
            add(block, totals + index, rests + index, amount)
            block[added + index] = 0.0


def settled(floats: list[float], number: int) -> list[float]:
    """What `settle` makes of `number` totals, the same number of additions and of rests, one after the other."""
    settle(floats, 0, number, 2 * number, number)
    return floats
