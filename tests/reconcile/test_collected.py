"""What a real collector counted, beside the fake bill of the same hours: no Prometheus has any part in it."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import histories
from anthropic_exporter import Recorder, Tokens, publish, publishing
from anthropic_exporter.collector.collector import Collector
from anthropic_exporter.collector.state_file import CollectorFolder
from anthropic_exporter.commands.main import run
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.reconcile import collected
from anthropic_exporter.simulator.fake_bill import Books, FakeBill, Use
from anthropic_exporter.transport.address import parse
from anthropic_exporter.transport.opening import open_transport
from collectors import Collecting, wait_until
from queue_engines import Redis
from support import Clock

pytest.importorskip("redis")
pytestmark = pytest.mark.stack

START = 1_795_219_200.0  # 2026-11-21T00:00:00Z
HOUR = 3_600
KEY = "sk-ant-admin01-not-a-key"
CHAT, NIGHTLY = "claude-opus-5-5", "claude-sonnet-5-5"
NO_HISTORY = "needs Prometheus: a collector's state has totals, no history"
TOKENS = Tokens(1_000, 7_000, 0, 0, 400)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with Redis(tmp_path_factory.mktemp("redis")) as running:
        yield running


class Day:
    """A recorder, a queue and a collector on one clock; each call is on the bill, too, unless it says otherwise."""

    def __init__(self, url: Any, folder: Any, start: Any = START) -> None:
        self.url, self.folder, self.clock, self.uses = url, folder, Clock(start), []  # type: ignore[var-annotated]
        self.recorder = Recorder(registry=CollectorRegistry(), strict=True, clock=self.clock)
        self.state = CollectorFolder(folder)
        assert self.state.take()
        address = parse(url)
        self.collector = Collector(
            self.state, lambda at: open_transport(address, address.stream_of(0), position=at), wall=self.clock
        )
        self.publisher = publish(self.recorder, url, service="api", host="web-1", period_seconds=3_600)

    def calls(self, number: Any, every: Any = 59.0, model: Any = CHAT, *, recorded: Any = True, **use: Any) -> None:
        for _ in range(number):
            self.clock.now += every
            if recorded:
                tier = use.get("service_tier", "standard")
                self.recorder.record(histories.call(model, self.clock.now, TOKENS, tier=tier))
            self.uses.append(Use(self.clock.now, model, TOKENS, **use))

    def save(self, at: Any) -> None:
        """Send, merge and save, at a moment."""
        self.clock.now = at
        assert self.publisher.flush()
        self.collector.step(0.2)
        assert self.collector.save()

    def close(self) -> None:
        self.publisher.close()
        self.collector.close()
        self.state.close()


@pytest.fixture
def day(server: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    made = Day(f"{server.url}?stream={request.node.name}"[:90], tmp_path / "state")
    yield made
    made.close()


@pytest.fixture
def reconcile(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command; `(exit code, causes by model, output)`."""
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "key").write_text(f"{KEY}\n")

    def run_it(uses: Any, *arguments: Any, now: Any = START + 72 * HOUR, **books: Any) -> Any:
        with FakeBill(Books(uses, PriceBook.load(), **books), key=KEY, clock=lambda: now) as bill:
            code = run(["reconcile", "--base-url", bill.url, "--key-file", str(tmp_path / "key"), *map(str, arguments)])
        shown = capsys.readouterr()
        assert KEY not in shown.out + shown.err
        if not shown.out.startswith("{"):
            return code, {}, shown.out + shown.err
        found = json.loads(shown.out)
        return code, {one["model"]: one["cause"] for one in found["verdicts"]}, found

    return run_it


def test_what_was_counted_agrees_with_the_bill_of_the_same_hours(day: Any, reconcile: Any) -> None:
    day.calls(120)
    day.save(START + 2 * HOUR)
    code, causes, found = reconcile(day.uses, "--state", day.folder, "--json", discount=0.9)
    assert (code, causes) == (0, {CHAT: "agrees"})
    assert (found["start"], found["end"], found["hours_counted_in_part"]) == (START, START + 2 * HOUR, [])
    # 120 calls of 8,400 tokens, of (1,000 x 4 + 7,000 x 0.2 + 400 x 20) / 1e6 USD each
    assert found["recorded"] == {"tokens": 1_008_000, "usd": pytest.approx(1.608)}
    assert found["billed"] == {"tokens": 1_008_000, "usd": pytest.approx(1.608)}


