"""Pictures of the live page while something goes wrong: a real run, and a real Chromium that looks at it.

    .venv/bin/python -m bench.guard.guard_live_pictures                  14 minutes; writes docs/images/live-*.png
    .venv/bin/python -m bench.guard.guard_live_pictures --minutes 2 --to /tmp/pictures --all

The sample application calls Claude through the real SDK; the fake API on loopback keeps a real prompt cache. A Guard
with the shipped thresholds watches, its breaker observes. Near the end a deploy puts a timestamp in front of the cached
prompt: what the pictures show is what the recorder, the Guard and the page made of that.
"""

from __future__ import annotations

import argparse
import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
from anthropic_exporter import Call, Inference, Recorder, Tokens, serve
from anthropic_exporter.guard import Guard, Limits
from anthropic_exporter.host.port import ServiceHandle
from anthropic_exporter.simulator import fake_api
from anthropic_exporter.simulator.traffic import Application
from anthropic_exporter.simulator.workload import CACHE_LOST, WORKLOAD

ROOT = Path(__file__).resolve().parents[2]

INCIDENT_SECONDS = 150
TALLEST = 3600  # pixels
TALLEST_PHONE = 1000  # of the picture in the docs
#: Name, the width of a telephone, dark.
SCREENS = (
    ("desktop", False, False),
    ("desktop-dark", False, True),
    ("phone", True, False),
    ("phone-dark", True, True),
)


@contextlib.contextmanager
def running() -> Iterator[tuple[Application, ServiceHandle]]:
    """The sample application, its recorder, its Guard and its page."""
    with contextlib.ExitStack() as owned:
        recorder = Recorder(registry=None, features=[feature.name for feature in WORKLOAD.features])
        # The sample application spends the shipped budget of a day within a minute.
        limits = Limits.shipped().replace(tokens_per_day=1e9, cost_usd_per_day=1e4)
        guard = owned.enter_context(Guard(recorder, limits))
        guard.breaker(when=["cost_rate", "cache_miss_cost"])
        server = owned.enter_context(serve(recorder, port=0, live=True, guard=guard))
        api = owned.enter_context(fake_api.start(fake_api.Behaviour(speed=2.0)))  # within the latency thresholds
        yield owned.enter_context(Application(recorder, api.base_url)), server


@contextlib.contextmanager
def crowd() -> Iterator[ServiceHandle]:
    """A process with 100 features and 200 users, some with long names; calls that did not come through the SDK."""
    recorder = Recorder(registry=None)
    with serve(recorder, port=0, live=True) as server:
        for number in range(1000):
            name = f"feature-{number % 100}" + "-with-a-name-that-somebody-generated" * (number % 7 == 0)
            tokens = Tokens(input=100 * (number % 100), cache_read=1000, output=200)
            inferences = (Inference("claude-sonnet-5-5", tokens),)
            call = Call("claude-sonnet-5-5", inferences=inferences, feature=name, user=f"customer-{number % 200}")
            recorder.record(call._replace(started_at=time.time(), duration_seconds=1.0 + number % 7, cache_asked=True))
        yield server


def pictures(
    driver: Any, server: ServiceHandle, folder: Path, name: str, screens: tuple[Any, ...], tallest: int = TALLEST
) -> None:
    """The page as it is now, on each screen."""
    for screen, phone, dark in screens:
        browser.look(driver, phone=phone, dark=dark)
        driver.get(f"{server.url}/live")
        shown = threading.Event()
        for _ in range(100):
            if driver.execute_script("return document.getElementById('status').textContent === 'live'"):
                break
            shown.wait(0.1)
        shown.wait(1.5)  # a second answer, so that nothing on the page is on its way
        metrics = driver.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        path = folder / (f"live-{name}-{screen}.png" if len(screens) > 1 else f"live-{name}.png")
        browser.picture(driver, path, height=min(metrics["height"], tallest))
        print(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=14.0, help="how long the application runs in all")
    parser.add_argument("--to", type=Path, default=ROOT / "docs/images", help="the folder of the pictures")
    parser.add_argument("--all", action="store_true", help="every state on every screen, not only those of the docs")
    options = parser.parse_args()
    options.to.mkdir(parents=True, exist_ok=True)
    end = threading.Event()
    with browser.chromium() as driver:
        if options.all:
            with serve(Recorder(registry=None), port=0, live=True) as server:
                pictures(driver, server, options.to, "empty", SCREENS)
            with crowd() as server:
                pictures(driver, server, options.to, "crowd", SCREENS)
        with running() as (application, server):
            end.wait(60 * options.minutes - INCIDENT_SECONDS)
            if options.all:
                pictures(driver, server, options.to, "calm", SCREENS)
            application.deploy(CACHE_LOST)
            end.wait(INCIDENT_SECONDS)
            if options.all:
                pictures(driver, server, options.to, "incident", SCREENS)
            else:
                pictures(driver, server, options.to, "incident", SCREENS[:1])
                pictures(driver, server, options.to, "phone", SCREENS[3:], TALLEST_PHONE)


if __name__ == "__main__":
    main()
