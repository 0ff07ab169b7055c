"""A temporary Prometheus without targets, which accepts remote writes: for replays of the past."""

from __future__ import annotations

from pathlib import Path

from typing_extensions import Self

from anthropic_exporter import toolchain
from anthropic_exporter.stack.process import Process
from anthropic_exporter.stack.running import free_ports


class ScratchPrometheus:
    """A running process; a context manager. `folder` holds its data and its log."""

    def __init__(self, folder: Path) -> None:
        tool = toolchain.provide(["prometheus"])["prometheus"]
        config = folder / "scratch.yml"
        config.write_text("{}\n")
        with free_ports(1) as (port,):
            self.url = f"http://127.0.0.1:{port}"
        command = [
            str(tool),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'scratch-data'}",
            "--storage.tsdb.retention.time=100y",
            f"--web.listen-address={self.url.removeprefix('http://')}",
            "--web.enable-remote-write-receiver",
        ]
        self._process = Process(command, folder / "scratch-prometheus.log", f"{self.url}/-/ready")
        try:
            self._process.wait_until_ready()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End it. Idempotent."""
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()
