"""Measures how long an alert takes to arrive: from the onset of its incident, and from its firing."""

from __future__ import annotations

from collections.abc import Callable

from anthropic_exporter.history.series import WITH_ONSET
from anthropic_exporter.metrics import families as f
from anthropic_exporter.recorder import Recorder
from anthropic_exporter.wire.alertmanager import FIRING, SEVERITIES, IncomingAlert

#: Firings whose repeats are known; the oldest is forgotten first.
_MOST_FIRINGS = 10_000
#: An onset longer ago is that of another incident.
_LONGEST_SECONDS = 86_400.0


class Delays:
    """Writes the first delivery of each firing into two histograms.

    A firing that began before this object did may be a repeat, so it is not measured.

    Args:
        recorder: the recorder whose page shows the histograms.
        clock: seconds since the epoch.
    """

    def __init__(self, recorder: Recorder, clock: Callable[[], float]) -> None:
        self._recorder = recorder
        self._clock = clock
        self._since = clock()
        self._measured: dict[tuple[str, str], None] = {}
        for alert in WITH_ONSET:
            recorder.begin_at_zero(f.DETECTION, alert)
        for severity in SEVERITIES:
            recorder.begin_at_zero(f.DELIVERY, severity)

    def measure(self, alert: IncomingAlert) -> None:
        """Measure an alert that was delivered just now, unless it is a repeat."""
        fired = alert.started_seconds
        if alert.status != FIRING or fired is None or fired < self._since or alert.key in self._measured:
            return
        self._remember(alert.key)
        now = self._clock()
        self._recorder.observe(f.DELIVERY, max(0.0, now - fired), alert.severity)
        began = alert.began_seconds
        if began is not None and 0.0 <= now - began <= _LONGEST_SECONDS:
            self._recorder.observe(f.DETECTION, now - began, alert.name)

    def _remember(self, key: tuple[str, str]) -> None:
        self._measured[key] = None
        if len(self._measured) > _MOST_FIRINGS:
            del self._measured[next(iter(self._measured))]
