"""The life of a service's counters: one for all its processes, as long as the counters go on, and no longer."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from host.workers import Worker, cell_files, scrape, total, wait_for


def lives(text: str) -> tuple[set[str], float]:
    """The lives on a page; the number of requests that the ledger shows."""
    return set(re.findall(r'life="(\w+)"', text)), total(text, "anthropic_ledger_total", 'of="requests"')


def shows(port: int, life: str, requests: int) -> bool:
    """Wait for exactly this life and this number of requests."""
    return wait_for(lambda: lives(scrape(port)) == ({life}, requests))


def test_a_life_begins_with_the_first_process_and_outlives_each(start: Callable[..., Worker], port: int) -> None:
    first = start()
    first.record(3)
    (life,), requests = lives(scrape(port))
    assert requests == 3
    second = start()  # the counters move into shared cells
    second.record(4)
    shows(port, life, 7)
    first.kill()  # it held the port
    shows(port, life, 7)
    third = start()
    third.record(1)
    shows(port, life, 8)
    for worker in (second, third):
        worker.stop()
    start()
    shows(port, life, 8)


def test_a_life_outlives_a_lone_process_however_it_ends(start: Callable[..., Worker], port: int) -> None:
    first = start()
    first.record(3)
    (life,), _ = lives(scrape(port))
    first.kill()
    second = start()
    second.record(4)
    shows(port, life, 7)
    second.stop()
    start()
    shows(port, life, 7)


def test_counters_that_begin_again_because_the_folder_was_deleted_are_another_life(
    start: Callable[..., Worker], port: int, folder: Path
) -> None:
    first, second = start(), start()
    first.record(3)
    second.record(4)
    (life,), _ = wait_for(lambda: lives(scrape(port)))
    for worker in (first, second):
        worker.stop()
    for path in folder.iterdir():
        shutil.rmtree(path)
    start().record(5)
    (other,), requests = lives(scrape(port))
    assert other != life
    assert requests == 5


def test_every_process_of_a_service_shows_the_same_life(start: Callable[..., Worker], port: int) -> None:
    first, second = start(), start()
    first.record(3)
    shown = [lives(worker.own_text()) for worker in (first, second)]
    assert shown[0] == shown[1]
    assert len(shown[0][0]) == 1


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("deleted", ["locks", "*"])
def test_a_life_outlives_the_files_that_somebody_deletes_under_running_processes(
    start: Callable[..., Worker], port: int, folder: Path, workers: int, deleted: str
) -> None:
    running = [start() for _ in range(workers)]
    for worker in running:
        worker.record(3)
    (life,), _ = wait_for(lambda: lives(scrape(port)))
    found = list(folder.glob(f"*/port-*/{deleted}"))
    assert found
    for path in found:
        path.unlink()
    wait_for(lambda: len(list(folder.glob("*/port-*/locks"))) == 1 and len(cell_files(folder)) >= workers)
    later = start()
    later.record(1)
    assert not later.held_port
    shows(port, life, 3 * workers + 1)
    for worker in (*running, later):
        worker.kill()
    start()
    shows(port, life, 3 * workers + 1)
