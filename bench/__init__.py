"""Measurements, run by hand: `python -m bench.<folder>.<name>`."""

from __future__ import annotations

import sys
from pathlib import Path

# Collectors, queues and browsers are started by helpers of the tests, which import each other as in the tests.
TESTS = str(Path(__file__).resolve().parents[1] / "tests")
if TESTS not in sys.path:
    sys.path.append(TESTS)
