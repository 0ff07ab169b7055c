"""The exported bundle on somebody else's Prometheus: other jobs, no Alertmanager, rules that do not fit."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from anthropic_exporter import Call, Inference, Recorder, Tokens, export, serve
from anthropic_exporter.commands.main import run as run_command
from anthropic_exporter.rules import Fit
from foreign import Foreign, wait_for

pytestmark = pytest.mark.stack
MODEL = "claude-opus-5-5"
FIT = Fit(job="shop/.*", keep_labels=("namespace",))


class Shop(BaseHTTPRequestHandler):
    """Somebody's program that knows nothing of Claude."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(b"shop_orders_total 171\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def a_shop() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def checked(url: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    capsys.readouterr()
    code = run_command(["check", "--url", url])
    return code, capsys.readouterr().out.splitlines()


def alerts(server: Foreign) -> set[tuple[str, str, str]]:
    found = [one for one in server.ask("alerts")["alerts"] if one["state"] == "firing"]
    return {
        (one["labels"]["alertname"], one["labels"].get("feature", ""), one["labels"].get("namespace", ""))
        for one in found
    }


def test_only_our_problems_alert_and_the_check_finds_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Production spends 48 dollars a minute, staging nothing; a node of the shop is down, which is its own alert's."""
    recorder, quiet = Recorder(registry=None), Recorder(registry=None)
    with serve(recorder, port=0) as server, serve(quiet, port=0) as staging, a_shop() as shop:
        gone = "127.0.0.1:1"
        jobs = [
            ("shop/checkout", f"127.0.0.1:{server.port}", "prod"),
            ("shop/staging", f"127.0.0.1:{staging.port}", "staging"),
            ("orders", shop, "prod"),
            ("node", gone, "prod"),
        ]
        with Foreign(tmp_path, FIT, jobs) as foreign:
            wait_for(foreign.has_scraped)
            stopped = threading.Event()
            call = Call(MODEL, inferences=(Inference(MODEL, Tokens(output=8_000)),), feature="chat (beta)")

            def spend() -> None:
                while not stopped.wait(0.25):
                    recorder.record(call._replace(started_at=time.time()))

            thread = threading.Thread(target=spend)
            thread.start()
            try:
                expected = ("AnthropicCostRateHigh", "chat (beta)", "prod")
                wait_for(lambda: expected in alerts(foreign))
            finally:
                stopped.set()
                thread.join()
            others = alerts(foreign) - {expected, ("ShopDown", "", "prod"), ("AnthropicWatchdog", "", "")}
            assert {one[0] for one in others} <= {"AnthropicCostSpike", "AnthropicTokenSpike"}
            code, lines = checked(foreign.url, capsys)
            assert (code, lines[:-1]) == (1, ["alerts are sent to no Alertmanager: add one below `alerting`"])
            assert lines[-1] == f"checked {foreign.url}: 1 finding"


def test_the_check_names_rules_for_another_interval_job_and_threshold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(Recorder(registry=None), port=0) as server:
        jobs = [("api", f"127.0.0.1:{server.port}", "prod"), ("shop/cart", "127.0.0.1:1", "prod")]
        fit = Fit(scrape_interval=30, job="shop/.*")
        export.write(export.files(fit), tmp_path / "claude")
        thresholds = tmp_path / "claude" / "rules" / "thresholds.yml"
        document = yaml.safe_load(thresholds.read_text())
        rules = document["groups"][0]["rules"]
        document["groups"][0]["rules"] = [one for one in rules if one["labels"]["threshold"] != "cost_usd_per_minute"]
        thresholds.write_text(yaml.safe_dump(document))
        with Foreign(tmp_path, fit, jobs) as foreign:
            wait_for(foreign.has_scraped)
            wait_for(lambda: foreign.value("anthropic_exporter_build_info"))
            code, lines = checked(foreign.url, capsys)
    assert code == 1
    text = "\n".join(lines)
    assert "threshold cost_usd_per_minute has no default: its alert cannot fire; add it to thresholds.yml" in lines
    assert "job 'api' is not covered by the rules (shop/.*): export them again with --job" in lines
    assert "target 127.0.0.1:1 of job 'shop/cart' is down: " in text
    for job in ("api", "shop/cart"):
        assert (
            f"job {job!r} (1 target) is scraped every 5s, but the rules are for 30s: "
            "export them again with --scrape-interval 5s"
        ) in lines


def test_a_prometheus_without_our_rules_is_one_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Foreign(tmp_path, None, []) as foreign:
        code, lines = checked(foreign.url, capsys)
    finding = "no rules of this bundle are loaded: add the exported rules/*.yml to rule_files, and reload"
    assert (code, lines) == (1, [finding, f"checked {foreign.url}: 1 finding"])


def test_an_address_where_no_prometheus_answers_is_one_line_and_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["check", "--url", "http://127.0.0.1:1"]) == 2
    assert "127.0.0.1:1: cannot be reached" in capsys.readouterr().err
