"""The catalogue of incidents in real time through a real Prometheus and Alertmanager: when is a person told?

    .venv/bin/python -m bench.detection.play                        the table of docs/detection.md, 7 minutes
    .venv/bin/python -m bench.detection.play --rounds 1 --only "cache lost" "429 storm"
    .venv/bin/python -m bench.detection.play --thresholds my.yml    with thresholds of your own
    .venv/bin/python -m bench.detection.play --queue                through Redis and a collector
    .venv/bin/python -m bench.detection.play --scrape-interval 30   scraped every 30 s, with the rules that fit

All incidents go side by side, each as a feature (a storm: a model) of its own, `--rounds` copies of each, at seconds
drawn anew. Ordinary traffic runs for `--warm` seconds before: 300 fill the longest window. What is usual needs half an
hour of history: an hour of it, the ordinary pace and answers of each feature, is back-filled by promtool.

Rules, routing and thresholds are the shipped ones, but for three things: budgets and the dollars of everything together
are out of reach, because sixty incidents share one Prometheus; the night's mute of info alerts is taken out, because
a run at night should measure the same; the webhook listens on loopback. Exit code 1 when an incident was not told.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import heapq
import math
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from anthropic_exporter import Call, Inference, Recorder, publish, serve, stack, toolchain
from anthropic_exporter.attribution import Attribution
from anthropic_exporter.metrics.families import REQUEST_OUTPUT_TOKENS
from anthropic_exporter.rules import Fit, generate
from anthropic_exporter.stack import Notification, Stack, ThresholdOverride
from anthropic_exporter.tuning.firings import Firing
from bench.detection import incidents

ROOT = Path(__file__).resolve().parents[2]
OUT_OF_REACH = tuple(
    ThresholdOverride(name, 1e12)
    for name in ("total_cost_usd_per_minute", "tokens_per_day", "cost_usd_per_day", "cost_usd_per_month")
)
HISTORY_SECONDS = 3900
HISTORY_STEP = 30
SLOW_WARM_SECONDS = 60.0
PATIENCE = {True: 90.0, False: 360.0}  # seconds after a step, and after a slow one began
PATIENT_SCRAPES = 4  # a step is seen later by so many scrapes of more than 5 s
#: p95 to delivery of steps, in seconds, by the interval between scrapes.
BARS = {5: 30.0, 15: 45.0, 30: 75.0, 60: 140.0}
MUTE = "      mute_time_intervals: [out-of-hours]\n"


class Play(NamedTuple):
    """One copy of an incident; it begins `at` seconds after the start."""

    incident: incidents.Incident
    feature: str
    at: float
    seed: int
    scrape: int = 5

    @property
    def patience(self) -> float:
        return PATIENCE[self.incident.step] + PATIENT_SCRAPES * (self.scrape - 5)

    @property
    def ends(self) -> float:
        return self.at + self.patience

    def sent(self) -> Iterator[incidents.Sent]:
        """Its requests, on the clock of the run."""
        drawn = incidents.sent(self.incident, feature=self.feature, seed=self.seed, start=-self.at, end=self.patience)
        return (one._replace(seconds=one.seconds + self.at) for one in drawn)


class Result(NamedTuple):
    """Seconds since it began; None where nobody was told. `early` are alerts before it began.

    `recorded` is when its first answer was: after the request's own length, and later on a machine that is busy. It is
    None in a process that is killed.
    """

    play: Play
    alert: str
    fired: float | None
    delivered: float | None
    lost_usd: float | None
    early: tuple[str, ...]
    recorded: float | None = None


def plays(rounds: int, only: list[str], warm: float, seed: int, scrape: int = 5) -> list[Play]:
    chance = random.Random(seed)
    found = []
    for incident in incidents.INCIDENTS:
        if only and incident.name not in only:
            continue
        for number in range(rounds):
            played = incident.on(incident.models[number]) if incident.models else incident
            at = (warm if incident.step else SLOW_WARM_SECONDS) + chance.uniform(0, 20)
            found.append(Play(played, f"{incident.name.replace(' ', '-')}-{number + 1}", at, seed + number, scrape))
    return found


class Traffic:
    """Begins and ends the requests of plays when their second has come."""

    def __init__(self, recorder: Recorder, played: Iterable[Play]) -> None:
        played = list(played)
        self.recorder = recorder
        self.begins = {play.feature: play.at for play in played}
        self.recorded: dict[str, float] = {}
        self.events = heapq.merge(*map(self._events, played), key=lambda event: event[0])
        self.numbers = iter(range(10**9))
        self.late = 0.0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self, epoch: float) -> None:
        self.epoch = epoch
        self.thread.start()

    def close(self) -> None:
        self.stop.set()
        self.thread.join()

    def _events(self, play: Play) -> Iterator[tuple[float, int, Call]]:
        """`(second, number, call)` of each begin, with a number from 1 on, and each end, with the same below 0."""
        running: list[tuple[float, int, Call]] = []
        for one in play.sent():
            number = next(self.numbers) + 1
            while running and running[0][0] <= one.seconds:
                yield heapq.heappop(running)
            yield one.seconds, number, one.call
            heapq.heappush(running, (one.ends, -number, one.call))
        while running:
            yield heapq.heappop(running)

    def _run(self) -> None:
        for at, number, call in self.events:
            wait = self.epoch + at - time.time()
            self.late = max(self.late, -wait)
            if wait > 0 and self.stop.wait(wait):
                return
            if number > 0:
                self.recorder.begin(number, call.model, Attribution(call.feature, call.user))
            else:
                self.recorder.inflight.end(-number)
                sent = at - (call.duration_seconds or 0.0)
                self.recorder.record(call._replace(started_at=self.epoch + sent))
                begins = self.begins[call.feature]
                if sent >= begins:
                    self.recorded.setdefault(call.feature, time.time() - self.epoch - begins)


class Killed:
    """A process of its own, for a play at whose second 0 it is killed."""

    def __init__(self, play: Play) -> None:
        self.play = play
        command = [
            sys.executable,
            "-m",
            "bench.detection.play",
            "--process",
            play.feature,
            "--seed",
            str(play.seed),
            "--warm",
        ]
        self.child = subprocess.Popen([*command, str(play.at)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.child.stdout is not None  # for the type checker: it is a pipe
        self._stdout = self.child.stdout
        self.address = f"127.0.0.1:{int(self._stdout.readline())}"

    def close(self) -> None:
        self.child.send_signal(signal.SIGKILL)
        self.child.wait()
        self._stdout.close()


def process(feature: str, at: float, seed: int) -> None:
    """The process that is killed: its port on stdout, then traffic until it dies."""
    incident = next(one for one in incidents.INCIDENTS if one.killed)
    recorder = Recorder(registry=None, strict=True)
    with serve(recorder, port=0) as server:
        print(server.port, flush=True)
        traffic = Traffic(recorder, [Play(incident, feature, at, seed)])
        traffic.start(time.time())
        traffic.thread.join()


# -- what is usual


def history(played: list[Play], recorder: Recorder, folder: Path) -> None:
    """An hour of each feature's ordinary traffic: its pace as the rules would have recorded it, and its answers."""
    now = time.time()
    moments = [now - ago for ago in range(HISTORY_SECONDS, 0, -HISTORY_STEP)]
    text = folder / "history.txt"
    with text.open("w") as lines:
        for name, value in paces(played, recorder, now).items():
            lines.writelines(f"{name} {value:.12g} {at:.3f}\n" for at in moments)
        for name, per_minute in answers(played).items():
            grown = per_minute * HISTORY_STEP / 60
            lines.writelines(f"{name} {number * grown:.12g} {at:.3f}\n" for number, at in enumerate(moments))
        lines.write("# EOF\n")
    promtool = toolchain.provide(["promtool"])["promtool"]
    command = [str(promtool), "tsdb", "create-blocks-from", "openmetrics", str(text), str(folder / "prometheus-data")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def paces(played: list[Play], recorder: Recorder, now: float) -> dict[str, float]:
    """What a minute of ordinary traffic costs and holds, and how many requests five have, by series."""
    found: dict[str, float] = collections.defaultdict(float)
    for play, kind in ((one, kind) for one in played for kind in one.incident.ordinary):
        call = Call(kind.model, inferences=(Inference(kind.model, kind.tokens),), started_at=now)
        amounts = {
            "anthropic_cost_usd": recorder.prices.bill(call).total_usd,
            "anthropic_tokens": sum(kind.tokens),
            "anthropic_prompt_tokens": sum(kind.tokens) - kind.tokens.output,
            "anthropic_cache_read_tokens": kind.tokens.cache_read,
        }
        labels = f'feature="{play.feature}"'
        for name, amount in amounts.items():
            for level, where in (("feature", labels), ("feature_model", f'{labels},model="{kind.model}"')):
                found[f"{level}:{name}_per_minute:rate_slow{{{where}}}"] += amount * kind.per_minute
        found[f"feature:anthropic_requests:increase_slow{{{labels}}}"] += 5 * kind.per_minute
    return found


def answers(played: list[Play]) -> dict[str, float]:
    """By how much the series of the histogram of output tokens grow in a minute of ordinary traffic."""
    low, high = incidents.SPREAD
    found: dict[str, float] = collections.defaultdict(float)
    for play, kind in ((one, kind) for one in played for kind in one.incident.ordinary):
        labels = f'feature="{play.feature}",model="{kind.model}",instance="before"'
        for bound in (*REQUEST_OUTPUT_TOKENS.buckets, math.inf):
            share = min(1.0, max(0.0, (bound / (kind.tokens.output or 1) - low) / (high - low)))
            le = "+Inf" if bound == math.inf else float(bound)
            found[f'anthropic_request_output_tokens_bucket{{{labels},le="{le}"}}'] += kind.per_minute * share
        found[f"anthropic_request_output_tokens_count{{{labels}}}"] += kind.per_minute
    return found


def unmute(running: Stack) -> None:
    path = running.folder / "alertmanager" / "alertmanager.yml"
    text = path.read_text()
    assert MUTE in text
    path.write_text(text.replace(MUTE, ""))
    reload(running.alertmanager_url)


def put(thresholds: Path, running: Stack) -> None:
    """Let a file of thresholds take the place of the shipped one, but for what has to be out of reach."""
    document = yaml.safe_load(thresholds.read_text())
    far = {one.threshold: f"{one.value:.0f}" for one in OUT_OF_REACH}
    for rule in document["groups"][0]["rules"]:
        rule["expr"] = far.get(rule["labels"]["threshold"], rule["expr"])
    (running.folder / "prometheus" / "rules" / "thresholds.yml").write_text(yaml.safe_dump(document, sort_keys=False))
    reload(running.prometheus_url)


def scrape_every(seconds: int, running: Stack) -> None:
    """Let the rules for another interval between scrapes take the place of the shipped ones, but for the thresholds."""
    folder = running.folder / "prometheus"
    config = folder / "prometheus.yml"
    config.write_text(re.sub(r"(?m)^( *(?:scrape|evaluation)_interval): \w+$", rf"\1: {seconds}s", config.read_text()))
    fit = Fit(scrape_interval=seconds)
    for name, text in generate(fit).items():
        (folder / "rules" / name).write_text(text)
    thresholds = folder / "rules" / "thresholds.yml"
    thresholds.write_text(thresholds.read_text().replace("interval: 5s", f"interval: {fit.placeholders()['step']}"))
    reload(running.prometheus_url)


def reload(url: str) -> None:
    urllib.request.urlopen(urllib.request.Request(f"{url}/-/reload", method="POST"), timeout=10).close()


# -- one run


@contextlib.contextmanager
def page_of(recorder: Recorder, folder: Path, *, through_queue: bool) -> Iterator[str]:
    """The address where Prometheus finds what the recorder counts: its own page, or that of a collector."""
    if not through_queue:
        with serve(recorder, port=0) as server:
            yield f"127.0.0.1:{server.port}"
        return
    from collectors import Collecting
    from queue_engines import Redis

    with (
        Redis(folder / "redis") as queue,
        Collecting(queue.url, folder / "state") as collector,
        publish(recorder, queue.url, service="play"),
    ):
        yield collector.url.removeprefix("http://")


def run(
    played: list[Play], thresholds: Path | None = None, *, through_queue: bool = False, scrape: int = 5
) -> list[Result]:
    recorder = Recorder(registry=None, strict=True)
    killed = [Killed(play) for play in played if play.incident.killed]
    addresses = {one.play.feature: one.address for one in killed}
    with (
        tempfile.TemporaryDirectory() as name,
        page_of(recorder, Path(name), through_queue=through_queue) as address,
    ):
        history(played, recorder, Path(name))
        targets = [address, *addresses.values()]
        traffic = Traffic(recorder, [play for play in played if not play.incident.killed])
        try:
            with stack.start(targets, folder=Path(name), thresholds=OUT_OF_REACH) as running:
                unmute(running)
                if thresholds:
                    put(thresholds, running)
                if scrape > min(BARS):
                    scrape_every(scrape, running)
                epoch = time.time()
                traffic.start(epoch)
                watch(played, killed, addresses, running, epoch)
                notifications = running.receiver.notifications
        finally:
            traffic.close()
            for one in killed:
                one.close()
    print(f"The latest request was {traffic.late * 1000:.0f} ms late.", file=sys.stderr)
    found = [result(play, addresses.get(play.feature, ""), notifications, epoch, recorder) for play in played]
    return [one._replace(recorded=traffic.recorded.get(one.play.feature)) for one in found]


def watch(played: list[Play], killed: list[Killed], addresses: dict[str, str], running: Stack, epoch: float) -> None:
    """Until everything is told, or the last patience ends; kills what is to be killed."""
    alive = sorted(killed, key=lambda one: one.play.at)
    open_plays = list(played)
    while open_plays:
        time.sleep(0.05)
        now = time.time() - epoch
        if alive and now >= alive[0].play.at:
            alive.pop(0).child.send_signal(signal.SIGKILL)
        heard = running.receiver.notifications
        open_plays = [
            play
            for play in open_plays
            if now < play.ends and not notifications_of(play, addresses.get(play.feature, ""), heard, epoch)
        ]


def notifications_of(play: Play, address: str, heard: Iterable[Notification], epoch: float) -> list[Notification]:
    """What was delivered of this play since it began, by the alerts that may tell of it."""
    return [
        one
        for one in heard
        if one.firing
        and one.alertname in play.incident.told_by
        and about(play, address, one)
        and one.fired_at >= epoch + play.at
    ]


def about(play: Play, address: str, one: Notification | Firing) -> bool:
    if "feature" in one.labels:
        return one.labels["feature"] == play.feature
    if "instance" in one.labels:
        return one.labels["instance"] == address
    return one.labels.get("model") in play.incident.models and one.labels["model"] in {
        kind.model for kind in play.incident.broken
    }


def result(play: Play, address: str, heard: list[Notification], epoch: float, recorder: Recorder) -> Result:
    found = notifications_of(play, address, heard, epoch)
    begun = epoch + play.at
    early = {one.alertname for one in heard if one.firing and about(play, address, one) and one.fired_at < begun}
    if not found:
        return Result(play, "", None, None, None, tuple(early))
    first = min(found, key=lambda one: one.received_at)
    delivered = first.received_at - begun
    lost = lost_usd(play, delivered, recorder)
    return Result(play, first.alertname, first.fired_at - begun, delivered, lost, tuple(early))


def lost_usd(play: Play, seconds: float, recorder: Recorder) -> float | None:
    """Dollars of the requests sent since it began, above what the same time cost before; None without prices."""
    spent = {True: 0.0, False: 0.0}
    for one in play.sent():
        if play.at - SLOW_WARM_SECONDS <= one.seconds <= play.at + seconds:
            bill = recorder.prices.bill(one.call._replace(started_at=time.time()))
            if None in bill.costs:
                return None
            spent[one.seconds >= play.at] += bill.total_usd
    return max(0.0, spent[True] - spent[False] / SLOW_WARM_SECONDS * seconds)


# -- the table


def report(results: list[Result], scrape: int = 5) -> int:
    print("| incident | told by | step to firing | step to delivery | lost till then |\n|---|---|---|---|---|")
    by_name: dict[str, list[Result]] = collections.defaultdict(list)
    for one in results:
        by_name[one.play.incident.name].append(one)
    for name, copies in by_name.items():
        alerts = collections.Counter(one.alert for one in copies if one.alert)
        told = ", ".join(f"{alert} {count}" for alert, count in alerts.most_common()) or "nobody"
        cells = (_range(one.fired for one in copies), _range(one.delivered for one in copies))
        dollars = [one.lost_usd for one in copies if one.lost_usd is not None]
        lost = f"${statistics.median(dollars):.2f} ({max(dollars):.2f})" if dollars else "unknown"
        print("|", " | ".join((name, told, *cells, lost)), "|")
    silent = [one for one in results if one.delivered is None]
    steps = [one.delivered for one in results if one.play.incident.step and one.delivered is not None]
    if len(steps) > 1:
        p50, p95 = (statistics.quantiles(steps, n=20, method="inclusive")[index] for index in (9, 18))
        slow = sum(value > BARS[scrape] for value in steps)
        print(
            f"\nStep incidents to delivery: p50 {p50:.1f} s, p95 {p95:.1f} s, worst {max(steps):.1f} s, of {len(steps)}"
        )
        missed = ", ".join(one.play.feature for one in silent) or "none"
        print(f"Slower than {BARS[scrape]:.0f} s: {slow}; not told: {missed}")
    for one in results:
        if one.early:
            print(f"Told before it began: {one.play.feature}: {', '.join(one.early)}")
    return 1 if silent else 0


def _range(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{statistics.median(known):.1f} s ({max(known):.1f})" if known else "never"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, choices=range(1, 6), help="copies of each incident")
    parser.add_argument("--only", nargs="*", default=[], choices=[one.name for one in incidents.INCIDENTS])
    parser.add_argument("--warm", type=float, default=300.0, help="seconds of ordinary traffic before a step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--thresholds", type=Path, help="a thresholds.yml of your own")
    parser.add_argument("--queue", action="store_true", help="through Redis and a collector")
    parser.add_argument("--scrape-interval", type=int, default=5, choices=BARS, help="seconds between scrapes")
    parser.add_argument("--process", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.process:
        process(options.process, options.warm, options.seed)
        return 0
    began = time.monotonic()
    scrape = options.scrape_interval
    played = plays(options.rounds, options.only, options.warm, options.seed, scrape)
    if options.queue:  # AnthropicHostsLost reports a publisher that is silent
        played = [play for play in played if not play.incident.killed]
    code = report(run(played, options.thresholds, through_queue=options.queue, scrape=scrape), scrape)
    print(f"It took {(time.monotonic() - began) / 60:.1f} minutes.", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
