"""What is remembered of sessions is bounded, in number and in bytes, whatever a server names them."""

from __future__ import annotations

import tracemalloc

from anthropic_exporter.call import Tokens
from anthropic_exporter.recording.session_memory import SessionMemory, Spent


def test_threads_of_all_sessions_are_bounded_together() -> None:
    memory = SessionMemory()
    tracemalloc.start()
    for session in range(22):
        for thread in range(1_000):
            memory.add(f"sesn_{session}", Spent(Tokens(1)), f"thread_{thread}")
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 15_000_000
    assert memory.add("sesn_21", Spent(Tokens(5)), "thread_7").tokens.input == 4
    assert memory.add("sesn_0", Spent(Tokens(5)), "thread_7").tokens.input == 5  # forgotten


def test_names_of_100_kb_are_kept_short() -> None:
    memory = SessionMemory()
    tracemalloc.start()
    for session in range(100):
        memory.add("s" * 100_000 + str(session), Spent(Tokens(1)), "t" * 100_000)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 500_000
