"""What an attack on the server takes from its process: threads, descriptors, memory, processor, and a scrape's time.

The attacked server runs in a process of its own with a page of 10,000 lines; the attackers run here. A scrape every
half second shows whether a Prometheus still gets its page. `--quick`: a glance.
"""

from __future__ import annotations

import contextlib
import http.client
import selectors
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

QUICK = "--quick" in sys.argv
SECONDS = 3 if QUICK else 15
CLIENTS = 300 if QUICK else 2000
VICTIM = """
import sys
from anthropic_exporter import serve
from bench.speed.scrape import ours
with serve(ours(10_000), port=0) as server:
    print(server.port, flush=True)
    sys.stdin.read()
"""


class Victim:
    """The attacked process, and what it takes by now."""

    def __init__(self, program: str = VICTIM) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdin is not None  # for the type checker: both are pipes
        assert self.process.stdout is not None
        self._stdin, self._stdout = self.process.stdin, self.process.stdout
        self.port = int(self._stdout.readline())
        self.folder = Path(f"/proc/{self.process.pid}")

    def say(self, line: str) -> None:
        """Send it a line."""
        self._stdin.write(f"{line}\n")
        self._stdin.flush()

    def hear(self) -> str:
        """Its next line."""
        return self._stdout.readline()

    def usage(self) -> tuple[int, int, float, float]:
        """Threads, descriptors, resident MB, processor seconds."""
        status = dict(line.split(":", 1) for line in (self.folder / "status").read_text().splitlines())
        times = (self.folder / "stat").read_text().rpartition(")")[2].split()
        descriptors = len(list((self.folder / "fd").iterdir()))
        memory = int(status["VmRSS"].split()[0]) / 1000
        return int(status["Threads"]), descriptors, memory, (int(times[11]) + int(times[12])) / 100

    def close(self) -> None:
        self._stdin.close()
        self.process.wait()
        self._stdout.close()


def scrape(port: int) -> float:
    """Milliseconds that a scrape takes; infinite where it fails."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/metrics")
        return (time.perf_counter() - began) * 1000 if len(connection.getresponse().read()) > 100_000 else float("inf")
    except (OSError, http.client.HTTPException):
        return float("inf")
    finally:
        connection.close()


class Attack:
    """Clients that connect again whenever they are cut off. `greeting` is sent at once, `drip` every second."""

    def __init__(self, port: int, clients: int, greeting: bytes = b"", drip: bytes = b"") -> None:
        self.port, self.greeting, self.drip = port, greeting, drip
        self.stopped = threading.Event()
        self.clients: list[socket.socket] = []
        self.wanted = clients
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while not self.stopped.is_set():
            while len(self.clients) < self.wanted and not self.stopped.is_set():
                self.clients.append(self.connect())
            self.clients = [client for client in self.clients if self.goes_on(client)]
            self.stopped.wait(1)

    def connect(self) -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with contextlib.suppress(OSError):
            client.connect(("127.0.0.1", self.port))
            client.sendall(self.greeting)
        return client

    def goes_on(self, client: socket.socket) -> bool:
        try:
            client.sendall(self.drip)
            client.setblocking(False)
            ended = client.recv(1) == b""
        except BlockingIOError:
            return True
        except OSError:
            ended = True
        if ended:
            client.close()
        return not ended

    def close(self) -> None:
        self.stopped.set()
        self.thread.join()
        for client in self.clients:
            client.close()


class Flood:
    """Clients that ask again as soon as they are answered."""

    def __init__(self, port: int, clients: int, path: bytes) -> None:
        self.request = b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path
        self.port, self.count, self.stopped = port, clients, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        with selectors.DefaultSelector() as selector:
            for _ in range(self.count):
                client = socket.create_connection(("127.0.0.1", self.port))
                client.sendall(self.request)
                selector.register(client, selectors.EVENT_READ, client)
            while not self.stopped.is_set():
                for key, _ in selector.select(0.1):
                    with contextlib.suppress(OSError):
                        key.data.recv(65_536)
                        key.data.sendall(self.request)
            for key in list(selector.get_map().values()):
                key.data.close()

    def close(self) -> None:
        self.stopped.set()
        self.thread.join()


SLOW = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
ATTACKS: dict[str, Callable[[int], AbstractContextManager[Any]]] = {
    "nobody": lambda _: contextlib.nullcontext(),
    f"{CLIENTS:,} idle connections": lambda port: contextlib.closing(Attack(port, CLIENTS)),
    f"{CLIENTS:,} dripping requests": lambda port: contextlib.closing(
        Attack(port, CLIENTS, b"GET / HTTP/1.1\r\nX:", b"x")
    ),
    "200 readers of /metrics that stop": lambda port: contextlib.closing(Attack(port, 200, SLOW)),
    "100 clients that ask without a pause": lambda port: contextlib.closing(Flood(port, 100, b"/-/healthy")),
}


def measured(attack: Callable[[int], AbstractContextManager[Any]]) -> tuple[int, int, float, float, list[float]]:
    victim = Victim()
    try:
        scrape(victim.port)
        before = victim.usage()
        began, found, scrapes = time.perf_counter(), [], []
        with attack(victim.port):
            while time.perf_counter() - began < SECONDS:
                time.sleep(0.5)
                scrapes.append(scrape(victim.port))
                found.append(victim.usage())
            seconds = time.perf_counter() - began
            used = victim.usage()[3] - before[3]
        most = [max(column) - first for column, first in zip(zip(*found, strict=True), before, strict=True)]
        return int(most[0]), int(most[1]), most[2], used / seconds, scrapes
    finally:
        victim.close()


def main() -> None:
    print(f"\nadded to a process that serves 10,000 lines, over {SECONDS} s")
    print(f"  {'attack':40}{'threads':>8}{'descriptors':>13}{'MB':>7}{'% of a core':>13}{'scrape p50, max, lost':>28}")
    for name, attack in ATTACKS.items():
        threads, descriptors, memory, share, scrapes = measured(attack)
        got = [one for one in scrapes if one < float("inf")] or [float("inf")]
        lost = len(scrapes) - len([one for one in scrapes if one < float("inf")])
        print(
            f"  {name:40}{threads:8}{descriptors:13}{memory:7.1f}{share:13.0%}"
            f"{statistics.median(got):12.0f} ms {max(got):6.0f} ms{lost:4}"
        )


if __name__ == "__main__":
    main()
