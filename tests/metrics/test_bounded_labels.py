from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from anthropic_exporter.metrics.bounded_labels import Bounded


def test_the_first_values_are_accepted_and_the_rest_becomes_other() -> None:
    bounded = Bounded(2)
    assert [bounded.fold(v) for v in ("chat", "agent", "late", "chat", "")] == ["chat", "agent", "other", "chat", ""]


def test_an_allow_list_admits_nothing_else() -> None:
    bounded = Bounded(100, ["chat"])
    assert [bounded.fold(v) for v in ("chat", "agent", "")] == ["chat", "other", ""]


def test_a_value_of_10_kb_is_not_a_name_and_takes_no_room() -> None:
    bounded = Bounded(1)
    assert bounded.fold("x" * 10_240) == "other"
    assert bounded.fold("chat") == "chat"


def test_other_itself_takes_no_room() -> None:
    bounded = Bounded(1)
    assert bounded.fold("other") == "other"
    assert bounded.fold("chat") == "chat"


class Measured(str):
    """Lets another thread run whenever its length is asked for: between the look at the room and the taking of it."""

    __slots__ = ()

    def __len__(self) -> int:
        time.sleep(0)
        return super().__len__()


@pytest.fixture
def _eager_switches() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("_eager_switches")
def test_of_two_threads_that_take_the_last_place_at_once_one_gets_it() -> None:
    rounds = [Bounded(3) for _ in range(200)]
    barrier = threading.Barrier(2)
    folded: Any = ([], [])

    def take(own: int) -> None:
        for number, bounded in enumerate(rounds):
            barrier.wait(30)
            folded[own].extend(bounded.fold(Measured(f"{own}-{number}-{place}")) for place in range(2))

    threads = [threading.Thread(target=take, args=(own,)) for own in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [len(bounded.names) for bounded in rounds] == [3] * 200
    assert sum(value == "other" for own in folded for value in own) == 200
