"""A process killed in the middle of its work: the next one knows what was spent, to the last second."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from anthropic_exporter import Recorder
from anthropic_exporter.guard import Guard, Timing

pytestmark = pytest.mark.stack

WORKER = """
import sys, time
from anthropic_exporter import Call, Inference, Recorder, Tokens
from anthropic_exporter.guard import Guard

recorder = Recorder(registry=None)
guard = Guard(recorder, state_dir=sys.argv[1])
model, tokens = "claude-opus-5-5", Tokens(input=250)
for number in range(1, 100_000):
    recorder.record(Call(model, inferences=(Inference(model, tokens),), started_at=time.time(), duration_seconds=0.1))
    print(time.monotonic(), number * 250, flush=True)
    time.sleep(0.002)
"""


def test_after_kill_9_the_budget_is_known_to_within_a_second(tmp_path):
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    lines = [worker.stdout.readline()]
    while time.monotonic() - float(lines[0].split()[0]) < 2.5:
        lines.append(worker.stdout.readline())
    worker.kill()
    killed_at = time.monotonic()
    lines += worker.stdout.read().splitlines()
    worker.wait()
    worker.stdout.close()
    spent = [(float(at), int(tokens)) for at, tokens in (line.split() for line in lines if line.count(" ") == 1)]
    a_second_before = max(tokens for at, tokens in spent if at <= killed_at - 1.0)
    with Guard(Recorder(registry=None), state_dir=tmp_path, timing=Timing(evaluate_every_seconds=None)) as guard:
        restored = sum(one.tokens for one in guard.today())
    assert a_second_before <= restored <= spent[-1][1] + 250
