"""The live page of a fleet: growth of the collector's totals, in the seconds in which it came."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

import browser
from anthropic_exporter import Call, Recorder, publish
from anthropic_exporter.collector.live_feed import FleetView, TotalsFeed
from anthropic_exporter.collector.merge import Fleet
from anthropic_exporter.collector.watch import FleetWatch
from anthropic_exporter.guard import Limits
from anthropic_exporter.live.state import PageState
from anthropic_exporter.publisher.changes import Changes, Origin
from collectors import Collecting, wait_until
from queue_engines import Redis
from support import Clock

INPUT_USD, OUTPUT_TOKENS, REQUESTS, FAILED, HITS = 0, 10, 11, 12, 14


class Page:
    """A fleet of one recorder, and its page."""

    def __init__(self, clock: Clock, steady: Clock) -> None:
        self.recorder = Recorder(registry=None, clock=clock)
        self.changes = Changes(Origin("one", 1, "api", "web-1", 1.0, "0.1.0"))
        self.clock, self.steady = clock, steady
        self.fleet, self.lock = Fleet("life"), threading.Lock()
        self.watch = FleetWatch(self.fleet, Limits.shipped(), clock)
        self.ship()
        self.feed = TotalsFeed(self.fleet, self.lock, clock=steady)
        self.state = PageState(self.feed, FleetView(self.watch, self.lock), clock=steady, wall=clock)

    def ship(self, seconds: int = 0) -> None:
        self.clock.now += seconds
        self.steady.now += seconds
        changed = self.changes.find(self.recorder.snapshot())
        for one in self.changes.messages(changed, self.clock.now):
            self.fleet.take(one, self.steady.now)
        self.changes.accepted(changed)

    def read(self) -> dict[str, Any]:
        return json.loads(self.state.read(0))


@pytest.fixture
def page(clock: Clock) -> Page:
    return Page(clock, Clock(1_000.0))


def test_what_the_fleet_spends_is_shown_by_feature_and_user(page: Page, call: Callable[..., Call]) -> None:
    page.recorder.record(call(feature="chat", user="acme", input=1_000_000, output=171))
    page.recorder.record(call(feature="search", output=29, outcome="overloaded_error"))
    page.ship(1)
    found = page.read()
    minute = found["minute"][0]
    assert (minute[OUTPUT_TOKENS], minute[REQUESTS], minute[FAILED]) == (200, 2, 1)
    assert minute[INPUT_USD] == pytest.approx(4.0)
    assert [row[0] for row in found["features"]] == ["chat", "search"]
    assert found["users"][0][0] == "acme"
    assert (found["scope"], found["alerts"], found["breakers"]) == ("fleet", [], [])


def test_what_was_spent_before_it_began_is_not_shown(clock: Clock, call: Callable[..., Call]) -> None:
    steady = Clock(1_000.0)
    page = Page(clock, steady)
    page.recorder.record(call(output=171))
    page.ship()
    later = PageState(TotalsFeed(page.fleet, page.lock, clock=steady), clock=steady, wall=clock)
    assert not any(json.loads(later.read(0))["total"])


def test_a_step_holds_what_came_in_it(page: Page, call: Callable[..., Call]) -> None:
    page.recorder.record(call(output=171))
    page.ship()
    page.feed.tick()
    page.ship(5)
    page.recorder.record(call(output=29))
    page.ship()
    page.feed.tick()
    page.ship(5)
    steps = page.read()["steps"]
    assert [(number, counts[OUTPUT_TOKENS]) for number, counts, _, _ in steps] == [(200, 171), (201, 29)]


def test_what_a_partitioned_host_brings_is_in_no_minute(page: Page, call: Callable[..., Call]) -> None:
    page.recorder.record(call(output=171))
    page.ship(600)
    assert page.read()["minute"][0][OUTPUT_TOKENS] == 0
    page.recorder.record(call(output=29))
    page.ship(1)
    assert page.read()["minute"][0][OUTPUT_TOKENS] == 29
    page.watch.evaluate()  # the Guard reads the same growth, and neither takes it from the other
    page.recorder.record(call(output=1))
    page.ship(1)
    assert page.read()["minute"][0][OUTPUT_TOKENS] == 30


def test_latencies_are_those_of_the_buckets(page: Page, call: Callable[..., Call]) -> None:
    for seconds in (3.0, 4.0):
        page.recorder.record(call(output=171, duration_seconds=seconds, time_to_first_token_seconds=0.25))
    page.ship(1)
    p50, p95, ttft, _ = page.read()["minute"][1]
    assert p50 == pytest.approx(3.5, abs=0.1)  # the middle of the bucket from 2 to 5
    assert 4.5 < p95 <= 5.3  # the page has buckets 20 % apart
    assert 0.2 <= ttft <= 0.3


def test_cache_hits_belong_to_features(page: Page, call: Callable[..., Call]) -> None:
    page.recorder.record(call(feature="chat", cache_read=90_000, cache_asked=True))
    page.ship(1)
    found = page.read()
    assert (found["minute"][0][HITS], found["features"][0][6]) == (1, 1.0)


def test_requests_in_flight_are_those_of_all(page: Page) -> None:
    from anthropic_exporter.attribution import Attribution  # noqa: PLC0415

    page.recorder.begin(1, "claude-opus-5-5", Attribution())
    page.ship(12)
    found = page.read()
    assert (found["inflight"], found["oldest_seconds"]) == (1, 12.0)


def test_open_conditions_of_the_fleet_are_shown(page: Page, call: Callable[..., Call]) -> None:
    for _ in range(100):
        page.recorder.record(call(feature="chat", input=1_000_000))
    page.ship(1)
    page.watch.evaluate()
    assert "AnthropicCostRateHigh" in {one["name"] for one in page.read()["alerts"]}


@pytest.mark.stack
@pytest.mark.skipif(bool(browser.MISSING), reason=browser.MISSING or "none")
def test_the_page_of_a_collector_in_a_browser(tmp_path: Path, call: Callable[..., Call]) -> None:
    pytest.importorskip("redis")
    recorder = Recorder(registry=None)
    with (
        Redis(tmp_path / "redis") as queue,
        publish(recorder, queue.url, service="api", period_seconds=0.05),
        Collecting(queue.url, tmp_path / "state", "--live") as collector,
        browser.chromium() as driver,
    ):
        driver.get(collector.url + "/live")
        shown = lambda element: driver.find_element(By.ID, element).text  # noqa: E731 - one line
        WebDriverWait(driver, 20).until(lambda _: "publish(recorder" in shown("empty"))  # type: ignore[no-untyped-call]
        recorder.record(call(feature="chat", output=171))
        WebDriverWait(driver, 20).until(lambda _: "chat" in shown("features"))  # type: ignore[no-untyped-call]
        assert shown("scope") == "All processes that publish to this collector"  # type: ignore[no-untyped-call]


@pytest.mark.stack
def test_without_the_option_there_is_no_page(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    with Redis(tmp_path / "redis") as queue, Collecting(queue.url, tmp_path / "state") as collector:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(collector.url + "/live", timeout=10)
        wait_until(lambda: collector.value("anthropic_collector_queue_up") == 1.0)
