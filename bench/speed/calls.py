"""What recording adds to `messages.create` and to a stream, beside the alternatives. `--quick`: a glance.

    .venv/bin/python -m bench.speed.calls [--quick] [WORD ...]

Everything runs in one process without a network: the real SDK on a transport that answers from memory. Each round runs
every variant, in an order of its own, and each begins with an empty young generation: else the calls of one pay for
collecting the garbage of another, which moved OpenTelemetry's share between 5 and 28 µs. Printed are the CPU
microseconds that a variant adds to the plain client, on the calling thread and in the whole process; the ratio is to
the OpenTelemetry metrics instrumentation in the same round. p99 is what the 99th percentile of a call's duration grows
by. With words, only the cases whose name holds one of them run.

Without a pause each call finds the answer of the call before still waiting, which a Guard's gate has to write. A call
of Claude takes longer than the 50 ms after which a server's thread has written it. The cases "written in between" stand
for that: what waits is written after each call, outside of the time of the calling thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter, process_time, thread_time
from typing import Any, NamedTuple

from anthropic import Middleware
from prometheus_client import CollectorRegistry

from anthropic_exporter import Recorder, attribution, serve
from anthropic_exporter.guard import Guard, Limits
from anthropic_exporter.host.membership import Membership
from bench.speed.fake_sdk_client import ASKED, BODIES, async_client, client
from bench.speed.record import by_hand

QUICK = "--quick" in sys.argv
WORDS = [word for word in sys.argv[1:] if not word.startswith("--")]
OPENTELEMETRY = "OpenTelemetry, metrics only"
OURS, SERVED = "recorder, nothing served", "recorder, served"
GUARDED, MAPPED = "recorder, Guard with breakers", "recorder, mapped cells"


class Nothing(Middleware):
    """The cost of the SDK's own hook."""

    def handle(self, request: Any, call_next: Any) -> Any:
        return call_next(request)

    async def handle_async(self, request: Any, call_next: Any) -> Any:
        return await call_next(request)


class Variant(NamedTuple):
    """A client, what belongs to each of its calls, what runs in between, and the context that it runs in."""

    client: Any
    after: Callable[[], object] | None = None
    between: Callable[[], object] = int
    context: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext


class Case(NamedTuple):
    """One kind of call, and how many of them make a round; `is_apart` if each is written before the next."""

    name: str
    body: bytes
    is_async: bool
    is_stream: bool
    calls: int
    is_apart: bool = False


CASES = (
    Case("sync, 450 B", BODIES["450 B"], is_async=False, is_stream=False, calls=64),
    Case("async, 450 B", BODIES["450 B"], is_async=True, is_stream=False, calls=64),
    Case("sync, 2 kB", BODIES["2 kB"], is_async=False, is_stream=False, calls=64),
    Case("async, 2 kB", BODIES["2 kB"], is_async=True, is_stream=False, calls=64),
    Case("sync, 200 kB", BODIES["200 kB"], is_async=False, is_stream=False, calls=32),
    Case("async, 200 kB", BODIES["200 kB"], is_async=True, is_stream=False, calls=32),
    Case("sync, stream of 200 events", BODIES["450 B"], is_async=False, is_stream=True, calls=12),
    Case("async, stream of 200 events", BODIES["450 B"], is_async=True, is_stream=True, calls=12),
    Case("sync, 450 B, written in between", BODIES["450 B"], is_async=False, is_stream=False, calls=64, is_apart=True),
    Case("async, 450 B, written in between", BODIES["450 B"], is_async=True, is_stream=False, calls=64, is_apart=True),
)


@contextlib.contextmanager
def opentelemetry() -> Iterator[None]:
    """Metrics only, as its instrumentation of the SDK records them."""
    from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor

    instrumentor = AnthropicInstrumentor()
    instrumentor.instrument()
    try:
        yield
    finally:
        instrumentor.uninstrument()


def set_meter_provider() -> bool:
    """Whether OpenTelemetry is installed and counts from now on."""
    try:
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    except ImportError:
        print("without OpenTelemetry: `make bench` installs it; ratios are to prometheus_client by hand")
        return False
    metrics.set_meter_provider(MeterProvider(metric_readers=[InMemoryMetricReader()]))
    return True


def guarded() -> Recorder:
    """A recorder with a Guard that has a breaker, and thresholds out of reach."""
    recorder = Recorder(registry=None)
    limits = Limits.shipped().replace(tokens_per_day=1e15, cost_usd_per_day=1e9, total_cost_usd_per_minute=1e9)
    limits = limits.replace(cost_usd_per_minute=1e9, cache_miss_cost_usd_per_minute=1e9)
    Guard(recorder, limits).breaker(scope="feature", when=["cost_rate"], action="block")
    return recorder


def mapped(folder: Path) -> Recorder:
    """A recorder whose cells are in a file that other processes read."""
    recorder = Recorder(registry=None)
    recorder.membership = Membership(recorder, folder)
    if not recorder.membership.share():
        raise RuntimeError("the cells cannot be mapped")
    return recorder


