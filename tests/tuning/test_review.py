"""Alerts in a real Prometheus whose truth is known: when each incident began, what it cost, what was blocked."""

from __future__ import annotations

import datetime as dt
import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import histories
import printed
from anthropic_exporter.commands.main import run
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.history.prometheus_api import Prometheus
from anthropic_exporter.tuning import firings, onset, show_review, verdicts
from anthropic_exporter.tuning.firings import Firing, of_times
from anthropic_exporter.tuning.onset import Detection
from anthropic_exporter.tuning.review import Review, Reviewed
from anthropic_exporter.tuning.saved import Savings, estimate, estimated

pytestmark = pytest.mark.stack

START = 1_795_219_200.0  # Saturday, 2026-11-21T00:00:00Z
HOUR = 3_600
UNTIL = "2026-11-22T00:00"
MODEL = "claude-opus-5-5"
STEP = 5.0
#: Second of the day at which it began, feature, pace before and after in dollars a minute, seconds until it fires.
INCIDENTS = ((2 * HOUR, "chat", 0.5, 4.0, 22), (3 * HOUR, "chat", 0.5, 2.2, 26), (5 * HOUR, "agent", 0.1, 6.0, 14))
FIRED_SECONDS, DELIVERED_SECONDS = 120, 10


def ticks(begin: Any, end: Any) -> Any:
    return [START + begin + number * STEP for number in range(int((end - begin) / STEP) + 1)]


def of(name: Any, **labels: Any) -> Any:
    return {"__name__": name, "job": "anthropic", "instance": "a", **labels}


