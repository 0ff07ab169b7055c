"""Seconds from the first expensive call to the firing alert, through queue and collector beside scraping the process.

`python -m bench.fleet.detection`. The same spending, twice, in one Prometheus with the shipped rules.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from anthropic_exporter import Call, Inference, Recorder, Tokens, publish, serve, stack
from collectors import Collecting
from queue_engines import Redis

MODEL, PATIENCE_SECONDS = "claude-opus-5-5", 90
CALLS_A_SECOND = 10


def found_after(running: Any, recorders: Any, began: Any) -> Any:
    """Seconds until AnthropicCostRateHigh fires, by feature."""
    found: dict[Any, Any] = {}
    while len(found) < len(recorders) and time.monotonic() - began < PATIENCE_SECONDS:
        for feature, recorder in recorders.items():
            tokens = Tokens(input=1000, output=600)
            inferences = (Inference(MODEL, tokens),)
            recorder.record(Call(MODEL, inferences=inferences, feature=feature, started_at=time.time()))
        for one in running.alerts():
            labels = one["labels"]
            if labels["alertname"] == "AnthropicCostRateHigh" and one["state"] == "firing":
                found.setdefault(labels.get("feature", ""), time.monotonic() - began)
        time.sleep(1 / CALLS_A_SECOND)
    return found


def main() -> None:
    recorders = {"scraped": Recorder(registry=None), "collected": Recorder(registry=None)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            Redis(folder / "redis") as queue,
            Collecting(queue.url, folder / "state") as collector,
            serve(recorders["scraped"], port=0) as server,
            publish(recorders["collected"], queue.url, service="api"),
            stack.start([f"127.0.0.1:{server.port}", collector.url.removeprefix("http://")]) as running,
        ):
            while len(running.query("up{job='anthropic'} == 1")) < len(recorders):
                time.sleep(0.2)
            time.sleep(15)  # a few evaluations of nothing
            found = found_after(running, recorders, time.monotonic())
    for feature, seconds in found.items():
        print(f"{feature or 'all features'}: {seconds:.1f} s")


if __name__ == "__main__":
    main()
