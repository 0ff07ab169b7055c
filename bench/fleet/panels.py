"""Do rules and panels work unchanged behind a collector? Every panel of the dashboard, both ways in one run.

    .venv/bin/python -m bench.fleet.panels                   6 to 8 minutes

Three hosts spend; one Prometheus scrapes them, another one scrapes the collector they publish to. For each panel,
the seconds after which it has data either way. Exit code 1 if one has data only where the hosts are scraped, or none
at all.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from anthropic_exporter import Recorder, publish, serve, stack
from collectors import Collecting
from panels import cached, empty_panels, plain
from queue_engines import Redis

HOSTS = 3
LOOK_SECONDS = 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--most", type=float, default=600.0, metavar="SECONDS")
    options = parser.parse_args()
    stopped = threading.Event()
    recorders = [Recorder(registry=None) for _ in range(HOSTS)]
    with contextlib.ExitStack() as owned:
        folder = Path(owned.enter_context(tempfile.TemporaryDirectory()))
        pages = [owned.enter_context(serve(recorder, port=0)) for recorder in recorders]
        queue = owned.enter_context(Redis(folder / "redis"))
        collector = owned.enter_context(Collecting(queue.url, folder / "state"))
        for number, recorder in enumerate(recorders):
            owned.enter_context(publish(recorder, queue.url, service="api", host=f"host-{number}"))
        targets = {
            "hosts": [f"127.0.0.1:{page.port}" for page in pages],
            "collector": [collector.url.removeprefix("http://")],
        }
        ways = {
            name: owned.enter_context(stack.start(addresses, folder=folder / name))
            for name, addresses in targets.items()
        }
        owned.callback(stopped.set)
        threading.Thread(target=spend, args=(recorders, stopped)).start()
        empty = watched(ways, options.most)
    for way, titles in empty.items():
        print(f"no data by way of {way}: {', '.join(sorted(titles)) or 'none'}")
    return 1 if any(empty.values()) else 0


def watched(ways: dict[str, stack.Stack], most: float) -> dict[str, set[str]]:
    """Panels that are empty in the end, by way; prints when each one gets data."""
    began = time.monotonic()
    empty: dict[str, Any] = {name: empty_panels(running) for name, running in ways.items()}
    while any(empty.values()) and time.monotonic() - began < most:
        time.sleep(LOOK_SECONDS)
        for name, running in ways.items():
            left = empty_panels(running)
            for title in sorted(empty[name] - left):
                print(f"{time.monotonic() - began:5.0f} s  {name:9}  {title}", flush=True)
            empty[name] &= left
    return empty


def spend(recorders: list[Recorder], stopped: threading.Event) -> None:
    while not stopped.wait(1.0):
        for recorder in recorders:
            recorder.record(plain(time.time()))
            recorder.record(cached(time.time(), cache_write_5m=20))
            recorder.record(cached(time.time(), cache_read=2_000))


if __name__ == "__main__":
    sys.exit(main())
