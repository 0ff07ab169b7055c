"""Publishes the conditions of the fleet's Guard to every following process: on change, and once a second."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable

from anthropic_exporter.collector.own_metrics import Progress
from anthropic_exporter.collector.watch import FleetWatch
from anthropic_exporter.errors import AnthropicExporterError
from anthropic_exporter.guard.notifications.alerts import FIRING
from anthropic_exporter.logs import Log
from anthropic_exporter.transport import breakers_message
from anthropic_exporter.transport.breakers_message import BreakersMessage, Holding
from anthropic_exporter.transport.interface import Transport, TransportError

_log = Log("anthropic_exporter.collect")
_EVALUATE_EVERY_SECONDS = 0.25
PERIOD_SECONDS = 1.0
#: Followers read the newest message; the others help people who inspect the queue.
MOST_MESSAGES = 100


class TooManyConditionsError(AnthropicExporterError):
    """Some conditions are not published; those of the widest scope are."""


class BreakersPublisher:
    """Evaluates the fleet and publishes.

    Args:
        watch: the fleet's Guard.
        lock: of the collector's totals.
        transport: the stream of breakers.
        collector: names this collector in its messages.
        progress: shows the conditions that hold.
        failed: counts failures.
        clock: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        *,
        watch: FleetWatch,
        lock: threading.Lock,
        transport: Transport,
        collector: str,
        progress: Progress,
        failed: Callable[[str, BaseException], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch, self._lock, self._transport = watch, lock, transport
        self._collector, self._progress, self._failed, self._clock = collector, progress, failed, clock
        self._evaluate_at = self._publish_at = clock()
        self._published: list[tuple[str, ...]] = []

    def tick(self) -> None:
        """Evaluate and publish, if it is time. Never raises."""
        now = self._clock()
        if now < self._evaluate_at:
            return
        self._evaluate_at = now + _EVALUATE_EVERY_SECONDS
        self.evaluate()
        holding = self._watch.holding
        what = sorted((one.condition, one.scope, one.feature, one.model) for one in holding)
        if what != self._published or now >= self._publish_at:
            self._publish_at = now + PERIOD_SECONDS
            if self._publish(holding):
                self._published = list(what)

    def evaluate(self) -> None:
        """Take what grew, and log what began or ended."""
        with self._lock:
            news = self._watch.evaluate()
        for alert in news:
            word = "holds" if alert.status == FIRING else "is over"
            _log.warning("fleet: %s %s: %s", alert.condition, word, alert.description)
        self._progress.holding = Counter(one.condition for one in self._watch.holding)

    def _publish(self, holding: list[Holding]) -> bool:
        message = BreakersMessage(self._collector, time.time(), tuple(holding))
        if len(breakers_message.fitting(holding)) < len(holding):
            self._failed("breakers", TooManyConditionsError(f"{len(holding)} conditions do not fit into a message"))
        try:
            self._transport.send([breakers_message.encode(message)])
        except TransportError as error:
            self._failed("breakers", error)
            return False
        return True

    def close(self) -> None:
        """Disconnect without a message: a collector that restarts continues while the last message is valid."""
        self._transport.close()
