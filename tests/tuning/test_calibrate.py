"""Thresholds from a week in a real Prometheus, and what they promise of other weeks of the same traffic."""

from __future__ import annotations

import difflib
import json
import math
import random
import shutil
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from bench.tuning import broken_history

import histories
import printed
from anthropic_exporter.commands.main import run
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.history import series
from anthropic_exporter.tuning import pictures, show_calibration, tail, threshold_file, whole_file
from anthropic_exporter.tuning.calibrate import expected_pages, rounded_up, tail_threshold

START = 1_795_392_000  # Monday, 2026-11-23T00:00:00Z
DAY, MINUTE = 86_400, 60
THRESHOLDS = Path(__file__).resolve().parents[2] / "prometheus" / "rules" / "thresholds.yml"
PACE = "feature_model:anthropic_cost_usd_per_minute:now"
FEATURES = {"chat": ("claude-opus-5-5", 0.8), "agent": ("claude-sonnet-5-5", 0.3)}


def pace(feature: str, week: int, days: int = 7) -> list[tuple[int, float]]:
    """Dollars a minute: a daily rhythm, noise that lasts, bursts by chance."""
    chance = random.Random(f"{feature} {week}")
    scale, noise, points = FEATURES[feature][1], 0.0, []
    for number in range(days * DAY // MINUTE):
        hour, day = number / 60 % 24, number * MINUTE // DAY % 7
        rhythm = 0.02 if day >= 5 else 0.05 + 0.95 * math.exp(-(((hour - 13) / 3.5) ** 2))
        noise = 0.98 * noise + chance.gauss(0, 0.05)
        points.append((START + number * MINUTE, scale * rhythm * math.exp(noise) * chance.lognormvariate(0, 0.25)))
    return points


def labelled(feature: Any) -> Any:
    return {"__name__": PACE, "feature": feature, "model": FEATURES[feature][0]}


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Week 1, with an incident on Wednesday whose alert the team judged true; then a day of another month."""
    with histories.prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        incident = (START + 2 * DAY + 15 * 3_600, START + 2 * DAY + 16 * 3_600)
        for slice_ in range(0, 7 * DAY, 1_800):
            histories.write_series(url, list(part(slice_, incident)))
        yield url


def part(since: Any, incident: Any) -> Iterator[Any]:
    for feature in FEATURES:
        points = [
            (at, 9.0 if feature == "chat" and incident[0] <= at < incident[1] else value)
            for at, value in WEEK_1[feature][since // MINUTE : (since + 1_800) // MINUTE]
        ]
        yield labelled(feature), points
    threshold = {"__name__": series.THRESHOLD, "threshold": "cost_usd_per_minute"}
    fired = [at for at, _ in points if incident[0] <= at < incident[1]]
    alert = {"alertname": "AnthropicCostRateHigh", "severity": "critical", "alertstate": "firing"}
    times = [at + second for at in fired for second in range(0, 60, 5)]
    if times:
        yield (
            {"__name__": "ALERTS", **alert, "feature": "chat", "model": "claude-opus-5-5"},
            [(at, 1.0) for at in times],
        )
    yield threshold, [(START + since + at, 2.0) for at in range(0, 1_800, 60)]


WEEK_1 = {feature: pace(feature, 1) for feature in FEATURES}


@pytest.fixture
def calibrate(history: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COLUMNS", "180")
    verdicts = tmp_path / "verdicts.yml"

    def run_it(*arguments: Any, last: Any = "7d", until: Any = "2026-11-30") -> Any:
        where = ["--prometheus", history, "--last", last, "--until", until, "--verdicts", str(verdicts)]
        code = run(["calibrate", *where, *arguments])
        return code, capsys.readouterr()

    where = ["--prometheus", history, "--last", "7d", "--until", "2026-11-30", "--verdicts", str(verdicts)]
    assert run(["review", *where, "--json"]) == 1
    (alert,) = json.loads(capsys.readouterr().out)["alerts"]
    assert run(["review", *where, "--mark", alert["id"], "true"]) == 0
    capsys.readouterr()
    return run_it


def chosen(shown: Any, method: Any = "tail") -> Any:
    return {one["feature"]: one["choices"][method] for one in json.loads(shown.out)["thresholds"]}


@pytest.mark.stack
def test_the_promise_holds_on_other_weeks(calibrate: Any) -> None:
    code, shown = calibrate("--json")
    assert code == 0
    found = chosen(shown)
    weeks = range(2, 22)
    pages = [sum(tail.episodes(pace(one, week), choice["value"]) for one, choice in found.items()) for week in weeks]
    assert statistics.fmean(pages) <= 1.0
    assert sum(choice["expected"] for choice in found.values()) <= 1.0
    # and it is not simply out of reach: the incident of 9 dollars a minute is found
    assert max(value for _, value in WEEK_1["chat"]) < found["chat"]["value"] < 9.0
    assert all(choice["seen"] == 0 for choice in found.values())


@pytest.mark.stack
def test_json_has_every_figure_of_the_tables(calibrate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", printed.WIDE)

    def run_it(*arguments: str) -> Any:
        code, shown = calibrate(*arguments)
        tables, _, _ = shown.out.partition("Excluded as incidents")
        return code, shown._replace(out=tables)

    found = printed.same(run_it, printed.calibrate)
    assert len(found["thresholds"]) == len(FEATURES)


@pytest.mark.stack
def test_more_pages_accepted_lower_the_thresholds(calibrate: Any) -> None:
    few, many = (chosen(calibrate("--json", "--pages", number)[1]) for number in ("0.2", "10"))
    assert all(few[one]["value"] > many[one]["value"] for one in FEATURES)
    assert sum(choice["seen"] for choice in many.values()) >= 1


@pytest.mark.stack
def test_an_incident_is_left_out(calibrate: Any, tmp_path: Path) -> None:
    _, without = calibrate("--json")
    assert len(json.loads(without.out)["left_out"]) == 1
    _, with_it = calibrate("--json", "--verdicts", str(tmp_path / "none.yml"))
    assert chosen(with_it)["chat"]["value"] > 2 * chosen(without)["chat"]["value"]


@pytest.mark.stack
def test_the_threshold_in_force_is_shown(calibrate: Any) -> None:
    code, shown = calibrate()
    assert code == 0
    assert "Thresholds from Mon 23 Nov 00:00 to Mon 30 Nov 00:00 UTC: 6.9 days of history" in shown.out
    assert "Excluded as incidents: 1." in shown.out
    rows = [line for line in shown.out.splitlines() if "chat" in line]
    assert "▁" in rows[0]


@pytest.mark.stack
def test_below_a_day_it_says_what_it_cannot_know(calibrate: Any, tmp_path: Path) -> None:
    target = tmp_path / "thresholds.yml"
    shutil.copy(THRESHOLDS, target)
    code, shown = calibrate("--write", str(target), last="12h", until="2026-11-24T18:00")
    assert code == 1
    assert "Only 12 h of history: with less than 24 h, pages a week are not known." in shown.out
    assert shown.err == "Nothing is written: there is less than a working day of history.\n"
    assert target.read_text() == THRESHOLDS.read_text()


@pytest.mark.stack
def test_overrides_are_written_and_comments_stay(calibrate: Any, tmp_path: Path) -> None:
    target = tmp_path / "thresholds.yml"
    shutil.copy(THRESHOLDS, target)
    code, shown = calibrate("--write", str(target), "--dry-run")
    assert code == 0
    assert "+        labels: {threshold: cost_usd_per_minute, feature: chat, model: claude-opus-5-5}" in shown.out
    assert target.read_text() == THRESHOLDS.read_text()
    assert calibrate("--write", str(target))[0] == 0
    before, after = THRESHOLDS.read_text().splitlines(), target.read_text().splitlines()
    added = [line for line in difflib.ndiff(before, after) if not line.startswith("  ")]
    assert [line[0] for line in added] == ["+"] * 6
    assert calibrate("--write", str(target))[1].out.endswith("nothing to change\n")


def test_an_override_that_is_there_is_changed(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yml"
    path.write_text(
        "groups:\n- name: anthropic-thresholds\n  rules:\n"
        "  # why\n"
        "  - {record: anthropic_threshold, expr: 2, labels: {threshold: x}}\n"
        "  - record: anthropic_threshold\n    expr: 2 * 60  # of the chat\n    labels: {threshold: x, feature: 'no'}\n"
    )
    new = [threshold_file.Override("x", "no", "", 7.5), threshold_file.Override("x", "on", "m", 3.0)]
    with pytest.raises(ConfigurationError, match="there is no default for y"):
        threshold_file.edited(path, [threshold_file.Override("y", "", "", 1.0)])
    text = threshold_file.edited(path, new)
    assert '    expr: "7.5"  # of the chat\n' in text
    assert '  labels: {threshold: x, feature: "on", model: m}\n' in text
    assert "  # why\n" in text


WRITTEN = {
    "braces": "groups:\n- name: a\n  rules:\n"
    "  - {record: anthropic_threshold, expr: 2, labels: {threshold: x}}  # why\n"
    "  - {record: anthropic_threshold, expr: '3', labels: {threshold: x, feature: f}}\n",
    "json": '{"groups": [{"name": "a", "rules": [{"record": "anthropic_threshold", "expr": "2", '
    '"labels": {"threshold": "x"}}]}]}',
    "blocks": "groups:\n- name: a\n  rules:\n  - record: anthropic_threshold\n    labels:\n      threshold: x\n"
    "      # why\n    expr: |\n      2\n  - labels:\n      threshold: x\n      feature: f\n    expr: >-\n      3\n"
    "    record: anthropic_threshold\n",
    "expression first": "groups:\n- name: a\n  rules:\n  - expr: 2  # why\n    record: anthropic_threshold\n"
    "    labels:\n      threshold: x\n",
    "labels on two lines": "groups:\n- name: a\n  rules:\n  - record: anthropic_threshold\n    expr: 2\n"
    "    labels: {threshold: x,\n      note: y}\n    # why\n  - record: other\n    expr: 1\n",
    "no line end": "# why\ngroups:\n- name: a\n  rules:\n  - record: anthropic_threshold\n    expr: 2\n"
    "    labels: {threshold: x}",
    "lines of Windows": "# why\r\ngroups:\r\n- name: a\r\n  rules:\r\n  - record: anthropic_threshold\r\n"
    "    expr: 2\r\n    labels: {threshold: x}\r\n",
    "mark of the byte order": "\ufeff# why\ngroups:\n- name: a\n  rules:\n  - record: anthropic_threshold\n"
    "    expr: 2\n    labels: {threshold: x}\n",
    "odd blanks": "groups:\n  -   name: a  # why\n      rules:\n        -   record:   anthropic_threshold\n"
    "            expr:   2\n            labels:   {threshold:   x}\n\n\n",
    "an expression with a hash": "groups:\n- name: a\n  rules:\n  - record: anthropic_threshold\n"
    "    expr: 2\n    labels: {threshold: x}\n  - record: anthropic_threshold\n    expr: 'vector(2) # odd'   # why\n"
    "    labels: {threshold: x, feature: f}\n",
}


@pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)
def test_a_file_is_edited_in_the_way_it_is_written(tmp_path: Path, written: str) -> None:
    path = tmp_path / "thresholds.yml"
    path.write_bytes(written.encode())
    new = [threshold_file.Override("x", "f", "", 7.5), threshold_file.Override("x", "on", "m", 3.0)]
    whole_file.write(path, threshold_file.edited(path, new))
    after = path.read_bytes().decode()
    rules = [rule for group in yaml.safe_load(after)["groups"] for rule in group["rules"]]
    found = {
        (one["labels"].get("feature", ""), one["labels"].get("model", "")): str(one["expr"]).strip()
        for one in rules
        if one["record"] == "anthropic_threshold"
    }
    assert found == {("", ""): "2", ("f", ""): "7.5", ("on", "m"): "3"}
    assert ("# why" in after) == ("# why" in written)
    assert after.count("\r\n") == (0 if "\r\n" not in written else after.count("\n"))
    assert after.startswith(written[:30])


def test_a_file_that_cannot_be_edited_is_one_line_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "thresholds.yml"
    shared = (
        "groups:\n- name: a\n  rules:\n  - record: anthropic_threshold\n    expr: &two 2\n    labels: {threshold: x}\n"
    )
    other = "  - record: anthropic_threshold\n    expr: *two\n    labels: {threshold: x, feature: f}\n"
    path.write_text(shared + other)
    with pytest.raises(ConfigurationError, match="cannot be edited in this form: write a separate rule"):
        threshold_file.edited(path, [threshold_file.Override("x", "f", "", 7.5)])
    assert path.read_text() == shared + other


def test_a_read_only_file_stays_and_a_link_stays_a_link(tmp_path: Path) -> None:
    path, link = tmp_path / "thresholds.yml", tmp_path / "link.yml"
    path.write_text("a: 1\n")
    link.symlink_to(path)
    path.chmod(0o640)
    whole_file.write(link, "a: 2\n")
    assert link.is_symlink()
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("a: 2\n", 0o640)
    path.chmod(0o444)
    with pytest.raises(ConfigurationError, match=r"thresholds.yml: cannot be written: it is read-only"):
        whole_file.write(path, "a: 3\n")
    assert path.read_text() == "a: 2\n"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["link.yml", "thresholds.yml"]
    with pytest.raises(ConfigurationError, match=r"new.yml: cannot be written: No such file or directory"):
        whole_file.write(tmp_path / "none" / "new.yml", "a: 3\n")


def test_numbers_are_rounded_up_to_two_digits() -> None:
    values = {0.0: 0.0, 0.0123: 0.013, 1.0: 1.0, 1.01: 1.1, 2.5: 2.5, 995.0: 1000.0, 1234.0: 1300.0}
    assert {value: rounded_up(value) for value in values} == values


def today(week: Any) -> Any:
    """Dollars since midnight in a week, busier by chance on some days; little at the weekend."""
    chance, points = random.Random(f"budget {week}"), []
    for day in range(7):
        usd = (40 if day < 5 else 4) * chance.lognormvariate(0, 0.15)
        points += [(START + day * DAY + 60 * one, usd * (one + 1) / 1_440) for one in range(0, 1_440, 2)]
    return points


def test_a_budget_holds_on_other_weeks() -> None:
    chosen = [tail.fit(today(week), 7 * DAY, is_daily=True).threshold(0.25) for week in range(100)]
    pages = [tail.episodes(today(week + 1_000), value) for week, value in enumerate(chosen)]
    assert statistics.fmean(pages) <= 0.25
    # and it is no more than the double of an ordinary day
    assert statistics.median(chosen) < 2 * 40


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Two days of what the rules record of latency, spikes and budgets."""
    with histories.prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        place = {"feature": "chat", "model": "claude-opus-5-5"}
        chance = random.Random(4)
        for hour in range(48):
            times: list[float] = [START + 3_600 * hour + 60 * one for one in range(60)]
            noise = [chance.lognormvariate(0, 0.2) for _ in times]
            gone = [at % DAY / DAY for at in times]
            values = {
                "feature_model:anthropic_request_duration_seconds:p95_slow": (place, [2 * one for one in noise]),
                "feature:anthropic_cost_usd_per_minute:beyond_chance": ({"feature": "chat"}, noise),
                "feature:anthropic_cost_usd_per_minute:without_largest": ({"feature": "chat"}, noise),
                "feature:anthropic_cost_usd_per_minute:baseline": ({"feature": "chat"}, [0.5] * 60),
                "total:anthropic_cost_usd:today": ({}, [30 * one for one in gone]),
                series.THRESHOLD: ({"threshold": "cost_spike_min_usd_per_minute"}, [0.1] * 60),
            }
            written = [
                ({"__name__": name, **labels}, list(zip(times, points, strict=True)))
                for name, (labels, points) in values.items()
            ]
            histories.write_series(url, written)
        yield url


@pytest.mark.stack
def test_latency_spikes_and_budgets_are_chosen_if_asked_for(
    others: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    kinds = ["--for", "latency", "--for", "spike", "--for", "budget"]
    where = ["--prometheus", others, "--last", "2d", "--until", "2026-11-25", "--verdicts", str(tmp_path / "none.yml")]
    assert run(["calibrate", *where, *kinds, "--json"]) == 0
    found = {one["threshold"]: one for one in json.loads(capsys.readouterr().out)["thresholds"]}
    assert found.keys() == {"latency_p95_seconds", "cost_spike_ratio", "cost_usd_per_day"}
    assert {name: (one["feature"], one["model"]) for name, one in found.items()} == {
        "latency_p95_seconds": ("chat", "claude-opus-5-5"),
        "cost_spike_ratio": ("chat", ""),
        "cost_usd_per_day": ("", ""),
    }
    # 30 dollars a day: 1.2 times the greatest, 3 times the mean
    assert found["cost_usd_per_day"]["choices"]["greatest"]["value"] == 36.0
    assert found["cost_usd_per_day"]["choices"]["ratio"]["value"] == 90.0
    assert 2.0 < found["cost_spike_ratio"]["choices"]["tail"]["value"] < 20.0
    target = tmp_path / "thresholds.yml"
    shutil.copy(THRESHOLDS, target)
    assert run(["calibrate", *where, *kinds, "--write", str(target), "--method", "greatest"]) == 0
    assert 'expr: "36"\n        labels: {threshold: cost_usd_per_day}' in target.read_text()


def test_an_episode_ends_after_a_pause() -> None:
    points = [(0, 5), (60, 1), (120, 5), (180, 1), (240, 1), (300, 1), (360, 5)]
    assert tail.episodes(points, 3) == 2
    assert tail.episodes(points, 5) == 0


def test_a_signal_without_a_tail_has_a_threshold() -> None:
    assert tail.fit([], 7 * DAY).threshold(1.0) == 0.0
    assert tail.fit([(0.0, 3.0)], 7 * DAY).threshold(1.0) == 3.0
    flat = tail.fit([(hour * 3_600.0, 3.0) for hour in range(100)], 7 * DAY)
    assert flat.threshold(1.0) == 3.0
    assert flat.expected(3.1) == 0.0


@pytest.mark.stack
def test_a_picture_has_every_signal(calibrate: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra report is not installed")
    picture = tmp_path / "history.svg"
    assert calibrate("--picture", str(picture))[0] == 0
    text = picture.read_text()
    assert "cost_usd_per_minute, USD a minute: chat, claude-opus-5-5" in text
    assert "agent, claude-sonnet-5-5" in text
    assert "Grey: excluded as incidents (1)." in text
    assert "Wed 25 Nov" in text


def test_no_line_is_drawn_where_nothing_was_recorded() -> None:
    drawn = pictures.with_gaps([(0.0, 1.0), (60.0, 2.0), (3_600.0, 3.0)])
    assert [at for at, _ in drawn] == [0.0, 60.0, 61.0, 3_600.0]
    assert [value for _, value in drawn if not math.isnan(value)] == [1.0, 2.0, 3.0]


def test_names_on_a_picture_do_not_overlap() -> None:
    assert pictures.apart([1.0, 5.0], 1.0, 10.0) == [1.0, 5.0]
    assert pictures.apart([5.0, 5.2, 5.3], 1.0, 10.0) == [5.0, 6.0, 7.0]
    assert pictures.apart([9.0, 9.5, 9.6], 1.0, 10.0) == [8.0, 9.0, 10.0]
    assert pictures.apart([], 1.0, 10.0) == []


@pytest.mark.stack
@pytest.mark.parametrize("columns", [80, 120])
def test_a_table_fits_its_terminal(calibrate: Any, monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    _, shown = calibrate()
    assert max(map(len, shown.out.splitlines())) <= columns
    for whole in ("cost_usd_per_minute, USD a minute", "claude-sonnet-5-5", "greatest", "by day"):
        assert whole in shown.out
    assert "together:" in shown.out.splitlines()[-2] + shown.out.splitlines()[-3]


@pytest.mark.stack
def test_alerts_without_a_verdict_are_named(calibrate: Any, tmp_path: Path) -> None:
    code, shown = calibrate("--verdicts", str(tmp_path / "none.yml"))
    assert code == 0
    words = " ".join(shown.out.split())
    assert "1 alert of this period has no verdict and counts as ordinary traffic" in words
    assert "no verdict" not in calibrate()[1].out


@pytest.mark.stack
def test_a_weekend_is_not_a_working_day(calibrate: Any, tmp_path: Path) -> None:
    target = tmp_path / "thresholds.yml"
    shutil.copy(THRESHOLDS, target)
    code, shown = calibrate("--write", str(target), last="2d")
    assert code == 1
    assert "Only 0 h from Monday to Friday: without a working day pages a week are not known." in shown.out
    assert "seen" in shown.out
    assert target.read_text() == THRESHOLDS.read_text()


@pytest.mark.stack
def test_a_job_of_an_hour_a_night_has_a_week_of_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pace_of = {"__name__": PACE, "feature": "labels", "model": "claude-opus-5-5"}
    threshold = {"__name__": series.THRESHOLD, "threshold": "cost_usd_per_minute"}
    chance = random.Random(7)
    with histories.prometheus(tmp_path) as url:
        for hour in range(7 * 24):
            times: list[float] = [START + 3_600 * hour + 60 * one for one in range(60)]
            job = [(at, 1.2 * chance.lognormvariate(0, 0.1)) for at in times if hour % 24 == 2]
            histories.write_series(url, [(pace_of, job), (threshold, [(at, 2.0) for at in times])])
        where = ["--prometheus", url, "--last", "7d", "--until", "2026-11-30", "--verdicts", str(tmp_path / "none.yml")]
        assert run(["calibrate", *where, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["is_long_enough"]
    assert found["days"] == pytest.approx(7.0, abs=0.01)
    assert found["expected_pages_a_week"] <= 0.5
    (labels,) = found["thresholds"]
    assert 1.5 < labels["choices"]["tail"]["value"] < 4.0


def test_a_threshold_is_not_lower_than_what_was_seen_where_one_page_is_too_many() -> None:
    # nearly all hours peak at 60, one at 90: the tail alone would choose about 75
    hours = [(hour * 3_600.0, 90.0 if hour == 5 else 60.0 - hour / 100) for hour in range(40)]
    fitted, week = tail.fit(hours, 7 * DAY), 7.0 * DAY
    assert fitted.threshold(0.25) < 90.0
    # two parts of the 40 hours above the greatest value
    assert tail_threshold(fitted, hours, week, 0.25) == 94.5
    # half of what is accepted is aimed at
    assert tail_threshold(fitted, hours, week, 2.0) == fitted.threshold(1.0)


def test_an_hour_with_one_peak_has_a_threshold() -> None:
    points = [(0.0, 1e-9), (3_600.0, 5.0)]
    fitted = tail.fit(points, 3_600)
    assert tail_threshold(fitted, points, 3_600, 0.05) == 25.0


def test_large_numbers_have_no_exponent() -> None:
    assert [show_calibration.number(value) for value in (0.05, 2.0, 3.577e8)] == ["0.05", "2", "357,700,000"]
    assert threshold_file.Override("tokens_per_day", "", "", 2e8).written == "200000000"


def test_what_was_never_seen_is_extrapolated_only_so_far() -> None:
    hours = [(hour * 3_600.0, 4.0 ** (hour / 4)) for hour in range(12)]
    fitted = tail.fit(hours, DAY)
    greatest = hours[-1][1]
    assert fitted.threshold(0.05) > 5 * greatest
    assert tail_threshold(fitted, hours, DAY, 0.1) == 5 * greatest


def test_a_percentile_is_known_no_finer_than_its_bucket() -> None:
    hours = [(hour * 3_600.0, 4.0 + hour / 100) for hour in range(40)]
    fitted = tail.fit(hours, 7 * DAY)
    assert 4.39 <= fitted.threshold(0.25) < 5.0
    assert tail_threshold(fitted, hours, 7.0 * DAY, 0.25, (2.0, 5.0, 10.0)) == 5.0
    assert tail_threshold(fitted, hours, 7.0 * DAY, 0.25, (2.0,)) == fitted.threshold(0.25)


@pytest.mark.stack
def test_a_day_that_is_too_short_for_the_promise_is_said(calibrate: Any) -> None:
    code, shown = calibrate("--json", last="1d", until="2026-11-25")
    assert code == 0
    found = json.loads(shown.out)
    limited = [one for one in found["thresholds"] if one["is_limited"]]
    assert limited
    assert found["expected_pages_a_week"] > found["pages_a_week"] == 1
    for one in limited:
        assert one["choices"]["tail"]["value"] == pytest.approx(5 * max(one["greatest_by_day"]), rel=0.1)
    said = calibrate(last="1d", until="2026-11-25")[1].out
    assert "5 times the highest value seen at most: this history is too short to promise 1 false" in said


def test_a_single_peak_promises_nothing() -> None:
    points = [(0.0, 1.0), (60.0, 0.0)]
    assert expected_pages(tail.fit(points, DAY), points, 5.0, DAY) is None


@pytest.mark.stack
def test_a_new_feature_has_only_its_own_history(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Staging and production, gaps, features that are three days old and of this morning, and such as have ended."""
    end = START + 5 * DAY
    began = {
        "chat": (START, end),
        "agent": (START + 2 * DAY, end),
        "search": (START + 4 * DAY + 18 * 3_600, end),
        "legacy": (START, START + 2 * DAY),
        "trial": (START + DAY, START + DAY + 6 * 3_600),
        "configured": (START + 4 * DAY + 18 * 3_600, end),
    }
    target = tmp_path / "thresholds.yml"
    shutil.copy(THRESHOLDS, target)
    with histories.prometheus(tmp_path) as url:
        for since in range(START, START + 5 * DAY, 1_800):
            histories.write_series(url, list(of_features(since, began)))
        where = ["calibrate", "--prometheus", url, "--last", "5d", "--until", "2026-11-28"]
        assert run([*where, "--verdicts", str(tmp_path / "none.yml"), "--json", "--write", str(target)]) == 0
        shown = capsys.readouterr().out
        # its own two days alone, with the same share of the pages: at their end four of the six have begun
        first_days = ["--last", "2d", "--until", "2026-11-25", "--pages", str(4 / 6), "--json"]
        assert run(["calibrate", "--prometheus", url, *first_days, "--verdicts", str(tmp_path / "none.yml")]) == 0
        alone = chosen(capsys.readouterr())["legacy"]
    found = {one["feature"]: one for one in json.loads(shown)["thresholds"]}
    assert {name for name, one in found.items() if one["is_new"]} == {"search", "configured"}
    assert {name for name, one in found.items() if one["is_gone"]} == {"trial"}
    for unknown in ("search", "configured", "trial"):
        assert found[unknown]["choices"]["tail"]["expected"] is None
    # production alone, not the sum with staging
    hours = [number for number in range(START // 3_600, START // 3_600 + 120) if number % 7]
    usual = [1.0 + random.Random(number).expovariate(4) for number in hours]
    assert max(found["chat"]["greatest_by_day"]) == pytest.approx(max(usual))
    # with fewer days of the same traffic it is the more careful
    assert found["agent"]["choices"]["tail"]["value"] > found["chat"]["choices"]["tail"]["value"]
    assert found["legacy"]["choices"]["tail"] == alone
    written = [one for one in yaml.safe_load(target.read_text())["groups"][0]["rules"] if "feature" in one["labels"]]
    assert {one["labels"]["feature"] for one in written} == {"chat", "agent", "legacy"}


@pytest.mark.stack
def test_restarts_and_gaps_give_no_pace_that_was_not_there(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The short form of `python -m bench.tuning.broken_history`: half a day."""
    whole, broken = (
        broken_history.judge(0.5, tmp_path_factory.mktemp("history"), broken=number > 0) for number in range(2)
    )
    assert whole.greatest.keys() == broken.greatest.keys() == {"chat", "search", "legacy"}
    for feature, most in whole.greatest.items():
        assert 0.5 * most < broken.greatest[feature] <= 1.1 * most
    assert whole.calibration.seconds == pytest.approx(43_200, abs=120)
    # without the hour in which Prometheus was down; a sample counts for five minutes
    assert broken.calibration.seconds == pytest.approx(39_900, abs=180)


def of_features(since: int, began: dict[str, tuple[int, int]]) -> Iterator[Any]:
    """Half an hour of the features; an hour in seven is missing, and "configured" is there at 0 before it begins."""
    times = [at for at in range(since, since + 1_800, MINUTE) if at // 3_600 % 7]
    for feature, (first, end) in began.items():
        points = [(at, 1.0 + random.Random(at // 3_600).expovariate(4)) for at in times if first <= at < end]
        points = points or [(at, 0.0) for at in times if feature == "configured"]
        for env, part in (("production", 1.0), ("staging", 0.1)) if points else ():
            labels = {"__name__": PACE, "feature": feature, "model": "claude-opus-5-5", "env": env}
            yield labels, [(at, part * value) for at, value in points]
    if times:
        yield {"__name__": series.THRESHOLD, "threshold": "cost_usd_per_minute"}, [(at, 2.0) for at in times]
