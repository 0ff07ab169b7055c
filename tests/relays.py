"""A TCP relay on loopback that a test can cut and mend: a host that is partitioned from its queue."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from typing import Any


class Relay:
    """Passes bytes between its own port and another one, while it is not cut."""

    def __init__(self, port: Any) -> None:
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0.1)
        self.port = self._server.getsockname()[1]
        self._cut, self._closed = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Drop connections, and take no new ones."""
        self._cut.set()

    def mend(self) -> None:
        self._cut.clear()

    def close(self) -> None:
        self._closed.set()
        self._thread.join()
        self._server.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._server.accept()
                threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client: Any) -> None:
        with contextlib.suppress(OSError), client, selectors.DefaultSelector() as ready:
            if self._cut.is_set():
                return
            with socket.create_connection(("127.0.0.1", self._target), timeout=30) as target:
                ready.register(client, selectors.EVENT_READ, target)
                ready.register(target, selectors.EVENT_READ, client)
                while not (self._cut.is_set() or self._closed.is_set()):
                    for key, _ in ready.select(0.05):
                        data = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                        if not data:
                            return
                        key.data.sendall(data)
