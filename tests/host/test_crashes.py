"""A process may end at any instruction: in the middle of a settlement, of the growth of its file, of a fold."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter.host.cell_folder import CellFolder
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.bounded_labels import label_bounds
from anthropic_exporter.metrics.cells import ExactSums
from anthropic_exporter.metrics.stores.cell_file import CellFile
from anthropic_exporter.metrics.stores.mapped_cells import MappedCells
from anthropic_exporter.metrics.stores.merge import Merge
from anthropic_exporter.metrics.stores.merged_bounds import MergedBounds

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]
SPEND = [(f.COST, ("claude-opus-5-5", "chat", "", "standard", "input"))]
SUMS = ExactSums(0, 1, 2, 1)


def cells_in(folder: CellFolder) -> MappedCells:
    def make_file() -> CellFile:
        file = folder.make_file("test")
        folder.show_file(file, cells)
        return file

    def failed(error: Any) -> None:
        raise error

    cells = MappedCells(time.time, make_file, failed)
    return cells


def shown(path: Path) -> list[float]:
    """Dollars and requests as a process sees them that has just come."""
    sources, _ = CellFolder(path).sources()
    readings = Merge(MergedBounds(label_bounds())).snapshot(sources, time.time()).readings()
    return [sum(one.values[0] for one in readings.get(name, ())) for name in (f.COST.name, f.REQUESTS.name)]


def in_child_that_ends_at(step: int, work: Callable[..., None], *files: str) -> bool:
    """Run `work` in a child that ends at the given instruction inside `files`. Returns whether it got to its end."""
    child = os.fork()
    if child == 0:
        left = itertools.count(step, -1)

        def trace(
            frame: Any, event: str, _: Any
        ) -> Callable[..., Callable[..., Callable[..., Callable[..., Any] | None] | None] | None] | None:
            if not frame.f_code.co_filename.endswith(files):
                return None
            frame.f_trace_opcodes = True
            if event == "opcode" and next(left) == 0:
                os._exit(1)
            return trace

        try:
            sys.settrace(trace)
            work()
            os._exit(0)
        finally:
            os._exit(2)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in {0, 1}
    return ended == 0


def crashes(work: Callable[..., None], *files: str, stride: int) -> Iterator[int]:
    """End `work` at every `stride`-th of its instructions, then once not at all."""
    for step in itertools.count(1, stride):
        done = in_child_that_ends_at(step, work, *files)
        yield step
        if done:
            return


def test_a_crash_in_a_settlement_shows_every_dollar(tmp_path: Path) -> None:
    def work() -> None:
        cells = cells_in(CellFolder(folder))
        block = cells.block(SPEND, 2, SUMS)
        for _ in range(2):
            block[1] += 0.1
            cells.settle(block, SUMS)

    folder, seen = tmp_path / "1", []
    for step in crashes(work, "mapped_cells.py", "exact_sum.py", stride=17):
        seen.append(round(shown(tmp_path / str(step))[0], 12))
        folder = tmp_path / str(step + 17)  # of the next one
    assert seen == sorted(seen)
    assert set(seen) == {0.0, 0.1, 0.2}


def test_a_crash_while_a_file_grows_leaves_whole_label_sets(tmp_path: Path) -> None:
    def work() -> None:
        cells = cells_in(CellFolder(folder))
        for user in range(300):  # two extents
            (block,) = [cells.block([(f.REQUESTS, ("claude-opus-5-5", "chat", f"{user:200}", "success"))])]
            block[0] += 1.0

    folder = tmp_path / "1"
    for step in crashes(work, "cell_file.py", stride=4001):
        _, requests = shown(tmp_path / str(step))
        assert requests == int(requests)
        folder = tmp_path / str(step + 4001)
    assert requests == 300


def test_a_crash_in_a_fold_counts_every_ended_process_once(tmp_path: Path) -> None:
    def count(path: Path, amount: int) -> None:
        def work() -> None:
            cells = cells_in(CellFolder(path))
            cells.block([(f.REQUESTS, ("claude-opus-5-5", "chat", "", "success"))])[0] += amount
            cells.block(SPEND, 2, SUMS)[1] += 0.1

        in_child_that_ends_at(-1, work, "none")

    def fold() -> None:
        CellFolder(tmp_path).fold_ended(MergedBounds(label_bounds()))

    expected = 0
    for _ in crashes(fold, "folding.py", "cell_folder.py", stride=53):
        dollars, requests = shown(tmp_path)
        assert requests == expected
        assert round(dollars, 9) == round(0.1 * (expected // 3), 9)
        if len(list(tmp_path.glob("*-test.cells"))) < 2:
            count(tmp_path, 3)
            expected += 3
    fold()
    assert shown(tmp_path)[1] == expected
    assert [path.name for path in tmp_path.glob("*.cells")] == ["ended.cells"]
