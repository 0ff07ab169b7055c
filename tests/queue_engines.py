"""Queues as real processes, on ports of their own, that tests may stop, kill and start again."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from typing_extensions import Self

from anthropic_exporter import toolchain
from ports import free_port

PATIENCE_SECONDS = 60


def wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the server ended with {process.returncode}"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)  # type: ignore[unreachable]
    raise AssertionError(f"nothing listens on {port}")


class Engine:
    """One server; `start()` again after `stop()` or `kill()` keeps port and folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> Any:
        self.process = subprocess.Popen(self.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for_port(self.port, self.process)
        return self

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE_SECONDS)

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Any:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()


class Redis(Engine):
    """redis-server with its append-only file written at each command."""

    def __init__(self, folder: Path, *arguments: str, tls: bool = False) -> None:
        super().__init__(folder)
        self.arguments = arguments
        self.tls = tls

    def command(self) -> list[str]:
        program = toolchain.provide(["redis-server"])["redis-server"]
        ports = ("--port", "0", "--tls-port", str(self.port)) if self.tls else ("--port", str(self.port))
        storage = ("--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir", str(self.folder))
        return [str(program), *ports, "--bind", "127.0.0.1", *storage, *map(str, self.arguments)]

    def start(self) -> Redis:
        super().start()
        while not self.tls and self._is_loading():
            time.sleep(0.01)
        return self

    def _is_loading(self) -> bool:
        """Whether it still reads its append-only file: it listens meanwhile, and refuses every command."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS) as asking:
            asking.sendall(b"PING\r\n")
            return asking.recv(64).startswith(b"-LOADING")

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"


class Sentinel(Engine):
    """redis-server as a Sentinel that alone decides about a failover of `primary`, whose name is `main`."""

    def __init__(self, folder: Path, primary: Redis) -> None:
        super().__init__(folder)
        self.primary = primary

    def command(self) -> list[str]:
        configuration = self.folder / "sentinel.conf"
        configuration.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor main 127.0.0.1 {self.primary.port} 1\n"
            "sentinel down-after-milliseconds main 2000\nsentinel failover-timeout main 3000\n"
        )
        return [str(toolchain.provide(["redis-server"])["redis-server"]), str(configuration), "--sentinel"]

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/main"


class Nats(Engine):
    """nats-server with JetStream."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__(folder)
        self.arguments = arguments

    def command(self) -> list[str]:
        program = toolchain.provide(["nats-server"])["nats-server"]
        place = ("-a", "127.0.0.1", "-p", str(self.port), "-sd", str(self.folder))
        return [str(program), "-js", *place, *self.arguments]

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"


class Kafka:
    """The in-memory broker of librdkafka, in this process: there is no broker to unpack."""

    def __init__(self, _folder: Path) -> None:
        self._owner = None
        self.url = ""

    def __enter__(self) -> Self:
        import confluent_kafka  # noqa: PLC0415 - not installed everywhere

        self._owner = confluent_kafka.Producer({"test.mock.num.brokers": 1})
        brokers = self._owner.list_topics(timeout=PATIENCE_SECONDS).brokers.values()  # type: ignore[attr-defined]
        self.url = "kafka://" + ",".join(f"{one.host}:{one.port}" for one in brokers)
        return self

    def __exit__(self, *_: object) -> None:
        self._owner = None
