"""An application whose clock can be set, as a process of its own that calls the fake API through the real SDK.

Argument: the address of the API. It says the address of its /metrics, then obeys lines of input and answers each with
`done`: `at SECONDS` sets its clock, `now` lets it go again, `call` waits for an answer, `leave` does not.
"""

from __future__ import annotations

import sys
import threading
import time

import anthropic

from anthropic_exporter import Recorder, attribution, serve

HOUR = 3600.0


class Clock:
    def __init__(self) -> None:
        self.at = None

    def __call__(self) -> float:
        return time.time() if self.at is None else self.at


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(api: str) -> None:
    clock = Clock()
    recorder = Recorder(registry=None, clock=clock)
    middleware = [recorder.middleware()]
    client = anthropic.Anthropic(
        api_key="sk-ant-none", base_url=api, middleware=middleware, max_retries=0, timeout=HOUR
    )

    def call() -> None:
        with attribution(feature="chat"):
            client.messages.create(
                model="claude-opus-5-5", max_tokens=50, messages=[{"role": "user", "content": "Hello"}]
            )

    def leave() -> None:
        threading.Thread(target=call, daemon=True).start()

    with serve(recorder, port=0) as server:
        say(f"127.0.0.1:{server.port}")
        for line in sys.stdin:
            word, *rest = line.split()
            if word in ("at", "now"):
                clock.at = float(rest[0]) if rest else None  # type: ignore[assignment]
            else:
                {"call": call, "leave": leave}[word]()
            say("done")


if __name__ == "__main__":
    main(*sys.argv[1:])
