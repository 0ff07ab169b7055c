"""Runs functions of the application one after the other in a separate thread, with a time limit and retries.

The application's own threads put items in, and an exception may be raised there at any moment, as Celery's soft time
limit is. So locks here are `threading.Lock` in a `with` statement, which such an exception cannot leave locked;
conditions and events of `threading` take theirs inside of Python functions, between whose instructions it can.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Any, Generic, NamedTuple, TypeVar

from anthropic_exporter import threads
from anthropic_exporter.interruptions import is_interruption

OK, FAILED, TIMEOUT, DROPPED = "ok", "failed", "timeout", "dropped"
#: A function that hangs keeps its thread. With this many hanging, its lane accepts nothing until one returns.
MOST_HANGING = 3
#: How often `flush` looks.
_LOOK_SECONDS = 0.01
#: A ring that an exception prevented is noticed after this time.
_LONGEST_WAIT_SECONDS = 1.0

_Item = TypeVar("_Item")


class Outcome(NamedTuple):
    """The result of one attempt; `retry_after` is in seconds, None after the last one."""

    result: str
    retry_after: float | None = None


class _Job(Generic[_Item]):
    """One item in a lane; `due` is when its next attempt may begin, `attempts` counts those that have begun."""

    __slots__ = ("attempts", "due", "item", "key", "put_at")

    def __init__(self, item: _Item, key: Hashable, now: float) -> None:
        self.item = item
        self.key = key
        self.put_at = self.due = now
        self.attempts = 0


class _Worker(Generic[_Item]):
    """A thread and what it works on; `stale` if it took too long, so that another thread does its work."""

    __slots__ = ("began_at", "job", "stale")

    def __init__(self) -> None:
        self.job: _Job[_Item] | None = None
        self.began_at = 0.0
        self.stale = False


class Lane(Generic[_Item]):
    """Passes items to one function in order, and never waits for it. Its thread ends when nothing is left to do.

    While an item waits for a retry, others may pass it, but not those with the same key. Each attempt and each dropped
    item is reported once, on a thread that holds no lock.

    Args:
        name: of the thread.
        do: gets an item, how many attempts have begun, and the seconds since it was put in. If it raises, it failed.
        ended: gets an item and the result of an attempt: what `do` returned, `timeout` or `dropped`.
        timeout_seconds: how long `do` may take. After that `ended` is called, and the lane continues in another thread.
        most_waiting: items that may wait.
    """

    def __init__(
        self,
        name: str,
        do: Callable[[_Item, int, float], Outcome],
        ended: Callable[[_Item, str], None],
        *,
        timeout_seconds: float,
        most_waiting: int,
    ) -> None:
        self._name = name
        self._do = do
        self._ended = ended
        self.timeout_seconds = timeout_seconds
        self.most_waiting = most_waiting
        self.reset()

    def reset(self) -> None:
        """Start from nothing, as a forked child must: threads stay in the parent."""
        self._lock = threading.Lock()
        self._bell = threads.Bell()
        self._waiting: deque[_Job[_Item]] = deque()
        self._worker: _Worker[_Item] | None = None
        self._hanging = 0
        self._closed = False

    @property
    def room(self) -> int:
        """How many items it accepts now."""
        if self._closed or self._hanging >= MOST_HANGING:
            return 0
        return max(0, self.most_waiting - len(self._waiting))

    @property
    def busy(self) -> bool:
        """Whether an item waits or is worked on."""
        return bool(self._waiting) or self._worker is not None

    @property
    def items(self) -> list[_Item]:
        """What waits or is worked on."""
        with self._lock:
            job = None if self._worker is None else self._worker.job
            return [one.item for one in ([] if job is None else [job]) + list(self._waiting)]

    def put(self, item: _Item, key: Hashable = None) -> bool:
        """Queue an item. False if there is no room."""
        with self._lock:
            if not self.room:
                return False
            self._waiting.append(_Job(item, key, time.monotonic()))
            self._start()
        self._bell.ring()
        return True

    def watch(self) -> None:
        """Replace a thread that takes too long, and start one that could not be started. Call it regularly."""
        with self._lock:
            worker, late = self._worker, None
            if worker is not None and worker.job is not None and self._is_late(worker):
                late, worker.stale, self._worker = worker.job, True, None
                self._hanging += 1
            self._start()
        if late is not None:
            self._report(late.item, TIMEOUT)

    def flush(self, timeout: float) -> bool:
        """Wait until no attempt is due or under way; False if `timeout` seconds are not enough."""
        deadline = time.monotonic() + timeout
        while not self._is_idle():
            self.watch()
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    def hurry(self) -> None:
        """Retry now everything that waits for a retry."""
        with self._lock:
            for job in self._waiting:
                job.due = 0.0
            self._start()
        self._bell.ring()

    def close(self, timeout: float) -> None:
        """Attempt everything that waits once more, for up to `timeout` seconds; the rest is dropped. Idempotent."""
        self.hurry()
        self.flush(timeout)
        with self._lock:
            self._closed = True
            left, self._waiting = self._waiting, deque()
        self._bell.ring()
        for job in left:
            self._report(job.item, DROPPED)

    def _is_idle(self) -> bool:
        with self._lock:
            worker = self._worker
            return (worker is None or worker.job is None) and self._next_due() is None

    def _is_late(self, worker: _Worker[_Item]) -> bool:
        return time.monotonic() - worker.began_at >= self.timeout_seconds

    def _start(self) -> None:
        """Start a thread for what waits. If the system cannot start one, the next call tries again."""
        if self._waiting and self._worker is None:
            worker: _Worker[_Item] = _Worker()
            self._worker = worker
            try:
                started = threads.start(self._work, worker, name=self._name)
            except BaseException:  # it may run nevertheless: it takes its place back, or ends
                self._worker = None
                raise
            if started is None:
                self._worker = None

    def _work(self, worker: _Worker[_Item]) -> None:
        try:
            while not worker.stale and (job := self._next(worker)) is not None:
                self._work_on(job, worker)
        finally:
            self._leave(worker)

    def _work_on(self, job: _Job[_Item], worker: _Worker[_Item]) -> None:
        outcome = self._attempt(job)
        if worker.stale:  # the timeout was reported
            return
        kept = outcome.retry_after is not None and self._put_back(job, outcome.retry_after)
        self._report(job.item, outcome.result)
        if outcome.retry_after is not None and not kept:
            self._report(job.item, DROPPED)
        with self._lock:
            worker.job = None

    def _attempt(self, job: _Job[_Item]) -> Outcome:
        try:
            return self._do(job.item, job.attempts, time.monotonic() - job.put_at)
        except BaseException:  # noqa: BLE001 - whatever was raised into this thread, the item is accounted for
            return Outcome(FAILED)

    def _leave(self, worker: _Worker[_Item]) -> None:
        """End a thread, whatever ended it: it hangs no longer, and another one may take its place."""
        with self._lock:
            self._hanging -= worker.stale
            if self._worker is worker:
                self._worker = None

    def _report(self, item: _Item, result: str) -> None:
        """Report a result. Nothing that this raises ends a thread of the lane, or an evaluation that watches it."""
        try:
            self._ended(item, result)
        except BaseException as error:
            if is_interruption(error):
                raise

    def _put_back(self, job: _Job[_Item], retry_after: float) -> bool:
        with self._lock:
            if not self._closed:
                job.due = time.monotonic() + retry_after
                self._waiting.appendleft(job)
            return not self._closed

    def _next(self, worker: _Worker[_Item]) -> _Job[_Item] | None:
        """Wait for the next item that is due; None if nothing is left to do, or another thread does it."""
        while True:
            with self._lock:
                if self._worker is None and not worker.stale:
                    self._worker = worker
                if self._worker is not worker:
                    return None
                if not self._waiting:
                    self._worker = None  # in the same step: what is put in now gets a thread of its own
                    return None
                job = self._next_due()
                if job is not None:
                    self._waiting.remove(job)
                    job.attempts += 1
                    worker.job, worker.began_at = job, time.monotonic()
                    return job
                pause = min(job.due for job in self._waiting) - time.monotonic()
            self._bell.wait(min(max(0.0, pause), _LONGEST_WAIT_SECONDS))

    def _next_due(self) -> _Job[_Item] | None:
        """The first item that may be attempted now: none with its key waits before it."""
        now, held = time.monotonic(), set()
        for job in self._waiting:
            if job.key in held:
                continue
            if job.due <= now:
                return job
            if job.key is not None:
                held.add(job.key)
        return None


class Lanes:
    """Several lanes, supervised by a thread that runs while they have something to do.

    Args:
        name: of the thread.
        every_seconds: how often it watches.
    """

    def __init__(self, name: str, every_seconds: float = 0.25) -> None:
        self._name = name
        self._every_seconds = every_seconds
        self._lanes: tuple[Lane[Any], ...] = ()
        self._lock = threading.Lock()
        self._closed = False
        self._watching = False

    def add(self, lane: Lane[Any]) -> None:
        """Watch this lane too."""
        with self._lock:
            self._lanes = (*self._lanes, lane)

    def watch(self) -> None:
        """Watch now, and start the thread if it is needed; after each item that was put into a lane."""
        for lane in self._lanes:
            lane.watch()
        with self._lock:
            if not self._watching and any(lane.busy for lane in self._lanes):
                self._watching = threads.start(self._run, name=self._name) is not None

    def flush(self, timeout: float) -> bool:
        """Wait until no attempt is due or under way; False if `timeout` seconds are not enough."""
        deadline = time.monotonic() + timeout
        return all(lane.flush(max(0.0, deadline - time.monotonic())) for lane in self._lanes)

    def close(self, timeout: float) -> None:
        """Close every lane, within `timeout` seconds in all. Idempotent."""
        close_all(self._lanes, timeout)
        self._closed = True

    def _run(self) -> None:
        try:
            while not self._closed:
                time.sleep(self._every_seconds)
                for lane in self._lanes:
                    lane.watch()
                with self._lock:
                    if not any(lane.busy for lane in self._lanes):
                        self._watching = False  # in the same step: what is put in now gets a thread of its own
                        return
        except BaseException:
            self._watching = False
            raise


def close_all(lanes: Iterable[Lane[Any]], timeout: float) -> None:
    """Close lanes at the same time, within `timeout` seconds in all."""
    lanes, deadline = tuple(lanes), time.monotonic() + timeout
    for lane in lanes:
        lane.hurry()
    for lane in lanes:
        lane.close(max(0.0, deadline - time.monotonic()))
