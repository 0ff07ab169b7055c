"""What the Guard adds to a recorded call, and the gate to a request, beside an empty Python call in the same run.

.venv/bin/python bench/guard_call.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

from anthropic_exporter import Call, Inference, Recorder, Tokens
from anthropic_exporter.attribution import Attribution
from anthropic_exporter.guard import Guard, Limits, Timing

MODEL = "claude-opus-5-5"
ROUNDS, PER_ROUND = 300, 500


def best(function: Callable[..., object], *arguments: object) -> float:
    """Microseconds a call, of the quickest round."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(PER_ROUND):
            function(*arguments)
        rounds.append((time.perf_counter() - began) / PER_ROUND * 1e6)
    return min(rounds)


def main() -> None:
    recorder = Recorder(registry=None)
    limits = Limits.shipped().replace(cost_usd_per_minute=1e9, tokens_per_day=1e15, cost_usd_per_day=1e9)
    guard = Guard(recorder, limits, timing=Timing(evaluate_every_seconds=3600))
    seen: list[Call] = []
    recorder.subscribe(seen.append)
    tokens = Tokens(input=100, cache_read=2_000, output=300)
    call = Call(MODEL, inferences=(Inference(MODEL, tokens),), feature="chat", duration_seconds=1.5, cache_asked=True)
    recorder.record(call)
    where = Attribution("chat")
    print(f"empty call          {best(lambda _: None, call):.2f} us")
    print(f"Guard, a call       {best(guard._take, seen[0]):.2f} us")  # noqa: SLF001 - what the recorder calls
    print(f"gate, all closed    {best(guard._admit, None, where):.2f} us")  # noqa: SLF001 - what the middleware calls
    print(f"one look, one place {best(guard.tick):.2f} us")
    guard.close()


if __name__ == "__main__":
    main()
