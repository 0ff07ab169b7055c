"""What the shipped rules cost Prometheus: seconds of evaluation in each interval, with 10,000 series of a process.

Real Prometheus and Alertmanager with the shipped configuration. Takes two minutes; `--quick`: one.
"""

from __future__ import annotations

import sys
import time

from anthropic_exporter import Call, Inference, Recorder, serve, stack
from bench.speed.record import MODEL, NOON, TOKENS

SECONDS = 45 if "--quick" in sys.argv else 100
CALL = Call(MODEL, inferences=(Inference(MODEL, TOKENS),), started_at=NOON, duration_seconds=1.5)


def main() -> None:
    recorder, number = Recorder(registry=None), 0
    while sum(not line.startswith(b"#") for line in recorder.render().splitlines()) < 10_000:
        recorder.record(CALL._replace(feature=f"feature-{number}", user=f"user-{number}"))
        number += 1
    with serve(recorder, port=0) as server, stack.start([f"127.0.0.1:{server.port}"]) as running:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for one in range(number):
                recorder.record(CALL._replace(feature=f"feature-{one}", user=f"user-{one}"))
            time.sleep(1)
        found = running.query(
            "sort_desc(prometheus_rule_group_last_duration_seconds / prometheus_rule_group_interval_seconds)"
        )
        (series,) = running.query('sum(scrape_samples_scraped{job="anthropic"})')
    print(f"\nrule groups on {float(series['value'][1]):,.0f} series: part of the interval spent (bar: 10 %)")
    for one in found:  # type: ignore[assignment]
        name = one["metric"]["rule_group"].rpartition(";")[2]  # type: ignore[index]
        print(f"  {name:32}{100 * float(one['value'][1]):6.1f} %")  # type: ignore[index]
    print(f"  {'all of them':32}{100 * sum(float(one['value'][1]) for one in found):6.1f} %")


if __name__ == "__main__":
    main()
