from __future__ import annotations

import threading

from anthropic_exporter.recording.batch_memory import SeenResults


def test_a_result_is_new_once():
    seen = SeenResults()
    assert [seen.first_time("b", "1"), seen.first_time("b", "1"), seen.first_time("b", "2")] == [True, False, True]


def test_the_oldest_batch_is_forgotten_when_there_are_too_many_results():
    seen = SeenResults(most=3)
    for custom_id in "12":
        seen.first_time("old", custom_id)
    for custom_id in "12":
        seen.first_time("new", custom_id)
    assert not seen.first_time("new", "1")
    assert seen.first_time("old", "1")


def test_one_batch_larger_than_the_limit_is_kept_whole():
    seen = SeenResults(most=3)
    assert all(seen.first_time("b", str(number)) for number in range(10))
    assert not any(seen.first_time("b", str(number)) for number in range(10))


def test_when_a_batch_was_made_is_remembered():
    seen = SeenResults(most=2)
    for number in range(3):
        seen.created(f"b{number}", 100.0 + number)
    assert (seen.created_at("b0", 7.0), seen.created_at("b2", 7.0)) == (7.0, 102.0)


def test_two_threads_that_read_one_batch_count_it_once():
    seen, new = SeenResults(), []

    def read():
        new.extend(number for number in range(2000) if seen.first_time("b", str(number)))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(new) == list(range(2000))
