"""A web page of another origin, in a real Chromium, against what the compose stack runs: it can drive none of it."""

from __future__ import annotations

import contextlib
import http.server
import json
import re
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from selenium.webdriver.chrome.webdriver import WebDriver

import browser
from anthropic_exporter import Recorder, serve, toolchain
from anthropic_exporter.stack.process import Process
from exporters import Exporter

pytestmark = [pytest.mark.stack, pytest.mark.skipif(bool(browser.MISSING), reason=browser.MISSING or "none")]
ROOT = Path(__file__).resolve().parents[2]
SERVICES = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
ALERT = {"status": "firing", "labels": {"alertname": "Forged", "severity": "critical", "remedy": "open_breaker"}}
#: Every way in which a page can send something to another origin: a form, and fetch with and without permission.
ATTACK = """
const [base, path, body, done] = arguments;
const ways = [];
for (const type of ["text/plain", "application/json", null])
  for (const mode of ["no-cors", "cors"])
    ways.push(fetch(base + path, {method: "POST", mode, credentials: "include",
      body: type === null ? new Blob([body]) : body, headers: type === null ? {} : {"Content-Type": type}}));
ways.push(new Promise(resolve => {
  const frame = document.createElement("iframe"), form = document.createElement("form");
  const field = document.createElement("input");
  frame.name = "frame" + Math.random();
  Object.assign(form, {method: "post", action: base + path, target: frame.name, enctype: "text/plain"});
  Object.assign(field, {name: body.slice(0, -1) + ', "x": "', value: '"}'});
  form.append(field); document.body.append(frame, form);
  frame.onload = () => resolve("sent");
  form.submit();
  setTimeout(resolve, 1000, "late");
}));
Promise.allSettled(ways).then(all => done(all.map(one => one.status)));
"""
READ = """
const [address, done] = arguments;
fetch(address).then(answer => answer.text().then(text => done([answer.status, text])), error => done([0, `${error}`]));
"""


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<!doctype html><title>a game</title><body>")

    def log_message(self, *_: str) -> None:
        pass


@pytest.fixture(scope="module")
def foreign() -> Iterator[WebDriver]:
    """A browser on a page of evil.example, a name that points at this machine."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server, contextlib.ExitStack() as owned:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        owned.callback(server.shutdown)
        driver = owned.enter_context(browser.chromium("--host-resolver-rules=MAP evil.example 127.0.0.1"))
        driver.set_script_timeout(20)
        driver.get(f"http://evil.example:{server.server_address[1]}/")
        yield driver


@pytest.fixture
def exporter() -> Iterator[Exporter]:
    """The exporter with the arguments of the compose stack, but on this machine alone."""
    command = [re.sub(r"\$\{\w+:-(\w+)\}", r"\1", word) for word in SERVICES["exporter"]["command"]]
    running = Exporter(*["127.0.0.1" if word == "0.0.0.0" else word for word in command[1:]])
    yield running
    running.close()


@pytest.mark.parametrize("path", ["/alerts", "/heartbeat"])
def test_a_foreign_page_forges_neither_an_alert_nor_a_heartbeat(
    foreign: WebDriver, exporter: Exporter, path: str
) -> None:
    body = json.dumps({"alerts": [ALERT]})
    said = foreign.execute_async_script(ATTACK, exporter.url, path, body)
    assert len(said) == 7
    shown = exporter.metrics()
    assert "anthropic_exporter_notifications_total{" not in shown
    assert not re.search(r"^anthropic_exporter_last_heartbeat_timestamp_seconds", shown, re.MULTILINE)
    assert exporter.post(path, ALERT, token=None) == 200  # Alertmanager still does
    assert re.search(r"^anthropic_exporter_(notifications_total|last_heartbeat)", exporter.metrics(), re.MULTILINE)


@pytest.mark.parametrize("path", ["/metrics", "/", "/live", "/live/state"])
def test_a_foreign_page_reads_nothing(foreign: WebDriver, path: str) -> None:
    """Neither from its own origin nor under its own name, which it lets point here (DNS rebinding)."""
    with serve(Recorder(registry=None), port=0, live=True) as running:
        assert foreign.execute_async_script(READ, running.url + path)[0] == 0
        here = foreign.current_url
        foreign.get(f"http://evil.example:{running.port}{path}")
        status, text = foreign.execute_async_script(READ, f"http://evil.example:{running.port}{path}")
        assert (status, "does not accept that Host" in text) == (421, True)
        foreign.get(here)


def test_a_foreign_page_does_not_stop_prometheus(foreign: WebDriver, tmp_path: Path) -> None:
    """Were it published: with the flags of the compose stack."""
    (tmp_path / "prometheus.yml").write_text("scrape_configs: []\n")
    with socket.create_server(("127.0.0.1", 0)) as held:
        address = f"127.0.0.1:{held.getsockname()[1]}"
    flags = [flag for flag in SERVICES["prometheus"]["command"] if flag.startswith("--web.")]
    command = [str(toolchain.provide(("prometheus",))["prometheus"]), f"--config.file={tmp_path / 'prometheus.yml'}"]
    command += [f"--storage.tsdb.path={tmp_path / 'data'}", f"--web.listen-address={address}", *flags]
    prometheus = Process(command, tmp_path / "prometheus.log", f"http://{address}/-/ready")
    try:
        prometheus.wait_until_ready()
        for path in ("/-/quit", "/-/reload", "/api/v1/admin/tsdb/delete_series?match[]=up"):
            assert len(foreign.execute_async_script(ATTACK, f"http://{address}", path, "{}")) == 7
        with urllib.request.urlopen(f"http://{address}/-/healthy", timeout=10) as answer:
            assert answer.status == 200
    finally:
        prometheus.close()


def test_what_obeys_any_page_is_not_published() -> None:
    """Alertmanager answers to any origin and has no switch for it: no page may reach it."""
    assert [name for name in ("alertmanager", "prometheus") if SERVICES[name].get("ports")] == []
