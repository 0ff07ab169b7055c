"""Functions that hang, fail or are too slow: each keeps to its own lane, and nothing is lost without a count."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from anthropic_exporter.lanes import OK, Lane, Lanes, Outcome


@pytest.fixture
def results() -> Counter[Any]:
    return Counter()


@pytest.fixture
def lane(results: Counter[Any]) -> Iterator[Callable[..., Lane[Any]]]:
    made = []

    def make(do: Callable[..., Any], **options: Any) -> Lane[Any]:
        options: dict[str, Any] = {"timeout_seconds": 60.0, "most_waiting": 10, **options}  # type: ignore[no-redef]
        made.append(Lane("test-lane", do, lambda item, result: results.update([(item, result)]), **options))
        return made[-1]

    yield make
    for one in made:
        one.close(0.0)


def test_items_of_one_key_stay_in_order_while_others_pass(
    lane: Callable[..., Lane[Any]], results: Counter[Any]
) -> None:
    done, failing = [], threading.Event()
    failing.set()

    def do(item: str, attempt: int, age: float) -> Outcome:
        if item == "firing" and failing.is_set():
            return Outcome("failed", 3600.0)
        done.append((item, attempt))
        return Outcome(OK)

    one = lane(do)
    one.put("firing", key="chat")
    assert one.flush(5.0)
    one.put("resolved", key="chat")
    one.put("other", key="search")
    assert one.flush(5.0)
    assert done == [("other", 1)]
    failing.clear()
    one.hurry()
    assert one.flush(5.0)
    assert done == [("other", 1), ("firing", 2), ("resolved", 1)]
    assert results["firing", "failed"] == results["firing", OK] == 1


def test_what_still_fails_at_the_end_is_counted_as_dropped(
    lane: Callable[..., Lane[Any]], results: Counter[Any]
) -> None:
    one = lane(lambda *_: Outcome("failed", 3600.0))
    one.put("page")
    one.close(5.0)
    assert results["page", "dropped"] == 1
    assert not one.put("late")


def test_an_idle_lane_has_no_thread(lane: Callable[..., Lane[Any]]) -> None:
    one, used = lane(lambda *_: used.append(threading.current_thread()) or Outcome(OK)), []  # type: ignore[has-type, var-annotated]
    one.put("page")
    assert one.flush(5.0)
    used[0].join(30)
    assert not used[0].is_alive()
    assert not one.busy


def test_without_a_thread_to_be_had_an_item_waits_for_the_next_look(
    lane: Callable[..., Lane[Any]], results: Counter[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = lane(lambda *_: Outcome(OK))

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert one.put("page")
        one.watch()
    one.watch()
    assert one.flush(5.0)
    assert results == {("page", OK): 1}


def test_a_lane_that_hangs_delays_no_other_and_is_watched_without_anybody(
    lane: Callable[..., Lane[Any]], results: Counter[Any]
) -> None:
    end, timed_out = threading.Event(), threading.Event()
    hanging = lane(lambda *_: (end.wait(), Outcome(OK))[1], timeout_seconds=0.05)
    quick = lane(lambda *_: Outcome(OK))
    lanes = Lanes("test-lanes", every_seconds=0.01)
    for one in (hanging, quick):
        lanes.add(one)
    hanging._ended = lambda item, result: timed_out.set() if (item, result) == ("b", "timeout") else None
    hanging.put("a")
    hanging.put("b")
    quick.put("c")
    lanes.watch()
    try:
        assert quick.flush(5.0)
        assert results == {("c", OK): 1}
        assert timed_out.wait(30)  # the second one had its turn although the first never returned
    finally:
        end.set()
        lanes.close(1.0)


class Ended(BaseException):
    """What ends a thread, unless somebody takes it."""


def test_a_report_that_raises_ends_no_thread_and_takes_no_place(lane: Callable[..., Lane[Any]]) -> None:
    """As a log handler of the application may: after three threads that ended so, a lane would accept nothing more."""
    one, reported = lane(lambda *_: Outcome(OK)), []

    def report(item: int, result: str) -> None:
        reported.append((item, result))
        raise Ended

    one._ended = report
    for number in range(5):
        assert one.put(number)
        assert one.flush(5.0)
        one.watch()
    assert reported == [(number, OK) for number in range(5)]
    assert one.room == 10


def test_a_thread_that_is_ended_in_the_middle_of_an_item_reports_it_and_leaves_its_place(
    lane: Callable[..., Lane[Any]], results: Counter[Any]
) -> None:
    def do(item: int, *_: Any) -> Outcome:
        if item < 5:
            raise Ended
        return Outcome(OK)

    one = lane(do)
    for number in range(6):
        assert one.put(number)
        assert one.flush(5.0)
    assert results == {**{(number, "failed"): 1 for number in range(5)}, (5, OK): 1}
    assert one.room == 10
