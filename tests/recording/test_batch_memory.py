from __future__ import annotations

import threading
import tracemalloc

import pytest

from anthropic_exporter.recording import batch_memory
from anthropic_exporter.recording.batch_memory import SeenResults


def test_a_result_is_new_once() -> None:
    seen = SeenResults()
    assert [seen.first_time("b", "1"), seen.first_time("b", "1"), seen.first_time("b", "2")] == [True, False, True]


def test_the_last_results_are_remembered_and_the_oldest_forgotten() -> None:
    seen = SeenResults(most=3)
    assert all(seen.first_time("b", str(number)) for number in range(10))
    assert not any(seen.first_time("b", str(number)) for number in range(7, 10))
    assert seen.first_time("b", "0")


def test_memory_is_bounded_whatever_the_batches_are_like() -> None:
    seen = SeenResults(most=1000)
    tracemalloc.start()
    for number in range(20_000):
        seen.first_time(f"batch {number}" + "x" * 1000, "x" * 1000)
        seen.created(f"batch {number}" + "x" * 1000, 1.0)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(seen._young) + len(seen._old) <= 2000
    assert held < 4_000_000


def test_when_a_batch_was_made_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_memory, "_MOST_BATCHES", 2)
    seen = SeenResults()
    for number in range(3):
        seen.created(f"b{number}", 100.0 + number)
    assert (seen.created_at("b0", 7.0), seen.created_at("b2", 7.0)) == (7.0, 102.0)


def test_two_threads_that_read_one_batch_count_it_once() -> None:
    seen, new = SeenResults(), []  # type: ignore[var-annotated]

    def read() -> None:
        new.extend(number for number in range(2000) if seen.first_time("b", str(number)))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(new) == list(range(2000))
