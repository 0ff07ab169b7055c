"""Counts the alerts that Alertmanager sends to the standalone exporter, measures their delay, and logs each."""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus

from anthropic_exporter.escaping import for_log
from anthropic_exporter.logs import Log
from anthropic_exporter.metrics import families as f
from anthropic_exporter.recorder import Recorder
from anthropic_exporter.standalone.delays import Delays
from anthropic_exporter.web.routes import TEXT, Answer, Request, Route, refusal
from anthropic_exporter.wire.alertmanager import IncomingAlert, parse_webhook

_log = Log("anthropic_exporter")
#: Alertmanager sends a whole group at once; with the shipped annotations an alert takes about 1.5 kB.
MOST_BYTES = 1_048_576
_SHOWN_LABELS = ("feature", "model", "job", "instance")
_LONGEST_SHOWN = 80


def routes(recorder: Recorder, clock: Callable[[], float] = time.time) -> tuple[Route, ...]:
    """`/alerts` for notifications and `/heartbeat` for the watchdog, to give to `serve(recorder, routes=...)`."""
    delays = Delays(recorder, clock)

    def alerts(request: Request) -> Answer:
        try:
            found = parse_webhook(request.body)
        except ValueError:
            return refusal(HTTPStatus.BAD_REQUEST, "the body is not what Alertmanager's webhook sends")
        for alert in found:
            recorder.count(f.NOTIFICATIONS, alert.severity, alert.status, alert.name)
            delays.measure(alert)
            _log.info("%s", line(alert))
        return Answer(HTTPStatus.OK, TEXT, b"ok\n")

    def heartbeat(_request: Request) -> Answer:
        recorder.set(f.LAST_HEARTBEAT, clock())
        return Answer(HTTPStatus.OK, TEXT, b"ok\n")

    return (
        Route("/alerts", alerts, method="POST", max_body_bytes=MOST_BYTES),
        Route("/heartbeat", heartbeat, method="POST", max_body_bytes=MOST_BYTES),
    )


def line(alert: IncomingAlert) -> str:
    """One line for the log, without annotations; each word is escaped and cut."""
    labels = (f"{name}={alert.labels[name]}" for name in _SHOWN_LABELS if alert.labels.get(name))
    words = (alert.status, alert.severity, alert.name, *labels)
    return " ".join(for_log(word, _LONGEST_SHOWN) for word in words)
