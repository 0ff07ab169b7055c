"""400 readers of /metrics and /live at once, half of them slow: what they cost an application that works meanwhile.

The application records calls of 30 features on one thread and measures how late each 2 ms turn begins. On a machine
that others use, the slowest turns say more about those than about the readers. So three figures are compared in runs
that take turns, in which the same 400 readers read from this application or from another one beside it: what they take
of the machine is the same then, and the difference is what they take of the application.

- the processor time of the application's own thread for a turn, which includes what it does for the recorder;
- the 99th percentile of each second, of which the median is taken: a second in which something else ran does not count;
- the turns of a thousand that began later than 5 ms, the longest that one Python thread lets another one wait.

`--quick`: 3 s a run instead of 10.
"""

from __future__ import annotations

import contextlib
import sys
import time

from bench.limits.server import SLOW, Attack, Flood, Victim

SECONDS = 3 if "--quick" in sys.argv else 10
READERS = 400
APPLICATION = """
import statistics, sys, threading, time
from anthropic_exporter import serve
from anthropic_exporter.guard import Guard
from bench.speed.scrape import CALL, ours
recorder, stopped, late, used = ours(1_000), threading.Event(), [], []
def work():
    number, began = 0, time.thread_time()
    while not stopped.is_set():
        due = time.perf_counter() + 0.002
        time.sleep(0.002)
        recorder.record(CALL._replace(feature=f"feature-{number % 30}"))
        late.append(time.perf_counter() - due)
        number += 1
    used.append((time.thread_time() - began) / number)
def p99(turns):
    return sorted(turns)[len(turns) * 99 // 100]
with Guard(recorder) as guard, serve(recorder, port=0, live=True, guard=guard) as server:
    print(server.port, flush=True)
    if not sys.stdin.readline():
        sys.exit()
    thread = threading.Thread(target=work)
    thread.start()
    sys.stdin.readline()
    stopped.set()
    thread.join()
    usual = statistics.median(p99(late[start : start + 400]) for start in range(0, len(late) - 400, 400))
    beyond = sum(one > 0.005 for one in late) / len(late)
    print(used[0] * 1e6, statistics.median(late) * 1e3, usual * 1e3, beyond * 1e3, flush=True)
    sys.stdin.read()
"""


def measured(where: str) -> str:
    """One line: what the process took beyond what it had, and how late its turns began."""
    victim, other = Victim(APPLICATION), Victim(APPLICATION)
    quarter, port = READERS // 4, {"here": victim.port, "elsewhere": other.port}.get(where, 0)
    try:
        with contextlib.ExitStack() as stack:
            before = victim.usage()
            if port:
                live = SLOW.replace(b"/metrics", b"/live")
                for attack in (
                    Attack(port, quarter, SLOW),
                    Attack(port, quarter, live),
                    Flood(port, quarter, b"/metrics"),
                    Flood(port, quarter, b"/live/state"),
                ):
                    stack.enter_context(contextlib.closing(attack))
            victim.say("begin")
            found = [victim.usage()]
            for _ in range(2 * SECONDS):
                time.sleep(0.5)
                found.append(victim.usage())
            victim.say("end")
            used, median, usual, beyond = map(float, victim.hear().split())
        columns = list(zip(*found, strict=True))
        threads, descriptors, memory = (max(columns[place]) - before[place] for place in range(3))
        share = (found[-1][3] - found[0][3]) / SECONDS
        return (
            f"{where:9}{threads:9}{descriptors:13}{memory:7.1f}{share:13.0%}"
            f"{used:9.0f} µs{median:10.2f} ms{usual:8.2f} ms{beyond:8.1f}"
        )
    finally:
        victim.close()
        other.close()


def main() -> None:
    print(f"\nadded to an application that records a call every 2 ms, over {SECONDS} s")
    print(f"{'readers':9}{'threads':>9}{'descriptors':>13}{'MB':>7}{'% of a core':>13}{'own CPU':>12}", end="")
    print(f"{'median late':>13}{'p99':>11}{'>5 ms, ‰':>10}")
    for where in ("nowhere", "elsewhere", "here", "elsewhere", "here"):
        print(measured(where), flush=True)


if __name__ == "__main__":
    main()
