"""Ports for servers that a test stops and starts again."""

from __future__ import annotations

import contextlib
import random
import socket

#: Below the ports that the system gives to connections and to servers that ask for any: none of these takes one that is
#: free for a moment. Linux gives 32768 and above (ip(7), ip_local_port_range), others 49152 and above.
_PORTS = range(15_000, 32_000)


def free_port() -> int:
    while True:
        port = random.SystemRandom().choice(_PORTS)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
