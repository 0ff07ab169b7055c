"""Remedies of the standalone exporter: a process of its own, told on its command line."""

from __future__ import annotations

import datetime as dt
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from anthropic_exporter.commands.main import run as run_command
from anthropic_exporter.simulator import fake_api
from exporters import TOKEN, Exporter

DOCS = Path(__file__).resolve().parents[2] / "docs/remedies.md"
REQUEST = {
    "model": "claude-opus-5-5",
    "max_tokens": 1000,
    "system": [{"type": "text", "text": "x" * 40_000, "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": "hello"}],
}
OWN = """
def register(remedies):
    @remedies.on("AnthropicCostRateHigh", undo=lambda alert: print("UNDONE", alert.feature, flush=True))
    def pause(alert):
        print("PAUSED", alert.feature, flush=True)
"""


#: An alert that began a day ago or more is refused.
STARTED = dt.datetime.now(dt.timezone.utc).isoformat()


def alert(
    name: str = "AnthropicCostRateHigh", status: str = "firing", finger: str = "8f1c", **labels: str
) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": name, "severity": "critical", "feature": "chat", **labels},
        "annotations": {},
        "startsAt": STARTED,
        "fingerprint": finger,
    }


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "chat.json").write_text(json.dumps(REQUEST))
    return tmp_path


@pytest.fixture
def api() -> Iterator[fake_api.FakeApi]:
    with fake_api.start() as running:
        yield running


@pytest.fixture
def serve() -> Iterator[Callable[..., Exporter]]:
    started = []

    def start(*arguments: Any, **environment: str) -> Exporter:
        started.append(Exporter(*arguments, **environment))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_a_remedy_of_your_own_acts_once_and_is_undone(serve: Callable[..., Exporter], files: Path) -> None:
    exporter = serve("--token-file", files / "token", "--remedies", files / "own.py")
    assert exporter.post("/alerts", alert()) == 200
    exporter.says("PAUSED chat")
    exporter.says("remedy pause applied: firing AnthropicCostRateHigh feature=chat")
    assert exporter.post("/alerts", alert(), alert(status="resolved")) == 200
    assert "PAUSED" not in exporter.says("UNDONE chat")
    exporter.says("remedy pause undone")
    shown = exporter.metrics()
    assert re.search(r'^anthropic_remedy_actions_total\{outcome="applied",remedy="pause"\} 1\.0', shown, re.MULTILINE)
    assert re.search(r"^anthropic_exporter_notifications_total\{.*firing.*\} 2\.0", shown, re.MULTILINE)


def test_with_a_token_file_neither_path_takes_anything_without_it(serve: Callable[..., Exporter], files: Path) -> None:
    exporter = serve("--token-file", files / "token")
    for path in ("/alerts", "/heartbeat"):
        assert [exporter.post(path, alert(), token=token) for token in (None, "wrong", TOKEN)] == [401, 401, 200]
    shown = exporter.metrics()
    assert re.search(r"^anthropic_exporter_notifications_total\{.*\} 1\.0", shown, re.MULTILINE)
    assert "\nanthropic_remedy_actions_total{" not in shown


def test_a_dry_run_logs_and_counts_and_does_nothing(serve: Callable[..., Exporter], files: Path) -> None:
    exporter = serve("--token-file", files / "token", "--remedies", files / "own.py", "--dry-run")
    assert exporter.post("/alerts", alert()) == 200
    assert "remedy pause dry_run: firing" in exporter.says("pause")
    assert 'anthropic_remedy_actions_total{outcome="dry_run",remedy="pause"} 1.0' in exporter.metrics()


def test_a_prompt_in_a_file_is_written_into_the_cache_and_its_cost_is_shown(
    serve: Callable[..., Exporter], files: Path, api: fake_api.FakeApi
) -> None:
    exporter = serve(
        *("--token-file", files / "token", "--refresh-cache", f"chat={files / 'chat.json'}"),
        ANTHROPIC_API_KEY="sk-ant-none",
        ANTHROPIC_BASE_URL=api.url,
    )
    assert exporter.post("/alerts", alert("AnthropicCacheMissWaste")) == 200
    exporter.says("remedy refresh_cache applied")
    assert exporter.post("/alerts", alert("AnthropicCacheMissRateHigh", finger="2")) == 200
    exporter.says("remedy refresh_cache skipped")
    (request,) = api.requests
    assert (request.body["max_tokens"], request.body["system"]) == (0, REQUEST["system"])
    cost = re.search(
        r'^anthropic_cost_usd_total\{feature="refresh_cache".*cache_write_5m.*\} (.+)', exporter.metrics(), re.MULTILINE
    )
    assert float(cost[1]) == pytest.approx(0.05)


