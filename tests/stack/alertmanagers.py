"""A real Alertmanager of its own, on the shipped configuration with other addresses."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import shutil
import socket
import time
import urllib.request

from anthropic_exporter import bundle, toolchain
from anthropic_exporter.stack.process import Process


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


class Alertmanager:
    """Takes alerts as Prometheus sends them."""

    def __init__(self, url, process, folder):
        self.url = url
        self.process = process
        self.folder = folder

    def send(self, *alerts):
        request = urllib.request.Request(
            f"{self.url}/api/v2/alerts", json.dumps(alerts).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=5) as response:
            assert response.status == 200

    def alerts(self):
        with urllib.request.urlopen(f"{self.url}/api/v2/alerts", timeout=5) as response:
            return json.load(response)


def alert(labels, annotations=None, starts=None, ends=None):
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
def running(folder, name, replacements):
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
    process = Process(command, folder / "alertmanager.log", f"http://{address}/-/ready")
    try:
        process.wait_until_ready()
        yield Alertmanager(f"http://{address}", process, folder)
    finally:
        process.close()


def eventually(read, timeout):
    """What `read` returns, as soon as it is true."""
    deadline = time.monotonic() + timeout
    while not (found := read()):
        assert time.monotonic() < deadline, f"not within {timeout} s"
        time.sleep(0.1)
    return found
