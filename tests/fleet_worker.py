"""A process that records and publishes until it is killed: `fleet_worker.py URL TRUTH HOST PERIOD [PORT] [idle]`.

With PORT it serves that port too, so that it counts together with the other workers of its host. TRUTH is a file of
four numbers: calls whose `record()` began, and returned; calls that the queue is known to have taken from this process;
and when it last took a message.
"""

from __future__ import annotations

import mmap
import signal
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

from anthropic_exporter import Call, Inference, Recorder, Tokens, publish, serve
from anthropic_exporter.publisher.changes import Changes

MODEL = "claude-sonnet-4-6"
NUMBERS = struct.Struct("<qqqq")
BEGAN, RECORDED, TAKEN, SENT_AT = range(4)
#: 1,500 + 3,000 + 200 + 400 tokens a call.
TOKENS = Tokens(1500, 3000, 200, 0, 400)
_find, _accepted = Changes.find, Changes.accepted


class Truth:
    """The numbers, as they become true."""

    def __init__(self, path: Any) -> None:
        with Path(path).open("r+b") as file:
            self._file = mmap.mmap(file.fileno(), NUMBERS.size)

    def note(self, which: Any, number: Any) -> None:
        self._file[8 * which : 8 * which + 8] = struct.pack("<q", number)

    def listen(self) -> None:
        """Note what the queue takes of this process."""

        def find(changes: Any, snapshot: Any, **options: Any) -> Any:
            changed = _find(changes, snapshot, **options)
            self._found = recorded_in(snapshot)
            return changed

        def accepted(changes: Any, changed: Any) -> None:
            _accepted(changes, changed)
            self.note(TAKEN, self._found)
            self.note(SENT_AT, time.monotonic_ns())

        Changes.find, Changes.accepted = find, accepted  # type: ignore[assignment, method-assign]


def main(url: Any, truth: Any, host: Any, period: Any, port: Any = "", idle: Any = "") -> None:
    truth = Truth(truth)
    truth.listen()
    recorder = Recorder(registry=None)
    if port:
        serve(recorder, port=int(port))
    publisher = publish(recorder, url, service="api", host=host, period_seconds=float(period))
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    number = 0
    while not ended.wait(0.01):
        for _ in range(0 if idle else 20):
            number += 1
            truth.note(BEGAN, number)
            recorder.record(call_of(number))
            truth.note(RECORDED, number)
    publisher.close()


def call_of(number: Any) -> Any:
    return Call(
        MODEL,
        inferences=(Inference(MODEL, TOKENS),),
        feature=f"feature-{number % 10}",
        user="u",
        started_at=1.7959e9,
        duration_seconds=1.5,
        stop_reason="end_turn",
    )


def recorded_in(snapshot: Any) -> Any:
    """Requests that a snapshot holds."""
    series = snapshot.series_of("anthropic_requests_total")
    return round(sum(snapshot.blocks[one.block][one.start] for one in series))


if __name__ == "__main__":
    main(*sys.argv[1:])
