"""The page in a real Chromium."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import anthropic
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

import browser
from anthropic_exporter import Call, Recorder, attribution, serve
from anthropic_exporter.guard import Guard
from anthropic_exporter.live import CallFeed, Live
from bodies import ASK

pytestmark = [pytest.mark.stack, pytest.mark.skipif(bool(browser.MISSING), reason=browser.MISSING or "none")]
pytest_plugins = ("fixtures_fake_api",)
EVIL = "<img src=x onerror=document.title='owned'>"
ALERT = {
    "name": "AnthropicCacheMissWaste",
    "severity": "critical",
    "feature": EVIL,
    "model": "claude-opus-5-5",
    "summary": "Cache misses waste money.",
    "description": f"{EVIL} on claude-opus-5-5: 9.12 USD a minute.",
    "started_at": 1_795_262_400.0,
}
BREAKER = {"scope": "feature", "name": EVIL, "state": "open", "action": "block", "reason": "cost_rate", "blocked": 214}


class Watched:
    def __init__(self) -> None:
        self.open: list[Any] = []

    def alerts(self) -> Any:
        return self.open

    def breakers(self) -> Any:
        return [BREAKER]


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    with browser.chromium() as started:
        yield started


@pytest.fixture
def recorder() -> Any:
    return Recorder(registry=None, strict=True)


@pytest.fixture
def busy(recorder: Recorder, call: Callable[..., Call]) -> Iterator[Any]:
    """A page with calls and an incident, whose names are as bad as names can be."""
    watched = Watched()
    live = Live(CallFeed(recorder), watched)
    with serve(recorder, port=0, routes=live.routes) as running:
        recorder.record(call(feature="chat", user="acme", cache_read=90_000, output=171, cache_asked=True))
        recorder.record(call(feature=EVIL, user=EVIL, model=EVIL, input=5_000, output=171, outcome="refusal"))
        running.watched = watched  # type: ignore[attr-defined]
        yield running


def text(driver: Any, element: Any) -> Any:
    return driver.find_element(By.ID, element).text


def opened(driver: Any, server: Any, **screen: Any) -> None:
    browser.look(driver, **screen)
    driver.get_log("browser"), driver.get_log("performance")
    driver.get(server.url + "/live")
    until(driver, lambda: text(driver, "status") == "live")


def until(driver: Any, holds: Any, seconds: Any = 10) -> None:
    WebDriverWait(driver, seconds, poll_frequency=0.1).until(lambda _: holds())


def contrasts(driver: Any) -> Any:
    """WCAG contrast of each visible text against what lies behind it, and its element."""
    return driver.execute_script(
        """
        const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
        const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
          .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
          .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const behind = (e) => {
          for (; e; e = e.parentElement) {
            const found = parts(getComputedStyle(e).backgroundColor);
            if (found.length === 3 || found[3] === 1) return found;
          }
        };
        const speaks = (e) => e.offsetParent && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        return [...document.querySelectorAll("body *")].filter(speaks).map((e) => {
          const [a, b] = [light(parts(getComputedStyle(e).color)), light(behind(e))];
          return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.outerHTML.slice(0, 200)];
        });
        """
    )


def test_without_a_call_the_page_says_what_to_do_and_then_fills_by_itself(
    driver: Any, recorder: Recorder, call: Callable[..., Call]
) -> None:
    with serve(recorder, port=0, live=True) as running:
        opened(driver, running)
        assert "No Claude call yet" in text(driver, "empty")
        assert "recorder.middleware()" in text(driver, "empty")
        assert not driver.find_element(By.ID, "figures").is_displayed()
        assert browser.violations(driver) == []
        recorder.record(call(feature="chat", output=100_000))
        until(driver, lambda: "chat" in text(driver, "features"))
        assert "$2.00" in text(driver, "tiles")
        assert "100 k out" in text(driver, "tiles").replace("\u00a0", " ")
        assert driver.title == "$2.00/min · Claude spend"
        assert not driver.find_element(By.ID, "empty").is_displayed()


def test_names_of_the_application_are_only_ever_text(driver: Any, busy: Any) -> None:
    busy.watched.open = [ALERT]
    opened(driver, busy)
    until(driver, lambda: EVIL in text(driver, "alerts"))
    until(driver, lambda: EVIL in text(driver, "features"))  # its model has no price, which is looked up first
    assert EVIL in text(driver, "users")
    assert EVIL in text(driver, "breaker-table")
    assert driver.find_elements(By.TAG_NAME, "img") == []
    assert driver.title.endswith("Claude spend")


def test_the_browser_logs_no_errors_and_sends_no_other_requests(driver: Any, busy: Any) -> None:
    opened(driver, busy)
    until(driver, lambda: driver.find_elements(By.TAG_NAME, "canvas"))
    assert driver.get_log("browser") == []
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    asked = {one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith(("data:", busy.url))} == set()
    assert f"{busy.url}/live" in asked


def test_an_alert_opens_and_closes_on_the_page(driver: Any, busy: Any) -> None:
    opened(driver, busy)
    until(driver, lambda: text(driver, "alerts") == "✓ No open alert")
    busy.watched.open = [ALERT]
    until(driver, lambda: "Cache misses waste money." in text(driver, "alerts"))
    assert "CRITICAL" in text(driver, "alerts")
    assert driver.find_element(By.ID, "alerts").get_attribute("aria-live") == "polite"
    busy.watched.open = [ALERT] * 23
    until(driver, lambda: text(driver, "alerts").endswith("3 more open"))
    busy.watched.open = []
    until(driver, lambda: text(driver, "alerts") == "✓ No open alert")


def test_what_a_guard_tells_and_would_stop_is_on_the_page(
    driver: Any, call: Callable[..., Call], fake_api: Any
) -> None:
    recorder = Recorder(registry=None, strict=True)
    client = anthropic.Anthropic(
        api_key="sk-ant-test", base_url=fake_api.base_url, middleware=[recorder.middleware()], max_retries=0
    )
    with client, Guard(recorder) as guard, serve(recorder, port=0, live=True, guard=guard) as running:
        guard.breaker()
        for _ in range(4):
            recorder.record(call(feature="chat", input=150_000)._replace(started_at=time.time()))
        with attribution(feature="chat"):
            client.messages.create(**ASK)
        opened(driver, running)
        until(driver, lambda: "1 would be blocked" in text(driver, "breaker-table"))
        shown = text(driver, "breaker-table")
        assert "cost_rate: " in shown
        assert " USD a minute; the threshold is 2.00 USD a minute (over 30 s" in shown
        again = datetime.fromtimestamp(guard.breakers()[0].retry_at)  # noqa: DTZ006 - as the browser shows it
        assert f"tries again at {again:%H:%M:%S}" in shown
        assert "Claude calls cost more dollars a minute than the threshold allows." in text(driver, "alerts")
        assert browser.violations(driver) == []


def test_when_the_process_is_gone_the_page_says_so_and_of_when_its_figures_are(driver: Any, busy: Any) -> None:
    opened(driver, busy)
    assert not driver.find_element(By.ID, "stale").is_displayed()
    busy.close()
    until(driver, lambda: text(driver, "status") == "no answer")
    assert "The process does not answer. What you see is of " in text(driver, "stale")
    assert driver.title.startswith("no answer")


def test_another_process_on_the_same_port_starts_the_page_over(
    driver: Any, busy: Any, call: Callable[..., Call]
) -> None:
    opened(driver, busy)
    until(driver, lambda: "acme" in text(driver, "users"))
    busy.close()
    fresh = Recorder(registry=None, strict=True)
    with serve(fresh, port=busy.port, live=True):
        fresh.record(call(user="globex", output=171))
        until(driver, lambda: "globex" in text(driver, "users"))
        assert "acme" not in text(driver, "users")


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_it_fits_the_screen_and_is_readable(driver: Any, busy: Any, dark: Any, phone: Any) -> None:
    busy.watched.open = [ALERT, {**ALERT, "severity": "warning"}, {**ALERT, "severity": "info"}]
    opened(driver, busy, dark=dark, phone=phone)
    until(driver, lambda: len(driver.find_elements(By.CSS_SELECTOR, ".plot canvas")) == 4)
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    wide = "return [...document.querySelectorAll('.value')].filter((e) => e.scrollWidth > e.clientWidth)"
    assert driver.execute_script(f"{wide}.map((e) => e.textContent)") == []
    found = contrasts(driver)
    assert len(found) > 60
    assert min(found)[0] >= 4.5, min(found)
    driver.find_element(By.TAG_NAME, "summary").click()
    until(driver, lambda: driver.find_elements(By.CSS_SELECTOR, "details table"))
    assert browser.violations(driver) == []


def test_a_chart_is_read_with_arrow_keys_and_as_a_table(driver: Any, busy: Any) -> None:
    opened(driver, busy)
    until(driver, lambda: driver.find_elements(By.CSS_SELECTOR, ".plot canvas"))
    plot = driver.find_element(By.CSS_SELECTOR, ".plot")
    assert "Dollars by feature, per minute." in plot.get_attribute("aria-label")
    plot.send_keys(Keys.ARROW_LEFT)
    until(driver, lambda: "chat $" in driver.find_element(By.ID, "reading").get_attribute("textContent"))
    driver.find_element(By.TAG_NAME, "summary").click()
    until(driver, lambda: "chat" in driver.find_element(By.CSS_SELECTOR, "details table").text)


def test_it_has_landmarks_headings_and_scopes(driver: Any, busy: Any) -> None:
    opened(driver, busy)
    count = driver.execute_script
    assert count("return document.querySelectorAll('header, main, footer').length") == 3
    assert count("return document.querySelectorAll('h1').length") == 1
    assert count("return document.querySelectorAll('th:not([scope])').length") == 0
    assert count("return document.documentElement.lang") == "en"
    assert count("return [...document.querySelectorAll('canvas')].every((c) => c.closest('[aria-hidden=true]'))")


def test_it_does_not_move_if_reduced_motion_is_requested(driver: Any, busy: Any) -> None:
    opened(driver, busy)
    animated = "return getComputedStyle(document.getElementById('status'), '::before').animationName"
    assert driver.execute_script(animated) == "beat"
    reduced = {"features": [{"name": "prefers-reduced-motion", "value": "reduce"}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", reduced)
    assert driver.execute_script(animated) == "none"
