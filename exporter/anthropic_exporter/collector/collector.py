"""Reads the queue, merges, saves, and shows only what is saved, so that no total falls after a crash."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from anthropic_exporter.collector import gauges, own_metrics
from anthropic_exporter.collector.families import COLLECTOR_FAMILIES
from anthropic_exporter.collector.merge import Fleet, Patience
from anthropic_exporter.collector.own_metrics import Progress
from anthropic_exporter.collector.series import COMPUTED, SHOWN
from anthropic_exporter.collector.state_file import CollectorFolder, SavedState
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.escaping import for_log
from anthropic_exporter.logs import Log
from anthropic_exporter.metrics.cells import Snapshot
from anthropic_exporter.metrics.ledger import Ledger, new_life
from anthropic_exporter.metrics.renderer import Renderer
from anthropic_exporter.transport.cells_message import CellsMessage, decode
from anthropic_exporter.transport.container import UnreadableError
from anthropic_exporter.transport.interface import Received, Transport, TransportError

_log = Log("anthropic_exporter.collect")
_BATCH = 500
_SAVE_EVERY_SECONDS = 1.0
#: Saving takes at most this share of the time.
_SAVE_SHARE = 0.05
#: An ended process never comes back; a host does, even after a long weekend.
_PATIENCE = Patience(86_400.0, 3_600.0, 4 * 86_400.0)
_LOG_EVERY_SECONDS = 60.0
_PAUSE_AFTER_ERROR_SECONDS = 0.5
#: After a longer absence, a reader's messages count as having waited.
_AWAY_SECONDS = 15.0
#: As in the alert AnthropicCollectorLag.
_LONG_LAG_SECONDS = 15.0


class Collector:
    """One stream of publishers as one set of series.

    Args:
        folder: held by this collector, which continues its state.
        open_at: opens the stream at a position.
        source: the kind of queue and the stream, as in `redis/anthropic-cells`; empty if it is not to be checked.
        clock: seconds of a clock that never goes back.
        wall: Unix seconds.

    Raises:
        ConfigurationError: the state is damaged, or of another stream.
    """

    def __init__(
        self,
        folder: CollectorFolder,
        open_at: Callable[[str], Transport],
        *,
        source: str = "",
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._clock, self._wall = folder, clock, wall
        self._ledger = Ledger()
        saved = folder.read() or SavedState(Fleet(*new_life(wall())), "", {})
        self.fleet = saved.fleet
        self.restored_guard: Mapping[str, Any] = saved.guard
        for member in self.fleet.members.values():
            member.heard_at = clock()  # silence is measured from now on, because nothing was received before
        self.lock = threading.Lock()
        self._source = source
        self._position = _position(saved, source, folder)
        self._transport = open_at(self._position)
        self._tokens: list[str] = []
        self.guard_state: Callable[[], dict[str, Any]] = dict
        self._logged: dict[str, float] = {}
        self._said_failing: set[str] = set()
        self.progress = Progress(clock(), wall)
        self._catching_up, self._read_at = True, clock()
        self._save_due = clock()
        self._renderer = Renderer((*SHOWN, *COMPUTED, *COLLECTOR_FAMILIES))
        self._show()

    # -- reading

    def catch_up(self, seconds: float) -> None:
        """Merge waiting messages for up to `seconds`, so that totals shown before a crash are shown again."""
        deadline = self._clock() + seconds
        while self._catching_up and self._clock() < deadline:
            self.step(0.2)
        self.save()

    def step(self, seconds: float) -> None:
        """Read once, waiting up to `seconds`; merge, and save if it is time. Never raises."""
        try:
            received = self._transport.receive(_BATCH, seconds)
        except TransportError as error:
            self._queue_failed(error)
            return
        now = self._clock()
        self.progress.queue_up = True
        self._works_again("queue", "the queue can be read again")
        self._catching_up = self._catching_up or now - self._read_at > _AWAY_SECONDS
        for one in received:
            self._take(one, now)
        self._read_at = now
        if len(received) < _BATCH:
            self._catching_up = False
        if self._tokens and now >= self._save_due:
            self.save()

    def _queue_failed(self, error: TransportError) -> None:
        self.progress.queue_up, self._catching_up = False, True
        self.failed("queue", error)
        threading.Event().wait(_PAUSE_AFTER_ERROR_SECONDS)

    def _take(self, received: Received, now: float) -> None:
        self._tokens.append(received.token)
        self.progress.waiting = True
        try:
            message = decode(received.data)
            with self.lock:
                taken = self.fleet.take(message, now, catching_up=self._catching_up)
        except UnreadableError as error:
            self.progress.results[error.reason] += 1
            return
        except Exception as error:  # noqa: BLE001 - it stays in the queue: it would end every collector that reads on
            self.progress.results["unreadable"] += 1
            self.failed("merge", error)
            return
        self.progress.results["merged" if taken else "refused"] += 1
        self.progress.sent_at(message.sent_at)
        self._check_clock(message, now)

    def _check_clock(self, message: CellsMessage, now: float) -> None:
        """Log the host whose messages are late by its clock, once a minute: the lag gauge does not name it."""
        behind = self._wall() - message.sent_at
        if abs(behind) <= _LONG_LAG_SECONDS or self._catching_up or not self._is_due("lag", now):
            return
        host = f"host {for_log(message.host)!r} of service {for_log(message.service)!r}"
        if behind < 0:
            _log.warning("the clock of %s is %.0f s ahead of this one", host, -behind)
        else:
            _log.warning("a message of %s took %.0f s, or its clock is behind this one", host, behind)

    def _is_due(self, what: str, now: float) -> bool:
        """Whether a minute has passed since this was logged."""
        if now - self._logged.get(what, float("-inf")) < _LOG_EVERY_SECONDS:
            return False
        self._logged[what] = now
        return True

    # -- saving

    def save(self) -> bool:
        """Write totals and position, then acknowledge, then show. Returns whether it worked; if not, it is tried again.

        If the state cannot be written, fresh totals are shown anyway: a stale meter would be worse.
        """
        began = self._clock()
        with self.lock:
            self.fleet.forget(began, _PATIENCE)
        position = self._tokens[-1] if self._tokens else self._position
        try:
            self._folder.write(SavedState(self.fleet, position, self.guard_state(), self._wall(), self._source))
        except Exception as error:  # noqa: BLE001 - whatever cannot be written, the totals are shown
            self.failed("state", error)
        else:
            self._works_again("state", "the state can be written again")
            self._transport.acknowledge(self._tokens)
            self._tokens, self._position = [], position
            self.progress.saved_at, self.progress.waiting = self._clock(), False
        self._show()
        took = self._clock() - began
        self._save_due = began + max(_SAVE_EVERY_SECONDS, took / _SAVE_SHARE)
        return not self.progress.waiting

    def _show(self) -> None:
        with self.lock:
            self._shown = self.fleet.series.totals.copy(), len(self.fleet.series.targets)

    # -- showing

    def render(self, *, openmetrics: bool = False) -> bytes:
        """The exposition of all publishers, and of the collector itself."""
        snapshot = self._snapshot()
        return self._renderer.openmetrics(snapshot) if openmetrics else self._renderer.text(snapshot)

    def _snapshot(self) -> Snapshot:
        now = self._clock()
        with self.lock:
            totals, number = self._shown
            blocks = self.fleet.series.blocks(totals, number)
            found = gauges.merged(self.fleet.series, self.fleet.members.values(), now)
            found |= own_metrics.readings(self.progress, self.fleet, now)
            snapshot = Snapshot(blocks, self.fleet.series.stored, found)
            found |= self._ledger.readings(snapshot, self.fleet.life, self._wall())
        return snapshot

    # -- the error boundary

    def tick(self) -> bool:
        """What the server asks a recorder: whether answers waited to be written. Here none do."""
        return False

    def stop_ticking(self) -> None:
        """As `tick`."""

    def count(self, _family: object, *_labels: str) -> None:
        """Count a limit of the server that was reached."""
        self.progress.errors["serve"] += 1

    def failed(self, stage: str, error: BaseException) -> None:
        """Count a failure, and log it once a minute."""
        self.progress.errors[stage] += 1
        if self._is_due(stage, self._clock()):
            self._said_failing.add(stage)
            _log.warning("failed at stage %s: %s; retrying", stage, _words(error))

    def _works_again(self, stage: str, line: str) -> None:
        """Log the end of a failure that was logged, once."""
        if stage in self._said_failing:
            self._said_failing.remove(stage)
            _log.warning("%s", line)

    def run(self, stopped: threading.Event, tick: Callable[[], None] = lambda: None) -> None:
        """Read until `stopped`, calling `tick` after each read; then save."""
        while not stopped.is_set():
            self.step(0.2)
            tick()
        self.save()

    def close(self) -> None:
        """Hang up, and let a standby have the folder."""
        self._transport.close()
        self._folder.close()


def _position(saved: SavedState, source: str, folder: CollectorFolder) -> str:
    """The position to continue from. Another kind of queue is read from its beginning: merging again adds nothing.

    Raises:
        ConfigurationError: the state is that of another stream; its totals would be mixed with this one's.
    """
    if not (source and saved.source) or saved.source == source:
        return saved.position
    (kind, stream), (_, asked) = (text.split("/", 1) for text in (saved.source, source))
    if stream != asked:
        raise ConfigurationError(
            f"{folder.path}: contains the totals of stream {stream!r}, not of {asked!r}: give another --state"
        )
    _log.warning("the state was read from another kind of queue (%s): reading this one from its beginning", kind)
    return ""


def _words(error: BaseException) -> str:
    """The loggable text of an error: ours contain no secrets; of others the type, and the system's message."""
    if isinstance(error, TransportError):
        return str(error)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else ""
    return f"{type(error).__name__} {reason}".strip()
