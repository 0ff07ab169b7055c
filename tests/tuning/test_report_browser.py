"""The weekly report in a real Chromium: readable on a desk and on a phone, light and dark; it loads nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import browser
from anthropic_exporter.tuning.report import page
from tuning import test_report

pytestmark = [pytest.mark.stack, pytest.mark.skipif(bool(browser.MISSING), reason=browser.MISSING or "none")]
SMALLEST_TEXT = """
return Math.min(...[...document.querySelectorAll('svg text, td, th, p, dt, dd, li, figcaption')]
  .filter(one => one.textContent.trim() && one.getClientRects().length)
  .map(one => one.closest('svg') ? one.getBoundingClientRect().height : parseFloat(getComputedStyle(one).fontSize)))
"""
WIDER_THAN_THE_SCREEN = """
return [...document.querySelectorAll('main *')]
  .filter(one => !one.closest('figure') && !one.closest('.scroll'))
  .filter(one => one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80))
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    pytest.importorskip("matplotlib", reason="the extra report is not installed")
    path = tmp_path_factory.mktemp("report") / "week.html"
    path.write_text(page.page(test_report.sample()))
    with browser.chromium() as started:
        started.get(path.as_uri())
        yield started


@pytest.mark.parametrize("phone", [False, True])
@pytest.mark.parametrize("dark", [False, True])
def test_it_is_readable_by_everybody(driver: Any, phone: Any, dark: Any) -> None:
    browser.look(driver, dark=dark, phone=phone)
    assert driver.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0
    assert driver.execute_script(WIDER_THAN_THE_SCREEN) == []
    assert driver.execute_script(SMALLEST_TEXT) >= 9
    assert browser.violations(driver) == []


def test_a_row_of_a_table_is_whole_on_a_phone(driver: Any) -> None:
    browser.look(driver, phone=True)
    cells = driver.execute_script(
        "return [...document.querySelector('table.wide tbody tr').cells].map(one => [one.dataset.label, "
        "one.getBoundingClientRect().right <= innerWidth, getComputedStyle(one, '::before').content])"
    )
    assert [label for label, _, _ in cells][:3] == ["fired (UTC)", "alert", "feature"]
    assert all(fits and content != "none" for _, fits, content in cells)


def test_it_loads_nothing_and_says_nothing_wrong(driver: Any) -> None:
    events = [json.loads(one["message"])["message"] for one in driver.get_log("performance")]
    asked = {one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"}
    assert {url for url in asked if not url.startswith(("file:", "data:", "chrome:"))} == set()
    assert driver.get_log("browser") == []
