"""A service of one process that is stopped, killed and started again: does anything grow, does a counter fall?

    python -m bench.host.lone_restarts                 200 lives, 3 minutes
    python -m bench.host.lone_restarts --lives 20

Each life records calls of a few features, is scraped, and ends: by itself, by SIGTERM that nobody handles, by kill -9,
in turn. Prints what the folder and a process have after a tenth of the lives and after all: files, bytes, descriptors,
memory, and the seconds of CPU until its first page, as medians of ten lives. Bars: no counter falls, no call is lost,
and `_created` never moves; no more files, bytes or descriptors than early; at most 1 MB more memory; at most 1.2 times
the seconds (and 0.05 s).
"""

from __future__ import annotations

import argparse
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import NamedTuple

PROCESS = """
import sys, time
from anthropic_exporter import Recorder, serve
recorder = Recorder()
handle = serve(recorder, port=int(sys.argv[1]), runtime_dir=sys.argv[2])
recorder.render()
print(time.process_time(), recorder.membership.is_shared, flush=True)
for line in sys.stdin:
    for number in range(5):
        usage = {"input_tokens": 1000, "output_tokens": 7}
        recorder.record_usage(model="claude-opus-5-5", usage=usage, duration=1.5, feature=f"f{number}")
    print("recorded", flush=True)
"""
ENDS = ("by itself", signal.SIGTERM, signal.SIGKILL)
CALLS, SAMPLES = 5, 10
PATIENCE_SECONDS = 60.0
MOST_KILOBYTES, MOST_TIMES, MOST_SECONDS = 1_024, 1.2, 0.05


class Size(NamedTuple):
    """What could grow. `cpu_seconds` are those of a process until it has shown its first page."""

    files: int
    file_bytes: int
    descriptors: int
    kilobytes: int
    cpu_seconds: float


class Found(NamedTuple):
    """What a run saw; `shown` are the calls on the last page, `created` the values that `_created` had."""

    early: Size
    late: Size
    made: int
    shown: int
    falls: int
    created: frozenset[str]
    shared: int

    @property
    def is_exact(self) -> bool:
        """Whether every call is shown, and no counter fell or began anew."""
        return self.made == self.shown and not self.falls and len(self.created) == 1 and not self.shared

    @property
    def is_flat(self) -> bool:
        """Whether no life left a file, bytes or a descriptor behind."""
        return all(late <= early for early, late in zip(self.early[:3], self.late[:3], strict=True))

    @property
    def holds(self) -> bool:
        """Whether it is exact, flat, and costs no more than at first."""
        light = self.late.kilobytes <= self.early.kilobytes + MOST_KILOBYTES
        quick = self.late.cpu_seconds <= MOST_TIMES * self.early.cpu_seconds + MOST_SECONDS
        return self.is_exact and self.is_flat and light and quick


class Service:
    """One process at a time on one port."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.made = self.newest = self.falls = self.shared = 0
        self.created: set[str] = set()

    def life(self, number: int) -> Size:
        """Start, count, be scraped, end. What it had at its end."""
        command = [sys.executable, "-c", PROCESS, str(self.port), str(self.folder)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdin is not None
        assert process.stdout is not None
        cpu, shared = process.stdout.readline().split()
        self.shared += shared == "True"
        self._scrape()
        process.stdin.write("\n")
        process.stdin.flush()
        process.stdout.readline()
        self.made += CALLS
        self._scrape()
        size = self._size(process.pid, float(cpu))
        self._end(process, ENDS[number % len(ENDS)])
        return size

    def _end(self, process: subprocess.Popen[str], end: str | signal.Signals) -> None:
        if not isinstance(end, str):
            process.send_signal(end)
        process.communicate(timeout=PATIENCE_SECONDS)  # closes its standard input: it ends by itself

    def _scrape(self) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=PATIENCE_SECONDS) as answer:
            text = answer.read().decode()
        shown = int(sum(map(float, re.findall(r"^anthropic_requests_total\{.*\} (\S+)$", text, re.MULTILINE))))
        self.falls += shown < self.newest
        self.newest = shown
        began = r'^anthropic_requests_created\{feature="f0".*outcome="success".*\} (\S+)$'
        self.created |= set(re.findall(began, text, re.MULTILINE))

    def _size(self, pid: int, cpu: float) -> Size:
        files = [one for one in self.folder.rglob("*") if one.is_file()]
        status = Path(f"/proc/{pid}/status").read_text()
        (kilobytes,) = re.findall(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)
        descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        return Size(len(files), sum(one.stat().st_size for one in files), descriptors, int(kilobytes), cpu)


def median(sizes: list[Size]) -> Size:
    return Size(*(statistics.median_high(column) for column in zip(*sizes, strict=True)))


def run(lives: int, port: int) -> Found:
    """That many lives, one after the other."""
    with tempfile.TemporaryDirectory() as folder:
        service = Service(Path(folder), port)
        sizes = [service.life(number) for number in range(lives)]
        samples = min(SAMPLES, lives // 4)
        first = max(3, lives // 10)
        early, late = median(sizes[first : first + samples]), median(sizes[-samples:])
        return Found(
            early, late, service.made, service.newest, service.falls, frozenset(service.created), service.shared
        )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lives", type=int, default=200)
    found = run(parser.parse_args().lives, free_port())
    print(f"calls {found.made}, shown {found.shown}, falls {found.falls}, values of _created {len(found.created)}")
    print(f"lives that shared cells with another process: {found.shared}")
    print(f"early {found.early}\nlate  {found.late}")
    return 0 if found.holds else 1


if __name__ == "__main__":
    sys.exit(main())
