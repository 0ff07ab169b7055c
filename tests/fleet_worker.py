"""A process that records and publishes until it is killed: `fleet_worker.py URL TRUTH HOST PERIOD`.

TRUTH is a file of two numbers: calls whose `record()` returned, and calls that the queue is known to have taken.
"""

from __future__ import annotations

import mmap
import signal
import struct
import sys
import threading
from pathlib import Path

from anthropic_exporter import Call, Inference, Recorder, Tokens, publish

MODEL = "claude-sonnet-4-6"
NUMBERS = struct.Struct("<qq")
#: 1,500 + 3,000 + 200 + 400 tokens a call.
TOKENS = Tokens(1500, 3000, 200, 0, 400)


def main(url, truth, host, period):
    with Path(truth).open("r+b") as file:
        numbers = mmap.mmap(file.fileno(), NUMBERS.size)
    recorder = Recorder(registry=None)
    publisher = publish(recorder, url, service="api", host=host, period_seconds=float(period))
    recorded, taken = 0, 0
    accepted = publisher._changes.accepted

    def noted(changed):
        nonlocal taken
        accepted(changed)
        taken = before
        numbers[:] = NUMBERS.pack(recorded, taken)

    find = publisher._changes.find
    before = 0

    def found(snapshot, **options):
        nonlocal before
        before = recorded_in(snapshot)
        return find(snapshot, **options)

    publisher._changes.accepted, publisher._changes.find = noted, found
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    while not ended.wait(0.01):
        for number in range(20):
            recorder.record(call_of(number))
            recorded += 1
            numbers[:8] = struct.pack("<q", recorded)
    publisher.close()


def call_of(number):
    return Call(
        MODEL,
        inferences=(Inference(MODEL, TOKENS),),
        feature=f"feature-{number % 10}",
        user="u",
        started_at=1.7959e9,
        duration_seconds=1.5,
        stop_reason="end_turn",
    )


def recorded_in(snapshot):
    """Requests that a snapshot holds."""
    series = snapshot.series_of("anthropic_requests_total")
    return round(sum(snapshot.blocks[one.block][one.start] for one in series))


if __name__ == "__main__":
    main(*sys.argv[1:])