@pytest.fixture(scope="module")
def week(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with histories.prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        for number, (began, feature, usual, pace, fires) in enumerate(INCIDENTS):
            histories.write_series(url, incident(began, feature, usual, pace, fires, number))
        yield url


def incident(began: Any, feature: Any, usual: Any, pace: Any, fires: Any, number: Any) -> Iterator[Any]:
    """The counters around one incident, what the rules recorded of it, and the notification."""
    place = {"feature": feature, "model": MODEL}
    around, firing = ticks(began - 1_200, began + 300), ticks(began + fires, began + fires + FIRED_SECONDS)
    seconds = [at - START - began for at in around]
    dollars = [(usual * (one + 1_200) + (pace - usual) * max(0.0, one)) / 60 for one in seconds]
    cost = of("anthropic_cost_usd_total", **place, tier="standard", type="output", user="")
    yield cost, list(zip(around, [100 * number + one for one in dollars], strict=True))
    requests = of("anthropic_requests_total", **place, outcome="success", user="")
    yield requests, [(at, 2_000 * number + round(20 * one)) for at, one in zip(around, dollars, strict=True)]
    alert = {"alertname": "AnthropicCostRateHigh", "severity": "critical", "category": "cost", **place}
    yield {"__name__": "ALERTS", "alertstate": "firing", **alert}, [(at, 1.0) for at in firing]
    sums = [(at, (pace - usual) / 60 * (at - START - began)) for at in firing]
    yield {"__name__": "feature_model:anthropic_incident_cost_usd:sum", **place, "alertname": alert["alertname"]}, sums
    yield {"__name__": "feature_model:anthropic_cost_usd_per_minute:now", **place}, [(at, pace) for at in firing]
    told = {"severity": "critical", "status": "firing", "alertname": alert["alertname"]}
    delivered = START + began + fires + DELIVERED_SECONDS
    counts = [(at, float(number + (at >= delivered))) for at in around]
    yield of("anthropic_exporter_notifications_total", **told), [one for one in counts if one[1]]
    blocked = of("anthropic_guard_blocked_total", feature="agent", reason="cost_rate", mode="block")
    if feature == "agent":
        yield blocked, [(at, 0.0 if at < delivered else 30.0) for at in around]


@pytest.fixture
def review(week: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COLUMNS", "160")

    def run_it(*arguments: Any) -> Any:
        where = ["--prometheus", week, "--last", "1d", "--until", UNTIL, "--verdicts", str(tmp_path / "verdicts.yml")]
        code = run(["review", *where, *arguments])
        return code, capsys.readouterr()

    return run_it


def as_json(shown: Any) -> Any:
    return json.loads(shown.out)


def test_every_firing_with_its_duration_dollars_and_time_to_detection(review: Any) -> None:
    code, shown = review("--json")
    assert code == 1
    found = as_json(shown)
    assert [(one["start"], one["seconds"]) for one in found["alerts"]] == [
        (START + 2 * HOUR + 22, 120.0),
        (START + 3 * HOUR + 26, 120.0),
        (START + 5 * HOUR + 14, 120.0),
    ]
    # 3.5, 1.7 and 5.9 dollars a minute above usual, for 142, 146 and 134 s
    assert [one["cost_usd"] for one in found["alerts"]] == pytest.approx([8.283, 4.137, 13.177], abs=0.001)
    for one, (_, _, _, _, fires) in zip(found["alerts"], INCIDENTS, strict=True):
        assert one["detection"]["to_firing"] == pytest.approx(fires, abs=STEP)
        assert one["detection"]["to_delivery"] == pytest.approx(DELIVERED_SECONDS, abs=STEP)
    assert found["detection"]["mean"] == pytest.approx(20.67 + 10, abs=STEP)
    assert found["precision"] is None


@pytest.mark.parametrize(
    ("since", "until", "found"),
    [
        ("02:00:12", "03:00:12", 1),  # it began 10 s after the week did
        ("01:00:12", "02:00:12", 0),
        ("01:00:22", "02:00:22", 1),  # at the last second of the week, and not in the next one
        ("02:00:22", "03:00:22", 0),
        ("02:01:00", "03:01:00", 1),  # it still fires as the week begins: only the next alert is in it
    ],
)
def test_an_alert_at_the_edge_of_the_week_is_in_one_week(week: str, since: str, until: str, found: int) -> None:
    begin, end = (dt.datetime.fromisoformat(f"2026-11-21T{edge}+00:00").timestamp() for edge in (since, until))
    alerts = firings.read(Prometheus(week), begin, end)
    assert len(alerts) == found
    assert all(begin < one.start <= end for one in alerts)


def test_verdicts_give_precision_and_suggest_a_threshold(review: Any) -> None:
    _, shown = review("--json")
    first, second, third = (one["id"] for one in as_json(shown)["alerts"])
    missed = ["--missed", "2026-11-21T07:00", "search", "--usd", "12", "--note", "nobody saw it"]
    marks = ["--mark", first, "true", "--mark", second[:6], "FALSE", "--mark", third, "true"]
    code, shown = review(*marks, *missed, "--json")
    found = as_json(shown)
    assert code == 0
    assert found["precision"] == pytest.approx(2 / 3)
    assert [(one["feature"], one["usd"], one["note"]) for one in found["missed"]] == [("search", 12.0, "nobody saw it")]
    assert found["noisiest"] == [{"alert": "AnthropicCostRateHigh", "fired": 3, "false": 1}]
    (suggestion,) = found["suggestions"]
    assert suggestion["threshold"] == "cost_usd_per_minute"
    # 1.1 x 2.2, below the 4.0 of the true one
    assert suggestion["value"] == 2.4
    code, shown = review()
    assert code == 0
    assert "67% of 3 judged were true" in shown.out
    assert "cost_usd_per_minute, chat, claude-opus-5-5: 2.4 USD a minute (false alerts reached 2.2)" in shown.out


def test_json_has_every_figure_of_the_tables(review: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", printed.WIDE)
    first, second, third = (one["id"] for one in as_json(review("--json")[1])["alerts"])
    review("--mark", first, "true", "--mark", second, "false", "--note", "a load test")
    review("--mark", third, "true", "--missed", "2026-11-21T07:00", "search", "--usd", "1234.5")

    def run_it(*arguments: str) -> Any:
        code, shown = review(*arguments)
        tables, _, _ = shown.out.partition("\nFor ")
        return code, shown._replace(out=tables)

    found = printed.same(run_it, printed.review, "--all")
    assert [one["verdict"] for one in found["alerts"]] == ["true", "false", "true"]


def test_what_breakers_saved_is_measured_apart_from_the_estimate(review: Any) -> None:
    _, shown = review("--json")
    first = as_json(shown)["alerts"][0]
    _, shown = review("--mark", first["id"], "true", "--json")
    saved = as_json(shown)["saved"]
    assert saved["blocked_requests"] == 30
    # every dollar of the agent is 20 requests: 30 requests are 1.50
    assert saved["measured_usd"] == pytest.approx(1.5, rel=0.02)
    # 8.283 USD in 120 s of firing, until 09:00 of the next day: 31 h from the day's begin, less 2 h and 22 s
    assert saved["estimated_usd"] == pytest.approx(8.2833 / 120 * (33 * HOUR - 2 * HOUR - 22) - 8.2833, rel=0.001)


def test_the_report_is_written_from_what_prometheus_has(review: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra report is not installed")
    path = tmp_path / "week.html"
    code, shown = review("--report", str(path))
    assert (code, shown.err) == (1, f"wrote {path}\n")
    page = path.read_text()
    assert "21 Nov" in page
    assert "CostRateHigh" in page
    assert "no verdict" in page
    assert "3 alerts, from onset to delivery" in page


def test_what_goes_with_a_report_needs_one(review: Any) -> None:
    code, shown = review("--prices", "mine.yml")
    assert code == 2
    assert shown.err == "anthropic-exporter: review: --reconcile and --prices need --report\n"


def test_a_wrong_mark_is_one_line(review: Any) -> None:
    code, shown = review("--mark", "zz", "true")
    assert code == 2
    assert shown.err == "anthropic-exporter: --mark zz: no alert of this time has such an id or name\n"
    code, shown = review("--mark", "CostRateHigh", "maybe")
    assert code == 2
    assert shown.err == "anthropic-exporter: --mark CostRateHigh maybe: use true or false\n"


def test_the_name_of_an_alert_marks_those_without_a_verdict(review: Any) -> None:
    _, shown = review("--json")
    first, *_ = (one["id"] for one in as_json(shown)["alerts"])
    review("--mark", first, "true")
    code, shown = review("--mark", "costratehigh", "false", "--json")
    assert code == 0
    assert [one["verdict"] for one in as_json(shown)["alerts"]] == ["true", "false", "false"]
    assert as_json(shown)["without_verdict"] == 0


@pytest.mark.parametrize("columns", [80, 120])
def test_a_table_fits_its_terminal(review: Any, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    code, shown = review()
    assert code == 1
    assert max(map(len, shown.out.splitlines())) <= columns
    for whole in ("CostRateHigh", "claude-opus-5-5", "21 Nov 02:00", "8.28", "noticed", "Time to detection"):
        assert whole in shown.out
    assert "3 without a verdict." in shown.out.splitlines()[-2]


def firing(
    alert: str = "A",
    severity: str = "critical",
    feature: str = "",
    start: float = 0.0,
    seconds: float = 600.0,
    usd: float = 6.0,
) -> Firing:
    return Firing(alert, severity, {"feature": feature}, START + start, START + start + seconds, cost_usd=usd)


def test_an_alert_that_does_not_page_needs_no_verdict() -> None:
    both = tuple(Reviewed(one, Detection(None, None), "") for one in (firing(), firing("AnthropicB", "info")))
    found = Review(START, START + HOUR, both, (), None, Savings(0.0, 0, 0.0), ())
    assert [one.firing.alert for one in found.unjudged] == ["A"]
    assert found.quiet == [("AnthropicB", 1)]
    shown = io.StringIO()
    Console(file=shown, width=80).print(show_review.table(found))
    assert "Not listed, severity info: B 1 (--all lists them)" in shown.getvalue()
    quiet = found._replace(reviewed=both[1:])
    assert quiet.pages == []
    Console(file=shown, width=80).print(show_review.table(quiet))
    assert "Nobody was paged." in shown.getvalue()


def test_alerts_that_fire_together_are_one_incident() -> None:
    alone = estimate(firing())
    assert estimated([]) == 0.0
    assert estimated([firing(feature="chat"), firing("B", feature="chat", start=60.0, usd=1.0)]) == alone
    # the total holds what two features cost
    both = [firing(feature="chat"), firing("B", feature="agent")]
    assert estimated([*both, firing("C", usd=1.0)]) == 2 * alone
    assert estimated([*both, firing("C", usd=18.0)]) == pytest.approx(3 * alone)
    assert estimated([firing(feature="chat"), firing("B", feature="agent")]) == 2 * alone
    assert estimated([firing(), firing(start=HOUR)]) == alone + estimate(firing(start=HOUR))


def test_an_alert_that_fires_again_soon_has_no_onset_of_its_own(week: str) -> None:
    found = firings.read(Prometheus(week), START, START + 24 * HOUR)[0]
    source = Prometheus(week)
    assert onset.detection(source, found).to_firing is not None
    assert onset.detection(source, found, found.start - 1_000).to_firing is not None
    again = onset.detection(source, found, found.start - 600)
    assert (again.to_firing, again.total) == (None, None)


def test_an_estimate_needs_dollars() -> None:
    firing = Firing("A", "warning", {}, START, START + 60)
    assert estimate(firing) == 0.0
    assert estimate(firing._replace(cost_usd=6.0)) == pytest.approx(0.1 * 33 * HOUR - 6.0)


def test_a_missed_evaluation_does_not_end_a_firing() -> None:
    labels = {"__name__": "ALERTS", "alertname": "A", "alertstate": "firing", "severity": "info", "feature": "chat"}
    times = [0, 5, 10, 20, 25, 60, 65]
    found = list(of_times(labels, times, 1_000.0))
    assert [(one.start, one.end, one.is_cut) for one in found] == [(0, 25, False), (60, 65, False)]
    assert found[0].labels == {"feature": "chat"}
    assert next(of_times(labels, [990, 995], 1_000.0)).is_cut


# --- the file


def line(**fields: Any) -> Any:
    return verdicts.Verdict(**{"id": "a", "at": "2026-11-21T02:00:22Z", "verdict": "true", **fields})


def test_the_file_keeps_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.yml"
    written = {
        one.id: one
        for one in (line(id="b", note='a "quoted": note # with all', feature="chat"), line(verdict="false", usd=1.5))
    }
    verdicts.write(path, written)
    assert verdicts.read(path) == written
    verdicts.write(path, {})
    assert verdicts.read(path) == {}


def test_what_the_team_wrote_into_the_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "verdicts.yml"
    head = "# our own words\n\nverdicts:\n"
    friday = '  # the loop of Friday\n  - {id: "a1", at: "2026-11-21T02:00:22Z", verdict: true}  # see the postmortem\n'
    sunday = "  - id: b2\n    at: 2026-11-22T00:00:00Z\n    verdict: false\n"
    path.write_text(f"{head}{friday}{sunday}# the end\n")
    known = verdicts.read(path)
    saturday = line(id="c3", at="2026-11-21T12:00:00Z")
    verdicts.write(path, known | {"c3": saturday})
    added = '  - {id: "c3", at: "2026-11-21T12:00:00Z", verdict: true}\n'
    assert path.read_text() == f"{head}{friday}{added}{sunday}# the end\n"
    verdicts.write(path, verdicts.read(path) | {"a1": known["a1"]._replace(verdict="false")})
    changed = '  # the loop of Friday\n  - {id: "a1", at: "2026-11-21T02:00:22Z", verdict: false}\n'
    assert path.read_text() == f"{head}{changed}{added}{sunday}# the end\n"
    # as two branches leave it, and with the line ends of Windows
    path.write_bytes(f"{head}{friday}{changed}".replace("\n", "\r\n").encode().rstrip())
    merged = verdicts.read(path)
    verdicts.write(path, merged | {"c3": saturday})
    assert verdicts.read(path) == merged | {"c3": saturday}
    assert b"# our own words\r\n" in path.read_bytes()
    assert path.read_bytes().count(b"\n") == path.read_bytes().count(b"\r\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("verdicts: 3", ":1: verdicts: expected a list"),
        ("verdicts:\n  - {id: a, at: 2026-11-21, verdict: maybe}", ":2: verdict: use true, false or missed"),
        ("verdicts:\n  - {id: a, at: soon, verdict: true}", ":2: at: expected a time such as"),
        ("verdicts:\n  - {id: a, at: 2026-11-21, verdict: true, by: me}", ":2: by: unknown key"),
        ("verdicts:\n  - a", ": verdicts: each must be a mapping"),
        (
            "verdicts:\n<<<<<<< HEAD\n  - {id: a, verdict: true}\n=======\n  - {id: b, verdict: true}\n>>>>>>> mine\n",
            ":2: unresolved merge conflict: choose one side",
        ),
        ("<<<<<<< HEAD\n", ":1: unresolved merge conflict"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: Any, message: Any) -> None:
    path = tmp_path / "verdicts.yml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        verdicts.read(path)
    assert message in str(caught.value)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_two_peoples_verdicts_merge(tmp_path: Path) -> None:
    def git(*arguments: Any) -> Any:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
        return subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    path = tmp_path / "verdicts.yml"
    base = {"a": line()}
    git("init", "-q", "-b", "main")
    (tmp_path / ".gitattributes").write_text("verdicts.yml merge=union\n")
    verdicts.write(path, base)
    git("add", ".")
    git("commit", "-qm", "one")
    for branch, day in (("left", 22), ("right", 23)):
        one = line(id=branch, at=f"2026-11-{day}T00:00:00Z")
        git("checkout", "-qb", branch, "main")
        verdicts.write(path, base | {one.id: one})
        git("commit", "-qam", branch)
    git("merge", "-q", "left")
    assert verdicts.read(path).keys() == {"a", "left", "right"}
