from __future__ import annotations

import importlib.util
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import __version__, cli
from anthropic_exporter.commands.main import run as run_command

PATIENCE_SECONDS = 60
COMMANDS = ("demo", "serve", "simulate", "check", "export")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str], list[str]]]:
    """Run a command in this process: exit code, lines of stdout, lines of stderr."""

    def invoke(*arguments: str) -> tuple[int, list[str], list[str]]:
        code = run_command(list(arguments))
        captured = capfd.readouterr()
        return code, captured.out.splitlines(), captured.err.splitlines()

    return invoke


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a command as a process of its own."""
    started = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "anthropic_exporter.cli", *arguments]
        started.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ))
        )
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("arguments", [("--help",), *((name, "--help") for name in COMMANDS), ("-h",)])
def test_every_command_helps(run: Callable[..., tuple[int, list[str], list[str]]], arguments: tuple[str, ...]) -> None:
    code, said, errors = run(*arguments)
    assert (code, errors) == (0, [])
    assert said[0].startswith("Usage: anthropic-exporter")


def test_the_help_names_every_command(run: Callable[..., tuple[int, list[str], list[str]]]) -> None:
    _, said, _ = run("--help")
    assert set(COMMANDS) <= {line.split()[0] for line in said if line.startswith("  ")}


class Unauthorized(BaseHTTPRequestHandler):
    """A Prometheus behind a proxy that wants a token."""

    def do_GET(self) -> None:
        self.send_error(401)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (("check", "--url"), "give --token-file"),
        (("advise", "--prometheus"), "give --prometheus-token-file"),
        (("calibrate", "--prometheus"), "give --prometheus-token-file"),
    ],
)
def test_a_prometheus_that_wants_a_token_is_one_line_that_names_the_option(
    run: Callable[..., tuple[int, list[str], list[str]]], command: tuple[str, str], hint: str
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Unauthorized) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        code, said, errors = run(*command, url)
        server.shutdown()
    assert (code, said) == (2, [])
    assert errors == [
        f"anthropic-exporter: {url}: answers 401 ({hint}, or user and password as in http://user:password@host)"
    ]
    assert any(hint.removeprefix("give ") in line for line in run(command[0], "--help")[1])


class Answering(ThreadingHTTPServer):
    """Something that is not a Prometheus."""

    def __init__(self, body: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Wrong)
        self.body = body


class Wrong(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Answering)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("command", ["advise", "backtest", "calibrate", "review"])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>Log in</html>", "the response is not from a Prometheus: check --prometheus"),
        (b'{"status": "success"}', "the response is not from a Prometheus: check --prometheus"),
        (
            b'{"status": "success", "data": {"resultType": "matrix", "result": [{"metric": null, "values": [3]}]}}',
            "the response is not from a Prometheus: check --prometheus",
        ),
        (b'{"status": "success", "data": {"resultType": "matrix", "result": []}}', "give --last or --until"),
    ],
)
def test_a_server_that_is_not_prometheus_or_is_empty_is_one_line(
    run: Callable[..., tuple[int, list[str], list[str]]], command: str, body: bytes, said: str
) -> None:
    with Answering(body) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        code, out, errors = run(command, "--prometheus", f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert (code, out, len(errors)) == (2, [], 1)
    assert errors[0].endswith(said)


@pytest.mark.parametrize("address", ["http://[::1", "http://localhost:99999", "gopher://localhost", "http://", ""])
def test_an_address_that_is_none_is_one_line(
    run: Callable[..., tuple[int, list[str], list[str]]], address: str
) -> None:
    code, _, errors = run("review", "--prometheus", address)
    expected = "the address of Prometheus must look like http://localhost:9090; check --prometheus"
    assert (code, errors) == (2, [f"anthropic-exporter: {expected}"])


class Redirecting(ThreadingHTTPServer):
    """Notes the credentials that it is sent, and redirects to another server if it has one."""

    def __init__(self, to: str) -> None:
        super().__init__(("127.0.0.1", 0), Elsewhere)
        self.to = to
        self.seen: list[str | None] = []


class Elsewhere(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, Redirecting)
        self.server.seen.append(self.headers.get("Authorization"))
        self.send_response(302 if self.server.to else 401)
        self.send_header("Location", f"{self.server.to}{self.path}")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_token_is_not_sent_to_another_server(
    run: Callable[..., tuple[int, list[str], list[str]]], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("t0ken\n")
    with Redirecting("") as login, Redirecting(f"http://127.0.0.1:{login.server_port}") as server:
        for one in (login, server):
            threading.Thread(target=one.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        code, *_ = run("review", "--prometheus", url, "--prometheus-token-file", str(tmp_path / "token"))
        for one in (login, server):
            one.shutdown()
    assert code == 2
    assert (server.seen, login.seen) == (["Bearer t0ken"], [None])


def test_the_version(run: Callable[..., tuple[int, list[str], list[str]]]) -> None:
    assert run("--version") == (0, [f"anthropic-exporter {__version__}"], [])


#: Options that take a number.
NUMBERS = (
    ("demo", "--max-usd"),
    ("demo", "--calm"),
    ("simulate", "--every"),
    ("advise", "--at-least"),
    ("calibrate", "--pages"),
    ("reconcile", "--tolerance"),
    ("review", "--usd"),
)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "anthropic-exporter: Missing command."),
        (("dmo",), "anthropic-exporter: No such command 'dmo'."),
        (("demo", "--calm", "x"), "anthropic-exporter demo: Invalid value for '--calm': 'x' is not a valid float"),
        (("demo", "--calm", "-1"), "anthropic-exporter demo: Invalid value for '--calm': -1.0 is not in the range"),
        (
            ("serve", "--port", "70000"),
            "anthropic-exporter serve: Invalid value for '--port': 70000 is not in the range",
        ),
        (("serve", "x"), "anthropic-exporter serve: Got unexpected extra argument"),
        (("simulate", "--prt", "1"), "anthropic-exporter simulate: No such option"),
        *(
            ((*command, word), f"anthropic-exporter {command[0]}: Invalid value for '{command[-1]}': {word} is not")
            for command in NUMBERS
            for word in ("nan", "inf")
        ),
        (("check", "--prices"), "anthropic-exporter: Option '--prices' requires an argument."),
    ],
)
def test_a_wrong_argument_is_one_line_and_2(
    run: Callable[..., tuple[int, list[str], list[str]]], arguments: tuple[str, ...], said: str
) -> None:
    code, output, errors = run(*arguments)
    assert (code, output, len(errors)) == (2, [], 1)
    assert errors[0].startswith(said)
    assert errors[0].endswith("--help)")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("advise", "--last", "261w"), "--last '261w': give at most 260w"),
        (("advise", "--last", "99999999999w"), "--last '99999999999w': give a number and one of m, h, d, w"),
        (("advise", "--last", "0d"), "--last '0d': give a number"),
        (("backtest", "--lead", "soon"), "--lead 'soon': give a number"),
        (
            ("calibrate", "--exclude", "2026-11-22", "2026-11-21"),
            "--exclude 2026-11-22 2026-11-21: ends before it begins",
        ),
        (("calibrate", "--picture", "no/such.svg"), "no/such.svg: cannot be written: the folder no does not exist"),
        (("calibrate", "--write", "."), ".: cannot be written: it is a folder"),
        (("backtest", "--picture", "no/such.svg"), "no/such.svg: cannot be written: the folder no does not exist"),
        (("review", "--report", "no/week.html"), "no/week.html: cannot be written: the folder no does not exist"),
        (("review", "--report", "."), ".: cannot be written: it is a folder"),
    ],
)
def test_what_cannot_work_ends_before_anything_is_asked(
    run: Callable[..., tuple[int, list[str], list[str]]], arguments: tuple[str, ...], said: str
) -> None:
    code, output, (line,) = run(*arguments, "--prometheus", "http://127.0.0.1:1")
    assert (code, output) == (2, [])
    assert line.startswith(f"anthropic-exporter: {said}")


@pytest.mark.parametrize("command", ["demo", "serve", "simulate"])
def test_a_port_in_use_is_one_line_and_2(run: Callable[..., tuple[int, list[str], list[str]]], command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, output, (line,) = run(command, "--port", str(port))
    assert (code, output) == (2, [])
    assert line.startswith(f"anthropic-exporter: cannot listen on 127.0.0.1:{port}: the port is in use")


@pytest.mark.parametrize("host", ["192.0.2.1", "no such host", "300.0.0.1"])
def test_an_address_that_is_not_ours_is_one_line_and_2(
    run: Callable[..., tuple[int, list[str], list[str]]], host: str
) -> None:
    code, output, (line,) = run("serve", "--host", host, "--port", "0")
    assert (code, output) == (2, [])
    assert line.startswith(f"anthropic-exporter: cannot listen on {host}:0: ")


def test_without_click_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "click" else find(name))
    with pytest.raises(SystemExit) as exit_of:
        cli.main()
    assert exit_of.value.code == 2
    line = "anthropic-exporter: the command line needs click: pip install 'anthropic-exporter[cli]'\n"
    assert capfd.readouterr().err == line


WITHOUT = "import sys; sys.modules[{missing!r}] = None; from anthropic_exporter.cli import main; main()"


@pytest.mark.parametrize("missing", ["rich", "starlette", "uvicorn"])
def test_a_command_whose_library_is_missing_says_what_to_install(missing: str) -> None:
    command = [sys.executable, "-c", WITHOUT.format(missing=missing), "demo"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 2
    assert re.fullmatch(
        rf"anthropic-exporter: this command needs {missing}[.\w]*: pip install 'anthropic-exporter\[cli\]'\n",
        done.stderr,
    )


@pytest.mark.parametrize("missing", ["rich", "starlette", "uvicorn"])
def test_check_needs_none_of_them(missing: str) -> None:
    command = [sys.executable, "-c", WITHOUT.format(missing=missing), "check", "--prometheus", "/nowhere"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert (done.returncode, "pip install" in done.stderr) == (2, False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("command", ["serve", "simulate"])
def test_a_server_responds_and_stops_at_once_on_sigterm(
    start: Callable[..., subprocess.Popen[str]], command: str, number: signal.Signals
) -> None:
    process = start(command, "--port", "0")
    first = process.stdout.readline()
    url = re.search(r"http://127\.0\.0\.1:\d+", first)[0]
    with urllib.request.urlopen(f"{url}/-/healthy", timeout=PATIENCE_SECONDS) as response:
        assert response.read() == b"healthy\n"
    process.send_signal(number)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert process.stderr.read() == ""


def test_the_exporter_takes_notifications_and_shows_them(start: Callable[..., subprocess.Popen[str]]) -> None:
    process = start("serve", "--port", "0")
    url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())[0]
    body = (
        b'{"alerts": [{"status": "firing", "labels": {"alertname": "AnthropicCostRateHigh", "severity": "critical"}}]}'
    )
    for path, content in (("/alerts", body), ("/heartbeat", b"{}")):
        request = urllib.request.Request(url + path, content, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as response:
            assert response.status == 200
    assert "firing critical AnthropicCostRateHigh" in process.stdout.readline()
    with urllib.request.urlopen(f"{url}/metrics", timeout=PATIENCE_SECONDS) as response:
        shown = response.read().decode()
    assert 'severity="critical",status="firing"} 1.0' in shown
    assert re.search(r"^anthropic_exporter_last_heartbeat_timestamp_seconds 1", shown, re.MULTILINE)