def test_drift_is_found_and_named(day: Any, reconcile: Any) -> None:
    day.calls(100)
    day.save(START + 4 * HOUR)
    other = [Use(START + number * 60, CHAT, TOKENS, api_key_id="apikey_laptop") for number in range(40)]
    code, causes, found = reconcile([*day.uses, *other], "--state", day.folder, "--json")
    assert (code, causes) == (1, {CHAT: "other_callers"})
    assert found["verdicts"][0]["callers"][0]["api_key_id"] == "apikey_laptop"
    missing = [use._replace(at=START + 3 * HOUR) for use in day.uses[:40]]
    assert reconcile([*day.uses, *missing], "--state", day.folder, "--json")[:2] == (1, {CHAT: "coverage"})
    assert reconcile(day.uses[:60], "--state", day.folder, "--json")[:2] == (1, {CHAT: "billed_elsewhere"})
    assert reconcile(day.uses, "--state", day.folder, "--json", surcharge={CHAT: 1.25})[:2] == (1, {CHAT: "price_book"})


def test_batches_of_the_last_day_may_be_in_flight(day: Any, reconcile: Any) -> None:
    day.calls(60, model=NIGHTLY, service_tier="batch", product="message_batches_api")
    day.save(START + 48 * HOUR)
    batch = Use(START + 40 * HOUR, NIGHTLY, TOKENS, service_tier="batch", product="message_batches_api")
    code, causes, _ = reconcile([*day.uses, *[batch] * 30], "--state", day.folder, "--json")
    assert (code, causes) == (0, {NIGHTLY: "batches_in_flight"})
    old = [batch._replace(at=START + 2 * HOUR)] * 30
    assert reconcile([*day.uses, *old], "--state", day.folder, "--json")[:2] == (1, {NIGHTLY: "coverage"})


def test_two_copies_of_a_state_are_the_hours_between_them(day: Any, reconcile: Any, tmp_path: Path) -> None:
    day.calls(30)
    day.save(START + HOUR + 20)
    copy = shutil.copy(day.folder / "collector.state", tmp_path / "before")
    before = len(day.uses)
    day.calls(50)
    day.save(START + 2 * HOUR - 10)
    code, causes, found = reconcile(day.uses[before:], "--state", day.folder, "--since", copy, "--json")
    assert (code, causes) == (0, {CHAT: "agrees"})
    # 50 calls of 8,400 tokens; 20 s after one full hour and 10 s before the next are those hours
    assert found["recorded"]["tokens"] == 420_000
    assert (found["start"], found["end"], found["hours_counted_in_part"]) == (START + HOUR, START + 2 * HOUR, [])
    code, _, text = reconcile(day.uses, "--state", copy, "--since", day.folder)
    assert code == 2
    assert f"is newer than {copy}: give the older one as --since" in text


def test_hours_that_were_counted_in_part_agree_with_any_part_of_them(day: Any, reconcile: Any) -> None:
    day.clock.now = START + 0.5 * HOUR
    day.recorder.record(histories.call(CHAT, day.clock.now, TOKENS))
    first = day.clock.now
    earlier = [Use(START + number, CHAT, TOKENS) for number in range(10)]
    day.calls(89)
    day.save(START + 2.5 * HOUR)
    uses = [*earlier, Use(first, CHAT, TOKENS), *day.uses]
    code, causes, found = reconcile(uses, "--state", day.folder, "--json")
    assert (code, causes) == (0, {CHAT: "agrees"})
    assert found["hours_counted_in_part"] == [START, START + 2 * HOUR]
    code, _, text = reconcile(uses, "--state", day.folder)
    assert code == 0
    assert "the hour from Sat 21 Nov 00:00 UTC and the hour from Sat 21 Nov 02:00 UTC" in text
    # 60 calls of the hour between are billed once more: that is more than the edges explain
    between = [use for use in day.uses if HOUR <= use.at - START < 2 * HOUR]
    assert reconcile([*uses, *between], "--state", day.folder, "--json")[:2] == (1, {CHAT: "coverage"})


