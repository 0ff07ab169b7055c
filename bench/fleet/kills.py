"""Workers, senders, queue and collector are killed under traffic, 30 times: what is lost, counted twice, or falls.

`python -m bench.fleet.kills [--quick] [--alone]`: with `--alone`, each process counts and sends on its own. Needs the
extra `redis`.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

from fleet_under_fire import Fire

KILLS = 6 if "--quick" in sys.argv else 30


def main() -> None:
    mapped = "--alone" not in sys.argv
    with tempfile.TemporaryDirectory() as folder, Fire(Path(folder), 2, mapped=mapped) as fire:
        kinds = [fire.kill_worker, fire.kill_sender, fire.kill_collector, fire.kill_queue]
        for number in range(KILLS):
            fire.traffic(600)
            (kinds[number] if number < len(kinds) else random.choice(kinds))()
        fire.traffic(600)
        outcome = fire.end()
    lost = "lost" if mapped else "lost beyond the last period of a killed worker"
    print(f"{outcome.kills} kills, {outcome.recorded} calls recorded, {outcome.shown} shown:")
    print(f"  {lost} {outcome.lost_beyond_the_last_period}, counted twice {outcome.counted_twice}, ", end="")
    print(f"counters that fell {outcome.falls}")


if __name__ == "__main__":
    main()