def test_the_command_of_the_documented_compose_override(
    serve: Callable[..., Exporter], files: Path, api: fake_api.FakeApi
) -> None:
    (override,) = re.findall(r"```yaml\n(services:.*?)```", DOCS.read_text(), re.DOTALL)
    exporter = yaml.safe_load(override)["services"]["exporter"]
    assert exporter["volumes"] == ["./remedies:/remedies:ro"]
    (files / "alerts-token").write_text(TOKEN)
    command = [one.replace("/remedies", str(files)).replace("0.0.0.0", "127.0.0.1") for one in exporter["command"]]
    assert command[0] == "serve"
    running = serve(*command[1:], **{exporter["environment"][0]: "sk-ant-none"}, ANTHROPIC_BASE_URL=api.url)
    assert running.post("/alerts", alert("AnthropicCacheMissWaste"), token="wrong") == 401
    assert running.post("/alerts", alert("AnthropicCacheMissWaste")) == 200
    running.says("remedy refresh_cache applied")


def test_malformed_and_oversized_bodies_are_refused(serve: Callable[..., Exporter], files: Path) -> None:
    exporter = serve("--token-file", files / "token", "--remedies", files / "own.py")
    for body, status in ((b"{", 400), (b'{"alerts": [{"status": "firing", "labels": {"alertname": "A"}}]}', 400)):
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(f"{exporter.url}/alerts", body, headers), timeout=10)
        with refused.value:
            assert refused.value.code == status
    assert exporter.post("/alerts", alert(filler="x" * 10_000_000)) == 413


# -- mistakes: one line, exit code 2


@pytest.fixture
def complaint(files: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.chdir(files)

    def run(*arguments: str) -> str:
        code = run_command(["serve", "--port", "0", *arguments])
        captured = capfd.readouterr()
        assert (code, captured.out) == (2, "")
        (line,) = captured.err.splitlines()
        return line.removeprefix("anthropic-exporter: ")

    return run


ALERTS = ("--token-file", "token")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--token-file", "none"), "none: cannot be read: No such file or directory"),
        (("--remedies", "own.py"), "serve: remedies receive no alerts: give --token-file, --alertmanager, or both"),
        (("--dry-run",), "serve: --dry-run without a remedy: give --refresh-cache, or --remedies, or both"),
        (("--alertmanager", "http://a:9093"), "serve: --alertmanager without a remedy: give --refresh-cache, or"),
        ((*ALERTS, "--remedies", "none.py"), "none.py: cannot be read: No such file or directory"),
        ((*ALERTS, "--remedies", "token"), "token: not a Python file; its name must end in .py"),
        ((*ALERTS, "--refresh-cache", "chat"), "serve: --refresh-cache 'chat': give FEATURE=FILE"),
        (
            (*ALERTS, "--refresh-cache", "chat=chat.json"),
            "serve: --refresh-cache calls the API: set ANTHROPIC_API_KEY",
        ),
        (
            ("--alertmanager", "a:9093", "--remedies", "own.py"),
            "Alertmanager's address 'a:9093' does not begin with http:// or https://",
        ),
    ],
)
def test_options_that_make_no_sense(complaint: Callable[..., str], arguments: tuple[str, ...], said: str) -> None:
    assert complaint(*arguments).startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "bad.py: define register(remedies), which is called once at the start"),
        ("\ndef register(remedies:\n", "bad.py:2: SyntaxError"),
        ("import nonsense_that_is_not_there\n", "bad.py:1: ModuleNotFoundError"),
        ("def register(remedies):\n    1 / 0\n", "bad.py:2: ZeroDivisionError: division by zero"),
        ("def register(remedies):\n    remedies.on()\n", "remedies.on: name an alert, or a remedy="),
        ("def register(remedies):\n    remedies.open_breaker()\n", "remedies.open_breaker: there is no Guard"),
    ],
)
def test_a_file_of_remedies_that_is_wrong(complaint: Callable[..., str], files: Path, text: str, said: str) -> None:
    (files / "bad.py").write_text(text)
    assert complaint(*ALERTS, "--remedies", "bad.py").startswith(said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n"model": }', "bad.json:2: not JSON: "),
        ("[]", "bad.json: give the arguments of messages.create, model and messages among them"),
        ('{"model": "m", "messages": []}', "remedies.prompt('chat'): the request has no cache_control"),
        (None, "bad.json: cannot be read: No such file or directory"),
    ],
)
def test_a_prompt_that_is_wrong(
    complaint: Callable[..., str], files: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, said: str
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-none")
    if text is not None:
        (files / "bad.json").write_text(text)
    assert complaint(*ALERTS, "--refresh-cache", "chat=bad.json").startswith(said)
