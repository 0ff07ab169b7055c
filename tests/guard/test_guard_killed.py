"""A process that spends is killed without a word; the next one on its folder knows what the day has cost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import Recorder
from anthropic_exporter.guard import Guard, Timing

#: Two threads and two tasks spend at the same time; each call says when it was recorded, and how many tokens it had.
SPENDER = """
import asyncio, sys, threading, time
from anthropic_exporter import Call, Inference, Recorder, Tokens
from anthropic_exporter.guard import Guard

recorder = Recorder(registry=None)
guard = Guard(recorder, state_dir=sys.argv[1])
one = (Inference("claude-opus-5-5", Tokens(input=1000)),)

def spend():
    recorder.record(Call("claude-opus-5-5", inferences=one, feature="chat", started_at=time.time()))
    sys.stdout.write(f"{time.monotonic()} 1000\\n")
    sys.stdout.flush()

def work():
    while True:
        spend()
        time.sleep(0.01)

async def task():
    while True:
        spend()
        await asyncio.sleep(0.01)

async def tasks():
    await asyncio.gather(task(), task())

for _ in range(2):
    threading.Thread(target=work, daemon=True).start()
asyncio.run(tasks())
"""


@pytest.mark.stack
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")
def test_a_killed_process_loses_a_second_of_the_days_spend_at_most(tmp_path: Path) -> None:
    least = most = 0
    for _ in range(3):
        early, late = _spend_until_killed(tmp_path, seconds=2.0)
        least, most = least + early, most + late
        kept = _kept(tmp_path)
        assert least <= kept <= most
        least = most = kept  # the next process goes on from what was kept


def _spend_until_killed(folder: Any, seconds: Any) -> Any:
    """Tokens said to be spent a second before the kill, and by then, with those that were not said any more."""
    command = [sys.executable, "-c", SPENDER, str(folder)]
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            said.append(tuple(map(float, line.split())))
            if said[-1][0] - said[0][0] > seconds:
                break
        killed = time.monotonic()
        os.kill(process.pid, signal.SIGKILL)
        said += [tuple(map(float, line.split())) for line in process.stdout if line.endswith("\n")]
    unsaid = 4 * 1000
    early = sum(tokens for at, tokens in said if at <= killed - 1.0)
    return int(early), int(sum(tokens for _, tokens in said)) + unsaid


def _kept(folder: Any) -> Any:
    """Whatever the day: midnight may pass meanwhile."""
    with Guard(Recorder(registry=None), state_dir=folder, timing=Timing(evaluate_every_seconds=None)) as guard:
        return sum(tokens for day in guard._budgets.dump().values() for tokens, _ in day.values())
