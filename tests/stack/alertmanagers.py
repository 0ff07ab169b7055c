"""A real Alertmanager of its own, on the shipped configuration with other addresses."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from anthropic_exporter import bundle, toolchain
from anthropic_exporter.stack.process import Process
from ports import free_port


def reload(url: str) -> int:
    """Have a Prometheus or an Alertmanager read its files again: the status of its answer."""
    try:
        with urllib.request.urlopen(urllib.request.Request(f"{url}/-/reload", method="POST"), timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code


class Alertmanager:
    """Takes alerts as Prometheus sends them. It can be killed, and started again: then it knows no alert."""

    def __init__(self, url: str, command: list[str], folder: Path) -> None:
        self.url = url
        self.folder = folder
        self._command = command
        self.start()

    def start(self) -> None:
        self.process = Process(self._command, self.folder / "alertmanager.log", f"{self.url}/-/ready")
        try:
            self.process.wait_until_ready()
        except BaseException:
            self.process.close()
            raise

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.close()

    def send(self, *alerts: dict[str, Any]) -> None:
        request = urllib.request.Request(
            f"{self.url}/api/v2/alerts", json.dumps(alerts).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            assert response.status == 200

    def alerts(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=30) as response:
            return json.load(response)


def alert(
    labels: dict[str, str],
    annotations: dict[str, str] | None = None,
    starts: str | None = None,
    ends: str | None = None,
) -> dict[str, Any]:
    """An alert on the wire; without `ends` it goes on for ten minutes."""
    now = dt.datetime.now(dt.timezone.utc)
    return {
        "labels": labels,
        "annotations": annotations or {},
        "startsAt": starts or now.isoformat(),
        "endsAt": ends or (now + dt.timedelta(minutes=10)).isoformat(),
        "generatorURL": "http://127.0.0.1:9090/graph",
    }


@contextlib.contextmanager
def running(folder: Path, name: str, replacements: dict[str, str]) -> Iterator[Alertmanager]:
    """Start Alertmanager on `name` of the bundle, with texts replaced; each has to be there."""
    shutil.copytree(bundle.path("alertmanager"), folder, dirs_exist_ok=True)
    path = folder / name
    text = path.read_text()
    for shipped, mine in replacements.items():
        assert shipped in text, shipped
        text = text.replace(shipped, mine)
    path.write_text(text)
    address = f"127.0.0.1:{free_port()}"
    command = [
        str(toolchain.provide(["alertmanager"])["alertmanager"]),
        f"--config.file={path}",
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address={address}",
        f"--web.external-url=http://{address}",
        "--cluster.listen-address=",
    ]
    started = Alertmanager(f"http://{address}", command, folder)
    try:
        yield started
    finally:
        started.process.close()


def eventually(read: Callable[..., Any], timeout: float) -> Any:
    """What `read` returns, as soon as it is true."""
    deadline = time.monotonic() + timeout
    while not (found := read()):
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.1)
    return found
