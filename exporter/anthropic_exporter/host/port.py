"""Decides which process of a service listens on its port: the first; when it ends, another one within a second."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.forking import in_child
from anthropic_exporter.host.listen_address import ListenAddress
from anthropic_exporter.host.ticking import TICKER
from anthropic_exporter.logs import Log

if TYPE_CHECKING:
    from typing_extensions import Self

    from anthropic_exporter.host.cell_folder import CellFolder
    from anthropic_exporter.host.membership import Membership


class PortHolder(Protocol):
    """What holds the port: a running server."""

    port: int

    @property
    def url(self) -> str:
        """The address of the landing page."""
        ...

    def close(self) -> None:
        """Stop serving."""
        ...


_log = Log("anthropic_exporter")
_RETRY_SECONDS = 0.4


#: Open handles: `serve(recorder)` works as long as the process runs, even if its result is not kept.
_open: set[ServiceHandle] = set()


class ServiceHandle:
    """This process's part in serving a port; close it, or use it as a context manager.

    If this process listens on the port, closing the handle frees it for another worker. A closed handle never takes the
    port again.

    Args:
        make_server: serves the port; raises ConfigurationError if that is not possible.
        address: where the service listens, whichever worker holds the port; port 0 picks a free one.
        membership: the service that shares the port; None if processes cannot share here.
        owner: the served object; a later handle with the same owner and port replaces this one.
        release: called when the handle is closed, whether or not this process ever held the port.
        leave: called when the handle is closed, but not when another one of this process takes its place.
    """

    def __init__(
        self,
        make_server: Callable[[int], PortHolder],
        address: ListenAddress,
        membership: Membership | None,
        *,
        owner: object,
        release: Callable[[], None],
        leave: Callable[[], None],
    ) -> None:
        self._make_server, self._membership, self._owner = make_server, membership, owner
        self._release, self._leave = release, leave
        self._address = address
        self._server: PortHolder | None = None
        self._closed = False
        self._next_try = 0.0
        self._lock = threading.Lock()
        in_child(self._forked)

    def _forked(self) -> None:
        self._server, self._lock = None, threading.Lock()

    @property
    def host(self) -> str:
        """The address to bind, as given."""
        return self._address.host

    @property
    def port(self) -> int:
        """The port of the service; the actual one if 0 was requested."""
        return self._address.port

    @property
    def url(self) -> str:
        """The address of the landing page, without a trailing slash."""
        if self._server is not None:
            return self._server.url
        return self._address.url

    @property
    def holds_port(self) -> bool:
        """Whether this process answers on the port, and no other worker."""
        return self._server is not None

    def start(self, *, required: bool) -> None:
        """Take the port, or leave it to the worker that has it.

        Raises:
            ConfigurationError: the port cannot be served; with `required` also if another program uses it.
        """
        for other in list(_open):
            other.make_room_for(self._owner, self.port)
        may_listen, membership = self._may_listen(), self._membership if self.port else None
        if membership is not None:  # before the first scrape, which shows what the service counted before
            membership.open(alone=may_listen)
        error = self._listen() if may_listen else None
        if error is not None:
            if required or not _is_in_use(error):
                if membership is not None:
                    membership.withdraw()
                raise error
            _log.error("%s; this process keeps trying, and the application continues", error)
            if membership is not None:
                membership.share()
        _open.add(self)
        TICKER.add(self.tick)

    def tick(self) -> None:
        """Take the port if it is free; start to share when another process of the service appears."""
        membership = self._membership
        if membership is not None and not membership.is_shared and membership.folder.has_company():
            membership.share()
        tries = not self._closed and self._server is None and time.monotonic() >= self._next_try
        if tries and self._may_listen() and self._listen() is not None:
            self._next_try = time.monotonic() + _RETRY_SECONDS

    @property
    def _folder(self) -> CellFolder | None:
        return None if self._membership is None or not self.port else self._membership.folder

    def _may_listen(self) -> bool:
        """Whether no other worker serves the port; then none takes it before this one has tried."""
        folder = self._folder
        if folder is None:
            return True
        if not folder.take_port():
            return False
        folder.name_holder(holds=True)
        return True

    def _listen(self) -> ConfigurationError | None:
        """Serve the port. Returns the reason if that is not possible."""
        try:
            with self._lock:
                if self._server is None and not self._closed:
                    self._server = self._make_server(self.port)
                    self._address = self._address._replace(port=self._server.port)
        except ConfigurationError as error:
            self._give_up()
            return error
        if self._closed:  # meanwhile, by another thread
            self._give_up()
        return None

    def _give_up(self) -> None:
        folder = self._folder
        if folder is not None:
            folder.name_holder(holds=False)
            folder.give_up_port()

    def make_room_for(self, owner: object, port: int) -> None:
        """Stop if a later handle serves the same on the same port, as a notebook cell does that is run again."""
        if owner is self._owner and port and port == self.port:
            self._stop()

    def close(self) -> None:
        """Stop serving and free the port; another worker takes it. Idempotent."""
        self._stop()
        self._leave()

    def _stop(self) -> None:
        TICKER.remove(self.tick)
        _open.discard(self)
        with self._lock:
            self._closed, server, self._server = True, self._server, None
        if server is not None:
            server.close()
            self._give_up()
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _is_in_use(error: ConfigurationError) -> bool:
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
