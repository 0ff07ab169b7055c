"""A daily budget of eight processes on three hosts: how far it is overshot. `python -m bench.fleet.budget`."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fleet_budget import spend

BUDGET = 8.0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        spent, pace = spend(Path(folder), workers=8, hosts=3, budget=BUDGET, rate=20)
    print(f"{spent:.2f} of {BUDGET:.2f} USD were spent at {pace:.2f} USD a second: {spent / BUDGET:.2f} times,")
    print(f"  overshot by what is spent in {(spent - BUDGET) / pace:.2f} s; allowed: a period of 1 s, and 1 s more")


if __name__ == "__main__":
    main()
