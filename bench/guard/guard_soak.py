"""A million calls over simulated days through recorder and Guard: memory, totals, alerts; threads and asyncio mixed.

    .venv/bin/python -m bench.guard.guard_soak [--calls 1000000]

Every simulated hour one feature overruns its pace for half a minute: each of these incidents must be told and must end.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import math
import random
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import NamedTuple

from anthropic_exporter import Call, Inference, Recorder, Tokens
from anthropic_exporter.guard import Alert, Guard, Limits, Timing

START = 1_795_219_200.0  # 2026-11-21T00:00:00Z
MODELS = ("claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5")
FEATURES = tuple(f"feature-{number}" for number in range(12))
LOUD = "feature-0"
WORKERS = 4
HOUR = 3600


class Clock:
    now = START

    def __call__(self) -> float:
        return self.now


class Soaked(NamedTuple):
    """What came out; `memory_kb` and `objects` are those of the process after a quarter, and at the end."""

    calls: int
    days: float
    incidents: int
    told: int
    ended: int
    lost_tokens: float
    lost_usd: float
    memory_kb: tuple[int, int]
    objects: tuple[int, int]
    peak_places: int
    callbacks: Counter[str]
    wall_seconds: float


def soak(calls: int, *, per_second: int = 4, step: int = 5) -> Soaked:
    """Send so many calls; half of them from threads, half from tasks of an event loop in another thread.

    The simulated clock goes on by `step` seconds at a time.
    """
    clock, began = Clock(), time.perf_counter()
    recorder = Recorder(registry=None, clock=clock)
    limits = Limits.shipped().replace(tokens_per_day=1e15, cost_usd_per_day=1e12, total_cost_usd_per_minute=1e9)
    limits = limits.replace(cost_spike_min_usd_per_minute=1e9, token_spike_min_tokens_per_minute=1e15)
    guard = Guard(recorder, limits, timing=Timing(evaluate_every_seconds=None))
    guard.breaker()
    told: list[Alert] = []
    guard.on_alert(told.append)
    crew = Crew(recorder)
    chance, spent, days, dollars = random.Random(7), Counter[str](), Counter[int](), defaultdict[int, float](float)
    incidents = sent = peak = 0
    early = (0, 0)
    while sent < calls:
        second = int(clock.now - START)
        loud = HOUR / 2 <= second % HOUR < HOUR / 2 + 30
        incidents += second % HOUR == HOUR / 2
        batch = [ordinary(chance, clock.now) for _ in range(min(per_second * step, calls - sent))]
        if loud:
            batch += [expensive(clock.now)] * (2 * step)
        crew.send(batch)
        sent += len(batch)
        for call in batch:
            spent[call.feature] += call.total_tokens
            cached = sum(one.tokens.cache_read for one in call.inferences)  # a budget of tokens leaves cache reads out
            days[int(clock.now // 86_400)] += call.total_tokens - cached
            dollars[int(clock.now // 86_400)] += recorder.prices.bill(call).total_usd
        guard.tick()
        peak = max(peak, len(guard._watch.windows.places()))  # noqa: SLF001 - what is measured
        if sent >= calls // 4 and early == (0, 0):
            early = memory()
        clock.now += step
    late = memory()
    today = {spent.feature: spent for spent in guard.today()}
    for _ in range(700 // step):  # the last incident has to end, too
        clock.now += step
        guard.tick()
    crew.close()
    counted = recorder.read()["anthropic_tokens_total"]
    costs = recorder.read()["anthropic_cost_usd_total"]
    lost_tokens = sum(spent.values()) - sum(sum(reading.values) for reading in counted)
    last_day = int((clock.now - 700 - step) // 86_400)
    lost_tokens += days[last_day] - sum(one.tokens for one in today.values())
    lost_usd = abs(sum(dollars.values()) - sum(sum(reading.values) for reading in costs))
    lost_usd += abs(dollars[last_day] - sum(one.usd for one in today.values()))
    guard._callbacks.flush(30.0)  # noqa: SLF001 - no alert may be on its way
    results = Counter(
        {reading.labels[1]: int(sum(reading.values)) for reading in recorder.read()["anthropic_guard_callbacks_total"]}
    )
    guard.close()
    statuses = Counter(alert.status for alert in told if alert.name == "AnthropicCostRateHigh")
    return Soaked(
        calls=sent,
        days=(clock.now - START) / 86_400,
        incidents=incidents,
        told=statuses["firing"],
        ended=statuses["resolved"],
        lost_tokens=lost_tokens,
        lost_usd=lost_usd,
        memory_kb=(early[0], late[0]),
        objects=(early[1], late[1]),
        peak_places=peak,
        callbacks=results,
        wall_seconds=time.perf_counter() - began,
    )


def memory() -> tuple[int, int]:
    """Kilobytes that the process occupies (Linux), and objects that the interpreter tracks."""
    gc.collect()
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    resident = next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)
    return resident, len(gc.get_objects())


def ordinary(chance: random.Random, now: float) -> Call:
    """A cheap call of one of a dozen features."""
    model = chance.choice(MODELS)
    tokens = Tokens(input=chance.randint(10, 200), cache_read=chance.randint(0, 2000), output=chance.randint(1, 200))
    inferences = (Inference(model, tokens),)
    return Call(model, inferences=inferences, feature=chance.choice(FEATURES[1:]), started_at=now, duration_seconds=0.9)


def expensive(now: float) -> Call:
    """40 cents: two a second are 48 dollars a minute."""
    return Call(MODELS[0], inferences=(Inference(MODELS[0], Tokens(input=100_000)),), feature=LOUD, started_at=now)


class Crew:
    """Threads and an event loop that record what they are given, at the same time."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.loop = asyncio.new_event_loop()
        self.threads = [threading.Thread(target=self._work, args=(number,)) for number in range(WORKERS)]
        self.asyncio_thread = threading.Thread(target=self.loop.run_forever)
        self.batch: list[Call] = []
        self.start, self.done = threading.Barrier(WORKERS + 1), threading.Barrier(WORKERS + 1)
        self.over = False
        for thread in (*self.threads, self.asyncio_thread):
            thread.start()

    def send(self, batch: list[Call]) -> None:
        """Half of them by threads, half by tasks; returns when all are recorded."""
        self.batch, tasks = batch[::2], batch[1::2]
        future = asyncio.run_coroutine_threadsafe(self._tasks(tasks), self.loop)
        self.start.wait()
        self.done.wait()
        future.result()
        self.recorder.drain()

    async def _tasks(self, calls: list[Call]) -> None:
        async def one(call: Call) -> None:
            await asyncio.sleep(0)
            self.recorder.record(call)

        await asyncio.gather(*map(one, calls))

    def _work(self, number: int) -> None:
        while True:
            self.start.wait()
            if self.over:
                return
            for call in self.batch[number::WORKERS]:
                self.recorder.record(call)
            self.done.wait()

    def close(self) -> None:
        self.over = True
        self.start.wait()
        self.loop.call_soon_threadsafe(self.loop.stop)
        for thread in (*self.threads, self.asyncio_thread):
            thread.join()
        self.loop.close()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--calls", type=int, default=1_000_000)
    found = soak(arguments.parse_args().calls)
    for name, value in found._asdict().items():
        print(f"{name:14} {value}")
    assert found.lost_tokens == 0
    assert math.isclose(found.lost_usd, 0, abs_tol=1e-6)
    assert found.told == found.ended == found.incidents


if __name__ == "__main__":
    main()
