"""One hook for forks: what registers is called in the child, in order, for as long as it lives."""

from __future__ import annotations

import os
from typing import Any

import pytest

from anthropic_exporter.forking import in_child


class Worker:
    def __init__(self, name: str, calls: list[Any]) -> None:
        self.name, self.calls = name, calls
        in_child(self.started)

    def started(self) -> None:
        self.calls.append(self.name)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_the_living_are_called_in_the_child_in_the_order_of_registration() -> None:
    calls: list[Any] = []
    first, gone = Worker("first", calls), Worker("gone", calls)
    del gone
    second = Worker("second", calls)
    child = os.fork()
    if child == 0:
        os._exit(0 if calls == ["first", "second"] else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert calls == []
    assert (first.name, second.name) == ("first", "second")