def recorders(owned: contextlib.ExitStack) -> dict[str, Recorder]:
    """The variants of ours."""
    served = Recorder(registry=None)
    owned.enter_context(contextlib.closing(serve(served, port=0)))
    folder = Path(owned.enter_context(tempfile.TemporaryDirectory()))
    return {OURS: Recorder(registry=None), SERVED: served, GUARDED: guarded(), MAPPED: mapped(folder)}


def variants(case: Case, ours: dict[str, Recorder], *, has_opentelemetry: bool) -> dict[str, Variant]:
    """Every variant of a case; the first is the reference."""
    make: Any = async_client if case.is_async else client
    plain = make(case.body)
    found = {
        "plain client": Variant(plain),
        "empty middleware": Variant(make(case.body, Nothing())),
        "prometheus_client by hand": Variant(plain, by_hand(CollectorRegistry())),
    }
    if has_opentelemetry:
        found[OPENTELEMETRY] = Variant(plain, context=opentelemetry)
    for name, one in ours.items():
        found[name] = Variant(make(case.body, one.middleware()), between=one.drain if case.is_apart else int)
    return found


class Times:
    """Seconds of each call, and CPU seconds of the calling thread in all of them."""

    def __init__(self) -> None:
        self.calls: list[float] = []
        self.thread = self._began = self._thread = 0.0

    def begin(self) -> None:
        """A call begins."""
        self._began, self._thread = perf_counter(), thread_time()

    def end(self) -> None:
        """It ended."""
        self.thread += thread_time() - self._thread
        self.calls.append(perf_counter() - self._began)


def call_sync(case: Case, variant: Variant, calls: int, times: Times) -> None:
    """Make calls, and note what each takes."""
    create, after = variant.client.messages.create, variant.after
    for _ in range(calls):
        times.begin()
        if case.is_stream:
            for _ in create(**ASKED, stream=True):
                pass
        else:
            create(**ASKED)
        if after:
            after()
        times.end()
        variant.between()


async def call_async(case: Case, variant: Variant, calls: int, times: Times) -> None:
    """The same, async."""
    create, after = variant.client.messages.create, variant.after
    for _ in range(calls):
        times.begin()
        if case.is_stream:
            async for _ in await create(**ASKED, stream=True):
                pass
        else:
            await create(**ASKED)
        if after:
            after()
        times.end()
        variant.between()


class Spent:
    """What the calls of one variant took, in microseconds a call: one entry a round, or a call."""

    def __init__(self) -> None:
        self.thread: list[float] = []
        self.process: list[float] = []
        self.calls: list[float] = []


def measured(case: Case, found: dict[str, Variant], rounds: int) -> dict[str, Spent]:
    """Run every variant in each round, in an order that changes."""
    spent = {name: Spent() for name in found}
    loop = asyncio.new_event_loop()

    def run(variant: Variant, calls: int) -> Times:
        times = Times()
        if case.is_async:
            loop.run_until_complete(call_async(case, variant, calls, times))
        else:
            call_sync(case, variant, calls, times)
        return times

    names, order = list(found), random.Random(1)
    for number in range(rounds + 1):
        order.shuffle(names)
        for name in names:
            with found[name].context():
                gc.collect()
                run(found[name], 2 if case.is_stream else 8)
                process = process_time()
                times = run(found[name], case.calls)
                process = process_time() - process
            if number:  # the first round warms up
                spent[name].thread.append(times.thread / case.calls * 1e6)
                spent[name].process.append(process / case.calls * 1e6)
                spent[name].calls += [one * 1e6 for one in times.calls]
    loop.close()
    return spent


def added(ones: list[float], base: list[float]) -> float:
    """The mean of the middle two thirds of the differences within a round."""
    differences = sorted(one - other for one, other in zip(ones, base, strict=True))
    cut = len(differences) // 6
    return statistics.mean(differences[cut : len(differences) - cut])


def p99(values: list[float]) -> float:
    """The 99th percentile."""
    return sorted(values)[int(len(values) * 0.99)]


def show(case: Case, spent: dict[str, Spent]) -> None:
    """Print what each variant adds to the plain client."""
    base = spent.pop("plain client")
    reference = spent[OPENTELEMETRY if OPENTELEMETRY in spent else "prometheus_client by hand"]
    of_thread, of_process = added(reference.thread, base.thread), added(reference.process, base.process)
    print(f"\n{case.name}: added to a call of {statistics.median(base.thread):.0f} µs")
    print(f"  {'':34}{'µs':>9}{'ratio':>8}{'process µs':>13}{'ratio':>8}{'p99 µs':>10}")
    for name, one in spent.items():
        thread, process = added(one.thread, base.thread), added(one.process, base.process)
        print(
            f"  {name:34}{thread:9.1f}{thread / of_thread:8.2f}{process:13.1f}{process / of_process:8.2f}"
            f"{p99(one.calls) - p99(base.calls):10.1f}",
            flush=True,
        )


def main() -> None:
    """Measure every case."""
    has_opentelemetry = set_meter_provider()
    for case in CASES:
        if WORDS and not any(word in case.name for word in WORDS):
            continue
        with contextlib.ExitStack() as owned:
            owned.enter_context(attribution(feature="chat", user="acme"))
            found = variants(case, recorders(owned), has_opentelemetry=has_opentelemetry)
            show(case, measured(case, found, 8 if QUICK else 40))


if __name__ == "__main__":
    main()
