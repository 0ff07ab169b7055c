"""The functions that get every written call."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from anthropic_exporter.call import Call
from anthropic_exporter.locking import SafeLock, this_frame

#: The most calls that wait for sinks.
MOST_CALLS = 10_000
#: How long one call or one scrape passes calls on; a slow sink does not hold up its caller for longer.
_SECONDS = 0.05

Sink = Callable[[Call], None]


class Sinks:
    """Passes calls to the functions that subscribed, one call at a time, with no lock of the intake held.

    Args:
        failed: takes what a sink raised.

    Attributes:
        all: who gets calls.
        at_once: those of them that want a call as soon as it ended.
        waiting: calls to be passed on, the oldest first.
    """

    def __init__(self, failed: Callable[[str, BaseException], None]) -> None:
        self.all: tuple[Sink, ...] = ()
        self.at_once: tuple[Sink, ...] = ()
        self._failed = failed
        self.reset()

    def reset(self) -> None:
        """Forget what waits: at construction, and in a forked child."""
        self.waiting: deque[Call] = deque(maxlen=MOST_CALLS)
        self._lock = SafeLock()

    def add(self, sink: Sink, *, may_wait: bool) -> None:
        """Pass calls to `sink` from now on."""
        self.all = (*self.all, sink)
        if not may_wait:
            self.at_once = (*self.at_once, sink)

    def remove(self, sink: Sink) -> None:
        """Pass no more calls to `sink`."""
        self.all = tuple(one for one in self.all if one is not sink)
        self.at_once = tuple(one for one in self.at_once if one is not sink)

    def pass_on(self) -> None:
        """Pass on what waits, unless another thread is doing so, or this one further up its stack."""
        until = time.monotonic() + _SECONDS
        try:
            if self._lock.acquire(this_frame()):
                for _ in range(len(self.waiting)):
                    self._pass_on_one(self.waiting.popleft(), self.all)
                    if time.monotonic() > until:
                        break
        finally:
            self._lock.release(this_frame())

    def _pass_on_one(self, call: Call, sinks: tuple[Sink, ...]) -> None:
        """Pass a call on. One that is interrupted, or ends the thread, takes the call from no other sink."""
        for number, sink in enumerate(sinks, start=1):
            try:
                sink(call)
            except BaseException as error:  # noqa: BLE001 - the error boundary
                try:
                    self._failed("sink", error)
                except BaseException:
                    self._pass_on_one(call, sinks[number:])
                    raise
