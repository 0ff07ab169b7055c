"""What `Recorder(advise=True)` adds to a call, beside a call without it. `--quick`: a glance.

The part on the application's thread and the counting afterwards are measured apart, and both in a row as calls come.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from anthropic_exporter import Recorder
from anthropic_exporter.capture.attempt import Attempt
from bench.speed.measure import interleaved, table

QUICK = "--quick" in sys.argv
MODEL = "claude-opus-5-5"
REQUEST = {
    "model": MODEL,
    "max_tokens": 1_024,
    "system": "You are a careful clerk. " * 800,
    "messages": [{"role": "user", "content": "Where is my parcel?"}],
}
USAGE = {"input_tokens": 5_100, "output_tokens": 40, "service_tier": "standard"}
BODY = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "ok"}],
        "usage": USAGE,
    }
).encode()


class Headers:
    raw = ((b"content-type", b"application/json"),)


def attempt(recorder: Any) -> None:
    one = Attempt(recorder, REQUEST, 0, None)
    one.head(200, Headers, b"/v1/messages", buffered=True)
    one.body(BODY)


def main() -> None:
    plain, watching = Recorder(registry=None), Recorder(registry=None, advise=True)
    calls: list[Any] = []
    undo = watching.subscribe(calls.append)
    for _ in range(20):
        attempt(watching)
    undo()
    call, watch = calls[-1], watching.advice
    measured = {
        "an attempt": lambda: attempt(plain),
        "an attempt, advise=True": lambda: attempt(watching),
        "remembering the request": lambda: watch.sight(REQUEST),  # type: ignore[union-attr]
        "counting it": lambda: watch.write(call, call.bill, watching.prices, (MODEL, "")),  # type: ignore[union-attr]
    }
    found = interleaved(measured, 1_000, 5 if QUICK else 25)
    table("advice (aim: remembering and counting together at most 2 µs)", found, "an attempt")


if __name__ == "__main__":
    main()
