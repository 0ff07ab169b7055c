"""What was recorded waits here until it is written, many entries at a time.

An exception may interrupt any thread at any instruction here. Entries are written in batches: the next thread that
writes undoes an interrupted batch and writes it again, so that nothing is lost or counted twice.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from anthropic_exporter.call import Call
from anthropic_exporter.interruptions import is_interruption
from anthropic_exporter.locking import SafeLock, this_frame
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.writer import Before, Metrics
from anthropic_exporter.recording.faults import Faults
from anthropic_exporter.recording.sinks import MOST_CALLS, Sinks

#: A call writes at most this many waiting entries, including its own; the next call or scrape writes the rest.
_PORTION = 64
_ROUNDS = 4
#: How long a thread waits for the one that writes.
PATIENCE_SECONDS = 1.0
#: Threads that record without a pause append faster than one thread writes: beyond this they wait for the writer.
_MOST_WAITING = 5_000
_PAUSE_SECONDS = 0.001

#: An entry that waits to be written: a function and its arguments.
Entry = Sequence[Any]


class Batch:
    """Entries that are written together, and what is needed to undo them."""

    __slots__ = ("before", "entries", "for_sinks", "is_written")

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.before: Before = {}
        self.for_sinks: deque[Call] | tuple[()] = ()
        self.is_written = False


class Waiting:
    """Entries that wait, and the lock of the thread that writes them.

    Args:
        metrics: where entries write; an interrupted batch is undone there.
        faults: counts an entry that cannot be written.
        sinks: get the calls that entries passed on.

    Attributes:
        pending: the entries, the oldest first. Any thread may append to it, a finalizer too.
        lock: held while entries are written, and by whoever else reads or replaces the cells.
        batch: the batch that is written next; another one as soon as something was written.
    """

    __slots__ = ("_faults", "_metrics", "_next", "_sinks", "batch", "lock", "pending")

    def __init__(self, metrics: Metrics, faults: Faults, sinks: Sinks) -> None:
        self._metrics, self._faults, self._sinks = metrics, faults, sinks
        self.lock = SafeLock()
        self.pending: deque[Entry] = deque()
        self._next: Iterator[Entry] = iter(self.pending.popleft, None)
        self.batch = Batch()

    def drain(self) -> None:
        """Write what waits, unless another thread does; then that thread, the next call or a scrape writes it."""
        rounds = 0
        while self.pending and rounds < _ROUNDS:
            try:
                if not self.lock.acquire_unless_wanted(this_frame()):
                    break
                self.write(_PORTION)
            finally:
                self.lock.release(this_frame())
            rounds += 1
        if not rounds and len(self.pending) > _MOST_WAITING:
            time.sleep(_PAUSE_SECONDS)
        if self._sinks.waiting:
            self._sinks.pass_on()
        if self._faults.lines:
            self._faults.log()

    def write_all(self) -> None:
        """Write all that waits now, before something changes that it must not see."""
        try:
            if self.pending and self.lock.wait(this_frame(), PATIENCE_SECONDS):
                self.write(len(self.pending))
        finally:
            self.lock.release(this_frame())

    def write(self, most: int, *more: Callable[[], None]) -> None:
        """Write at most `most` entries, and those of a batch that was interrupted. Called with the lock held."""
        if self.batch.is_written:
            self._finish(self.batch)
        batch = self.batch
        self._metrics.before = batch.before
        if batch.before or batch.for_sinks:  # it was interrupted: undo what it has written
            self._metrics.undo_batch()
            batch.before.clear()
            batch.for_sinks = ()
        entries = batch.entries
        # One step moves them from one to the other.
        entries.extend(islice(self._next, min(most, len(self.pending))))
        raised = None
        for entry in [*entries, *((one,) for one in more)] if more else entries:
            try:
                entry[0](*entry[1:])
            except Exception as error:
                if is_interruption(error):
                    raise
                raised = error
                if entry[1:2] != (f.RECORD_ERRORS,):  # counting a failure is where failures end
                    self._faults.note("record", error)
        batch.is_written = True
        self._finish(batch)
        if raised is not None and self._faults.strict:
            raise raised

    def pass_on(self, call: Call) -> None:
        """Pass a call that an entry wrote to the sinks: they get it when its batch is written."""
        batch = self.batch
        if not isinstance(batch.for_sinks, deque):
            batch.for_sinks = deque()
        batch.for_sinks.append(call)

    def _finish(self, batch: Batch) -> None:
        """Pass a written batch on to the sinks, and start the next. Idempotent."""
        for_sinks = batch.for_sinks
        if isinstance(for_sinks, deque):
            beyond = len(self._sinks.waiting) + len(for_sinks) - MOST_CALLS
            for _ in range(beyond):
                self.pending.append((self._metrics.count_event, f.SINK_DROPPED, ()))
            self._sinks.waiting.extend(islice(iter(for_sinks.popleft, None), len(for_sinks)))
        self.batch = Batch()
