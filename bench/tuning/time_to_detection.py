"""`review`'s time to detection beside that of bench/detection, which knows when each incident began.

    .venv/bin/python -m bench.tuning.time_to_detection                     all incidents, 7 minutes
    .venv/bin/python -m bench.tuning.time_to_detection --only "cache lost" --rounds 2

Compared are incidents that begin in a step; one that creeps has no change point. A counter moves when the first answer
has ended and is scraped, so review reads some seconds less. The last column is what the rules say in the annotation
`began` of the alert. Exit code 1 when the means differ by more than 6 s.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time

from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.stack import Notification
from anthropic_exporter.tuning import firings, onset
from bench.detection import play

MOST_SECONDS = 6.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--warm", type=float, default=300.0)
    options = parser.parse_args()
    played = play.plays(options.rounds, options.only, options.warm, seed=1)
    found: dict[tuple[str, str], float | None] = {}
    by_rules: dict[tuple[str, str], float] = {}
    watch = play.watch

    def watch_and_review(*arguments: object) -> None:
        watch(*arguments)  # type: ignore[arg-type]
        running, epoch = arguments[3], arguments[4]
        source = Prometheus(running.prometheus_url)  # type: ignore[attr-defined]
        for firing in firings.read(source, float(epoch) - 60, time.time()):  # type: ignore[arg-type]
            key = (firing.feature, firing.alert)
            found.setdefault(key, onset.detection(source, firing).to_firing)
        by_rules.update(said_by_rules(running.receiver.notifications))  # type: ignore[attr-defined]

    play.watch = watch_and_review  # type: ignore[assignment]
    pairs, of_rules = [], []
    for result in play.run(played):
        ours = found.get((result.play.feature, result.alert))
        line = f"{result.play.feature:28} {result.alert:34}"
        rules = by_rules.get((result.play.feature, result.alert))
        print(f"{line} bench {shown(result.fired)}  review {shown(ours)}  rules {shown(rules)}")
        if result.play.incident.step and result.fired is not None:
            of_rules += [(result.fired, rules)] if rules is not None else []
            pairs += [(result.fired, ours)] if ours is not None else []
    means = [statistics.fmean(column) for column in zip(*pairs, strict=True)]
    differences = [abs(a - b) for a, b in pairs]
    print(f"{len(pairs)} alerts: mean {means[0]:.1f} s known, {means[1]:.1f} s by review")
    if of_rules:
        known, said = (statistics.fmean(column) for column in zip(*of_rules, strict=True))
        print(f"{len(of_rules)} alerts with an onset in the rules: mean {known:.1f} s known, {said:.1f} s by the rules")
    print(f"One differs by {statistics.median(differences):.1f} s in the median, {max(differences):.1f} s at most.")
    return 1 if abs(means[0] - means[1]) > MOST_SECONDS else 0


def said_by_rules(notifications: list[Notification]) -> dict[tuple[str, str], float]:
    """Seconds from the onset that an alert names to its firing, by feature and alert; of the first that came."""
    found: dict[tuple[str, str], float] = {}
    for one in notifications:
        if one.firing and one.annotations.get("began"):
            key = (one.labels.get("feature", ""), one.alertname)
            found.setdefault(key, one.fired_at - float(one.annotations["began"]))
    return found


def shown(seconds: float | None) -> str:
    return "     -" if seconds is None else f"{seconds:5.1f}s"


if __name__ == "__main__":
    sys.exit(main())
