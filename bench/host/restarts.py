"""A service whose workers are killed and started again, the one with the port each time: does anything grow, who waits?

    python -m bench.host.restarts                 200 kills of the worker that holds the port, 2 minutes
    python -m bench.host.restarts --rounds 20

Prints how long the port was without an answer after each kill, and the files, descriptors, mappings and memory of the
worker that is never killed, after a tenth of the kills and after all. Bars: another worker answers within a second
(median; a busy machine is slower), at most living workers + 2 files, at most four more descriptors and mappings (how
many files of others are open varies by that), at most 2 MB more memory, no call lost.
"""

from __future__ import annotations

import argparse
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import NamedTuple

#: How long files of the last kill may still be there.
_SETTLES_SECONDS = 10.0
WORKER = """
import sys
from anthropic_exporter import Recorder, serve
recorder = Recorder()
def start():
    return serve(recorder, port=int(sys.argv[1]), runtime_dir=sys.argv[2])
handle = start()
for line in sys.stdin:
    if line == "give up the port\\n":
        handle.close()
    if line == "wait for the port\\n":
        handle = start()
    recorder.record_usage(model="claude-opus-5-5", usage={"input_tokens": 1000, "output_tokens": 7}, feature="chat")
    print(handle.holds_port, recorder.membership.is_shared, flush=True)
"""
PATIENCE_SECONDS = 60.0
WORKERS, FEW = 3, 4
BAR_SECONDS, BAR_KILOBYTES = 1.0, 2048


class Size(NamedTuple):
    """What could grow."""

    files: int
    descriptors: int
    mappings: int
    kilobytes: int


class Found(NamedTuple):
    """What a run saw: seconds without an answer after each kill, sizes early and late, calls made and shown."""

    seconds: list[float]
    early: Size
    late: Size
    made: int
    shown: int

    @property
    def is_flat(self) -> bool:
        """Whether no kill left a file, a descriptor or a mapping behind."""
        few = [late - early <= FEW for early, late in zip(self.early[:3], self.late[:3], strict=True)]
        return all(few) and self.late.files <= WORKERS + 2


class Worker:
    """One process of the service."""

    def __init__(self, port: int, folder: str) -> None:
        command = [sys.executable, "-c", WORKER, str(port), folder]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def call(self, word: str = "") -> tuple[bool, bool]:
        """Record one call. Whether it holds the port, and whether it writes where the others read."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        holds, shares = self.process.stdout.readline().split()
        return holds == "True", shares == "True"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


class Service:
    """Three workers on one port; the first one stays."""

    def __init__(self, folder: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self.folder, self.made = folder, 0
        self.others = [self.start()]  # holds the port, and is killed first
        self.keeper = self.start()
        self.others.append(self.start())
        self.wait(lambda: all(self.call(one)[1] for one in (self.keeper, *self.others)))

    def start(self) -> Worker:
        worker = Worker(self.port, self.folder)
        self.call(worker)
        return worker

    def call(self, worker: Worker, word: str = "") -> tuple[bool, bool]:
        self.made += 1
        return worker.call(word)

    def wait(self, condition: object) -> float:
        """Seconds until a condition holds."""
        assert callable(condition)
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > PATIENCE_SECONDS:
                raise SystemExit("nothing happened for a minute")
            time.sleep(0.005)
        return time.monotonic() - began

    def shown(self) -> int:
        """Calls on the page; -1 while nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                text = answer.read().decode()
        except OSError:
            return -1
        return int(sum(map(float, re.findall(r"^anthropic_requests_total\{.*\} (\S+)$", text, re.MULTILINE))))

    def let_another_hold(self) -> None:
        """Have a worker hold the port that is not the keeper."""
        if self.call(self.keeper)[0]:
            self.call(self.keeper, "give up the port")
        self.wait(lambda: any(self.call(one)[0] for one in self.others))
        self.call(self.keeper, "wait for the port")

    def restart(self) -> float:
        """Kill the worker that holds the port, and start another one. Seconds without an answer."""
        self.let_another_hold()
        victim = next(one for one in self.others if self.call(one)[0])
        self.others.remove(victim)
        victim.kill()
        seconds = self.wait(lambda: self.shown() >= 0)
        self.others.append(self.start())
        return seconds

    def size(self) -> Size:
        """What the keeper has, once the files of the dead are folded."""
        self.let_another_hold()
        self.wait(lambda: len(list(Path(self.folder).rglob("*.cells"))) <= WORKERS + 2)
        process = Path(f"/proc/{self.keeper.process.pid}")
        mappings = (process / "maps").read_text().count(".cells")
        kilobytes = re.findall(r"^VmRSS:\s+(\d+)", (process / "status").read_text(), re.MULTILINE)
        files = len(list(Path(self.folder).rglob("*.cells")))
        return Size(files, len(list((process / "fd").iterdir())), mappings, int(kilobytes[0]))

    def close(self) -> None:
        for worker in (self.keeper, *self.others):
            worker.kill()


def run(rounds: int) -> Found:
    """Kill and start so many times."""
    with tempfile.TemporaryDirectory() as folder:
        service = Service(folder)
        try:
            first = max(2, rounds // 10)
            seconds = [service.restart() for _ in range(first)]
            early = service.size()
            seconds += [service.restart() for _ in range(rounds - first)]
            service.wait(lambda: service.shown() == service.made)
            found = Found(seconds, early, service.size(), service.made, service.shown())
            until = time.monotonic() + _SETTLES_SECONDS
            while not found.is_flat and time.monotonic() < until:  # the last file is folded about a second later
                time.sleep(0.2)
                found = found._replace(late=service.size())
            return found
        finally:
            service.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    found = run(parser.parse_args().rounds)
    median = statistics.median(found.seconds)
    print(
        f"{len(found.seconds)} kills: without an answer {median:.2f} s (median), {max(found.seconds):.2f} s (longest)"
    )
    print(f"calls {found.made}, shown {found.shown}; early {found.early}; late {found.late}")
    grown = found.late.kilobytes - found.early.kilobytes
    holds = found.is_flat and grown <= BAR_KILOBYTES and median <= BAR_SECONDS
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
