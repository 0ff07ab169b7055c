"""`anthropic-exporter check --url`: what it finds, and what it says of an address where something else answers."""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import bcrypt
import pytest

from anthropic_exporter import Recorder, serve, toolchain
from anthropic_exporter.commands.main import run as run_command
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.history import loaded
from anthropic_exporter.history.prometheus_api import LoadedRule, Prometheus, RuleGroup, Target
from anthropic_exporter.rules import Fit
from anthropic_exporter.stack import running
from anthropic_exporter.stack.process import Process
from dripping import Drip
from foreign import Foreign, wait_for

pytest_plugins = ("fixtures_service",)
FOUND_NOTHING = "no rules of this bundle are loaded: add the exported rules/*.yml to rule_files, and reload"


def a_fit(interval: str, job: str = "shop", known: str = "shop", written: str = "shop") -> loaded.Loaded:
    """Rules for 5 s on a Prometheus with one process."""
    rule = LoadedRule("one", "anthropic_exporter_age_seconds[20s]", "")
    groups = tuple(RuleGroup(name, "f", 5, 0.1, (rule,)) for name in ("anthropic-thresholds", "anthropic-ledger"))
    ours = frozenset([(job, "a")])
    targets = (Target(job, "a", interval, ""),)
    return loaded.Loaded(groups, targets, written, frozenset([known]), ours, ours, frozenset(), 1)


@pytest.mark.parametrize(
    ("interval", "cure"),
    [
        ("15s", "export them again with --scrape-interval 15s"),
        ("1m", "export them again with --scrape-interval 1m"),
        ("1s", "give the job a scrape_interval of 5s to 60s"),
        ("500ms", "give the job a scrape_interval of 5s to 60s"),
        ("7s500ms", "give the job a scrape_interval of 5s to 60s"),
        ("1m30s", "give the job a scrape_interval of 5s to 60s"),
        ("5m", "give the job a scrape_interval of 5s to 60s"),
    ],
)
def test_another_interval_is_one_finding_with_its_cure(interval: str, cure: str) -> None:
    expected = f"job 'shop' (1 target) is scraped every {interval}, but the rules are for 5s: {cure}"
    assert loaded.findings(a_fit(interval)) == [expected]


def test_the_interval_of_the_rules_is_not_a_finding() -> None:
    assert loaded.findings(a_fit("5s")) == []


def test_a_process_that_shows_nothing_to_count_is_named() -> None:
    """An older recorder, or a scrape job that drops series or the label of lives."""
    expected = (
        "a of job 'shop' shows nothing that the rules can count: "
        "upgrade its recorder, or drop none of its series and labels"
    )
    assert loaded.findings(a_fit("5s")._replace(counted=frozenset())) == [expected]


def test_a_job_is_named_with_the_regular_expression_as_it_was_given() -> None:
    """The rules have it as a string of PromQL."""
    found = a_fit("5s", job="web", known="api.eu", written=r"api\\.eu|my \"job\"")
    expected = r"""job 'web' is not covered by the rules (api\.eu|my "job"): export them again with --job"""
    assert loaded.findings(found) == [expected]


