"""Sends the changed cells of a recorder to a queue once a second, from a thread that never disturbs the application."""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # noqa: F401 - client libraries need it, and a process that ends cannot import it
import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from anthropic_exporter import threads
from anthropic_exporter.__about__ import __version__
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.forking import in_child
from anthropic_exporter.host import sent_alone
from anthropic_exporter.host.identity import boot_id
from anthropic_exporter.logs import Log
from anthropic_exporter.metrics import families as f
from anthropic_exporter.publisher.cells import CellFinder, OutgoingCells
from anthropic_exporter.publisher.changes import Changes, Origin
from anthropic_exporter.recorder import Recorder
from anthropic_exporter.transport.address import Address, parse
from anthropic_exporter.transport.cells_message import encode
from anthropic_exporter.transport.interface import Transport, TransportError
from anthropic_exporter.transport.opening import open_transport

if TYPE_CHECKING:
    from typing_extensions import Self

    from anthropic_exporter.transport.cells_message import CellsMessage

_log = Log("anthropic_exporter.publish")
PERIOD_SECONDS = 1.0
FULL_EVERY_SECONDS = 60.0
#: A queue that failed may have lost what it had accepted; hosts that were cut off together do not send at one moment.
FULL_AFTER_FAILURE_SECONDS = 10.0
CLOSE_SECONDS = 5.0
_LOG_EVERY_SECONDS = 60.0
_LEAST_PERIOD_SECONDS = 0.05
_LONGEST_NAME = 128
_SENT, _FULL = "sent", "full"


class _Result(NamedTuple):
    """Whether the queue accepted messages: `sent`, or the reason of a `TransportError` and its text for the log."""

    reason: str
    text: str = ""


