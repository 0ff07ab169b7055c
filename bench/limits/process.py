"""What one recorder takes from its process at most: memory of each store that is full, and milliseconds of a call.

Memory is counted by `tracemalloc`; a store is filled with twice as much as it keeps. Milliseconds are those of the
slowest call of 100 while a sink is slow, and while another thread holds the cells. `--quick`: a glance.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator

from anthropic_exporter import Call, Inference, Recorder, Tokens
from anthropic_exporter.locking import this_frame
from anthropic_exporter.recording.batch_memory import SeenResults
from anthropic_exporter.recording.retries import Failed, Retries
from anthropic_exporter.recording.served_models import CachedThreads, ServedModels
from anthropic_exporter.recording.session_memory import SessionMemory, SessionUse
from anthropic_exporter.wire.alertmanager import IncomingAlert, parse_webhook

QUICK = "--quick" in sys.argv
SHARE = 20 if QUICK else 1
MODEL = "claude-opus-5-5"
LONG = "n" * 120


def names(count: int) -> Iterator[str]:
    """Twice as many names as are kept, as long as names are kept."""
    return (f"{LONG}{number:07}" for number in range(2 * count // SHARE))


def series() -> Recorder:
    recorder = Recorder(registry=None)
    for feature in range(100 // SHARE):
        for user in range(200 // SHARE):
            recorder.record(Call(MODEL, feature=f"feature {feature}", user=f"user {user}"))
    recorder.render()
    return recorder


def label_sets() -> Recorder:
    recorder = Recorder(registry=None)
    for name in names(20_000):
        recorder.expect(MODEL, name, name)
    recorder.drain()
    return recorder


def batch_results() -> SeenResults:
    seen = SeenResults()
    for number in range(600_000 // SHARE):
        seen.first_time("msgbatch_1", str(number))
    for name in names(10_000):
        seen.created(name, 0.0)
    return seen


def sessions() -> SessionMemory:
    memory = SessionMemory()
    for name in names(10_000):
        for thread in ("one", "two"):
            memory.add(name, SessionUse(Tokens(1), (("web_search", 1),), 1.0), thread)
    return memory


def retries() -> Retries:
    kept = Retries()
    for name in names(4_096):
        kept.failed(name, Failed("overloaded_error", MODEL, name))
    return kept


def models() -> tuple[ServedModels, CachedThreads]:
    served, threads = ServedModels(), CachedThreads()
    for name in names(1_000):
        served.learn(name, MODEL)
    for name in names(4_096):
        threads.add(name)
    return served, threads


def waiting_for_a_sink() -> Recorder:
    recorder = Recorder(registry=None)
    inside = threading.Event()
    release = threading.Event()

    def sink(_: Call) -> None:
        inside.set()
        release.wait(60)

    recorder.subscribe(sink)
    thread = threading.Thread(target=recorder.record, args=(call(),))
    thread.start()
    inside.wait(10)
    for _ in range(20_000 // SHARE):
        recorder.record(call())
    release.set()
    thread.join()
    return recorder


def alerts() -> list[IncomingAlert]:
    """Alerts as large as one may be, in the letters that take the most memory."""
    texts = dict.fromkeys(("feature", "model", "remedy", "summary", "began", "a", "b", "c"), "🔥" * 2048)
    one = {"status": "firing", "labels": {**texts, "alertname": "x"}, "annotations": texts, "fingerprint": "0"}
    body = json.dumps({"alerts": [one]}).encode()
    return [parse_webhook(body)[0] for _ in range(1_000 // SHARE)]


STORES: dict[str, Callable[[], object]] = {
    "20,000 series, with the page": series,
    "20,000 label sets seen at the start of a request": label_sets,
    "300,000 results and 10,000 batches": batch_results,
    "10,000 sessions with 20,000 threads": sessions,
    "4,096 failed attempts": retries,
    "1,000 requested models, 4,096 message threads": models,
    "10,000 calls that wait for a slow sink": waiting_for_a_sink,
    "1,000 alerts that wait for a remedy": alerts,
}


def call() -> Call:
    """One call as it comes from the wire."""
    return Call(MODEL, inferences=(Inference(MODEL, Tokens(100, output=10)),), feature="chat", duration_seconds=1.0)


def megabytes(fill: Callable[[], object]) -> float:
    tracemalloc.start()
    kept = fill()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept
    return taken / 1e6


def slow_call_ms(recorder: Recorder, calls: int) -> float:
    """What 99 of 100 calls stay below; the longest says more of the machine."""
    times = []
    for _ in range(calls // SHARE):
        began = time.perf_counter()
        recorder.record(call())
        times.append(time.perf_counter() - began)
    return sorted(times)[-1 - len(times) // 100] * 1000


def beside_a_slow_sink() -> float:
    recorder = Recorder(registry=None)
    recorder.subscribe(lambda _: time.sleep(0.02))
    return slow_call_ms(recorder, 200)


def while_the_cells_are_held() -> tuple[float, float]:
    """A call, and a scrape, while another thread does not let go of the cells."""
    recorder = Recorder(registry=None)
    recorder.render()
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        frame = this_frame()
        recorder._waiting.lock.acquire(frame)  # noqa: SLF001 - what a thread that the system stopped would hold
        held.set()
        release.wait(60)
        recorder._waiting.lock.release(frame)  # noqa: SLF001 - as above

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    slow = slow_call_ms(recorder, 20_000)
    began = time.perf_counter()
    recorder.render()
    scrape = (time.perf_counter() - began) * 1000
    release.set()
    thread.join()
    return slow, scrape


def main() -> None:
    print("memory of a full store")
    for name, fill in STORES.items():
        print(f"  {name:52} {megabytes(fill):6.1f} MB", flush=True)
    print("milliseconds of the slowest call of 100")
    print(f"  {'beside a sink of 20 ms':52} {beside_a_slow_sink():6.0f} ms", flush=True)
    calls, scrape = while_the_cells_are_held()
    print(f"  {'while another thread holds the cells':52} {calls:6.1f} ms")
    print(f"  {'a scrape then, which shows the page before':52} {scrape:6.0f} ms")


if __name__ == "__main__":
    main()
