"""How long the slowest calls of an application's thread take, idle and with every core busy. `--quick`: a glance.

    .venv/bin/python -m bench.speed.slowest_calls [--quick]

One thread calls the SDK without a pause, on a transport that answers from memory: the worst case for whoever else wants
the interpreter, such as the server's thread that writes what waits. Variants take turns in one process: the plain
client, each answer written in its call (as with a sink of your own), every 128th call writing what waits, and a
server's thread writing it. Printed are microseconds of one call, at the median and at the 99th and 99.9th percentile.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from time import perf_counter
from typing import Any, NamedTuple

from anthropic_exporter import Recorder, attribution, serve
from bench.speed.fake_sdk_client import ASKED, BODIES, client

QUICK = "--quick" in sys.argv
PLAIN, AT_ONCE = "plain client", "written at once"
EVERY_128TH, SERVED = "every 128th call writes", "a server's thread writes"
_BUSY = "while True: pass"


class Tail(NamedTuple):
    """Microseconds of one call."""

    p50: float
    p99: float
    p999: float


def variants(owned: contextlib.ExitStack) -> dict[str, Any]:
    """A client for each way."""
    body = BODIES["450 B"]
    at_once, alone, served = (Recorder(registry=None) for _ in range(3))
    at_once.subscribe(lambda _: None)
    owned.enter_context(contextlib.closing(serve(served, port=0)))
    recorders = {AT_ONCE: at_once, EVERY_128TH: alone, SERVED: served}
    return {PLAIN: client(body), **{name: client(body, one.middleware()) for name, one in recorders.items()}}


@contextlib.contextmanager
def busy(processes: int) -> Iterator[None]:
    """So many processes that never pause."""
    running = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(processes)]
    try:
        yield
    finally:
        for one in running:
            one.kill()
            one.wait()


def durations(clients: dict[str, Any], rounds: int, calls: int) -> dict[str, list[float]]:
    """Microseconds of every call; the variants take turns."""
    found: dict[str, list[float]] = {name: [] for name in clients}
    names = list(clients)
    for number in range(rounds + 1):
        turn = number % len(names)
        for name in (*names[turn:], *names[:turn]):
            create, seconds = clients[name].messages.create, []
            for _ in range(calls):
                began = perf_counter()
                create(**ASKED)
                seconds.append((perf_counter() - began) * 1e6)
            if number:  # the first round warms up
                found[name] += seconds
    return found


def tail(values: list[float]) -> Tail:
    """The percentiles of some durations."""
    ordered = sorted(values)
    return Tail(*(ordered[int(len(ordered) * share)] for share in (0.5, 0.99, 0.999)))


def measured(processes: int, rounds: int, calls: int) -> dict[str, Tail]:
    """The percentiles of each variant, while so many processes are busy."""
    with contextlib.ExitStack() as owned:
        owned.enter_context(attribution(feature="chat", user="acme"))
        clients = variants(owned)
        owned.enter_context(busy(processes))
        return {name: tail(values) for name, values in durations(clients, rounds, calls).items()}


def main() -> None:
    """Measure idle, then with every core busy."""
    cores = os.cpu_count() or 1
    for processes, title in ((0, "idle"), (cores, f"{cores} busy processes on {cores} cores")):
        print(f"\none call, {title}\n  {'':28}{'p50 µs':>10}{'p99 µs':>10}{'p99.9 µs':>10}")
        for name, one in measured(processes, 4 if QUICK else 20, 500).items():
            print(f"  {name:28}{one.p50:10.0f}{one.p99:10.0f}{one.p999:10.0f}", flush=True)


if __name__ == "__main__":
    main()
