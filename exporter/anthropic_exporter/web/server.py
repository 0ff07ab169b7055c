"""Serves /metrics and further routes from the application's own process, with the standard library only."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from anthropic_exporter import threads
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.forking import in_child
from anthropic_exporter.host.listen_address import ListenAddress
from anthropic_exporter.logs import Log
from anthropic_exporter.metrics import families as f
from anthropic_exporter.recorder import Recorder
from anthropic_exporter.web import limits
from anthropic_exporter.web.admission import Admission
from anthropic_exporter.web.event_loop import EventLoop
from anthropic_exporter.web.routes import Route
from anthropic_exporter.web.site import Site

if TYPE_CHECKING:
    from typing_extensions import Self

    from anthropic_exporter.web.protection import Protection

_log = Log("anthropic_exporter")

_MAX_PORT = 65_535
#: Connections that the system keeps until the server accepts them: those of a flood wait there in order.
_BACKLOG = 512
_JOIN_SECONDS = 5.0


class Server:
    """A running server; close it, or use it as a context manager.

    In a forked child it is closed: the child holds none of its descriptors.

    Args:
        recorder: what /metrics shows.
        host: address to bind.
        port: TCP port; 0 picks a free one.
        routes: what else to serve.
        owned: closed with the server.
        web_config: a web configuration file of Prometheus' exporter-toolkit.
        allowed_hosts: host names by which clients reach this server, beside those of the loopback interface.

    Attributes:
        host: the address it is bound to.
        port: the port it is bound to; the real one where 0 was asked for.

    Raises:
        ConfigurationError: the arguments cannot be used; the message says what to change.
    """

    def __init__(
        self,
        recorder: Recorder,
        host: str,
        port: int,
        routes: Iterable[Route] = (),
        owned: contextlib.ExitStack | None = None,
        *,
        web_config: str | Path | None = None,
        allowed_hosts: Iterable[str] = (),
    ) -> None:
        self._owned = owned or contextlib.ExitStack()
        protection = None if web_config is None else _protection(recorder, Path(web_config))
        site = Site(
            recorder,
            tuple(routes),
            Admission.of(_checked(host), allowed_hosts),
            protection.authenticate if protection else None,
        )
        tls = protection if protection and protection.uses_tls else None
        self._scheme = "https" if tls else "http"
        listener = _bound(host, port)
        self.host, self.port = str(listener.getsockname()[0]), int(listener.getsockname()[1])
        headers = protection.headers if protection else tuple
        self._loop = EventLoop(listener, site, limits.of_this_process(), tls, headers)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._start(recorder)

    def _start(self, recorder: Recorder) -> None:
        """Serve from a thread. Until the system can start one, connections wait; the application starts anyway."""
        in_child(self._forget)
        if not threads.start_eventually(self._serve, name="anthropic-exporter"):
            recorder.count(f.RECORD_ERRORS, "threads")
            _log.error("port %d is not served yet: the system cannot start a thread (pids_limit, ulimit -u)", self.port)

    def _serve(self) -> None:
        self._thread = threading.current_thread()
        try:
            self._loop.run()
        finally:
            self._ended.set()

    @property
    def url(self) -> str:
        """The address of the landing page, without a trailing slash."""
        return ListenAddress(self.host, self.port, self._scheme).url

    def close(self) -> None:
        """Stop serving and free the port; answers that are under way have a second to be sent. Idempotent."""
        if threads.give_up(self._serve):  # it never had a thread
            self._loop.abandon()
            self._ended.set()
        self._loop.stop()
        if self._thread is not threading.current_thread():
            self._ended.wait(_JOIN_SECONDS)
        self._owned.close()

    def _forget(self) -> None:
        """In a forked child: give back what belongs to the parent."""
        self._loop.abandon()
        self._ended = threading.Event()
        self._ended.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def scheme(web_config: str | Path | None) -> str:
    """What a server with this web configuration speaks: "http" or "https".

    Raises:
        ConfigurationError: a mistake in the file, or a file that it names.
    """
    return "https" if web_config is not None and check_web_config(Path(web_config)).uses_tls else "http"


def check_web_config(path: Path) -> Protection:
    """Read a web configuration, for programs that serve only later. Nothing is logged.

    Raises:
        ConfigurationError: a mistake in the file, or a file that it names.
    """
    from anthropic_exporter.web.protection import Protection  # noqa: PLC0415 - `ssl`, for those who give a file

    return Protection(path, lambda _: None, lambda _: None)


def _protection(recorder: Recorder, path: Path) -> Protection:
    from anthropic_exporter.web.protection import Protection  # noqa: PLC0415 - `ssl`, for those who give a file

    def broken(line: str) -> None:
        _log.warning("%s", line)
        recorder.count(f.RECORD_ERRORS, "web_config")

    return Protection(path, broken, lambda limit: recorder.count(f.LIMITS_REACHED, limit))


def _checked(host: str) -> str:
    if not isinstance(host, str) or not host.strip():
        raise ConfigurationError(f"host {host!r} is not an address: give 127.0.0.1, or 0.0.0.0 for all addresses")
    return host


def _bound(host: str, port: int) -> socket.socket:
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= _MAX_PORT:
        raise ConfigurationError(f"port {port!r} is not a TCP port: give a number from 0 (any free one) to {_MAX_PORT}")
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except (OSError, OverflowError, UnicodeError) as error:
        listener.close()
        raise ConfigurationError(f"cannot listen on {host}:{port}: {_reason(error)}") from error
    return listener


def _reason(error: Exception) -> str:
    code = getattr(error, "errno", None)
    if code == errno.EADDRINUSE:
        return "the port is in use; stop the program that uses it, or choose another port (0 picks a free one)"
    if code == errno.EACCES:
        return "this user may not bind the port; choose one above 1023"
    if code == errno.EADDRNOTAVAIL:
        return "this machine has no such address; use 127.0.0.1, or 0.0.0.0 for all addresses"
    if code in (errno.EMFILE, errno.ENFILE):
        return "no file descriptor is left; raise the limit of open files (ulimit -n)"
    return "the address cannot be resolved; use 127.0.0.1, or 0.0.0.0 for all addresses"
