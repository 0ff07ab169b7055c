"""`review`'s time to detection beside that of bench/detection, which knows when each incident began.

    .venv/bin/python -m bench.tuning.time_to_detection                     all incidents, 7 minutes
    .venv/bin/python -m bench.tuning.time_to_detection --only "cache lost" --rounds 2

Compared are incidents that begin in a step; one that creeps has no change point. A counter moves when the first answer
has ended, so what is known counts from the moment at which that was recorded, which a busy machine delays. Between two
scrapes nobody knows when a counter moved: a difference up to the longest time between two of them is none. The column
`rules` is what the alert's annotation `began` says. Exit code 1 when what is left of the differences is more than 6 s
on average.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time

from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.stack import Notification
from anthropic_exporter.tuning import firings, onset
from bench.detection import play

MOST_SECONDS = 6.0
LOOK_BACK_SECONDS = 120.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--warm", type=float, default=300.0)
    options = parser.parse_args()
    played = play.plays(options.rounds, options.only, options.warm, seed=1)
    found: list[tuple[firings.Firing, float | None, float]] = []
    notified: list[Notification] = []
    watch = play.watch

    def watch_and_review(*arguments: object) -> None:
        watch(*arguments)  # type: ignore[arg-type]
        running, epoch = arguments[3], arguments[4]
        source = Prometheus(running.prometheus_url)  # type: ignore[attr-defined]
        seen = firings.read(source, float(epoch) - 60, time.time())  # type: ignore[arg-type]
        found.extend((one, onset.detection(source, one).to_firing, longest_gap(source, one.start)) for one in seen)
        notified.extend(running.receiver.notifications)  # type: ignore[attr-defined]

    play.watch = watch_and_review  # type: ignore[assignment]
    pairs, of_rules, rest = [], [], []
    for result in play.run(played):
        ours, gap = of_review(result, found)
        line = f"{result.play.feature:28} {result.alert:34}"
        rules = of_rules_alone(result, notified)
        known = None if result.fired is None else result.fired - (result.recorded or 0.0)
        print(f"{line} bench {shown(known)}  review {shown(ours)}  rules {shown(rules)}  scrapes {shown(gap)}")
        if result.play.incident.step and known is not None:
            of_rules += [(known, rules)] if rules is not None else []
            if ours is not None:
                pairs.append((known, ours))
                rest.append(max(0.0, abs(known - ours) - gap))
    means = [statistics.fmean(column) for column in zip(*pairs, strict=True)]
    differences = [abs(a - b) for a, b in pairs]
    print(f"{len(pairs)} alerts: mean {means[0]:.1f} s known, {means[1]:.1f} s by review")
    if of_rules:
        known, said = (statistics.fmean(column) for column in zip(*of_rules, strict=True))
        print(f"{len(of_rules)} alerts with an onset in the rules: mean {known:.1f} s known, {said:.1f} s by the rules")
    print(f"One differs by {statistics.median(differences):.1f} s in the median, {max(differences):.1f} s at most.")
    print(f"Beyond the longest time between two scrapes around its onset: {statistics.fmean(rest):.1f} s on average.")
    return 1 if statistics.fmean(rest) > MOST_SECONDS else 0


def longest_gap(source: Prometheus, at: float) -> float:
    """Seconds of the longest time between two scrapes of a process in the two minutes before a moment."""
    found = source.samples('up{job="anthropic"}', LOOK_BACK_SECONDS, at)
    times = [[when for when, _ in one.points] for one in found]
    return max((b - a for one in times for a, b in itertools.pairwise(one)), default=0.0)


def of_review(
    result: play.Result, found: list[tuple[firings.Firing, float | None, float]]
) -> tuple[float | None, float]:
    """What `review` says of the alert that told of an incident, and the longest time between two scrapes before it."""
    for firing, seconds, gap in found:
        if firing.alert == result.alert and play.about(result.play, "", firing):
            return seconds, gap
    return None, 0.0


def of_rules_alone(result: play.Result, notified: list[Notification]) -> float | None:
    """Seconds from the onset that an alert names to its firing; of the first notification."""
    for one in notified:
        if one.firing and one.alertname == result.alert and play.about(result.play, "", one):
            return one.fired_at - float(one.annotations["began"]) if one.annotations.get("began") else None
    return None


def shown(seconds: float | None) -> str:
    return "     -" if seconds is None else f"{seconds:5.1f}s"


if __name__ == "__main__":
    sys.exit(main())
