"""kill -9 of workers under traffic, the one with the port first of all: nothing may be lost, and no counter may fall.

Prints the calls whose `record()` returned, what the last scrape shows, and how often a shown total fell. A call that
was being written when its process was killed may be shown as well.
"""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

WORKER = """
import mmap, os, struct, sys, time
from anthropic_exporter import Call, Inference, Recorder, Tokens, serve
truth = mmap.mmap(os.open(sys.argv[2], os.O_RDWR), 16)
recorder = Recorder()
serve(recorder, port=int(sys.argv[1]))
calls = [Call("claude-opus-5-5", inferences=(Inference("claude-opus-5-5", Tokens(1000, 0, 0, 0, 7)),),
              feature=f"feature-{i}", started_at=1_795_262_400.0, duration_seconds=1.5) for i in range(20)]
for number in range(1, 1 << 30):
    truth[0:8] = struct.pack("<q", number)
    recorder.record(calls[number % 20])
    truth[8:16] = struct.pack("<q", number)
    if number % 20 == 0: time.sleep(0.01)
"""

READER = """
import sys
from anthropic_exporter import Recorder, serve
recorder = Recorder()
serve(recorder, port=19470)
print(len(recorder.render()), flush=True)
sys.stdin.read()
"""


class Kills:
    """Four workers of one service, and the scrape loop beside them."""

    def __init__(self, place: Path, port: int) -> None:
        self.place, self.port = place, port
        self.truths: list[Path] = []
        self.workers = [self.start() for _ in range(4)]
        self.newest, self.falls, self.scrapes, self.ended = 0.0, 0, 0, threading.Event()
        self.longest = 0.0

    def start(self) -> subprocess.Popen[bytes]:
        truth = self.place / f"truth-{len(self.truths)}"
        truth.write_bytes(bytes(16))
        self.truths.append(truth)
        environment = {**os.environ, "ANTHROPIC_EXPORTER_RUNTIME_DIR": str(self.place)}
        command = [sys.executable, "-c", WORKER, str(self.port), str(truth)]
        return subprocess.Popen(command, env=environment)

    def scrape(self) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        return sum(float(value) for value in re.findall(r"^anthropic_requests_total\{.*\} (\S+)$", text, re.MULTILINE))

    def watch(self) -> None:
        last = time.monotonic()
        while not self.ended.wait(0.02):
            try:
                shown = self.scrape()
            except OSError:
                continue
            self.longest, last = max(self.longest, time.monotonic() - last), time.monotonic()
            self.falls += shown < self.newest
            self.newest, self.scrapes = shown, self.scrapes + 1

    def wait_for_all(self) -> None:
        """Until every worker has recorded something."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and not all(struct.unpack("<qq", one.read_bytes())[1] for one in self.truths):
            time.sleep(0.02)

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        worker.kill()
        worker.wait()

    def holder(self) -> subprocess.Popen[bytes]:
        lock = next(self.place.glob("*/port-*/locks"))
        pid = int(lock.read_bytes()[16:].split(b"-")[0])
        return next((one for one in self.workers if one.pid == pid), self.workers[0])

    def truth(self, word: int) -> int:
        return sum(struct.unpack("<qq", path.read_bytes())[word] for path in self.truths)


def main() -> None:
    kills = 10 if "--quick" in sys.argv else 30
    chance = random.Random(1)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        run = Kills(Path(name), 19_470)
        watch = threading.Thread(target=run.watch)
        watch.start()
        while not run.newest:  # until a worker answers, which takes its time on a busy machine
            time.sleep(0.1)
        for number in range(kills):
            victim = run.holder() if number % 2 else chance.choice(run.workers)
            run.workers.remove(victim)
            run.kill(victim)
            run.workers.append(run.start())
            run.wait_for_all()
            time.sleep(chance.uniform(0.2, 1.2))
        keeper, *others = run.workers
        for worker in others:
            run.kill(worker)
        time.sleep(2)
        run.kill(keeper)
        run.ended.set()
        watch.join()
        environment = {**os.environ, "ANTHROPIC_EXPORTER_RUNTIME_DIR": name}
        command = [sys.executable, "-c", READER]
        last = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert last.stdout is not None
        last.stdout.readline()
        shown = run.scrape()
        files = len(list(Path(name).rglob("*.cells")))
        last.kill()
        last.wait()
        started, returned = run.truth(0), run.truth(1)
        print(
            f"{kills + 4} kills, {returned} calls returned, {started - returned} were being written, "
            f"shown {shown:.0f}, lost {max(0, returned - shown):.0f}, falls {run.falls} in {run.scrapes} scrapes, "
            f"longest without an answer {run.longest:.2f} s, files {files}"
        )


if __name__ == "__main__":
    main()
