"""400 readers of /metrics and /live at once, half of them slow: what they cost an application that works meanwhile.

The application records calls of 30 features on one thread and measures how late each 2 ms turn begins. `--quick`: 3 s.
"""

from __future__ import annotations

import contextlib
import sys
import time

from bench.limits.server import SLOW, Attack, Flood, Victim

SECONDS = 3 if "--quick" in sys.argv else 15
READERS = 400
APPLICATION = """
import sys, threading, time
from anthropic_exporter import serve
from anthropic_exporter.guard import Guard
from bench.speed.scrape import CALL, ours
recorder, stopped, late = ours(1_000), threading.Event(), []
def work():
    number = 0
    while not stopped.is_set():
        due = time.perf_counter() + 0.002
        time.sleep(0.002)
        recorder.record(CALL._replace(feature=f"feature-{number % 30}"))
        late.append(time.perf_counter() - due)
        number += 1
with Guard(recorder) as guard, serve(recorder, port=0, live=True, guard=guard) as server:
    print(server.port, flush=True)
    sys.stdin.readline()
    thread = threading.Thread(target=work)
    thread.start()
    sys.stdin.readline()
    stopped.set()
    thread.join()
    late.sort()
    print(late[len(late) // 2] * 1000, late[len(late) * 99 // 100] * 1000, late[-1] * 1000, flush=True)
    sys.stdin.read()
"""


def measured(readers: int) -> str:
    """One line: what the process took beyond what it had, and how late its turns began."""
    victim = Victim(APPLICATION)
    quarter = readers // 4
    try:
        with contextlib.ExitStack() as stack:
            before = victim.usage()
            if readers:
                live = SLOW.replace(b"/metrics", b"/live")
                for attack in (
                    Attack(victim.port, quarter, SLOW),
                    Attack(victim.port, quarter, live),
                    Flood(victim.port, quarter, b"/metrics"),
                    Flood(victim.port, quarter, b"/live/state"),
                ):
                    stack.enter_context(contextlib.closing(attack))
            victim.say("begin")
            found = [victim.usage()]
            for _ in range(2 * SECONDS):
                time.sleep(0.5)
                found.append(victim.usage())
            victim.say("end")
            median, late, latest = map(float, victim.hear().split())
        columns = list(zip(*found, strict=True))
        threads, descriptors, memory = (max(columns[place]) - before[place] for place in range(3))
        share = (found[-1][3] - found[0][3]) / SECONDS
        return (
            f"{readers:8}{threads:9}{descriptors:13}{memory:7.1f}{share:13.0%}"
            f"{median:13.2f} ms{late:8.1f} ms{latest:8.1f} ms"
        )
    finally:
        victim.close()


def main() -> None:
    print(f"\nadded to an application that records a call every 2 ms, over {SECONDS} s")
    print(f"{'readers':>8}{'threads':>9}{'descriptors':>13}{'MB':>7}{'% of a core':>13}{'late: median':>16}", end="")
    print(f"{'p99':>11}{'most':>11}")
    for readers in (0, READERS, 0, READERS):
        print(measured(readers), flush=True)


if __name__ == "__main__":
    main()
