"""What the live page costs the process: a call that it notes, and an answer to a tab that asks once a second.

    .venv/bin/python -m bench.guard.guard_live

CPU time of this process, the quickest of some rounds; 15 minutes of history on a clock of its own.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable
from typing import NamedTuple

from anthropic_exporter import Call, Inference, Recorder, Tokens
from anthropic_exporter.live.feeds import CallFeed
from anthropic_exporter.live.state import PageState

MODEL = "claude-opus-5-5"
SHAPES = ((1, 1), (10, 20), (100, 200))


class Clock:
    now = 1_795_262_400.0

    def __call__(self) -> float:
        return self.now


def best(function: Callable[[], object], rounds: int, per_round: int = 1) -> float:
    """Microseconds of CPU a call, of the quickest round."""
    found = []
    for _ in range(rounds):
        began = time.thread_time()
        for _ in range(per_round):
            function()
        found.append((time.thread_time() - began) / per_round * 1e6)
    return min(found)


def filled(clock: Clock, features: int, users: int) -> tuple[PageState, Callable[[], None]]:
    """A page that saw every feature and user spend for 15 minutes, and a function that brings one more call."""
    recorder = Recorder(registry=None, clock=clock)
    seen: list[Call] = []
    recorder.subscribe(seen.append)
    inferences = (Inference(MODEL, Tokens(input=100, cache_read=2000, output=300)),)
    one = Call(MODEL, inferences=inferences, started_at=clock.now, duration_seconds=1.5, cache_asked=True)
    for number in range(max(features, users)):
        recorder.record(one._replace(feature=f"feature-{number % features}", user=f"user-{number % users}"))
    feed = CallFeed(recorder, clock=clock, wall=clock)
    state = PageState(feed, clock=clock, wall=clock)
    for _ in range(192):
        for call in seen:
            feed.add(call)
        clock.now += 5
        state.read(1)
    calls = itertools.cycle(seen)
    return state, lambda: feed.add(next(calls))


class Cost(NamedTuple):
    """Microseconds of CPU of a call and of an answer, and bytes: `first` where a tab knows nothing yet."""

    call: float
    poll: float
    poll_bytes: int
    first: float
    first_bytes: int


def measured(features: int, users: int) -> Cost:
    """All names spend within each second; the middle one of 30 answers."""
    clock = Clock()
    state, add = filled(clock, features, users)
    call, answers = best(add, 50, 200), []
    sizes: list[int] = []

    def note(since: int) -> None:
        sizes.append(len(state.read(since)))

    for _ in range(30):
        for _ in range(max(features, users)):
            add()
        clock.now += 1
        since = state._next - 1  # noqa: SLF001 - what the page remembers
        answers.append(best(functools.partial(note, since), 1))
    return Cost(call, sorted(answers)[15], max(sizes), best(state.read, 5), len(state.read()))


def main() -> None:
    print("features  users     a call     a poll  of a core   bytes  first poll   bytes")
    for features, users in SHAPES:
        cost = measured(features, users)
        print(
            f"{features:8} {users:6} {cost.call:7.2f} us {cost.poll / 1000:7.2f} ms {cost.poll / 1e6:10.2%}"
            f" {cost.poll_bytes:7} {cost.first / 1000:8.2f} ms {cost.first_bytes:7}"
        )


if __name__ == "__main__":
    main()
