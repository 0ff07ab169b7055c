"""A fleet under traffic whose parts are killed: workers that know the truth, a real queue, a real collector."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

from collectors import Collecting, value_of, wait_until
from fleet_worker import NUMBERS
from queue_engines import PATIENCE_SECONDS, Redis

WORKER = Path(__file__).with_name("fleet_worker.py")
PERIOD_SECONDS = 0.1
_WATCHED = ("anthropic_requests_total", "anthropic_tokens_total", "anthropic_cost_usd_total")


class Outcome(NamedTuple):
    """Calls."""

    recorded: int
    shown: int
    lost_beyond_the_last_period: int
    counted_twice: int
    falls: int
    kills: int


class Fire:
    """Two hosts with a worker each, a queue and a collector."""

    def __init__(self, folder, workers=2):
        self.folder = folder
        self.queue = Redis(folder / "redis")
        self.collector = Collecting(self.queue.url, folder / "state")
        self.count = workers
        self.workers, self.truths = [], []
        self.kills = self.falls = 0
        self._seen = {}
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self.queue.start()
        self.collector.start()
        for number in range(self.count):
            self._start_worker(f"host-{number}")
        self._watcher.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        self._watcher.join()
        for worker, _ in self.workers:
            worker.kill()
            worker.wait(PATIENCE_SECONDS)
        self.collector.__exit__()
        self.queue.kill()

    def _start_worker(self, host):
        truth = self.folder / f"truth-{len(self.truths)}"
        truth.write_bytes(NUMBERS.pack(0, 0))
        self.truths.append(truth)
        command = [sys.executable, str(WORKER), self.queue.url, str(truth), host, str(PERIOD_SECONDS)]
        self.workers.append((subprocess.Popen(command), host))

    def recorded(self):
        return sum(NUMBERS.unpack(truth.read_bytes())[0] for truth in self.truths)

    def traffic(self, calls):
        """Wait until so many more calls were recorded."""
        wanted = self.recorded() + calls
        wait_until(lambda: self.recorded() >= wanted)

    def kill_worker(self):
        worker, host = self.workers.pop(0)
        worker.kill()
        worker.wait(PATIENCE_SECONDS)
        self._start_worker(host)
        self.kills += 1

    def kill_collector(self):
        self.collector.kill()
        self.collector.start()
        self.kills += 1

    def kill_queue(self):
        self.queue.kill()
        self.queue.start()
        self.kills += 1

    def _watch(self):
        """Whatever is shown never falls."""
        while not self._stopped.wait(0.05):
            try:
                text = self.collector.text()
            except (OSError, ValueError):
                continue
            for line in text.splitlines():
                if line.startswith(_WATCHED):
                    name, _, value = line.rpartition(" ")
                    self.falls += float(value) < self._seen.get(name, 0.0)
                    self._seen[name] = float(value)

    def end(self, *, in_order=False):
        """End the workers, wait until everything that the queue took is shown, and compare."""
        for worker, _ in self.workers:
            (worker.terminate if in_order else worker.kill)()
            worker.wait(PATIENCE_SECONDS)
        return self._compare()

    def _shown(self):
        return round(value_of(self.collector.text(), "anthropic_requests_total", outcome="success") or 0)

    def _compare(self):
        """Of each killed worker between what the queue took and what it recorded may be shown."""
        pairs = [NUMBERS.unpack(truth.read_bytes()) for truth in self.truths]
        least, most = sum(taken for _, taken in pairs), sum(recorded for recorded, _ in pairs)
        wait_until(lambda: self._shown() >= least, lambda: f"{self._shown()} of at least {least} are shown")
        time.sleep(3 * PERIOD_SECONDS)
        shown = self._shown()
        return Outcome(most, shown, max(0, least - shown), max(0, shown - most), self.falls, self.kills)
