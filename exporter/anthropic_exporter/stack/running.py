"""Start the parts in order, wait for each, and stop them in reverse order."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anthropic_exporter import bundle, toolchain
from anthropic_exporter.stack import config
from anthropic_exporter.stack.process import Process
from anthropic_exporter.stack.receiver import Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from typing_extensions import Self

    from anthropic_exporter.stack.config import ThresholdOverride


class Stack:
    """A running Prometheus and Alertmanager; a context manager.

    Attributes:
        prometheus, alertmanager: the two processes.
        folder: holds their configuration, data and logs.
    """

    def __init__(
        self,
        addresses: config.Addresses,
        processes: tuple[Process, Process],
        receiver: Receiver,
        folder: Path,
        owned: contextlib.ExitStack,
    ) -> None:
        self.alertmanager, self.prometheus = processes
        self.prometheus_url = f"http://{addresses.prometheus}"
        self.alertmanager_url = f"http://{addresses.alertmanager}"
        self.receiver = receiver
        self.folder = folder
        self._owned = owned

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The result of an instant query: a list of `metric` and `value`."""
        found = self._get("/api/v1/query?" + urllib.parse.urlencode({"query": expression}))["result"]
        return list(found)

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are pending or firing in Prometheus now."""
        return list(self._get("/api/v1/alerts")["alerts"])

    def close(self) -> None:
        """Stop both processes and the receiver. Idempotent."""
        self._owned.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.prometheus_url + path, timeout=5) as response:  # noqa: S310 -- loopback
            return json.load(response)["data"]


def start(targets: Sequence[str], *, folder: Path | None = None, thresholds: Sequence[ThresholdOverride] = ()) -> Stack:
    """Start Prometheus and Alertmanager on free loopback ports and wait until both are ready.

    Args:
        targets: `host:port` of the processes to scrape under the job `anthropic`.
        folder: keeps configuration, data and logs. Without it a temporary folder is used; it is removed with the
            stack, and kept if the start fails.
        thresholds: replacements of shipped thresholds.

    Raises:
        ConfigurationError: a tool is missing and cannot be unpacked, or a process does not become ready.
    """
    tools = toolchain.provide(("prometheus", "alertmanager"))
    with contextlib.ExitStack() as starting:
        work = folder or _temporary(starting)
        work.mkdir(parents=True, exist_ok=True)
        receiver = starting.enter_context(Receiver())
        with free_ports(2) as ports:
            addresses = config.Addresses(
                f"127.0.0.1:{ports[0]}", f"127.0.0.1:{ports[1]}", receiver.address, tuple(targets)
            )
        processes = (
            _started(starting, *_alertmanager(tools["alertmanager"], work, addresses)),
            _started(starting, *_prometheus(tools["prometheus"], work, addresses, thresholds)),
        )
        for process in processes:
            process.wait_until_ready()
        return Stack(addresses, processes, receiver, work, starting.pop_all())


def _alertmanager(tool: Path, work: Path, addresses: config.Addresses) -> tuple[list[str], Path, str]:
    path = config.alertmanager(bundle.path("alertmanager"), work / "alertmanager", addresses)
    command = [
        str(tool),
        f"--config.file={path}",
        f"--storage.path={work / 'alertmanager-data'}",
        f"--web.listen-address={addresses.alertmanager}",
        f"--web.external-url=http://{addresses.alertmanager}",
        "--cluster.listen-address=",
    ]
    return command, work / "alertmanager.log", f"http://{addresses.alertmanager}/-/ready"


def _prometheus(
    tool: Path, work: Path, addresses: config.Addresses, thresholds: Sequence[ThresholdOverride]
) -> tuple[list[str], Path, str]:
    path = config.prometheus(bundle.path("prometheus"), work / "prometheus", addresses, thresholds)
    command = [
        str(tool),
        f"--config.file={path}",
        f"--storage.tsdb.path={work / 'prometheus-data'}",
        f"--web.listen-address={addresses.prometheus}",
        f"--web.external-url=http://{addresses.prometheus}",
        "--web.enable-lifecycle",
        # An alert of the first seconds is lost until Alertmanager is discovered; the default resends after a minute.
        "--rules.alert.resend-delay=5s",
    ]
    return command, work / "prometheus.log", f"http://{addresses.prometheus}/-/ready"


def _started(owned: contextlib.ExitStack, command: list[str], log: Path, ready_url: str) -> Process:
    process = Process(command, log, ready_url)
    owned.callback(process.close)
    return process


def _temporary(owned: contextlib.ExitStack) -> Path:
    """A folder that is removed after a good run, and kept with its logs after a failed start."""
    folder = Path(tempfile.mkdtemp(prefix="anthropic-exporter-"))

    def remove(failure: type[BaseException] | None, *_: object) -> None:
        if failure is None or not issubclass(failure, Exception):
            shutil.rmtree(folder, ignore_errors=True)

    owned.push(remove)
    return folder


@contextlib.contextmanager
def free_ports(count: int) -> Iterator[list[int]]:
    """Free ports, held until the block ends."""
    with contextlib.ExitStack() as held:
        listeners = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        yield [listener.getsockname()[1] for listener in listeners]
