"""The Guard's files after a power cut: whole, cut, empty, or full of zeros, the next process starts."""

from __future__ import annotations

import json

import pytest

from anthropic_exporter.guard.persistence import StateFolder

WHOLE = {"20000": {"chat": [125_000, 0.5]}, "20001": {"chat": [1, 0.25], "search": [2, 0.125]}}


@pytest.fixture
def state(tmp_path):
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
    start_guard, tmp_path, caplog, name, left
):
    (tmp_path / f"{name}.json").write_bytes(left)
    start_guard(state_dir=tmp_path)
    assert (tmp_path / f"{name}.json.damaged").read_bytes() == left
    (said,) = caplog.messages
    assert said == f"{tmp_path}/{name}.json is damaged and starts from nothing; it was kept as {name}.json.damaged"


def test_a_file_cut_anywhere_is_either_whole_or_damaged(state, tmp_path, caplog):
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


def test_a_cut_left_before_the_renaming_is_never_read(state, tmp_path):
    state.write("budgets", WHOLE)
    (tmp_path / ".budgets.json.new").write_bytes(b"{")
    assert state.read("budgets") == WHOLE
    state.write("budgets", {})
    assert state.read("budgets") == {}


def test_a_file_that_cannot_be_put_aside_stops_nobody(start_guard, tmp_path, caplog, monkeypatch):
    (tmp_path / "budgets.json").write_bytes(b"")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.replace", refuse)
    guard = start_guard(state_dir=tmp_path)
    assert guard.today() == ()
    (said,) = caplog.messages
    assert said.endswith("budgets.json is damaged and starts from nothing; it cannot be put aside: Permission denied")
