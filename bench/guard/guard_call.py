"""What a Guard adds to a recorded call and the gate to a request, beside `record()` and an empty call in the same run.

    .venv/bin/python -m bench.guard.guard_call

Microseconds, of the quickest of some rounds in which all take turns. A look is what the Guard's thread does every half
second, for 300 places (100 features on 3 models) that all had calls; the last line is the memory of one place.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

from anthropic_exporter import Call, Inference, Recorder, Tokens
from anthropic_exporter.attribution import Attribution
from anthropic_exporter.guard import Guard, Limits, Timing

MODEL = "claude-opus-5-5"
ROUNDS, PER_ROUND = 300, 300
USED = (Inference(MODEL, Tokens(input=100, cache_read=2_000, output=300)),)
CALL = Call(MODEL, inferences=USED, feature="chat", duration_seconds=1.5, cache_asked=True)


def best(functions: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Microseconds a call, of the quickest round."""
    found = dict.fromkeys(functions, float("inf"))
    for _ in range(ROUNDS):
        for name, function in functions.items():
            began = time.perf_counter()
            for _ in range(PER_ROUND):
                function()
            found[name] = min(found[name], (time.perf_counter() - began) / PER_ROUND * 1e6)
    return found


def guarded() -> tuple[Recorder, Guard]:
    """A recorder with a Guard whose thresholds are out of reach."""
    recorder = Recorder(registry=None)
    limits = Limits.shipped().replace(cost_usd_per_minute=1e9, tokens_per_day=1e15, cost_usd_per_day=1e9)
    return recorder, Guard(recorder, limits, timing=Timing(evaluate_every_seconds=3600))


def priced(recorder: Recorder, call: Call) -> Call:
    """The call as a subscriber gets it."""
    seen: list[Call] = []
    leave = recorder.subscribe(seen.append)
    recorder.record(call)
    leave()
    return seen[0]


def of_places() -> tuple[float, float]:
    """Milliseconds of a look at 300 places, and bytes of one place."""
    recorder, guard = guarded()
    calls = [CALL._replace(model=f"model-{n % 3}", feature=f"feature-{n // 3}") for n in range(300)]
    shown = [priced(recorder, call) for call in calls]
    guard.close()
    recorder, guard = guarded()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for call in shown:
        guard._watch.take(call)  # noqa: SLF001 - what the recorder calls
    memory = (tracemalloc.get_traced_memory()[0] - before) / len(shown)
    tracemalloc.stop()
    looks = []
    for _ in range(30):
        began = time.thread_time()
        guard.tick()
        looks.append(time.thread_time() - began)
    guard.close()
    return min(looks) * 1e3, memory


def main() -> None:
    alone, (recorder, guard) = Recorder(registry=None), guarded()
    call, where = priced(recorder, CALL), Attribution("chat")
    found = best(
        {
            "empty call": lambda: None,
            "record() alone": lambda: alone.record(CALL),
            "record() with a Guard": lambda: recorder.record(CALL),
            "of it, the Guard": lambda: guard._watch.take(call),  # noqa: SLF001 - what the recorder calls
            "gate, all closed": lambda: guard._gate.admit(None, where),  # noqa: SLF001 - what the middleware calls
        }
    )
    guard.close()
    for name, microseconds in found.items():
        print(f"{name:24} {microseconds:6.2f} us")
    print(f"{'record(), ratio':24} {found['record() with a Guard'] / found['record() alone']:6.2f}")
    look, memory = of_places()
    print(f"{'a look, 300 places':24} {look:6.2f} ms")
    print(f"{'a place':24} {memory / 1000:6.1f} kB")


if __name__ == "__main__":
    main()
