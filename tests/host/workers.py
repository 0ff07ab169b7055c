"""Real processes that count together: a worker does what the tests ask for, over its standard input."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

WORKER = """
    import sys, weakref
    from anthropic_exporter import Call, Inference, Recorder, Tokens, serve

    def made(output, feature="chat"):
        return Call("claude-opus-5-5", inferences=(Inference("claude-opus-5-5", Tokens(1000, 0, 0, 0, output)),),
                    feature=feature, started_at=1_795_262_400.0, duration_seconds=1.5)

    recorder = Recorder()
    handle = weakref.proxy(serve(recorder, port=int(sys.argv[1])))  # most people do not keep it
    print("ready", handle.holds_port, flush=True)
    for line in sys.stdin:
        print(eval(line), flush=True)
"""


class Worker:
    """A process that serves a port like every other worker, and evaluates expressions."""

    def __init__(self, port: int, folder: Path, before: str = "") -> None:
        """`before` are lines to run before the library is imported."""
        environment = {**os.environ, "ANTHROPIC_EXPORTER_RUNTIME_DIR": str(folder)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(before) + textwrap.dedent(WORKER), str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self.held_port = self.process.stdout.readline().split()[1] == "True"

    def ask(self, expression: str) -> str:
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def record(self, times: int, feature: str = "chat") -> None:
        """Record and write calls of 1,000 input and 7 output tokens: $0.00414 each.

        What is recorded while the process's ticker copies gauges is written after that: on a busy machine a kill may
        come before.
        """
        self.ask(f"[recorder.record(made(7, {feature!r})) for _ in range({times})] and None")
        self.ask("all(iter(lambda: bool(recorder.pending), False))")

    def own_text(self) -> str:
        return eval(self.ask("recorder.render()")).decode()

    def kill(self) -> None:
        self.process.kill()
        self._reap()

    def stop(self) -> None:
        self.process.stdin.close()
        self._reap()

    def _reap(self) -> None:
        self.process.wait(20)
        self.process.stdout.close()
        if not self.process.stdin.closed:
            self.process.stdin.close()


def scrape(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def total(text: str, family: str = "anthropic_requests_total", *parts: str) -> float:
    """The sum of a family's samples whose labels contain all `parts`."""
    lines = re.findall(rf"^{family}(\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
    return sum(float(value) for labels, value in lines if all(part in labels for part in parts))


def wait_for(condition: Callable[..., Any], seconds: float = 60.0) -> Any:
    """The first answer of `condition` that is true; a scrape that fails counts as false."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            answer = condition()
        except (OSError, http.client.HTTPException):  # also in the middle of an answer
            answer = None
        if answer:
            return answer
        time.sleep(0.02)
    raise AssertionError("did not come true in time")


def cell_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*.cells"))
