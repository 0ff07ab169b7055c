"""Outages by the clock, under traffic: what is lost, counted twice, or falls, and what they cost.

`python -m bench.fleet.outages [--seconds 60] [--only queue|partition|disk|versions] [--other DIR]`: `--seconds 600` for
ten minutes. DIR is the folder `exporter` of another version, to run beside this one. Needs the extra `redis`.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from collectors import wait_until
from fleet_under_fire import Fire


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", choices=["queue", "partition", "disk", "versions"])
    parser.add_argument("--other", type=Path)
    given = parser.parse_args()
    for name, work in (("queue", queue_down), ("partition", partitioned), ("disk", disk_full)):
        if given.only in (None, name):
            with tempfile.TemporaryDirectory() as folder, Fire(Path(folder), 2, mapped=True) as fire:
                fire.traffic(2000)
                say(name, fire, work(fire, given.seconds))
    if given.other is not None and given.only in (None, "versions"):
        versions(given.other)


def say(name: Any, fire: Any, more: Any = "") -> None:
    outcome = fire.end()
    print(
        f"{name:10} {outcome.recorded} calls, {outcome.shown} shown: lost {outcome.lost_beyond_the_last_period}, ",
        end="",
    )
    print(f"counted twice {outcome.counted_twice}, counters that fell {outcome.falls}{more}", flush=True)


def queue_down(fire: Any, seconds: Any) -> Any:
    before = memory_of(fire)
    fire.queue.kill()
    time.sleep(seconds)
    after = memory_of(fire)
    fire.queue.start()
    fire.traffic(2000)
    return f"; {seconds:.0f} s without a queue, memory of a worker {before:.1f} MB before and {after:.1f} MB at its end"


def partitioned(fire: Any, seconds: Any) -> Any:
    fire.relay.cut()
    time.sleep(min(seconds, 60))
    lost = fire.collector.value("anthropic_collector_hosts", state="lost")
    fire.relay.mend()
    wait_until(lambda: fire.collector.value("anthropic_collector_hosts", state="live") == 2.0)
    return f"; {min(seconds, 60):.0f} s apart, hosts lost {lost:.0f}, and 0 after it"


def disk_full(fire: Any, seconds: Any) -> Any:
    """A limit on the size of files stands for the full disk."""
    pid = fire.collector.process.pid
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1000, limits[1]))
    shown = fire.collector.value("anthropic_requests_total")
    time.sleep(min(seconds, 20))
    grown = fire.collector.value("anthropic_requests_total") - shown
    errors = fire.collector.value("anthropic_collector_errors_total", stage="state")
    resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
    wait_until(lambda: fire.collector.value("anthropic_collector_state_age_seconds") < 1.5)
    fire.kill_collector()
    return f"; {errors:.0f} errors counted, {grown:.0f} calls shown meanwhile; killed after it"


def versions(other: Any) -> None:
    for name, options in (("old host", {"old_worker": other}), ("old coll.", {"old_collector": other})):
        with tempfile.TemporaryDirectory() as folder, Fire(Path(folder), 2, **options) as fire:
            for kill in (fire.kill_worker, fire.kill_collector, fire.kill_worker):
                fire.traffic(1000)
                kill()
            say(name, fire)


def memory_of(fire: Any) -> Any:
    """Megabytes of the first worker."""
    status = Path(f"/proc/{fire.workers[0].process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1000


if __name__ == "__main__":
    main()
