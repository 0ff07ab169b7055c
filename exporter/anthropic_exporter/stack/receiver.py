"""A webhook receiver: the notifications that a pager would get, with the time of arrival."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple

from anthropic_exporter.wire.alertmanager import FIRING, IncomingAlert, parse_webhook

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from typing_extensions import Self


class Notification(NamedTuple):
    """One alert of one notification. Times are seconds since the epoch."""

    alertname: str
    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    fired_at: float
    received_at: float

    @property
    def firing(self) -> bool:
        """Whether the alert fires; else it is resolved."""
        return self.status == FIRING


class Receiver:
    """Listens on a free loopback port until closed; a context manager.

    Notifications to `/alerts` are kept in order; those to `/heartbeat` are only counted.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._notifications: list[Notification] = []
        self._heartbeats = 0
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.receiver = self
        self.address = f"127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.1,), name="webhook", daemon=True)
        self._thread.start()

    @property
    def notifications(self) -> list[Notification]:
        """All notifications so far, oldest first."""
        with self._changed:
            return list(self._notifications)

    @property
    def heartbeats(self) -> int:
        """Number of heartbeats received."""
        with self._changed:
            return self._heartbeats

    def wait_for(self, wanted: Callable[[Notification], bool], timeout: float) -> Notification | None:
        """The first notification that `wanted` accepts, or None after `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(lambda: any(map(wanted, self._notifications)), timeout)
            return next(filter(wanted, self._notifications), None)

    def wait_for_heartbeat(self, timeout: float) -> bool:
        """Whether a heartbeat arrived within `timeout` seconds, which proves the whole path."""
        with self._changed:
            return self._changed.wait_for(lambda: self._heartbeats > 0, timeout)

    def take(self, path: str, body: bytes, now: float) -> None:
        """Keep what Alertmanager sent to `path`.

        Raises:
            ValueError: the body is not what Alertmanager sends.
        """
        with self._changed:
            if path == "/heartbeat":
                self._heartbeats += 1
            else:
                self._notifications += [_notification(alert, now) for alert in parse_webhook(body)]
            self._changed.notify_all()

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()


def _notification(alert: IncomingAlert, now: float) -> Notification:
    fired_at = alert.started_seconds or 0.0
    return Notification(alert.name, alert.status, alert.labels, alert.annotations, fired_at, now)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    receiver: Receiver


class _Handler(BaseHTTPRequestHandler):
    server: _Http

    def do_POST(self) -> None:
        now = time.time()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.receiver.take(self.path, body, now)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing: the terminal belongs to the demo."""