def test_states_of_shards_are_added(server: Any, tmp_path: Path, reconcile: Any) -> None:
    days = [Day(f"{server.url}?stream=shard-{number}", tmp_path / f"s{number}") for number in range(2)]
    for one in days:
        one.calls(30)
        one.save(START + HOUR)
        one.close()
    both = ["--state", days[0].folder, "--state", days[1].folder]
    code, causes, found = reconcile([*days[0].uses, *days[1].uses], *both, "--json")
    assert (code, causes, found["recorded"]["tokens"]) == (0, {CHAT: "agrees"}, 504_000)
    code, _, text = reconcile([], *both, "--since", days[0].folder)
    assert (code, text) == (2, "anthropic-exporter: reconcile: give --since once for each --state: 2 times\n")


def test_the_state_of_a_collector_that_runs(server: Any, tmp_path: Path, reconcile: Any, call: Any) -> None:
    url = f"{server.url}?stream=running"
    recorder = Recorder(registry=CollectorRegistry())
    now = time.time()
    with Collecting(url, tmp_path / "state") as collector:
        with publishing(recorder, url, service="api"):
            recorder.record(call(output=17_100, input=1_000, started_at=now))
        collector.wait_for("anthropic_tokens_total", 17_100.0, type="output")
        wait_until((tmp_path / "state" / "collector.state").exists)
        uses = [Use(now, "claude-opus-5-5", Tokens(input=1_000, output=17_100))]
        state = ["--state", tmp_path / "state"]
        code, causes, found = reconcile(uses, *state, "--json", now=now + 24 * HOUR)
        assert (code, causes) == (0, {"claude-opus-5-5": "agrees"})
        assert found["recorded"]["tokens"] == 18_100
        assert reconcile([], *state, "--json", now=now + 24 * HOUR)[1] == {"claude-opus-5-5": "billed_elsewhere"}


@pytest.mark.parametrize(
    ("began", "ended", "hours"),
    [
        (0, 7_200, (0, 7_200, [])),
        (59, 7_141, (0, 7_200, [])),
        (61, 7_139, (0, 7_200, [0, 3_600])),
        (3_541, 3_659, (0, 7_200, [0, 3_600])),
        (5, 10, (0, 3_600, [0])),
    ],
)
def test_the_hours_around_two_moments(began: Any, ended: Any, hours: Any) -> None:
    start, end, edges = collected.hours_around(began, ended)
    assert (start, end, sorted(edges)) == hours


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--state", "nowhere"], "nowhere: there is no state here: give the folder that the collector uses as --state"),
        (["--since", "x"], "reconcile: --since needs --state"),
        (
            ["--state", "x", "--last", "2d"],
            "reconcile: --last needs Prometheus: a collector's state has totals, no history",
        ),
        (
            ["--state", "x", "--watch"],
            "reconcile: --watch needs Prometheus: a collector's state has totals, no history",
        ),
    ],
)
def test_a_mistake_is_one_line(reconcile: Any, arguments: Any, message: Any) -> None:
    assert reconcile([], *arguments)[::2] == (2, f"anthropic-exporter: {message}\n")


def test_a_damaged_state_is_one_line(tmp_path: Path, reconcile: Any) -> None:
    (tmp_path / "collector.state").write_bytes(b"?" * 100)
    code, _, text = reconcile([], "--state", tmp_path)
    assert code == 2
    assert text.endswith("is not a state of this version: move it away\n")


def test_totals_that_began_anew_are_not_subtracted(server: Any, tmp_path: Path, reconcile: Any) -> None:
    days = [Day(f"{server.url}?stream=anew-{number}", tmp_path / f"n{number}") for number in range(2)]
    for one in days:
        one.calls(1)
        one.save(START + HOUR)
        one.close()
    code, _, text = reconcile([], "--state", days[0].folder, "--since", days[1].folder)
    assert code == 2
    assert text.endswith("its totals were reset after the copy given as --since: compare without --since\n")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFO on this system")
def test_a_state_that_is_not_a_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "collector.state")
    with pytest.raises(ConfigurationError, match="expected a regular file"):
        collected.read([tmp_path], [], PriceBook.load())