class Answer(BaseHTTPRequestHandler):
    """Answers each request with the same status, headers and body."""

    status = 200
    headers_sent: ClassVar[dict[str, str]] = {}
    body = b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        for name, value in self.headers_sent.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def answering(status: int, body: bytes, headers: dict[str, str] | None = None) -> Iterator[str]:
    made = type("Made", (Answer,), {"status": status, "body": body, "headers_sent": headers or {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), made) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def data(**found: Any) -> bytes:
    """An answer of the API in which every list is there."""
    lists = {"groups": [], "activeTargets": [], "activeAlertmanagers": [], "resultType": "vector", "result": []}
    return json.dumps({"status": "success", "data": lists | found}).encode()


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (200, b"<html>Grafana</html>", {}, "the response is not from a Prometheus: check --url"),
        (200, b"[]", {}, "the response is not from a Prometheus: check --url"),
        (200, data(groups=[{}]), {}, "the response is not from a Prometheus: check --url"),
        (
            200,
            data(groups=[{"name": "g", "interval": "soon", "rules": []}]),
            {},
            "the response is not from a Prometheus",
        ),
        (200, data(groups=[{"name": "g", "interval": 5, "rules": [7]}]), {}, "the response is not from a Prometheus"),
        (200, data(activeTargets=[{"labels": {}}]), {}, "the response is not from a Prometheus: check --url"),
        (200, data(result=[{"metric": {}, "value": "x"}]), {}, "the response is not from a Prometheus: check --url"),
        (302, b"", {"Location": "/login"}, "answers 302: is it the address of a Prometheus?"),
        (302, b"", {"Location": "file:///etc/passwd"}, "answers 302: is it the address of a Prometheus?"),
        (404, b"not here", {}, "answers 404: is it the address of a Prometheus?"),
        (401, b"", {}, "answers 401 (give --token-file, or user and password as in http://user:password@host)"),
        (422, b'{"error": "unavailable with Prometheus Agent"}', {}, "422: unavailable with Prometheus Agent"),
    ],
)
def test_something_else_is_one_line_and_2(
    capsys: pytest.CaptureFixture[str], status: int, body: bytes, headers: dict[str, str], said: str
) -> None:
    with answering(status, body, headers) as url:
        assert run_command(["check", "--url", url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"anthropic-exporter: {url}: {said}")


def test_a_server_that_drips_is_left_in_time() -> None:
    with Drip(b"HTTP/1.1 200 OK\r\n\r\n", byte=b" ") as server:
        began = time.monotonic()
        with pytest.raises(ConfigurationError, match="no answer in time"):
            Prometheus(server.url, timeout=0.3).rule_groups()
        assert time.monotonic() - began < 30.0
        assert server.gone.wait(30)


def is_ready(address: str) -> bool:
    """Whether it answers, if only that it wants a password."""
    try:
        with urllib.request.urlopen(f"http://{address}", timeout=10):
            return True
    except urllib.error.HTTPError as error:
        return error.code != 503
    except OSError:
        return False


@contextlib.contextmanager
def a_prometheus(folder: Path, *flags: str, agent: bool = False) -> Iterator[str]:
    """A real one; yields its address."""
    config = 'remote_write: [{url: "http://127.0.0.1:1"}]\n' if agent else "scrape_configs: []\n"
    (folder / "prometheus.yml").write_text(config)
    with running.free_ports(1) as (port,):
        address = f"127.0.0.1:{port}"
    command = [
        str(toolchain.provide(["prometheus"])["prometheus"]),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.{'agent' if agent else 'tsdb'}.path={folder / 'data'}",
        f"--web.listen-address={address}",
        *flags,
    ]
    process = Process(command, folder / "prometheus.log", "")
    try:
        wait_for(lambda: is_ready(address))
        yield f"http://{address}"
    finally:
        process.close()


def checked(url: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    capsys.readouterr()
    code = run_command(["check", "--url", url])
    printed = capsys.readouterr()
    return code, (printed.out + printed.err).splitlines()[0]


@pytest.mark.stack
def test_a_prometheus_below_a_prefix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with a_prometheus(tmp_path, "--web.external-url=http://x.example/prom") as url:
        assert checked(f"{url}/prom", capsys) == (1, FOUND_NOTHING)
        assert checked(f"{url}/prom/", capsys) == (1, FOUND_NOTHING)
        missing = f"anthropic-exporter: {url}: answers 404: is it the address of a Prometheus?"
        assert checked(url, capsys) == (2, missing)


@pytest.mark.stack
def test_a_prometheus_that_asks_for_a_password(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    secret = "p@ss:w/rd"
    hashed = bcrypt.hashpw(secret.encode(), bcrypt.gensalt(4)).decode()
    (tmp_path / "web.yml").write_text(json.dumps({"basic_auth_users": {"me": hashed}}))
    given = f"me:{urllib.parse.quote(secret, safe='')}@"
    with a_prometheus(tmp_path, f"--web.config.file={tmp_path / 'web.yml'}") as url:
        host = url.removeprefix("http://")
        assert checked(f"http://{given}{host}", capsys) == (1, FOUND_NOTHING)
        for wrong in (url, f"http://me:no@{host}"):
            code, line = checked(wrong, capsys)
            assert (code, line.startswith(f"anthropic-exporter: {url}: answers 401 (give --token-file, or ")) == (
                2,
                True,
            )
            assert ":no@" not in line


@pytest.mark.stack
def test_an_agent_evaluates_no_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    version = subprocess.check_output([toolchain.provide(["prometheus"])["prometheus"], "--version"], text=True)
    flags = ["--agent"] if "version 3" in version else ["--enable-feature=agent"]
    with a_prometheus(tmp_path, *flags, agent=True) as url:
        code, line = checked(url, capsys)
    assert code == 2
    assert line == f"anthropic-exporter: {url}: 422: unavailable with Prometheus Agent"


@pytest.mark.stack
def test_rules_for_jobs_in_the_syntax_of_re2_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A backslash stood twice in the rule, and no job matched it; of classes of letters Python warned."""
    with (
        serve(Recorder(registry=None), port=0) as server,
        Foreign(
            tmp_path, Fit(job=r"api\.eu|[[:alpha:]]+-\pL"), [("api.eu", f"127.0.0.1:{server.port}", "a")]
        ) as foreign,
    ):
        wait_for(foreign.has_scraped)
        wait_for(lambda: foreign.value("anthropic_exporter_start_timestamp_seconds"))
        assert checked(foreign.url, capsys) == (1, "alerts are sent to no Alertmanager: add one below `alerting`")
