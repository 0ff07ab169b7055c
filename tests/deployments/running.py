"""Servers with several workers, as people run them, and the scrape loop beside them."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import urllib.request
from typing import Any

import pytest

from host.workers import scrape, total, wait_for
from ports import free_port


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(module) is None, reason=f"{module} is not installed")


class Watch(threading.Thread):
    """One scrape loop, as Prometheus has it: the newest total, and whether a counter ever fell."""

    def __init__(self, port: Any) -> None:
        super().__init__(daemon=True)
        self.port, self.newest, self.falls = port, 0.0, 0
        self.lives: set[str] = set()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.03):
            with contextlib.suppress(OSError, http.client.HTTPException):  # its worker ended in the middle of an answer
                text = scrape(self.port)
                shown = total(text)
                self.falls += shown < self.newest
                self.newest = shown
                self.lives.update(re.findall(r'life="(\w+)"', text))


class Deployment:
    """A running server, its address, and the scrape loop beside it."""

    def __init__(self, folder: Any, source: Any, command: Any, environment: Any) -> None:
        (folder / "application.py").write_text(textwrap.dedent(source))
        self.port, self.metrics_port = free_port(), int(environment.get("METRICS_PORT", free_port()))
        self.environment = {
            **os.environ,
            "METRICS_PORT": str(self.metrics_port),
            "ANTHROPIC_EXPORTER_RUNTIME_DIR": str(folder),
            "PYTHONWARNINGS": "",
            **environment,
        }
        self.folder, self.answered = folder, 0
        self.command = [sys.executable, *(part.replace("PORT", str(self.port)) for part in command)]
        self.log = (folder / "log").open("ab")
        self.process = self._started()
        self.watch = Watch(self.metrics_port)
        if "UNWATCHED" not in environment:
            self.watch.start()

    def _started(self) -> subprocess.Popen[bytes]:
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as in a shell's background: the program would ignore it
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return subprocess.Popen(
            self.command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            start_new_session=True,
        )

    def restart(self, *, stop_by: signal.Signals) -> None:
        """Stop the server with a signal, wait until it has ended, and start it again."""
        self.process.send_signal(stop_by)
        self._reap()
        self.process = self._started()

    def get(self, path: Any = "/") -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            body = answer.read().decode()
        self.answered += path == "/"
        return body

    def until_it_answers(self) -> Any:
        return wait_for(lambda: self.get("/metrics"), 30)

    def ask(self, times: Any) -> Any:
        """That many answered requests; the workers that answered."""
        return {int(wait_for(self.get)) for _ in range(times)}

    def settled(self, others: Any = 0) -> Any:
        """Wait until a scrape shows exactly the answered requests and `others`; fail if a counter ever fell."""
        calls = self.answered + others
        with contextlib.suppress(AssertionError):
            wait_for(lambda: self.watch.newest == calls, 60)
        assert self.watch.newest == calls
        assert self.watch.falls == 0
        assert wait_for(lambda: total(scrape(self.metrics_port))) == calls
        return True

    def close(self) -> None:
        self.watch.ended.set()
        if self.watch.is_alive():
            self.watch.join(15)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self._reap()
        self.log.close()

    def _reap(self) -> None:
        self.process.wait(20)
        self.process.stdout.close()
        self.process.stdin.close()
