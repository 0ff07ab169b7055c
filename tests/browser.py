"""A real Chromium for tests, without a network, a profile or a window; None where this machine has none."""

from __future__ import annotations

import base64
import contextlib
import re
import subprocess
import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.webdriver import WebDriver

from anthropic_exporter import toolchain

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    "--window-size=1280,900",
)
CHROMIUM, DRIVER = toolchain.find("chromium"), toolchain.find("chromedriver")


def _missing() -> str:
    """Why there is no browser, or nothing: a driver drives one of its own release alone."""
    if not (CHROMIUM and DRIVER):
        return "no chromium and chromedriver here: make browser, or apt-get install chromium-driver"
    releases = [_release(program) for program in (CHROMIUM, DRIVER)]
    return "" if releases[0] == releases[1] != "" else f"{CHROMIUM} and {DRIVER} are of two releases, or do not start"


def _release(program: Path) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False, timeout=30).stdout
    return (re.findall(r"(\d+)\.", said) or [""])[0]


MISSING = _missing()


@contextlib.contextmanager
def chromium(*flags: str) -> Iterator[WebDriver]:
    """A started browser, with further flags."""
    with tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for flag in (*_FLAGS, *flags, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
        try:
            yield driver
        finally:
            driver.quit()


def violations(driver: Any) -> Any:
    """What axe finds wrong with the page for people who do not see, hear or point as others do (WCAG 2 A and AA)."""
    driver.execute_script((resources.files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8"))
    found = driver.execute_async_script("axe.run().then(arguments[0])")
    assert len(found["passes"]) > 20
    return [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]]


def look(driver: Any, *, dark: Any = False, phone: Any = False) -> None:
    """Another screen: a telephone's, or a dark one."""
    width, height = (390, 844) if phone else (1280, 900)
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def picture(driver: Any, path: Any, *, height: Any) -> None:
    """The page as a file, so many pixels from its top."""
    width = driver.execute_script("return innerWidth")
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    options: dict[str, Any] = {"format": "png", "captureBeyondViewport": True, "clip": clip}
    path.write_bytes(base64.b64decode(driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"]))
