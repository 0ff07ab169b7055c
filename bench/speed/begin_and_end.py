"""What our own code takes at the begin and at the end of a call, by who writes its answer. `--quick`: a glance.

    .venv/bin/python -m bench.speed.begin_and_end [--quick]

The variants take turns, one call of the SDK each, so that our code finds the processor's caches as the SDK leaves them.
Only the time in our middleware is measured, without the SDK's: a change of 2 % shows on a busy machine too. What our
code makes slower in the SDK is not in it (`bench.speed.calls`). "Far apart" stands for calls between which a server's
thread writes what waits, as it does every 50 ms. Printed are microseconds of the lower quartile.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

from anthropic import Middleware

from anthropic_exporter import Recorder, attribution, serve
from bench.speed.calls import Nothing, guarded, mapped
from bench.speed.fake_sdk_client import ASKED, BODIES, client

QUICK = "--quick" in sys.argv


class Timed(Middleware):
    """Times what another middleware does before and after the rest of the chain, in microseconds."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.begins: list[float] = []
        self.ends: list[float] = []

    def handle(self, request: Any, call_next: Any) -> Any:
        """Pass a call through the other middleware."""
        inside: list[float] = []

        def timed_next(passed: Any) -> Any:
            inside.append(perf_counter())
            response = call_next(passed)
            inside.append(perf_counter())
            return response

        began = perf_counter()
        response = self.inner.handle(request, timed_next)
        ended = perf_counter()
        self.begins.append((inside[0] - began) * 1e6)
        self.ends.append((ended - inside[1]) * 1e6)
        return response


def served(recorder: Recorder, owned: contextlib.ExitStack) -> Recorder:
    """The recorder, served."""
    owned.enter_context(contextlib.closing(serve(recorder, port=0)))
    return recorder


def variants(owned: contextlib.ExitStack) -> dict[str, tuple[Any, Callable[[], object]]]:
    """By name, a middleware, and what runs between its calls."""
    far_apart, guard_far_apart = served(Recorder(registry=None), owned), served(guarded(), owned)
    folder = Path(owned.enter_context(tempfile.TemporaryDirectory()))
    at_once = Recorder(registry=None)
    at_once.subscribe(lambda _: None)
    found: dict[str, tuple[Recorder, Callable[[], object]]] = {
        "nothing served": (Recorder(registry=None), int),
        "served, far apart": (far_apart, far_apart.tick),
        "a sink of your own": (at_once, int),
        "Guard with breakers": (guarded(), int),
        "Guard, served, far apart": (guard_far_apart, guard_far_apart.tick),
        "mapped cells": (mapped(folder), int),
    }
    ours = {name: (recorder.middleware(), between) for name, (recorder, between) in found.items()}
    return {"empty middleware": (Nothing(), int), **ours}


def main() -> None:
    """Measure every variant."""
    with contextlib.ExitStack() as owned:
        owned.enter_context(attribution(feature="chat", user="acme"))
        found = {name: (Timed(inner), between) for name, (inner, between) in variants(owned).items()}
        clients = {name: client(BODIES["450 B"], timed) for name, (timed, _) in found.items()}
        names = list(found)
        for number in range(200 if QUICK else 2_000):
            turn = number % len(names)
            for name in (*names[turn:], *names[:turn]):
                clients[name].messages.create(**ASKED)
                found[name][1]()
        print(f"\none call\n  {'':28}{'begin µs':>10}{'end µs':>10}")
        for name, (timed, _) in found.items():
            begin, end = (statistics.quantiles(ones[20:])[0] for ones in (timed.begins, timed.ends))
            print(f"  {name:28}{begin:10.1f}{end:10.1f}")


if __name__ == "__main__":
    main()
