"""Obeys the conditions that a collector sees for the whole fleet; without messages from it, nothing is stopped."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING

from anthropic_exporter import threads
from anthropic_exporter.guard.anomalies import CONDITIONS, DAILY, Identity, Measure
from anthropic_exporter.guard.breaker import Held
from anthropic_exporter.logs import Log
from anthropic_exporter.metrics import families as f
from anthropic_exporter.transport import breakers_message
from anthropic_exporter.transport.address import Address
from anthropic_exporter.transport.breakers_message import BreakersMessage
from anthropic_exporter.transport.interface import NEWEST, Transport, TransportError
from anthropic_exporter.transport.opening import open_transport

if TYPE_CHECKING:
    from anthropic_exporter.recorder import Recorder

_log = Log("anthropic_exporter.guard")
_WAIT_SECONDS = 1.0
_PAUSE_AFTER_ERROR_SECONDS = 0.5
#: A queue that lost its newest messages, or a log that is read again, brings messages that were heard before.
_REMEMBERED = 1_000
_NOTE = "Measured by the collector, for the whole fleet."


class Following:
    """Reads what collectors publish, in a daemon thread.

    Args:
        address: the queue.
        recorder: counts periods without a message.
        obey: gets every condition that holds, whenever something was heard or a message expired, and the conditions
            whose breakers close at once.
    """

    def __init__(
        self, address: Address, recorder: Recorder, obey: Callable[[Held, AbstractSet[Identity]], None]
    ) -> None:
        self._address, self._recorder, self._obey = address, recorder, obey
        self.start()

    def start(self) -> None:
        """Begin to read: at construction, and in a forked child."""
        self._stopped = threading.Event()
        self._transport: Transport = open_transport(self._address, self._address.breakers, start=NEWEST)
        #: By collector: its last message, and until when it is valid.
        self._heard: dict[str, tuple[float, BreakersMessage]] = {}
        self._seen: dict[tuple[str, float], None] = {}
        self._told: Held = {}
        self._any = False
        self._failed_open = False
        self._silent_from = time.monotonic() + breakers_message.EXPIRES_SECONDS
        if not threads.start_eventually(self._run, self._stopped, name="anthropic-guard-follow"):
            self._recorder.count(f.RECORD_ERRORS, "threads")

    def _run(self, stopped: threading.Event) -> None:
        while not stopped.is_set():
            try:
                self.step(_WAIT_SECONDS)
            except BaseException as error:  # noqa: BLE001 - the error boundary of this thread
                with contextlib.suppress(BaseException):  # a strict recorder raises it; it is counted
                    self._recorder.failed("guard_follow", error)
                stopped.wait(_PAUSE_AFTER_ERROR_SECONDS)

    def step(self, seconds: float) -> None:
        """Read once, and obey."""
        try:
            received = self._transport.receive(100, seconds)
        except TransportError:
            received = []  # only silence matters
            self._stopped.wait(_PAUSE_AFTER_ERROR_SECONDS)
        now = time.monotonic()
        found = [breakers_message.decode(one.data) for one in received]
        heard = [self._hear(message, now) for message in found if message is not None]
        if any(heard):
            self._tell(lambda identity: identity[0] in DAILY)
        self._expire(now)

    def _hear(self, message: BreakersMessage, now: float) -> bool:
        """Keep a message. The first one may be old, from a collector that no longer runs; a repeated one is ignored."""
        if self._was_seen(message):
            return False
        age = 0.0 if self._any else abs(time.time() - message.sent_at)
        self._any = True
        if age > message.expires_seconds:
            return False
        self._heard[message.collector] = (now + message.expires_seconds, message)
        self._silent_from = now + message.expires_seconds
        self._recorder.set(f.GUARD_FLEET_FOLLOWED, 1.0)
        if self._failed_open:
            self._failed_open = False
            _log.warning("the collector publishes again; its breakers apply again")
        return True

    def _was_seen(self, message: BreakersMessage) -> bool:
        key = message.collector, message.sent_at
        if key in self._seen:
            return True
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            del self._seen[next(iter(self._seen))]
        return False

    def _expire(self, now: float) -> None:
        expired = [collector for collector, (until, _) in self._heard.items() if now >= until]
        for collector in expired:
            del self._heard[collector]
        if expired:
            self._tell(lambda _: True)
        if now >= self._silent_from and not self._failed_open:
            self._failed_open = True
            self._recorder.set(f.GUARD_FLEET_FOLLOWED, 0.0)
            self._recorder.count(f.GUARD_FAILED_OPEN)
            _log.warning(
                "nothing received from a collector for 60 s: its breakers are ignored until it publishes again"
            )

    def _tell(self, ends_at_once: Callable[[Identity], bool]) -> None:
        """Pass on what holds. A breaker of a pace stays open for its own time, then probes; budgets end at once."""
        holding = self._holding()
        over = {one for one in self._told if one not in holding and ends_at_once(one)}
        self._told = holding
        self._obey(holding, over)

    def _holding(self) -> Held:
        """The conditions that any collector sees and this version knows."""
        measures = (
            Measure(CONDITIONS[one.condition], one.scope, one.feature, one.model, one.value, one.threshold, _NOTE)
            for _, message in self._heard.values()
            for one in message.holding
            if one.condition in CONDITIONS
        )
        return {one.identity: one for one in measures}

    def close(self) -> None:
        """Stop reading. Idempotent."""
        self._stopped.set()
        self._transport.close()
