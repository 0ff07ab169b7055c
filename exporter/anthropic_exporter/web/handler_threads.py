"""The few threads that run handlers: started when needed, ended when idle, never more than a fixed number."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from anthropic_exporter import threads

_IDLE_SECONDS = 10.0

Job = Callable[[], None]


class HandlerThreads:
    """Runs jobs in order on at most `most` daemon threads. Jobs must not raise.

    Args:
        most: threads.
        refused: called when the system has no thread to give.
    """

    def __init__(self, most: int, refused: Callable[[], None]) -> None:
        self._most = most
        self._refused = refused
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._threads = self._idle = 0
        self._closed = False

    def run(self, job: Job) -> None:
        """Run a job soon. Where no thread can be started and none runs, the caller's thread runs it now."""
        with self._changed:
            self._jobs.append(job)
            self._changed.notify()
            wanted = len(self._jobs) > self._idle and self._threads < self._most
            self._threads += wanted
        if wanted and not self._started():
            self._refused()
            if not self._threads:
                self._run_all()

    def close(self) -> None:
        """End idle threads now and the others after their job. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _started(self) -> bool:
        if threads.start(self._work, name="anthropic-exporter-handler") is not None:
            return True
        with self._changed:  # a limit of processes, or no memory
            self._threads -= 1
        return False

    def _run_all(self) -> None:
        while self._jobs:
            self._jobs.popleft()()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job()

    def _next(self) -> Job | None:
        """The next job; None when the thread is to end."""
        with self._changed:
            self._idle += 1
            found = self._changed.wait_for(lambda: self._jobs or self._closed, _IDLE_SECONDS) and self._jobs
            self._idle -= 1
            if not found:
                self._threads -= 1
                return None
            return self._jobs.popleft()
