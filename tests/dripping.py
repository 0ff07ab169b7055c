"""A server on loopback that does to its clients what a test says, byte by byte."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class Drip:
    """Sends `first`, then one byte every `pause` seconds until the client goes away."""

    def __init__(self, first: bytes, byte: bytes = b"x", pause: float = 0.02) -> None:
        self._answer = first, byte, pause
        self.gone = threading.Event()
        self._stopped = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._drip, args=(connection,), daemon=True).start()

    def _drip(self, connection: socket.socket) -> None:
        first, byte, pause = self._answer
        with connection, contextlib.suppress(OSError):
            connection.recv(65_536)
            connection.sendall(first)
            while not self._stopped.wait(pause):
                connection.sendall(byte)
        self.gone.set()

    def close(self) -> None:
        self._stopped.set()
        self._listening.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
