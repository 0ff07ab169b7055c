"""CPU a call of the process, the queue and the collector: changed cells once a second, beside one message per call.

`python -m bench.fleet.messages [--quick]`. Needs the extra `redis`. 2,500 calls a second of 30 features; the ways take
turns, each on a fresh stream.
"""

from __future__ import annotations

import collections
import pickle
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import redis

from anthropic_exporter import Call, Inference, Recorder, Tokens, publish
from anthropic_exporter.collector.merge import Fleet
from anthropic_exporter.transport.cells_message import decode
from queue_engines import Redis

QUICK = "--quick" in sys.argv
MODEL, RATE = "claude-sonnet-4-6", 2_500
SECONDS, ROUNDS = (3, 1) if QUICK else (8, 3)
CALLS = [
    Call(
        MODEL,
        inferences=(Inference(MODEL, Tokens(1500, 3000, 200, 0, 400)),),
        feature=f"feature-{number % 30}",
        user="u",
        started_at=1_795_262_400.0,
        duration_seconds=1.5,
        time_to_first_token_seconds=0.4,
        call_duration_seconds=1.5,
        stop_reason="end_turn",
        cache_asked=True,
    )
    for number in range(300)
]


class OneMessagePerCall:
    """What most exporters with a queue do: each call is a message, sent by a thread in pipelines."""

    def __init__(self, recorder: Any, client: Any, stream: Any) -> None:
        self.client, self.stream, self.waiting, self.stopped = client, stream, collections.deque(), False  # type: ignore[var-annotated]
        recorder.subscribe(self.waiting.append)
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while self.waiting or not self.stopped:
            pipeline = self.client.pipeline(transaction=False)
            for _ in range(min(1000, len(self.waiting))):
                pipeline.xadd(self.stream, {b"m": pickle.dumps(tuple(self.waiting.popleft())[:20])})
            pipeline.execute()
            time.sleep(0.02)

    def close(self) -> None:
        self.stopped = True
        self.thread.join()


def queue_seconds(client: Any) -> Any:
    info = client.info("cpu")
    return info["used_cpu_user"] + info["used_cpu_sys"]


def paced(recorder: Any) -> None:
    began, number = time.monotonic(), 0
    while number < RATE * SECONDS:
        for _ in range(RATE // 100):
            recorder.record(CALLS[number % 300])
            number += 1
        time.sleep(max(0.0, began + number / RATE - time.monotonic()))


def measured(way: Any, url: Any, client: Any) -> Any:
    """Microseconds a call of the process and of the queue; messages, and bytes a call."""
    recorder, stream = Recorder(registry=None), f"{way.replace(' ', '-')}-{time.time_ns()}"
    for call in CALLS:
        recorder.record(call)
    sender = None
    if way == "changed cells":
        sender = publish(recorder, f"{url}?stream={stream}", service="api")
    elif way == "one message per call":
        sender = OneMessagePerCall(recorder, client, stream)  # type: ignore[assignment]
    if way == "changed cells":
        sender.flush()  # type: ignore[union-attr]  # the first connection, and the first message, which defines everything
    began, queue_began = time.process_time(), queue_seconds(client)
    paced(recorder)
    if sender is not None:
        sender.close()
    calls = RATE * SECONDS
    own, queue = (time.process_time() - began) / calls, (queue_seconds(client) - queue_began) / calls
    messages = [fields[b"m"] for _, fields in client.xrange(stream)]
    return (
        own * 1e6,
        queue * 1e6,
        collected(way, messages) / calls * 1e6,
        len(messages),
        sum(map(len, messages)) / calls,
    )


def collected(way: Any, messages: Any) -> Any:
    """CPU seconds of whoever reads the messages."""
    began = time.thread_time()
    if way == "one message per call":
        recorder = Recorder(registry=None)
        for one in messages:
            recorder.record(Call(*pickle.loads(one)))
        return time.thread_time() - began
    fleet = Fleet("life")
    for one in messages:
        fleet.take(decode(one), 0.0)
    return time.thread_time() - began


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Redis(Path(folder) / "redis") as server:
        client = redis.Redis(port=server.port)
        found = collections.defaultdict(list)
        for _ in range(ROUNDS):
            for way in ("no queue", "changed cells", "one message per call"):
                found[way].append(measured(way, server.url, client))
                client.flushall()
        base = statistics.median(row[0] for row in found["no queue"])
        print(f"{'':24}{'process':>10}{'ratio':>8}{'queue':>8}{'collector':>11}{'messages':>10}{'bytes/call':>12}")
        for way, rows in found.items():
            own, queue, collector, messages, size = (statistics.median(column) for column in zip(*rows, strict=True))
            print(f"{way:24}{own:10.1f}{own / base:8.2f}{queue:8.2f}{collector:11.2f}{messages:10.0f}{size:12.1f}")
        print("microseconds of CPU a call")


if __name__ == "__main__":
    main()
