"""A process that spends until the fleet's Guard stops it: `fleet_spender.py URL HOST RATE`; prints dollars."""

from __future__ import annotations

import sys
import time
from typing import Any

from anthropic_exporter import Call, Inference, Recorder, SpendLimitExceeded, Tokens, publish
from anthropic_exporter.attribution import Attribution
from anthropic_exporter.guard import Guard

MODEL = "claude-opus-5-5"
PATIENCE_SECONDS = 60


class Request:
    json = {"model": MODEL}  # noqa: RUF012 - as the SDK's request has it
    retries_taken = 0


def main(url: Any, host: Any, rate: Any) -> None:
    recorder = Recorder(registry=None)
    spent = []
    recorder.subscribe(lambda call: spent.append(call.bill.total_usd))
    guard = Guard(recorder)
    guard.breaker(scope="total", when=["daily_cost"], action="block")
    guard.follow(url)
    publisher = publish(recorder, url, service="api", host=host)
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_SECONDS:
        try:
            for gate in recorder.gates:
                gate(Request, Attribution("chat"))
        except SpendLimitExceeded:
            break
        call = Call(MODEL, inferences=(Inference(MODEL, Tokens(input=1500, output=400)),), started_at=time.time())
        recorder.record(call)
        time.sleep(max(0.0, began + len(spent) / float(rate) - time.monotonic()))
    sys.stdout.write(f"{sum(spent)} {time.monotonic() - began}\n")
    publisher.close()
    guard.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
