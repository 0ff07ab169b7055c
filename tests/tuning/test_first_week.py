"""docs/first-week.md as written: every line of its `sh` blocks runs against a Prometheus with hours of traffic."""

from __future__ import annotations

import contextlib
import re
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import histories
from anthropic_exporter import Tokens
from anthropic_exporter.commands.main import run
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.simulator.fake_bill import Books, FakeBill, Use

pytestmark = pytest.mark.stack

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "first-week.md"
LINES = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
KEY = "sk-ant-admin01-not-a-key"
MODEL = "claude-opus-5-5"
HOUR, SCRAPE = 3_600, 15
TOKENS = Tokens(2_000, 0, 0, 0, 300)
PACE = {"__name__": "feature_model:anthropic_cost_usd_per_minute:now", "feature": "chat", "model": MODEL}
ALERT = dict(
    [("__name__", "ALERTS"), ("alertstate", "firing"), ("alertname", "AnthropicCostRateHigh")],
    severity="critical",
    feature="chat",
    model=MODEL,
)
#: By command: what a user may see. 1 says that there is something to act on.
CODES = {"review": {1}, "reconcile": {0, 1}, "calibrate": {0}, "backtest": {0, 1}, "advise": {0, 1}, "check": {0, 1}}


@pytest.fixture
def week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A working folder, a Prometheus and a bill. Yields the time of each use that was billed."""
    now = time.time() // HOUR * HOUR
    fleet = histories.Fleet(now - 2 * HOUR)
    recorder, uses = fleet.start("a", advise=True), []

    def step(_since: Any, at: Any) -> None:
        recorder.record(histories.call(MODEL, at - 2, TOKENS, feature="chat"))
        uses.append(Use(at - 2, MODEL, TOKENS))

    shutil.copytree(ROOT / "prometheus", tmp_path / "prometheus")
    shutil.copytree(ROOT / "alertmanager", tmp_path / "alertmanager")
    (tmp_path / "admin-key").write_text(KEY)
    with histories.prometheus(tmp_path) as url, contextlib.ExitStack() as stack:
        for hour in range(74, 2, -1):
            points = [(now - hour * HOUR + 60 * one, 0.2 + 0.01 * (one % 7)) for one in range(60)]
            histories.write_series(url, [(PACE, points)])
        fired = [(now - 2 * HOUR + 60 + 5 * one, 1.0) for one in range(24)]
        histories.write_series(url, [(ALERT, fired)])
        histories.write(url, fleet, now, SCRAPE, step)
        bill = FakeBill(Books(uses, PriceBook.load()), key=KEY, clock=lambda: now + HOUR)
        monkeypatch.setenv("PROMETHEUS_URL", url)
        monkeypatch.setenv("ANTHROPIC_BASE_URL", stack.enter_context(bill).url)
        monkeypatch.chdir(tmp_path)
        yield


def test_every_line_runs_as_written(week: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="the extra report is not installed")
    for line in LINES:
        program, *arguments = shlex.split(line)
        if program == "cp":
            shutil.copy(*arguments)
            continue
        assert program == "anthropic-exporter"
        code = run(arguments)
        shown = capsys.readouterr()
        assert code in CODES[arguments[0]], f"{line}\n{shown.out}{shown.err}"
    assert "claude-opus-5-5" in (tmp_path / "week.html").read_text()
    chosen = yaml.safe_load((tmp_path / "prometheus" / "rules" / "thresholds.yml").read_text())
    assert [rule["labels"] for rule in chosen["groups"][0]["rules"] if rule["labels"].get("feature")]


def test_every_command_of_the_week_is_there() -> None:
    assert {shlex.split(line)[1] for line in LINES if line.startswith("anthropic")} == CODES.keys()