class Publisher:
    """Sends one recorder's cells. Created by `publish`; close it, or use it as a context manager.

    If the processes of a service count together, one of them sends the cells of all; when it ends, another one does.

    Attributes:
        identity: the collector's name for the owner of the cells; empty before the first message.
    """

    def __init__(self, recorder: Recorder, address: Address, service: str, host: str, period_seconds: float) -> None:
        self._recorder = recorder
        self._address = address
        self._service, self._host = service, host
        self._period_seconds = period_seconds
        self._closed = False
        self._start()
        self._source.share()
        in_child(self._forked)
        atexit.register(self.close)

    def _start(self) -> None:
        """Begin to send: at construction, and in a forked child."""
        self.identity = ""
        self._source = CellFinder(self._recorder, f"{self._address.shown} {self._address.stream} {self._service}")
        self._changes: Changes | None = None
        self._series: object = None
        self._transport: Transport = open_transport(
            self._address, self._address.stream_of(self._address.shard_of(self._host))
        )
        self._stopped = threading.Event()
        self._sending = threading.Lock()
        self._full_at = 0.0
        self._said_final = False
        self._failing = self._said_failing = False
        self._logged_at = float("-inf")
        if not threads.start_eventually(self._run, name="anthropic-publish"):
            self._recorder.count(f.RECORD_ERRORS, "threads")

    def _run(self) -> None:
        while not self._stopped.wait(self._period_seconds):
            try:
                self.flush()
            except BaseException as error:  # noqa: BLE001 - the error boundary
                self._failed(error)

    def flush(self, *, final: bool = False) -> bool:
        """Send changes now. Returns whether the queue accepted them; a failure is counted, never raised.

        Also returns True if another process of the host sends them.
        """
        with self._sending:
            cells = self._source.read()
            return cells is None or self._flush(cells, final=final)

    def _flush(self, cells: OutgoingCells, *, final: bool) -> bool:
        changes, now = self._changes_of(cells), time.monotonic()
        full = final or now >= self._full_at
        changed = changes.find(cells.snapshot, full=full)
        final = final and self._source.is_last()
        result = self._send(changes.messages(changed, time.time(), final=final, replaces=cells.replaces))
        self._note(result)
        if result.reason != _SENT:
            self._failing = self._failing or result.reason != _FULL
            return False
        self._said_final = final
        changes.accepted(changed)
        self._plan_full(now, full=full)
        return True

    def _plan_full(self, now: float, *, full: bool) -> None:
        """Decide when everything is sent again; publishers that started or were cut off together are spread."""
        if full:
            self._full_at = now + FULL_EVERY_SECONDS * random.uniform(0.75, 1.0)  # noqa: S311 - spreads load
        elif self._failing:
            self._full_at = min(self._full_at, now + FULL_AFTER_FAILURE_SECONDS * random.random())  # noqa: S311
        self._failing = False

    def _changes_of(self, cells: OutgoingCells) -> Changes:
        """The numbering of the cells; a new one, which begins with everything, where they are in another store."""
        if self._changes is None or cells.identity != self.identity or cells.snapshot.series is not self._series:
            self.identity, self._series = cells.identity, cells.snapshot.series
            origin = (self._service, self._host, self._period_seconds, __version__, cells.lasting, boot_id())
            self._changes = Changes(Origin(cells.identity, self._source.next_epoch(), *origin))
            self._full_at = 0.0
        return self._changes

    def _send(self, messages: Iterable[CellsMessage]) -> _Result:
        try:
            self._transport.send([encode(one) for one in messages])
        except TransportError as error:
            return _Result(error.reason, str(error))
        return _Result(_SENT)

    def _note(self, result: _Result) -> None:
        """Count the result; log a failure once a minute, and its end once."""
        self._recorder.count(f.PUBLISH_MESSAGES, result.reason)
        if result.reason == _SENT:
            self._recorder.set(f.PUBLISH_LAST_SUCCESS, time.time())
            if self._said_failing:
                _log.warning("the queue %s accepts messages again", self._address.shown)
            self._said_failing = False
        elif (now := time.monotonic()) - self._logged_at >= _LOG_EVERY_SECONDS:
            self._said_failing, self._logged_at = True, now
            line = "the queue %s does not accept messages: %s; recording continues; counts are sent when it does"
            _log.warning(line, self._address.shown, result.text)

    def _failed(self, error: BaseException) -> None:
        with contextlib.suppress(Exception):  # a strict recorder raises it; it is counted, and this thread continues
            self._recorder.failed("publish", error)

    def close(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Send the remaining changes within `timeout` seconds, and stop. Idempotent.

        Returns:
            Whether the queue accepted everything. If not, a log line says so.
        """
        if self._closed:
            return True
        self._closed = True
        atexit.unregister(self.close)
        self._stopped.set()
        done = threading.Event()
        # In a separate thread: a queue that hangs must not prevent the application from ending.
        if threads.start(self._finish, done, timeout, name="anthropic-publish-end") is None:
            self._finish(done, timeout)
        sent = done.wait(timeout)
        if not sent:
            _log.warning("the queue %s did not accept the last messages within %.0f s", self._address.shown, timeout)
        return sent

    def _finish(self, done: threading.Event, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        self._source.retire()
        while time.monotonic() < deadline:
            try:
                if self.flush(final=True) and self._left():
                    done.set()
                    break
            except BaseException as error:  # noqa: BLE001 - the error boundary
                self._failed(error)
                break
            time.sleep(0.1)
        self._transport.close()

    def _left(self) -> bool:
        """Let another process send. False if there is none left, although the last message did not say so."""
        self._source.leave()
        return self._said_final or not self._source.is_last()

    def _forked(self) -> None:
        """In a child: its counters begin at 0, and the parent's thread and connection are not its own."""
        sent_alone.forget(self._recorder)
        if not self._closed:
            self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def publish(
    recorder: Recorder,
    url: str,
    *,
    service: str,
    host: str | None = None,
    period_seconds: float = PERIOD_SECONDS,
) -> Publisher:
    """Send the recorder's counts to a collector, from a daemon thread.

    A queue that is down, full, slow or rejects messages does not affect the application: failures are counted in
    `anthropic_publish_messages_total` and logged once a minute. The next accepted message makes up for them.

    Args:
        recorder: the recorder whose counts to send.
        url: the queue, such as `redis://queue:6379`; needs the extra of its engine.
        service: the value of the label `service` at the collector.
        host: the name of this machine; by default its host name.
        period_seconds: seconds between two messages.

    Raises:
        ConfigurationError: the URL or another argument is invalid, or the extra is not installed.
    """
    if not (isinstance(service, str) and 0 < len(service) <= _LONGEST_NAME):
        raise ConfigurationError(f"publish: service is a name of 1 to {_LONGEST_NAME} characters, such as 'api'")
    if not period_seconds >= _LEAST_PERIOD_SECONDS:
        raise ConfigurationError(f"publish: period_seconds must be at least {_LEAST_PERIOD_SECONDS}")
    name = socket.gethostname() if host is None else host
    return Publisher(recorder, parse(url), service, name[:_LONGEST_NAME], period_seconds)


@contextlib.contextmanager
def publishing(recorder: Recorder, url: str, *, service: str, host: str | None = None) -> Iterator[Publisher]:
    """`publish` for a short job: its counts are sent when the block ends, within 5 s.

    Raises:
        ConfigurationError: as for `publish`.
    """
    publisher = publish(recorder, url, service=service, host=host)
    try:
        yield publisher
    finally:
        publisher.close()
