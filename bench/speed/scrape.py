"""What scraping does to the application: how late its threads are while /metrics is asked for without a pause.

Beside prometheus_client's own server with as many lines of its own metrics. Then 10,000 recorded calls a second in one
process, and what 32 threads at a switch interval of a microsecond lose. `--quick`: a glance.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from typing import Any

from prometheus_client import CollectorRegistry, Counter, generate_latest, start_http_server

from anthropic_exporter import Call, Inference, Recorder, serve
from bench.speed.record import MODEL, NOON, TOKENS

QUICK = "--quick" in sys.argv
SECONDS = 3 if QUICK else 15
CALL = Call(MODEL, inferences=(Inference(MODEL, TOKENS),), feature="chat", started_at=NOON, duration_seconds=1.5)
SCRAPER = """
import sys, urllib.request
while True:
    urllib.request.urlopen(sys.argv[1]).read()
"""


def lateness(url: Any) -> Any:
    """The 99th percentile of how late a thread wakes that sleeps a millisecond at a time, in milliseconds."""
    scraper = subprocess.Popen([sys.executable, "-c", SCRAPER, url], stderr=subprocess.DEVNULL) if url else None
    try:
        time.sleep(0.5)
        late, end = [], time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            began = time.perf_counter()
            time.sleep(0.001)
            late.append((time.perf_counter() - began - 0.001) * 1000)
        return statistics.quantiles(late, n=100)[98]
    finally:
        if scraper is not None:
            scraper.kill()
            scraper.wait()


def ours(lines: Any) -> Any:
    recorder, number = Recorder(registry=None), 0
    while recorder.render().count(b"\n") < lines:
        recorder.record(CALL._replace(feature=f"feature-{number}"))
        number += 1
    return recorder


def theirs(lines: Any) -> Any:
    registry = CollectorRegistry()
    counter = Counter("hand_tokens", "tokens", ("model", "feature", "user", "type"), registry=registry)
    number = 0
    while generate_latest(registry).count(b"\n") < lines:
        for _ in range(50):
            counter.labels(MODEL, f"feature-{number}", "acme", "input").inc(number)
            number += 1
    return registry


def main() -> None:
    lines = 1_000
    with serve(ours(lines), port=0) as server:
        mine = lateness(f"{server.url}/metrics")
    httpd, thread = start_http_server(0, "127.0.0.1", theirs(lines))
    other = lateness(f"http://127.0.0.1:{httpd.server_address[1]}/metrics")
    httpd.shutdown()
    httpd.server_close()
    thread.join()
    print(f"\np99 delay of an application thread, {lines:,} lines scraped without a pause (bar: 3 ms)")
    print(f"  nobody scrapes {lateness(''):.1f} ms   ours {mine:.1f} ms   prometheus_client {other:.1f} ms")
    rate()
    threads()


def rate() -> None:
    recorder = Recorder(registry=None)
    spent, began = time.process_time(), time.perf_counter()
    for _ in range(SECONDS * 100):
        for _ in range(100):
            recorder.record(CALL)
        time.sleep(max(0.0, 0.01 - (time.perf_counter() - began) % 0.01))
    wall, spent = time.perf_counter() - began, time.process_time() - spent
    calls = SECONDS * 100 * 100
    print(f"\n{calls / wall:,.0f} calls a second recorded (bar: 10,000 below 10 % of a core)")
    print(f"  {100 * spent / calls * 10_000:.1f} % of a core for 10,000 a second")


def threads() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    recorder, each = Recorder(registry=None), 500 if QUICK else 5_000
    workers = [threading.Thread(target=lambda: [recorder.record(CALL) for _ in range(each)]) for _ in range(32)]  # type: ignore[func-returns-value]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sys.setswitchinterval(before)
    (requests,) = [one for one in recorder.read()["anthropic_requests_total"] if one.values[0]]
    print(f"\n32 threads at a switch interval of 1 µs (bar: none lost)\n  lost {32 * each - int(requests.values[0])}")


if __name__ == "__main__":
    main()
