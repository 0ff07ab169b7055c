"""A day of traffic in a real Prometheus beside the fake bill of the same day, with and without planted drift."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import histories
import printed
from anthropic_exporter import Tokens
from anthropic_exporter.commands.main import run
from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.reconcile import analytics
from anthropic_exporter.reconcile.compare import Tolerances
from anthropic_exporter.reconcile.reading import read_and_compare
from anthropic_exporter.reconcile.watch import Gauges
from anthropic_exporter.simulator.fake_bill import Books, FakeBill, Use

pytestmark = pytest.mark.stack

START = 1_795_219_200.0  # 2026-11-21T00:00:00Z
HOUR, DAY = 3_600, 86_400
END = START + 2 * DAY
UNTIL = "2026-11-23"
KEY = "sk-ant-admin01-not-a-key"
CHAT, SUMMARY, NIGHTLY = "claude-opus-5-5", "claude-haiku-5-5", "claude-sonnet-5-5"
CHAT_TOKENS, SUMMARY_TOKENS = Tokens(1_000, 7_000, 0, 0, 400), Tokens(1_500, 0, 20, 0, 300)
MISSING = Tokens(900, 0, 0, 40, 300)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The address of a Prometheus with two days of two processes, and what the API billed for their calls."""
    fleet, uses = histories.Fleet(START), []
    for name in ("a", "b"):
        fleet.start(name)

    def step(since: Any, now: Any) -> None:
        if since == START + 10 * HOUR:
            fleet.start("b")
        hour = int((since - START) // HOUR)
        for name in ("a", "b"):
            record(fleet[name], CHAT, now - 2, CHAT_TOKENS, feature="chat", user=name)
            record(fleet[name], "claude-haiku-5-5-20261001", now - 2, SUMMARY_TOKENS, feature="summarise")
        if hour % 6 == 0:
            record(fleet["a"], NIGHTLY, now - 2, SUMMARY_TOKENS, tier="batch", requests=0)

    def record(recorder: Any, model: Any, at: Any, tokens: Any, **fields: Any) -> None:
        recorder.record(histories.call(model, at, tokens, **fields))
        tier = fields.get("tier", "standard")
        product = "message_batches_api" if tier == "batch" else "messages_api"
        billed = "claude-haiku-5-5" if "haiku" in model else model
        uses.append(Use(at, billed, tokens, service_tier=tier, product=product))

    with histories.prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        histories.write(url, fleet, END, 120, step)
        yield url, uses


@pytest.fixture
def reconcile(day: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command on the day, its bill changed; `(exit code, verdicts by model and tier, output)`."""
    url, uses = day
    monkeypatch.setenv("COLUMNS", "160")
    (tmp_path / "key").write_text(f"{KEY}\n")

    def run_it(extra: Any = (), *arguments: Any, **books: Any) -> Any:
        has_analytics = books.pop("has_analytics", True)
        books = Books([*uses, *extra], PriceBook.load(), **books)  # type: ignore[assignment]
        with FakeBill(books, key=KEY, clock=lambda: END + DAY, has_analytics=has_analytics) as bill:  # type: ignore[arg-type]
            where = ["--prometheus", url, "--base-url", bill.url, "--key-file", str(tmp_path / "key")]
            code = run(["reconcile", *where, "--last", "2d", "--until", UNTIL, *arguments])
        shown = capsys.readouterr()
        assert KEY not in shown.out + shown.err
        found = json.loads(shown.out) if shown.out.startswith("{") else {"verdicts": []}
        by_model: dict[Any, Any] = {}
        for one in found["verdicts"]:
            by_model.setdefault((one["model"], one["tier"]), []).append(one)
        return code, by_model, shown.out, found

    return run_it


def causes(by_model: Any) -> Any:
    return {key: [one["cause"] for one in verdicts] for key, verdicts in by_model.items()}


ALL_AGREE = {(CHAT, "standard"): ["agrees"], (SUMMARY, "standard"): ["agrees"], (NIGHTLY, "batch"): ["agrees"]}


def test_finds_nothing_where_there_is_nothing(reconcile: Any) -> None:
    code, by_model, _, found = reconcile((), "--json", discount=0.9)
    assert causes(by_model) == ALL_AGREE
    assert code == 0
    # 2 days of 1 call a process every 120 s: 1,440 x 2 calls of 8,400 tokens
    (chat,) = by_model[CHAT, "standard"]
    assert chat["recorded"]["tokens"] == chat["billed"]["tokens"] == 24_192_000
    # (1,000 x 4 + 7,000 x 0.2 + 400 x 20) / 1e6 USD each
    assert chat["recorded"]["usd"] == pytest.approx(38.592)
    assert chat["billed"]["usd"] == pytest.approx(38.592)
    assert found["paid_usd"] == pytest.approx(0.9 * found["billed"]["usd"])


def test_names_a_wrong_price(reconcile: Any) -> None:
    code, by_model, _, _ = reconcile((), "--json", surcharge={SUMMARY: 1.25})
    assert causes(by_model) == ALL_AGREE | {(SUMMARY, "standard"): ["price_book"]}
    (verdict,) = by_model[SUMMARY, "standard"]
    assert verdict["types"] == ["input", "output"]
    assert verdict["rates"]["output"] == pytest.approx([0.5, 0.625])
    assert code == 1


def test_names_the_callers_who_are_not_recorded(reconcile: Any) -> None:
    extra = [
        Use(START + number * 600, CHAT, MISSING, api_key_id="apikey_laptop", product="claude_code")
        for number in range(200)
    ]
    code, by_model, _, _ = reconcile(extra, "--json")
    assert causes(by_model) == ALL_AGREE | {(CHAT, "standard"): ["other_callers"]}
    (verdict,) = by_model[CHAT, "standard"]
    assert verdict["callers"] == [{"api_key_id": "apikey_laptop", "product": "claude_code", "workspace_id": "wrkspc_1"}]
    assert verdict["billed"]["tokens"] - verdict["recorded"]["tokens"] == 248_000
    assert code == 1
    code, by_model, _, _ = reconcile(extra, "--json", "--product", "messages_api", "--product", "message_batches_api")
    assert causes(by_model) == ALL_AGREE
    assert code == 0


def others(keys: int, **fields: Any) -> list[Use]:
    """600 calls of another workspace, by so many keys in turn, each an hour after the other."""
    named: dict[str, Any] = {"workspace_id": "wrkspc_2", **fields}
    return [
        Use(START + 120 + number * 280, CHAT, MISSING, api_key_id=f"apikey_other_{number % keys}", **named)
        for number in range(600)
    ]


@pytest.mark.parametrize(("keys", "has_analytics"), [(1, True), (20, True), (3, False)])
def test_names_the_workspace_whose_callers_are_not_recorded(reconcile: Any, keys: int, has_analytics: bool) -> None:
    code, by_model, _, _ = reconcile(others(keys), "--json", has_analytics=has_analytics)
    assert causes(by_model) == ALL_AGREE | {(CHAT, "standard"): ["other_callers"]}
    assert code == 1
    (verdict,) = by_model[CHAT, "standard"]
    assert verdict["billed"]["tokens"] - verdict["recorded"]["tokens"] == 744_000
    (caller,) = verdict["callers"]
    assert caller["workspace_id"] == "wrkspc_2"
    assert caller["api_key_id"] == ("apikey_other_0" if keys == 1 else "")
    assert ("all callers in workspace wrkspc_2." in verdict["found"]) is (keys > 1)
    # the workspace that the recorder's own key is in
    code, by_model, _, _ = reconcile(others(keys), "--json", "--workspace", "wrkspc_1", has_analytics=has_analytics)
    assert (causes(by_model), code) == (ALL_AGREE, 0)


def test_the_wrong_workspace_has_nothing_of_what_was_recorded(reconcile: Any) -> None:
    both = ("--workspace", "wrkspc_1", "--workspace", "wrkspc_2")
    assert causes(reconcile(others(3), "--json", *both)[1]) == ALL_AGREE | {(CHAT, "standard"): ["other_callers"]}
    code, by_model, _, _ = reconcile(others(3), "--json", "--workspace", "wrkspc_2")
    # results of batches may have been read long after these ran
    assert causes(by_model) == {one: ["billed_elsewhere"] for one in ALL_AGREE} | {
        (NIGHTLY, "batch"): ["batches_in_flight"]
    }
    assert code == 1


def test_one_of_two_workspaces_has_another_price_and_the_other_callers(reconcile: Any) -> None:
    """Each cause is named where it is: an unknown price of one model, callers of the other workspace on another."""
    code, by_model, _, _ = reconcile(others(20), "--json", surcharge={SUMMARY: 1.25})
    assert causes(by_model) == ALL_AGREE | {
        (CHAT, "standard"): ["other_callers"],
        (SUMMARY, "standard"): ["price_book"],
    }
    assert code == 1
    code, by_model, _, _ = reconcile(others(20), "--json", "--workspace", "wrkspc_1", surcharge={CHAT: 1.25})
    assert causes(by_model) == ALL_AGREE | {(CHAT, "standard"): ["price_book"]}
    code, by_model, _, _ = reconcile(others(20), "--json", surcharge={CHAT: 1.25})
    assert causes(by_model)[CHAT, "standard"] == ["other_callers", "price_book"]


def test_a_key_without_a_workspace_of_its_own_is_named_without_one(reconcile: Any) -> None:
    """Somebody who signs in calls in both workspaces."""
    calls = [
        one._replace(api_key_id=None, product="claude_code", workspace_id=f"wrkspc_{1 + number % 2}")
        for number, one in enumerate(others(1))
    ]
    _, by_model, _, _ = reconcile(calls, "--json")
    (verdict,) = by_model[CHAT, "standard"]
    assert verdict["callers"] == [{"api_key_id": "", "product": "claude_code", "workspace_id": ""}]
    assert "exactly those of no API key claude_code." in verdict["found"]


@pytest.fixture(scope="module")
def restarts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Four hours of a process that restarts every six minutes, each time with more calls than before."""
    fleet, uses = histories.Fleet(START), []

    def step(since: Any, now: Any) -> None:
        minutes, life = (since - START) / 60 % 6, int((since - START) // 360)
        if minutes == 0:
            fleet.start("a")
        if minutes == 2:  # so that each life has been scraped with all that it counts
            for _ in range(1 + life):
                fleet["a"].record(histories.call(CHAT, now - 2, CHAT_TOKENS, feature="chat", user="a"))
                uses.append(Use(now - 2, CHAT, CHAT_TOKENS))

    with histories.prometheus(tmp_path_factory.mktemp("restarts")) as url:
        histories.write(url, fleet, START + 4 * HOUR, 120, step)
        yield url, uses


def test_restarts_after_which_counters_regain_their_values_are_no_drift(
    restarts: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, uses = restarts
    (tmp_path / "key").write_text(KEY)
    missing = [one._replace(api_key_id="apikey_9", workspace_id="wrkspc_2") for one in uses[::10]]
    for bill, expected in ((uses, "agrees"), ([*uses, *missing], "other_callers")):
        with FakeBill(Books(bill, PriceBook.load()), key=KEY, clock=lambda: END) as fake:
            where = ["--prometheus", url, "--base-url", fake.url, "--key-file", str(tmp_path / "key")]
            assert run(["reconcile", *where, "--last", "4h", "--until", "2026-11-21T04:00", "--json"]) == (
                expected != "agrees"
            )
        found = json.loads(capsys.readouterr().out)
        assert [one["cause"] for one in found["verdicts"]] == [expected]
        # 1 + 2 + ... + 40 calls of 8,400 tokens
        assert found["recorded"]["tokens"] == 6_888_000


def test_names_the_hours_in_which_calls_were_not_recorded(reconcile: Any) -> None:
    extra = [Use(START + 14 * HOUR + number * 30, SUMMARY, MISSING) for number in range(240)]
    code, by_model, _, _ = reconcile(extra, "--json")
    assert causes(by_model) == ALL_AGREE | {(SUMMARY, "standard"): ["coverage"]}
    (verdict,) = by_model[SUMMARY, "standard"]
    assert verdict["hours"] == [START + 14 * HOUR, START + 15 * HOUR]
    assert "between Sat 21 Nov 14:00 and Sat 21 Nov 16:00 UTC" in verdict["found"]
    assert code == 1


def test_batches_of_the_last_day_are_in_flight_and_older_ones_are_not(reconcile: Any) -> None:
    def batches(hour: Any) -> Any:
        return [
            Use(START + hour * HOUR + number, NIGHTLY, MISSING, service_tier="batch", product="message_batches_api")
            for number in range(500)
        ]

    code, by_model, _, _ = reconcile(batches(44), "--json")
    assert causes(by_model) == ALL_AGREE | {(NIGHTLY, "batch"): ["batches_in_flight"]}
    assert code == 0
    code, by_model, _, _ = reconcile(batches(3), "--json")
    assert causes(by_model) == ALL_AGREE | {(NIGHTLY, "batch"): ["coverage"]}
    assert code == 1


def test_what_is_not_on_the_bill(reconcile: Any, day: Any) -> None:
    _, uses = day
    without = [use for use in uses if use.model != SUMMARY]
    uses[:], kept = without, list(uses)
    try:
        code, by_model, _, _ = reconcile((), "--json")
        assert causes(by_model) == ALL_AGREE | {(SUMMARY, "standard"): ["billed_elsewhere"]}
        assert code == 1
        code, by_model, _, _ = reconcile((), "--json", refreshed_at=END - 6 * HOUR)
        assert causes(by_model) == ALL_AGREE | {(SUMMARY, "standard"): ["bill_incomplete"]}
        assert code == 0
    finally:
        uses[:] = kept


def test_what_no_response_reports_is_listed_and_not_compared(reconcile: Any) -> None:
    extra = [Use(START, None, service_tier=None, speed=None, product=None, extra_usd={"code_execution": 0.05})]
    code, by_model, _, found = reconcile(extra, "--json")
    assert causes(by_model) == ALL_AGREE
    assert found["not_compared_usd"] == {"code_execution": 0.05}
    assert code == 0


def test_older_endpoints_compare_tokens(reconcile: Any) -> None:
    code, by_model, _, found = reconcile((), "--json", has_analytics=False, discount=0.5)
    assert causes(by_model) == ALL_AGREE
    assert not found["has_list_price"]
    assert found["paid_usd"] == pytest.approx(0.5 * found["recorded"]["usd"])
    assert code == 0
    extra = [Use(START + 14 * HOUR + number * 30, SUMMARY, MISSING) for number in range(240)]
    assert causes(reconcile(extra, "--json", has_analytics=False)[1])[SUMMARY, "standard"] == ["coverage"]


def test_tables_for_people(reconcile: Any) -> None:
    extra = [Use(START + number * 600, CHAT, MISSING, api_key_id="apikey_2") for number in range(200)]
    code, _, out, _ = reconcile(extra, "--by-hour")
    assert code == 1
    assert "They are exactly those of apikey_2 messages_api (workspace wrkspc_1)." in " ".join(out.split())
    assert re.search(r"claude-opus-5-5 +24,192,000 +24,440,000 +-248,000 +99.0% calls not|other callers", out)
    assert re.search(r"together +\S+ +\S+ +-248,000 +99\.\d%", out)
    assert "Sat 21 Nov 14:00" in out


@pytest.mark.parametrize("has_analytics", [True, False], ids=["analytics", "older endpoints"])
def test_json_has_every_figure_of_the_tables(
    reconcile: Any, monkeypatch: pytest.MonkeyPatch, has_analytics: bool
) -> None:
    monkeypatch.setenv("COLUMNS", printed.WIDE)
    unlisted = Use(START, None, service_tier=None, speed=None, product=None, extra_usd={"code_execution": 0.05})
    part = [Use(START + 14 * HOUR + number * 30, SUMMARY, MISSING) for number in range(240)]
    bill = [*others(20), *part, unlisted]

    def run_it(*arguments: str) -> Any:
        code, _, out, _ = reconcile(bill, *arguments, surcharge={CHAT: 1.25}, discount=0.9, has_analytics=has_analytics)
        return code, Shown(out)

    found = printed.same(run_it, printed.reconcile, "--by-hour")
    assert [one["cause"] for one in found["verdicts"]] == (
        ["other_callers", "price_book", "coverage", "agrees"]
        if has_analytics
        else ["other_callers", "coverage", "agrees"]
    )


class Shown(NamedTuple):
    out: str


def test_a_refused_key_is_one_line(
    day: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, uses = day
    monkeypatch.setenv("ANTHROPIC_ADMIN_KEY", "sk-ant-wrong")
    with FakeBill(Books(uses[:1], PriceBook.load()), key=KEY) as bill:
        assert run(["reconcile", "--prometheus", url, "--base-url", bill.url, "--last", "1h"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.count("\n") == 1
    assert "the bill is refused (401)" in shown.err
    assert "sk-ant-wrong" not in shown.err


def test_no_key_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_ADMIN_KEY", raising=False)
    assert run(["reconcile"]) == 2
    assert capsys.readouterr().err == (
        "anthropic-exporter: reconcile: no API key: give --key-file or set ANTHROPIC_ADMIN_KEY\n"
    )


def test_watch_shows_both_sides(day: Any, recorder: Any) -> None:
    url, uses = day
    extra = [Use(START + number * 600, CHAT, MISSING, api_key_id="apikey_2") for number in range(200)]
    gauges = Gauges(recorder)
    for lines in ([*uses, *extra], uses):
        with FakeBill(Books(lines, PriceBook.load()), key=KEY, clock=lambda: END + DAY) as bill:
            api = analytics.client(KEY, bill.url)
            span = (int(START), int(END))
            found = read_and_compare(Prometheus(url), api, span, PriceBook.load(), analytics.Filters(), Tolerances())
        gauges.show(found, END + DAY)
        shown = recorder.render().decode()
        output = 'anthropic_reconcile_tokens{model="claude-opus-5-5",side="%s",tier="standard",type="output"} %s'
        assert output % ("recorded", "1.152e+06") in shown
        assert output % ("billed", "1.212e+06" if lines is not uses else "1.152e+06") in shown
        drift = re.findall(r'drift_usd{cause="other_callers",model="claude-opus-5-5",tier="standard"} (.*)', shown)
        # 200 x (900 x 4 + 40 x 8 + 300 x 20) / 1e6 USD
        assert [float(one) for one in drift] == pytest.approx([1.984 if lines is not uses else 0.0])
        assert "anthropic_reconcile_last_success_timestamp_seconds 1.7954784e+09" in shown
