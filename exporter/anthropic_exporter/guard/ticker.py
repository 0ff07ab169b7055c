"""The Guard's thread: evaluates everything at an interval."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from anthropic_exporter import threads

#: Evaluate less often if evaluation is expensive: it takes at most this share of a core.
_MOST_OF_A_CORE = 0.1
#: The stage under which a thread that cannot start is counted.
_NO_THREAD = "guard_thread"


class Ticker:
    """Calls `tick` at an interval, in a separate thread.

    A forked child has no thread until `start` is called there, as its first call does.

    Args:
        tick: what to call.
        every_seconds: the interval; None for no thread.
        failed: takes the stage and the error: what `tick` raised, or that no thread could be started.

    Attributes:
        waiting: whether the thread has yet to be started.
        stopped: whether `stop` was called.
    """

    def __init__(
        self, tick: Callable[[], None], every_seconds: float | None, failed: Callable[[str, BaseException], None]
    ) -> None:
        self._tick = tick
        self._every_seconds = every_seconds
        self._failed = failed
        self.reset()

    def reset(self) -> None:
        """Forget the thread, as a forked child must: threads stay in the parent."""
        self._lock = threading.Lock()
        self.stopped = False
        self._wanted = threads.Bell()
        self.thread: threading.Thread | None = None
        self.waiting = self._every_seconds is not None

    def start(self) -> None:
        """Start the thread, unless it runs. If it cannot start, that is counted, and the next call tries again."""
        if self._every_seconds is None or not self._lock.acquire(blocking=False):
            return
        try:
            if not self.waiting:
                return
            self.thread = threads.start(self.run, self._every_seconds, name="anthropic-guard")
            self.waiting = self.thread is None
        finally:
            self._lock.release()
        if self.waiting:
            self._failed(_NO_THREAD, RuntimeError("the system cannot start a thread"))

    def run(self, every_seconds: float) -> None:
        """Call `tick` until stopped."""
        pause = every_seconds
        while not self._wait(pause):
            began = time.thread_time()
            try:
                self._tick()
            except BaseException as error:  # noqa: BLE001 - the error boundary of this thread
                self._failed("guard", error)
            pause = max(every_seconds, (time.thread_time() - began) / _MOST_OF_A_CORE)

    def _wait(self, pause: float) -> bool:
        """Wait until the interval has passed or `wake` is called. Returns whether it was stopped."""
        self._wanted.wait(pause)
        return self.stopped

    def wake(self) -> None:
        """Call `tick` now, on the thread."""
        self._wanted.ring()

    def stop(self) -> None:
        """Stop calling. Idempotent."""
        self.stopped = True
        self._wanted.ring()
        self.waiting = False
