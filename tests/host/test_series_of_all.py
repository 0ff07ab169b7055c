"""Many processes bring more series together than one may have: one budget for what they show."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

from anthropic_exporter.host.cell_folder import CellFolder
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.bounded_labels import Bounded
from anthropic_exporter.metrics.stores.file_format import Record
from anthropic_exporter.metrics.stores.merge import Merge
from anthropic_exporter.metrics.stores.merged_bounds import MergedBounds
from host.test_crashes import cells_in
from host.workers import Worker, scrape, total, wait_for

MODEL = "claude-opus-5-5"


class Source:
    """The cells of one process."""

    def __init__(self, key: str, records: list[Record]) -> None:
        self.key, self.alive, self.records = key, True, records


def bounds() -> MergedBounds:
    return MergedBounds({"user": Bounded(10_000), "feature": Bounded(10_000)}, 3_000)


def records_of(process: int, tmp_path: Path) -> list[Record]:
    """As many label sets as a process may have, none of which another one has."""

    cells = cells_in(CellFolder(tmp_path / str(process)))
    for number in range(500):
        (block,) = [cells.block([(f.REQUESTS, (MODEL, f"feature-{process}", f"user-{process}-{number}", "success"))])]
        block[0] += 1.0
    return cells.records()


def test_users_fold_first_and_totals_stay_exact(tmp_path: Path) -> None:
    sources = [Source(str(process), records_of(process, tmp_path)) for process in range(10)]
    merges = [Merge(bounds()) for _ in range(2)]
    first, other = (
        merge.snapshot(sources[::step], time.time()).readings() for merge, step in zip(merges, (1, -1), strict=True)
    )
    shown = first[f.REQUESTS.name]
    assert sum(one.values[0] for one in shown) == 5_000.0
    assert len(shown) < 1_000
    folded = {one.labels[0]: one.values[0] for one in merges[0].folded()}
    assert folded["user"] == 5_000 - sum(one.labels[2] != "other" for one in shown)
    assert (folded["feature"], folded["model"]) == (0, 0)
    assert {one.labels[1] for one in shown} == {f"feature-{process}" for process in range(10)}
    assert sorted(one[:2] for one in shown) == sorted(one[:2] for one in other[f.REQUESTS.name])  # whoever asks


def test_what_ended_processes_leave_is_bounded_as_well(tmp_path: Path, start: Callable[..., Worker], port: int) -> None:
    """As a worker that is recycled again and again, each time with users of its own."""

    keeper = start()
    for number in range(3):
        worker = start()
        call = f"made(7, f'feature-{{n}}')._replace(user=f'user-{number}-{{n}}')"
        worker.ask(f"[recorder.record({call}) for n in range(150)] and None")
        worker.ask("len(recorder.render())")  # nothing waits in memory any more
        worker.kill()
    keeper.record(1)
    text = wait_for(lambda: total(found := scrape(port)) == 451 and found)
    assert len(re.findall(r"^anthropic_\w+(?<!_created)\{", text, re.MULTILINE)) < 24_000
