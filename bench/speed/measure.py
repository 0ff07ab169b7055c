"""What the measuring scripts share: interleaved rounds, medians, a table."""

from __future__ import annotations

import statistics
import time
from typing import Any


def interleaved(variants: Any, number: Any, rounds: Any) -> Any:
    """Median CPU microseconds a call; the variants take turns, so that noise meets all of them."""
    found: dict[str, Any] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, function in variants.items():
            began = time.thread_time()
            for _ in range(number):
                function()
            found[name].append((time.thread_time() - began) / number * 1e6)
    return {name: statistics.median(values) for name, values in found.items()}


def after(prepare: Any, function: Any, rounds: Any) -> Any:
    """Median CPU microseconds of one call, each after a preparation that is not counted."""
    found = []
    for _ in range(rounds):
        prepare()
        began = time.thread_time()
        function()
        found.append((time.thread_time() - began) * 1e6)
    return statistics.median(found)


def paired(variants: Any, number: Any, rounds: Any, reference: Any) -> Any:
    """Median CPU microseconds that a variant adds to the reference, from differences within a round.

    A variant is what to run, and a context to run it in.
    """
    rows: dict[str, Any] = {name: [] for name in variants}
    for _ in range(rounds + 1):  # the first warms up
        for name, (function, context) in variants.items():
            with context():
                function()
                began = time.thread_time()
                for _ in range(number):
                    function()
                rows[name].append((time.thread_time() - began) / number * 1e6)
    base = rows.pop(reference)[1:]
    return {
        name: statistics.median(one - other for one, other in zip(values[1:], base, strict=True))
        for name, values in rows.items()
    }


def table(title: Any, found: Any, reference: Any) -> None:
    print(f"\n{title}\n  {'':44}{'µs':>12}{'ratio':>10}")
    for name, value in found.items():
        print(f"  {name:44}{value:12.2f}{value / found[reference]:10.2f}")
