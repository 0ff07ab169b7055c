"""What mapped cells cost, and the merge of 4 and 20 workers beside prometheus_client's MultiProcessCollector.

Bars: `record()` at most 1.2 times that of plain lists; a line of the merge at least 20 times faster.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from anthropic_exporter import Call, Inference, Recorder, Tokens
from anthropic_exporter.host.membership import Membership
from anthropic_exporter.host.ticking import TICKER
from anthropic_exporter.metrics.renderer import Renderer

MODELS = ("claude-sonnet-4-6", "claude-haiku-4-5", "claude-opus-4-8")
CALLS = [
    Call(
        model,
        inferences=(Inference(model, Tokens(1500, 3000, 200, 0, 400)),),
        feature=f"feature-{feature}",
        user="u",
        started_at=1_795_900_000.0,
        duration_seconds=1.5,
        time_to_first_token_seconds=0.4,
        call_duration_seconds=1.5,
        stop_reason="end_turn",
        cache_asked=True,
    )
    for feature in range(10)
    for model in MODELS
]
PEER = """
import sys
from prometheus_client import Counter, Histogram
counters = [Counter(f"c{i}", "h", ["model", "feature"]) for i in range(60)]
histograms = [Histogram(f"h{i}", "h", ["model", "feature"]) for i in range(5)]
for feature in range(10):
    for model in "abc":
        for one in counters: one.labels(model, str(feature)).inc()
        for one in histograms: one.labels(model, str(feature)).observe(1)
"""


def member(folder: Path) -> Recorder:
    recorder = Recorder(registry=None)
    membership = Membership(recorder, folder)
    membership.share()
    TICKER.remove(membership.tick)  # else its thread writes some of the calls, at a time that is not measured
    return recorder


def recording(rounds: int) -> float:
    with tempfile.TemporaryDirectory(dir="/dev/shm", ignore_cleanup_errors=True) as place:
        both = {"plain": Recorder(registry=None), "mapped": member(Path(place) / "service")}
        best = dict.fromkeys(both, float("inf"))
        for _ in range(rounds):
            for name, recorder in both.items():
                began = time.thread_time()
                for _ in range(300):
                    for call in CALLS:
                        recorder.record(call)
                best[name] = min(best[name], time.thread_time() - began)
    return best["mapped"] / best["plain"]


def worker(folder: Path) -> None:
    recorder = member(folder)
    for call in CALLS:
        recorder.record(call)
    os._exit(0)


def merging(workers: int) -> tuple[float, float, float]:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        folder = Path(place) / "service"
        for _ in range(workers):
            command = [sys.executable, __file__, "worker", str(folder)]
            subprocess.run(command, check=True)
        membership = Membership(Recorder(registry=None), folder)
        renderer, best = Renderer(), float("inf")
        for _ in range(5):
            began = time.thread_time()
            text = renderer.text(membership.snapshot())
            best = min(best, time.thread_time() - began)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as place:
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": place}
        for _ in range(workers):
            subprocess.run([sys.executable, "-c", PEER], check=True, env=environment)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, place)  # type: ignore[no-untyped-call]
        began = time.thread_time()
        peer = generate_latest(registry)
        spent = time.thread_time() - began
    lines, peer_lines = text.count(b"\n"), peer.count(b"\n")
    return best * 1000, lines, (spent / peer_lines) / (best / lines)


def main() -> None:
    logging.disable()  # the folders of a measurement are gone before the recorders
    quick = "--quick" in sys.argv
    print(f"record(): mapped cells take {recording(3 if quick else 15):.2f} times plain lists (bar: 1.2)")
    for workers in (4, 20):
        milliseconds, lines, ratio = merging(workers)
        bar = " (bar: 20)" if workers == 20 else ""
        print(
            f"merge of {workers} workers: {milliseconds:.1f} ms for {lines:.0f} lines, "
            f"{ratio:.0f} times faster a line than MultiProcessCollector{bar}"
        )


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        worker(Path(sys.argv[2]))
    main()
