"""Does the promise of `calibrate` hold? Thresholds from one simulated week, pages counted in other weeks.

    .venv/bin/python -m bench.tuning.false_pages              4 weeks to choose from, 12 others to count in

The traffic is that of bench/false_alarms: rhythm, noise, deploys, a launch. A week's pace is what the rules record as
`now`: over 30 s where there were three requests, over 5 minutes elsewhere. Exit code 1 when more than one false page a
week came on average.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import sys
from collections import deque

from anthropic_exporter.tuning import tail
from anthropic_exporter.tuning.calibrate import rounded_up
from bench.false_alarms import traffic

STEP = 5
EVERY = 60
FLOOR = 0.05
MIN_REQUESTS = 3


def week(seed: int) -> dict[str, list[tuple[float, float]]]:
    """The greatest pace of each minute, by feature, in dollars a minute."""
    return {feature.name: pace(feature, seed) for feature in traffic.FEATURES}


def pace(feature: traffic.Feature, seed: int) -> list[tuple[float, float]]:
    chance = random.Random(f"{feature.name} {seed}")
    processes = [traffic.Process(feature, name, random.Random(chance.random()), 0, STEP) for name in traffic.INSTANCES]
    dollars: deque[float] = deque([0.0] * (300 // STEP + 1), maxlen=300 // STEP + 1)
    found: dict[int, float] = {}
    for now in range(0, 7 * traffic.DAY, STEP):
        for process in processes:
            process.step(now)
        dollars.append(sum(process.usd for process in processes))
        recent = [cost for process in processes for at, cost, _ in process.recent if at > now - 30]
        value = 2 * sum(recent) if len(recent) >= MIN_REQUESTS else (dollars[-1] - dollars[0]) / 5
        minute = now // EVERY * EVERY
        found[minute] = max(found.get(minute, 0.0), value)
    return [(float(at), value) for at, value in found.items()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=int, default=4)
    parser.add_argument("--test", type=int, default=12)
    parser.add_argument("--pages", type=float, default=1.0)
    options = parser.parse_args()
    with multiprocessing.Pool(2) as pool:
        weeks = pool.map(week, range(options.train + options.test))
    means = []
    for number, chosen_from in enumerate(weeks[: options.train]):
        thresholds = choose(chosen_from, options.pages)
        others = [one for other, one in enumerate(weeks) if other != number]
        pages = [sum(tail.episodes(one[name], value) for name, value in thresholds.items()) for one in others]
        means.append(statistics.fmean(pages))
        shown = ", ".join(f"{name} {value:g}" for name, value in thresholds.items())
        print(f"week {number}: {shown}: {means[-1]:.2f} pages a week in {len(others)} others, at most {max(pages)}")
    print(f"mean {statistics.fmean(means):.2f} pages a week; accepted {options.pages:g}")
    return 1 if statistics.fmean(means) > options.pages else 0


def choose(chosen_from: dict[str, list[tuple[float, float]]], pages: float) -> dict[str, float]:
    share = pages / len(chosen_from)
    fitted = {name: tail.fit(points, tail.WEEK_SECONDS) for name, points in chosen_from.items()}
    return {name: rounded_up(max(one.threshold(share), FLOOR)) for name, one in fitted.items()}


if __name__ == "__main__":
    sys.exit(main())
