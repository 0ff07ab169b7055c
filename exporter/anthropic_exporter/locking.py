"""A lock that no exception can leave locked.

A signal handler, Celery's soft time limit, Ctrl-C or another thread may raise at any instruction: also between
acquiring a lock and the `try` that would release it, or inside of its `finally`. `threading.Lock` is then locked for
good.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import FrameType

_FIRST_PAUSE_SECONDS = 0.0005
_LONGEST_PAUSE_SECONDS = 0.01
#: Who waits longer than some pauses keeps others from taking the lock, because threads that record without a pause
#: would never leave it free. Not before: what they record meanwhile is written later, and would be lost in a kill.
_PATIENT_PAUSE_SECONDS = 0.002


class SafeLock:
    """A lock that is held by the frame of a running function, and free as soon as that function has ended.

    The holder releases it in a `finally`. If an exception prevents that, the next caller sees that the holder's frame
    has ended, and takes the lock over. Every step is one operation of a dict, which nothing can interrupt.

    Pass `sys._getframe()` as `frame` to each method, and do not keep it in a variable: it would refer to itself.
    """

    __slots__ = ("_heirs", "_holder", "_wanted_until")

    def __init__(self) -> None:
        self._holder: dict[str, FrameType] = {}
        self._heirs: dict[FrameType, FrameType] = {}  # by holder that had ended: who took over from it
        self._wanted_until = 0.0

    @property
    def is_held(self) -> bool:
        """Whether it is held, or its holder ended without a release."""
        return bool(self._holder)

    def acquire(self, frame: FrameType) -> bool:
        """Take the lock if it is free; never waits."""
        holder = self._holder.setdefault("", frame)
        return holder is frame or self._inherit(holder, frame)

    def acquire_unless_wanted(self, frame: FrameType) -> bool:
        """Take the lock if it is free and no caller of `wait` wants it; never waits."""
        if self._wanted_until and time.monotonic() < self._wanted_until:
            return False
        holder = self._holder.setdefault("", frame)
        return holder is frame or self._inherit(holder, frame)

    def wait(self, frame: FrameType, seconds: float) -> bool:
        """Take the lock, waiting up to `seconds`; not at all if the caller's own thread holds it."""
        if self.acquire(frame):
            return True
        if self._is_held_by_a_caller(frame):
            return False
        pause, deadline = _FIRST_PAUSE_SECONDS, time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                if pause > _PATIENT_PAUSE_SECONDS:
                    self._wanted_until = deadline
                time.sleep(pause)
                if self.acquire(frame):
                    return True
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
            return False
        finally:
            self._wanted_until = 0.0

    def release(self, frame: FrameType) -> None:
        """Release the lock, if this frame holds it."""
        if self._holder.get("") is frame:
            del self._holder[""]

    def _inherit(self, holder: FrameType, frame: FrameType) -> bool:
        """Take over from a holder that ended without a release. If several threads notice, `setdefault` chooses one.

        A holder that has ended may have released the lock before, and another thread may hold it now: it may be taken
        only while it still names a holder that has ended. An heir may also end before it takes the lock.
        """
        ended: list[FrameType] = []
        while holder is not frame:
            if not _has_ended(holder):
                return False
            ended.append(holder)
            current = self._holder.setdefault("", frame)
            if current is frame:
                return True
            if any(current is one for one in ended):
                holder = self._heirs.setdefault(holder, frame)
            else:
                holder = current
                ended.clear()
        self._holder[""] = frame
        return True

    def _is_held_by_a_caller(self, frame: FrameType) -> bool:
        """Whether a signal handler or a finalizer asks, in the middle of the function that holds the lock."""
        holder, caller = self._holder.get(""), frame.f_back
        while caller is not None and caller is not holder:
            caller = caller.f_back
        return caller is not None


def _has_ended(frame: FrameType) -> bool:
    """Whether the function of a frame has returned or raised: only then its variables may be cleared."""
    try:
        frame.clear()
    except RuntimeError:
        return False
    return True


#: The frame of the caller.
this_frame: Callable[[], FrameType] = sys._getframe  # noqa: SLF001 - documented, in every CPython
