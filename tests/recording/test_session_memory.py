"""What is remembered of sessions is bounded, in number and in bytes, whatever a server names them."""

from __future__ import annotations

import tracemalloc

from anthropic_exporter.call import Tokens
from anthropic_exporter.recording.session_memory import SessionMemory, SessionUse


def test_threads_of_all_sessions_are_bounded_together() -> None:
    memory = SessionMemory()
    tracemalloc.start()
    for session in range(22):
        for thread in range(1_000):
            memory.add(f"sesn_{session}", SessionUse(Tokens(1)), f"thread_{thread}")
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 15_000_000
    assert memory.add("sesn_21", SessionUse(Tokens(5)), "thread_7").tokens.input == 4
    assert memory.add("sesn_0", SessionUse(Tokens(5)), "thread_7").tokens.input == 5  # forgotten


def test_names_of_100_kb_are_kept_short() -> None:
    memory = SessionMemory()
    tracemalloc.start()
    for session in range(100):
        memory.add("s" * 100_000 + str(session), SessionUse(Tokens(1)), "t" * 100_000)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 500_000


def test_a_session_that_is_read_all_the_time_is_remembered() -> None:
    memory = SessionMemory(most=100)
    for number in range(1_000):
        memory.add(f"sesn_{number}", SessionUse(Tokens(7)))
        assert memory.add("sesn_old", SessionUse(Tokens(number))).tokens.input == (1 if number else 0)


def test_a_session_that_may_have_been_forgotten_is_known_by_its_age() -> None:
    memory = SessionMemory(most=2)
    assert not any(memory.created(f"sesn_{day}", f"2026-11-0{day}T00:00:00Z") for day in (1, 2, 3))
    assert memory.created("sesn_1", "2026-11-01T00:00:00Z")  # it was counted, and forgotten when the third came
    assert not memory.created("sesn_3", "2026-11-03T00:00:00Z")
    assert not memory.created("sesn_4", "2026-11-04T00:00:00Z")
    assert not memory.created("sesn_5", "")
