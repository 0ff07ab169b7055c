"""What `Recorder(advise=True)` adds to a call, beside a call without it. `--quick`: a glance.

The part on the application's thread and the counting afterwards are measured apart, and both in a row as calls come. An
answer is counted in fewer steps on the short way, which most take, than a call on the general way.
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


def line_of(recorder: Any, call: Any) -> Any:
    """The line that writes answers like this one on the short way."""
    metrics, book = recorder._metrics, recorder.prices  # noqa: SLF001 - what an answer is written with
    return metrics.line(call, metrics.write(call, call.bill), book.card(call.model, call), book)


def main() -> None:
    plain, watching = Recorder(registry=None), Recorder(registry=None, advise=True)
    calls: list[Any] = []
    undo = watching.subscribe(calls.append)
    for _ in range(20):
        attempt(watching)
    undo()
    call, watch, line = calls[-1], watching.advice, line_of(watching, calls[-1])
    counts, sent = tuple(call.inferences[0].tokens), call.started_at
    measured = {
        "an attempt": lambda: attempt(plain),
        "an attempt, advise=True": lambda: attempt(watching),
        "remembering the request": lambda: watch.sight(REQUEST),  # type: ignore[union-attr]
        "counting it": lambda: watch.write_plain(line, counts, sent, call.prompt, asked=False),  # type: ignore[union-attr]
        "counting it, the general way": lambda: watch.write(call, call.bill, watching.prices, (MODEL, "")),  # type: ignore[union-attr]
    }
    found = interleaved(measured, 1_000, 5 if QUICK else 25)
    table("advice (aim: remembering and counting together at most 2 µs)", found, "an attempt")


if __name__ == "__main__":
    main()
