"""A fleet under traffic whose parts are killed: workers that know the truth, a real queue, a real collector."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from collectors import Collecting, environment_of, value_of, wait_until
from fleet_worker import BEGAN, NUMBERS, RECORDED, SENT_AT, TAKEN
from ports import free_port
from queue_engines import PATIENCE_SECONDS, Redis
from relays import Relay

WORKER = Path(__file__).with_name("fleet_worker.py")
PERIOD_SECONDS = 0.1
_WATCHED = ("anthropic_requests_total", "anthropic_tokens_total", "anthropic_cost_usd_total")


class Outcome(NamedTuple):
    """Calls. Those that a worker was just recording when it was killed may be shown or not."""

    recorded: int
    shown: int
    lost_beyond_the_last_period: int
    counted_twice: int
    falls: int
    kills: int


class Worker(NamedTuple):
    """A running worker, its host, and the file of what it did."""

    process: subprocess.Popen[bytes]
    host: int
    truth: Path


class Fire:
    """Two hosts with workers, a queue and a collector.

    With `mapped`, the workers of a host count together, and one of them sends the cells of all. The first host reaches
    the queue through `relay`. `old_worker` and `old_collector` are the `exporter` folders of other versions: of the
    second host, and of the collector.
    """

    def __init__(
        self, folder: Any, workers: Any = 1, *, mapped: Any = False, old_worker: Any = None, old_collector: Any = None
    ) -> None:
        self.folder = folder
        self.queue = Redis(folder / "redis")
        self.relay = Relay(self.queue.port)
        self.paths = [None, old_worker]
        self.collector = Collecting(self.queue.url, folder / "state", path=old_collector)
        self.ports = [str(free_port()) if mapped else "" for _ in range(2)]
        self.mapped = mapped
        self.hosts = [0, 1] * workers
        self.workers, self.truths = [], []  # type: ignore[var-annotated]
        self.kills = self.falls = 0
        self._seen: dict[Any, Any] = {}
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Any:
        self.queue.start()
        self.collector.start()
        for host in self.hosts:
            self._start_worker(host)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._watcher.join()
        for worker in self.workers:
            self._end(worker)
        self.collector.__exit__()
        self.relay.close()
        self.queue.kill()

    def _start_worker(self, host: Any, *options: Any) -> None:
        truth = self.folder / f"truth-{len(self.truths)}"
        truth.write_bytes(NUMBERS.pack(0, 0, 0, 0))
        self.truths.append(truth)
        url = self.queue.url if host else f"redis://127.0.0.1:{self.relay.port}"
        command = [sys.executable, str(WORKER), url, str(truth), f"host-{host}", str(PERIOD_SECONDS)]
        runtime = self.folder / f"runtime-{host}"
        runtime.mkdir(exist_ok=True)
        environment = {**environment_of(self.paths[host]), "ANTHROPIC_EXPORTER_RUNTIME_DIR": str(runtime)}
        process = subprocess.Popen([*command, self.ports[host], *options], env=environment)
        self.workers.append(Worker(process, host, truth))

    @staticmethod
    def _end(worker: Any, *, in_order: Any = False) -> None:
        (worker.process.terminate if in_order else worker.process.kill)()
        worker.process.wait(PATIENCE_SECONDS)

    def _sum(self, number: Any) -> Any:
        return sum(NUMBERS.unpack(truth.read_bytes())[number] for truth in self.truths)

    def recorded(self) -> Any:
        return self._sum(RECORDED)

    def traffic(self, calls: Any) -> None:
        """Wait until so many more calls were recorded."""
        wanted = self.recorded() + calls
        wait_until(lambda: self.recorded() >= wanted)

    def kill_worker(self) -> None:
        """Kill the oldest worker, and start another one."""
        self._replace(self.workers[0])

    def kill_sender(self) -> None:
        """Kill the worker from which the queue took a message last."""
        self._replace(max(self.workers, key=lambda one: NUMBERS.unpack(one.truth.read_bytes())[SENT_AT]))

    def _replace(self, worker: Any) -> None:
        self.workers.remove(worker)
        self._end(worker)
        self._start_worker(worker.host)
        self.kills += 1

    def kill_collector(self) -> None:
        self.collector.kill()
        self.collector.start()
        self.kills += 1

    def kill_queue(self) -> None:
        self.queue.kill()
        self.queue.start()
        self.kills += 1

    def _watch(self) -> None:
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

    def end(self, *, in_order: Any = False) -> Any:
        """End the workers, wait until everything that was kept is shown, and compare."""
        for worker in self.workers:
            self._end(worker, in_order=in_order)
        if self.mapped:  # whoever comes next on a host sends what is left there
            for host in set(self.hosts):
                self._start_worker(host, "idle")
        return self._compare()

    def _shown(self) -> Any:
        return round(value_of(self.collector.text(), "anthropic_requests_total", outcome="success") or 0)

    def _compare(self) -> Any:
        """Without mapped cells, of each killed worker between what the queue took and what it recorded may be shown."""
        least, most = self._sum(RECORDED if self.mapped else TAKEN), self._sum(BEGAN)
        wait_until(lambda: self._shown() >= least, lambda: f"{self._shown()} of at least {least} are shown")
        time.sleep(3 * PERIOD_SECONDS)
        shown = self._shown()
        return Outcome(self.recorded(), shown, max(0, least - shown), max(0, shown - most), self.falls, self.kills)
