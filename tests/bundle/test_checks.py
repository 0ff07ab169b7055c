from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import bundle, toolchain
from anthropic_exporter.bundle import checks
from anthropic_exporter.commands.main import run as run_command
from anthropic_exporter.errors import ConfigurationError

pytestmark = pytest.mark.stack


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    """The shipped bundle, to be broken."""
    for name in ("prometheus", "alertmanager"):
        shutil.copytree(bundle.path(name), tmp_path / name)
    return tmp_path


@pytest.fixture
def edit(folder: Any) -> Any:
    def change(file: Any, before: Any, after: Any) -> None:
        text = (folder / file).read_text()
        assert before in text
        (folder / file).write_text(text.replace(before, after, 1))

    return change


def line_of(file: Any, text: Any) -> Any:
    return next(number for number, line in enumerate(file.read_text().splitlines(), start=1) if text in line)


def test_the_shipped_bundle_has_nothing_to_find(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["check"]) == 0
    assert capfd.readouterr().out.endswith("prices.yml: no findings\n")


def test_a_second_default_is_an_error_with_its_line(folder: Any, capfd: pytest.CaptureFixture[str]) -> None:
    file = folder / "prometheus/rules/thresholds.yml"
    first = line_of(file, "labels: {threshold: cost_usd_per_minute}")
    with file.open("a") as text:
        text.write('      - record: anthropic_threshold\n        expr: "9"\n')
        text.write("        labels: {threshold: cost_usd_per_minute}\n")
    last = len(file.read_text().splitlines())
    assert run_command(["check", "--prometheus", str(folder / "prometheus")]) == 1
    told = capfd.readouterr().out.splitlines()
    assert told[:-1] == [
        (
            f"{file}:{last}: the default of threshold cost_usd_per_minute is defined twice; "
            f"the first definition is in thresholds.yml:{first}"
        )
    ]
    assert told[-1].endswith(": 1 finding")


def test_a_threshold_that_is_not_promql_is_an_error_with_its_line(folder: Any, edit: Any) -> None:
    edit("prometheus/rules/thresholds.yml", 'expr: "0.05"', 'expr: "0.05 *"')
    file = folder / "prometheus/rules/thresholds.yml"
    (found,) = checks.prometheus(folder / "prometheus")
    assert (found.file, found.line) == (file, line_of(file, "0.05 *"))
    assert "could not parse expression" in found.text


def test_a_typo_is_named_with_what_was_meant_and_the_default_is_missed(folder: Any, edit: Any) -> None:
    edit("prometheus/rules/thresholds.yml", "{threshold: cost_spike_ratio}", "{threshold: cost_spik_ratio}")
    file = folder / "prometheus/rules/thresholds.yml"
    assert list(map(str, checks.prometheus(folder / "prometheus"))) == [
        (
            f"{file}:{line_of(file, 'cost_spik_ratio')}: no rule uses a threshold 'cost_spik_ratio'; "
            "did you mean 'cost_spike_ratio'?"
        ),
        f"{file}: threshold cost_spike_ratio has no default: its alert cannot fire",
    ]


def test_an_override_is_not_a_duplicate_and_an_unknown_label_is_an_error(folder: Any) -> None:
    file = folder / "prometheus/rules/thresholds.yml"
    with file.open("a") as text:
        for label in ("feature", "model", "featur"):
            text.write('      - record: anthropic_threshold\n        expr: "9"\n')
            text.write(f"        labels: {{threshold: cost_usd_per_minute, {label}: chat}}\n")
    found = checks.thresholds(folder / "prometheus")
    assert {one.line for one in found} == {line_of(file, "featur:")}
    assert "has no label 'featur'" in found[0].text


@pytest.mark.parametrize("broken", ["groups: [", "groups: 3\n", "groups:\n - {name: x, rules: [{recrd: x}]}\n"])
def test_a_rule_file_that_is_not_a_rule_file_is_named_with_its_line(folder: Any, broken: Any) -> None:
    (folder / "prometheus/rules/own.yml").write_text(broken)
    found = [one for one in checks.prometheus(folder / "prometheus") if one.file.name == "own.yml"]
    assert found
    assert found[0].line >= 1


