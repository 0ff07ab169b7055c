"""`anthropic-exporter collect` as a process of its own, and what its /metrics say."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any

from typing_extensions import Self

PATIENCE_SECONDS = 60


class Collecting:
    """One collector; killed or stopped, it can be started again on the same folder."""

    def __init__(self, url: str, folder: Path, *arguments: Any, path: None = None) -> None:
        self.environment = environment_of(path)
        self.command = [
            sys.executable,
            "-m",
            "anthropic_exporter.cli",
            "collect",
            "--from",
            url,
            "--state",
            str(folder),
        ]
        self.command += ["--port", "0", *arguments]
        self.process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self, says: str = "serving") -> Self:
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=self.environment
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, args=(self.process, self._lines), daemon=True).start()
        self.wait_until_serving(says)
        return self

    @staticmethod
    def _listen(process: subprocess.Popen[str], lines: queue.Queue[str]) -> None:
        for line in process.stdout:
            lines.put(line)
        process.stdout.close()
        lines.put("")

    def wait_until_serving(self, says: str = "serving") -> None:
        found = re.search(r"http://127\.0\.0\.1:\d+", self.says(says))
        self.url = found[0] if found else ""

    def says(self, text: str) -> str:
        said = ""
        while line := self._lines.get(timeout=PATIENCE_SECONDS):
            said += line
            if text in line:
                return said
        raise AssertionError(f"{text!r} was not said, but {said}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_SECONDS)

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(PATIENCE_SECONDS)

    def text(self) -> str:
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=PATIENCE_SECONDS) as response:
            return response.read().decode()

    def value(self, name: str, **labels: str) -> float | None:
        """The sum of the samples with these labels; None for none."""
        return value_of(self.text(), name, **labels)

    def wait_for(self, name: Any, wanted: Any, **labels: Any) -> None:
        """Ask until the value is there."""
        wait_until(lambda: self.value(name, **labels) == wanted, lambda: f"{name} is {self.value(name, **labels)}")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()


def environment_of(path: Path | None) -> MutableMapping[str, str]:
    """That of this process, with the package of another version first if there is one."""
    return os.environ if path is None else {**os.environ, "PYTHONPATH": str(path)}


def value_of(text: str, name: str, **labels: str) -> float | None:
    found = [
        float(line.rpartition(" ")[2])
        for line in text.splitlines()
        if re.match(rf"{name}[{{ ]", line) and all(f'{key}="{value}"' in line for key, value in labels.items())
    ]
    return sum(found) if found else None


def wait_until(
    holds: Callable[..., Any],
    otherwise: Callable[..., Any] = lambda: "it does not hold",
    seconds: int = PATIENCE_SECONDS,
) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(0.02)
