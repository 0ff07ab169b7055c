"""Does `backtest` agree with the live run of the same traffic? A real Prometheus with the shipped rules, incidents.

    .venv/bin/python -m bench.tuning.backtest                 7 minutes

Scraped and evaluated every 5 s. Dollars step up, a cache is lost, one request is huge, a storm of 429 comes, a second
process is killed and starts again, with counters at 0, in the middle of its traffic. Compared are the first
and last evaluation of each firing, from `ALERTS` and from the backtest. Exit code 1 when one differs by more than a
millisecond, or fewer alerts fire than have a reason to. Nothing fires in the first minute: there Prometheus has not yet
evaluated what the backtest evaluates.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from anthropic_exporter import Call, Inference, Recorder, Tokens, serve, stack
from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.tuning import firings
from anthropic_exporter.tuning.backtest import backtest, rules

ROOT = Path(__file__).resolve().parents[2]
MODEL = "claude-opus-5-5"
SMALL, LARGE = Tokens(1_000, 0, 0, 0, 200), Tokens(5_000, 0, 0, 0, 2_000)
READ, LOST = Tokens(200, 20_000, 0, 0, 200), Tokens(200, 0, 20_000, 0, 200)
HUGE = Tokens(1_000, 0, 0, 0, 90_000)
CALM, DEAR = (0.5, SMALL, "success"), (4.0, LARGE, "success")
EXPECTED = {
    "AnthropicCostRateHigh",
    "AnthropicCacheMissWaste",
    "AnthropicRequestUnusuallyExpensive",
    "AnthropicRateLimited",
}


class Sender:
    """Calls of several features, a few a second each, on a thread; what they are can be changed."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.sends: dict[str, tuple[float, Tokens, str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def send(self, feature: str, tokens: Tokens, *, outcome: str = "success") -> None:
        inferences = (Inference(MODEL, tokens),) if outcome == "success" else ()
        call = Call(MODEL, started_at=time.time(), duration_seconds=0.5, inferences=inferences, outcome=outcome)
        self.recorder.record(call._replace(feature=feature, cache_asked=feature == "cached"))

    def _run(self) -> None:
        due = dict.fromkeys(self.sends, 0.0)
        while not self._stop.wait(0.02):
            for feature, (a_second, tokens, outcome) in list(self.sends.items()):
                if time.time() >= due.get(feature, 0.0):
                    due[feature] = time.time() + 1 / a_second
                    self.send(feature, tokens, outcome=outcome)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


def process(port: int) -> None:
    """The second process: calls that are dear while its standard input says so, until it is killed."""
    recorder = Recorder(registry=None)
    with serve(recorder, port=port) as server:
        print(server.port, flush=True)
        sender = Sender(recorder)
        sender.sends["agent"] = CALM
        for line in sys.stdin:
            sender.sends["agent"] = DEAR if line == "dear\n" else CALM


def start(port: int, folder: Path) -> tuple[subprocess.Popen[str], int]:
    """The second process on a port, with a runtime folder of its own, so that its counters begin at 0; its port."""
    folder.mkdir()
    environment = os.environ | {"ANTHROPIC_EXPORTER_RUNTIME_DIR": str(folder)}
    command = [sys.executable, "-m", "bench.tuning.backtest", "--process", str(port)]
    pipes: dict[str, int] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = subprocess.Popen(command, cwd=ROOT, env=environment, text=True, **pipes)  # type: ignore[call-overload]
    assert child.stdout is not None
    return child, int(child.stdout.readline())


def say(child: subprocess.Popen[str], word: str) -> None:
    assert child.stdin is not None
    child.stdin.write(f"{word}\n")
    child.stdin.flush()


def live(calm: float, incident: float, after: float) -> tuple[list[firings.Firing], list[firings.Firing]]:
    """The firings of the live run, and those of the backtest of the same history."""
    recorder = Recorder(registry=None)
    with tempfile.TemporaryDirectory() as name, serve(recorder, port=0) as server:
        child, port = start(0, Path(name) / "first")
        try:
            with started(server.port, port) as running:
                began, sender = time.time(), Sender(recorder)
                sender.sends = {"chat": CALM, "cached": (1.0, READ, "success")}
                time.sleep(calm)
                sender.sends |= {"chat": DEAR, "cached": (1.0, LOST, "success")}
                sender.sends["storm"] = (4.0, SMALL, "rate_limit_error")
                sender.send("report", HUGE)
                say(child, "dear")
                time.sleep(incident / 2)
                child.kill()
                child.communicate()
                child, _ = start(port, Path(name) / "second")
                say(child, "dear")
                time.sleep(incident / 2)
                say(child, "calm")
                sender.sends = {"chat": CALM, "cached": (1.0, READ, "success")}
                time.sleep(after)
                sender.close()
                return both(running, began, time.time())
        finally:
            child.kill()
            child.communicate()


def both(running: stack.Stack, began: float, end: float) -> tuple[list[firings.Firing], list[firings.Firing]]:
    source = Prometheus(running.prometheus_url)
    seen = firings.read(source, began - 5, end)
    found = rules.read(running.folder / "prometheus" / "rules")
    replayed = backtest.backtest(source, backtest.Plan(found, began - 5, began, end))
    return seen, [one.firing for one in replayed]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calm", type=float, default=100.0)
    parser.add_argument("--incident", type=float, default=60.0)
    parser.add_argument("--after", type=float, default=240.0)
    parser.add_argument("--process", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.process is not None:
        process(options.process)
        return 0
    seen, replayed = (ends(side) for side in live(options.calm, options.incident, options.after))
    for key in sorted(seen.keys() | replayed.keys()):
        print(f"{key[0]:34} {key[1]:8} live {shown(seen.get(key))}  backtest {shown(replayed.get(key))}")
    missing = EXPECTED - {alert for alert, _, _ in seen}
    if missing:
        print(f"did not fire: {', '.join(sorted(missing))}")
    return 0 if seen == replayed and not missing else 1


def started(*ports: int) -> stack.Stack:
    """Budgets are out of reach: Prometheus records no `ALERTS` in a group's first two evaluations, here two minutes."""
    return stack.start(
        [f"127.0.0.1:{port}" for port in ports], thresholds=[stack.ThresholdOverride("tokens_per_day", 1e9)]
    )


Ends = dict[tuple[str, str, tuple[tuple[str, str], ...]], list[tuple[float, float]]]


def ends(found: list[firings.Firing]) -> Ends:
    """The first and the last evaluation of every firing, by alert and labels."""
    spans: Ends = {}
    for one in found:
        key = (one.alert, one.feature, tuple(sorted(one.labels.items())))
        spans.setdefault(key, []).append((round(one.start, 3), round(one.end, 3)))
    return spans


def shown(spans: list[tuple[float, float]] | None) -> str:
    return ", ".join(f"{since:.3f} {until:.3f}" for since, until in spans or []) or "-".ljust(31)


if __name__ == "__main__":
    sys.exit(main())