def test_a_setting_that_prometheus_does_not_know_is_named_with_its_line(folder: Any, edit: Any) -> None:
    edit("prometheus/prometheus.yml", "global:", "globl:")
    (found,) = checks.prometheus(folder / "prometheus")
    assert (found.file.name, found.line) == ("prometheus.yml", line_of(found.file, "globl:"))
    assert "globl" in found.text


def test_a_receiver_that_is_not_there_is_named_with_its_file(folder: Any, edit: Any) -> None:
    edit("alertmanager/alertmanager.yml", "receiver: heartbeat", "receiver: hartbeat")
    (found,) = checks.alertmanager(folder / "alertmanager")
    assert found.file.name == "alertmanager.yml"
    assert 'undefined receiver "hartbeat"' in found.text


def test_a_price_file_with_a_typo_is_named_with_its_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yml").write_text("models:\n  claude-x:\n    pries: []\n")
    assert run_command(["check", "--prices", str(tmp_path / "mine.yml")]) == 1
    assert f"{tmp_path}/mine.yml:3: " in capfd.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["--prometheus", "/nowhere"], ["--alertmanager", "/nowhere"], ["--prices", "/nowhere.yml"]]
)
def test_a_folder_that_is_not_there_is_one_line_and_2(arguments: Any, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["check", *arguments]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("anthropic-exporter: /nowhere")


def test_without_promtool_it_is_one_line_and_2(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def missing(_names: Any) -> None:
        raise ConfigurationError("promtool 2.42 or later not found: put it on PATH")

    monkeypatch.setattr(toolchain, "provide", missing)
    assert run_command(["check"]) == 2
    assert capfd.readouterr().err == "anthropic-exporter: promtool 2.42 or later not found: put it on PATH\n"


def test_the_bundle_in_the_working_folder_is_checked_and_named(
    folder: Any, edit: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    edit("prometheus/rules/cost.yml", "expr:", "exper:")
    monkeypatch.chdir(folder)
    assert run_command(["check"]) == 1
    printed = capfd.readouterr().out.splitlines()
    assert printed[0].startswith(
        f"prometheus/rules/cost.yml:{line_of(folder / 'prometheus/rules/cost.yml', 'exper:')}: "
    )
    assert printed[-1].startswith(f"checked {folder}/prometheus, {folder}/alertmanager, ")


def test_in_another_folder_the_shipped_bundle_is_checked_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run_command(["check"]) == 0
    assert capfd.readouterr().out.startswith(f"checked {bundle.path('prometheus')}, {bundle.path('alertmanager')}, ")


@pytest.mark.parametrize("place", ["rules", "."])
def test_a_folder_of_rules_alone_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], place: Any
) -> None:
    shutil.copytree(bundle.path("prometheus") / "rules", tmp_path / place, dirs_exist_ok=True)
    assert run_command(["check", "--prometheus", str(tmp_path)]) == 0
    file = tmp_path / place / "cost.yml"
    file.write_text(file.read_text().replace("expr:", "exper:", 1))
    assert run_command(["check", "--prometheus", str(tmp_path)]) == 1
    assert f"cost.yml:{line_of(file, 'exper:')}: " in capfd.readouterr().out


def test_a_folder_without_rules_is_one_line_and_2(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["check", "--prometheus", str(tmp_path)]) == 2
    line = f"anthropic-exporter: {tmp_path}: neither prometheus.yml nor rule files (rules/*.yml or *.yml)\n"
    assert capfd.readouterr().err == line


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("prometheus", "prometheus/rules/odd.yml"),
        ("prometheus", "prometheus/rules/thresholds.yml"),
        ("alertmanager", "alertmanager/odd.yml"),
        ("alertmanager", "alertmanager/alertmanager.yml"),
    ],
)
def test_a_fifo_in_a_folder_is_one_line(folder: Any, capfd: pytest.CaptureFixture[str], kind: str, place: str) -> None:
    (folder / place).unlink(missing_ok=True)
    os.mkfifo(folder / place)
    assert run_command(["check", f"--{kind}", str(folder / kind)]) == 2
    assert f"{folder / place}: is a FIFO; expected a regular file\n" in capfd.readouterr().err
