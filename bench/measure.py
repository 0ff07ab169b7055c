"""What the measuring scripts share: interleaved rounds, medians, a table."""

from __future__ import annotations

import statistics
import time


def interleaved(variants, number, rounds):
    """Median CPU microseconds a call; the variants take turns, so that noise meets all of them."""
    found = {name: [] for name in variants}
    for _ in range(rounds):
        for name, function in variants.items():
            began = time.thread_time()
            for _ in range(number):
                function()
            found[name].append((time.thread_time() - began) / number * 1e6)
    return {name: statistics.median(values) for name, values in found.items()}


def table(title, found, reference):
    print(f"\n{title}\n  {'':44}{'µs':>12}{'ratio':>10}")
    for name, value in found.items():
        print(f"  {name:44}{value:12.2f}{value / found[reference]:10.2f}")
