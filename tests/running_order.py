"""The order in which files of tests begin: those that mostly wait beside those that compute, the longest first.

A file is given to one worker. Tests with real servers wait for scrapes, windows and timeouts, so a core idles where
only such files run at the same time, and where a long file begins last. `running_order.tsv` says what files took.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parent
TABLE = TESTS / "running_order.tsv"
#: What a file that is not in the table is expected to take.
UNKNOWN_SECONDS = 2.0


class Expected(NamedTuple):
    """How long the tests of a file take one after the other, and whether they mostly wait."""

    seconds: float
    waits: bool


@functools.cache
def table() -> dict[Path, Expected]:
    """What each file of the table took."""
    lines = TABLE.read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return {TESTS / path: Expected(float(seconds), kind == "waits") for seconds, kind, path in rows}


def positions(files: Iterable[Path], with_servers: Collection[Path]) -> dict[Path, float]:
    """By file, the share of the seconds of its kind that the files before it take: the lowest begins first.

    Args:
        files: all that run.
        with_servers: those that are expected to wait if the table does not know them.
    """
    expected = {path: table().get(path, Expected(UNKNOWN_SECONDS, path in with_servers)) for path in files}
    total = {waits: sum(one.seconds for one in expected.values() if one.waits is waits) for waits in (True, False)}
    before = dict.fromkeys(total, 0.0)
    found = {}
    for path, one in sorted(expected.items(), key=lambda item: -item[1].seconds):
        found[path] = before[one.waits] / total[one.waits]
        before[one.waits] += one.seconds
    return found
