"""The Guard's files after a power cut: whole, cut, empty, or full of zeros, the next process starts."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.guard import Guard
from anthropic_exporter.guard.persistence import StateFolder

WHOLE = {"20000": {"chat": [125_000, 0.5]}, "20001": {"chat": [1, 0.25], "search": [2, 0.125]}}


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateFolder]:
    started = StateFolder(tmp_path)
    yield started
    started.close()


@pytest.mark.parametrize("name", ["budgets", "baselines"])
@pytest.mark.parametrize(
    "left",
    [b"", b"\0" * 4096, b"\xff\xfe", b"[1, 2", b"[" * 100_000],
    ids=["empty", "zeros", "no UTF-8", "cut", "deep"],
)
def test_what_a_power_cut_leaves_is_put_aside_said_in_one_line_and_stops_nobody(
    start_guard: Callable[..., Guard], tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, left: bytes
) -> None:
    (tmp_path / f"{name}.json").write_bytes(left)
    start_guard(state_dir=tmp_path)
    assert (tmp_path / f"{name}.json.damaged").read_bytes() == left
    (said,) = caplog.messages
    assert said == f"{tmp_path}/{name}.json is damaged, so its content is ignored; it was kept as {name}.json.damaged"


def test_a_file_cut_anywhere_is_either_whole_or_damaged(
    state: StateFolder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state.write("budgets", WHOLE)
    path = tmp_path / "budgets.json"
    written = path.read_bytes()
    for end in range(len(written.rstrip())):
        caplog.clear()
        path.write_bytes(written[:end])
        assert state.read("budgets") == {}
        assert len(caplog.messages) == 1
    path.write_bytes(written.rstrip())
    assert state.read("budgets") == json.loads(written) == WHOLE


def test_a_cut_left_before_the_renaming_is_never_read(state: StateFolder, tmp_path: Path) -> None:
    state.write("budgets", WHOLE)
    (tmp_path / ".budgets.json.new").write_bytes(b"{")
    assert state.read("budgets") == WHOLE
    state.write("budgets", {})
    assert state.read("budgets") == {}


def test_a_file_that_cannot_be_put_aside_stops_nobody(
    start_guard: Callable[..., Guard], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "budgets.json").write_bytes(b"")

    def refuse(*_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    guard = start_guard(state_dir=tmp_path)
    assert guard.today() == ()
    (said,) = caplog.messages
    assert said.endswith("budgets.json is damaged, so its content is ignored; it cannot be renamed: Permission denied")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_are_readable_for_this_user_alone(
    start_guard: Callable[..., Guard], spend: Callable[..., None], tmp_path: Path
) -> None:
    folder = tmp_path / "state"
    guard = start_guard(state_dir=folder)
    spend(0.5)
    guard.close()
    assert mode(folder) == 0o700
    found = sorted(folder.iterdir())
    assert {path.name: mode(path) for path in found} == {"baselines.json": 0o600, "budgets.json": 0o600, "lock": 0o600}


def test_a_folder_of_an_older_version_is_made_private_and_somebody_elses_stays(
    state: StateFolder, tmp_path: Path
) -> None:
    state.write("budgets", WHOLE)
    state.close()
    tmp_path.chmod(0o755)
    StateFolder(tmp_path).close()
    assert mode(tmp_path) == 0o700
    (tmp_path / "notes.txt").touch()
    tmp_path.chmod(0o755)
    StateFolder(tmp_path).close()
    assert mode(tmp_path) == 0o755
    tmp_path.chmod(0o777)
    with pytest.raises(ConfigurationError, match="every user can write to it; use a separate folder"):
        StateFolder(tmp_path)
    tmp_path.chmod(0o700)


@pytest.mark.parametrize("name", ["lock", ".budgets.json.new", "budgets.json"])
def test_no_link_is_followed(
    start_guard: Callable[..., Guard], spend: Callable[..., None], tmp_path: Path, name: str
) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "state"
    victim.write_text("precious")
    folder.mkdir(mode=0o700)
    (folder / name).symlink_to(victim)
    if name == "lock":
        with pytest.raises(ConfigurationError, match="cannot be written"):
            start_guard(state_dir=folder)
    else:
        guard = start_guard(state_dir=folder)
        spend(0.5)
        guard.tick()
        assert json.loads((folder / "budgets.json").read_text()).popitem()[1] == {"chat": [125_000, 0.5]}
    assert victim.read_text() == "precious"


def test_a_fifo_a_folder_and_a_huge_file_are_set_aside_in_one_line(
    start_guard: Callable[..., Guard], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.mkfifo(tmp_path / "budgets.json")
    (tmp_path / "baselines.json").mkdir()
    start_guard(state_dir=tmp_path).close()
    assert stat.S_ISFIFO((tmp_path / "budgets.json.damaged").stat().st_mode)
    assert (tmp_path / "baselines.json.damaged").is_dir()
    assert len(caplog.messages) == 2
    with (tmp_path / "budgets.json").open("wb") as huge:
        huge.truncate(10**9)
    (tmp_path / "budgets.json.damaged").unlink()
    start_guard(state_dir=tmp_path)
    assert (tmp_path / "budgets.json.damaged").stat().st_size == 10**9


def test_a_fifo_in_place_of_the_lock_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(ConfigurationError, match="cannot be written"):
        StateFolder(tmp_path)


@pytest.mark.parametrize(
    "spent",
    [
        *(
            "[-1, 0.5]",
            "[1, -0.5]",
            "[1, NaN]",
            "[1, Infinity]",
            "[true, 0.5]",
            '["1", 0.5]',
            "[1.5, 0.5]",
            "[1, null]",
        ),
        *("[1]", "[1, 2, 3]", "7", "[1, 1e300]", "[1" + "0" * 400 + ", 1]"),
    ],
)
def test_spend_that_cannot_be_is_refused(
    start_guard: Callable[..., Guard], tmp_path: Path, caplog: pytest.LogCaptureFixture, spent: str
) -> None:
    (tmp_path / "budgets.json").write_text(f'{{"20778": {{"chat": {spent}}}}}')
    guard = start_guard(state_dir=tmp_path)
    assert guard.today() == ()
    assert len(caplog.messages) == 1
    assert (tmp_path / "budgets.json.damaged").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"fixed": -1},
        {"fixed": float("nan")},
        {"fixed": "2"},
        {"recent": {"newest": 10**18, "values": [1]}},
        {"recent": {"newest": True, "values": [1]}},
        {"recent": {"newest": 5_000_000, "values": [-1]}},
        {"recent": {"newest": 5_000_000, "values": ["1"]}},
        {"recent": {"newest": 5_000_000, "values": [1] * 100_000}},
        {"recent": 7},
    ],
    ids=str,
)
def test_baselines_that_cannot_be_are_refused_as_a_whole(
    start_guard: Callable[..., Guard], tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    first = start_guard(state_dir=tmp_path)
    first.set_baseline("chat", cost_usd_per_minute=0.5)
    first.set_baseline("agent", cost_usd_per_minute=0.5)
    first.close()
    path = tmp_path / "baselines.json"
    kept = json.loads(path.read_text())
    kept["chat"]["cost_usd"] |= change
    path.write_text(json.dumps(kept))
    second = start_guard(state_dir=tmp_path)
    assert list(second._learning.baselines.features) == []
    assert len(caplog.messages) == 1
