"""A process that is alone counts in plain lists; the next one of its service continues, however it ended."""

from __future__ import annotations

import errno
import gc
import itertools
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from bench.host import lone_restarts
from prometheus_client import CollectorRegistry, generate_latest

from anthropic_exporter import Recorder, serve
from anthropic_exporter.host import runtime_dir
from anthropic_exporter.host.cell_folder import CellFolder
from anthropic_exporter.metrics import families as f
from host.workers import Worker, cell_files, scrape, total, wait_for

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes share counts on POSIX systems only")

ALONE = "type(recorder._metrics.cells).__name__"


def kept(folder: Path, port: int) -> float:
    """Requests in the files of a service."""
    sources, _ = CellFolder(runtime_dir.port_folder(port, folder)).sources()
    records = [one for source in sources for one in source.records]
    return sum(one.values[0] for one in records if one.series[0].family == f.REQUESTS.name)


def created(text: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+_created\{.*\}) (\S+)$", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("scrapes", "end"),
    [("never", "stop"), ("before", "stop"), ("in between", "stop"), ("never", "kill"), ("never", "close")],
)
def test_the_next_process_continues(
    start: Callable[..., Worker], port: int, folder: Path, scrapes: str, end: str
) -> None:
    first = start()
    if scrapes == "before":
        assert total(scrape(port)) == 0
    first.record(3)
    if scrapes == "in between":
        assert total(scrape(port)) == 3
    first.record(4)
    if end == "close":
        first.ask("handle.close()")
        first.record(2)
    if end == "kill":
        wait_for(lambda: kept(folder, port) == 7)
        first.kill()
    else:
        first.stop()
    calls = 9 if end == "close" else 7
    second = start()
    assert total(scrape(port)) == calls
    second.record(1)
    assert [total(scrape(port)) for _ in range(2)] == [calls + 1, calls + 1]
    assert round(total(scrape(port), "anthropic_cost_usd_total"), 9) == round((calls + 1) * 0.00414, 9)
    assert second.ask(ALONE) == "Cells"


def test_many_lives_leave_nothing_behind(port: int) -> None:
    """Memory and seconds, and 200 lives, are in bench/host/lone_restarts.py."""
    found = lone_restarts.run(12, port)
    assert (found.made, found.shown, found.falls, found.shared) == (60, 60, 0, 0)
    assert len(found.created) == 1
    assert found.is_flat


def test_a_process_alone_counts_in_plain_lists_until_another_one_comes(start: Callable[..., Worker], port: int) -> None:
    first = start()
    first.record(3)
    first.stop()
    second = start()
    second.record(4)
    assert second.ask(ALONE) == "Cells"
    third = start()
    assert second.ask(ALONE) == third.ask(ALONE) == "MappedCells"
    third.record(1)
    assert total(scrape(port)) == total(third.own_text()) == 8


def test_no_counter_falls_and_no_date_moves_over_restarts_of_every_kind(
    start: Callable[..., Worker], port: int
) -> None:
    calls, shown, dates = 0, 0.0, dict[str, str]()
    for number, end in zip(range(6), itertools.cycle(["stop", "kill", "stop"])):
        worker = start()
        before = total(scrape(port))
        assert before >= shown
        worker.record(2, feature=f"feature-{number % 2}")
        calls += 2
        text = scrape(port)
        shown = total(text)
        assert shown == calls
        assert {series: date for series, date in created(text).items() if series in dates} == dates
        dates = created(text)
        getattr(worker, end)()


def test_restarts_leave_two_files(start: Callable[..., Worker], port: int, folder: Path) -> None:
    for number in range(5):
        worker = start()
        worker.record(1)
        assert total(scrape(port)) == number + 1
        assert len(cell_files(folder)) <= 3
        worker.kill()
    start()
    wait_for(lambda: len(cell_files(folder)) == 2)
    assert total(scrape(port)) == 5


def test_processes_that_end_at_once_leave_no_more_files_than_others(
    start: Callable[..., Worker], port: int, folder: Path
) -> None:
    for _ in range(4):
        start().kill()
    assert len(cell_files(folder)) <= 3


def test_gauges_are_those_of_the_newest_process_and_the_largest_of_a_minute(
    start: Callable[..., Worker], port: int
) -> None:
    first = start()
    first.ask("recorder.record(made(20000))")
    (at,) = re.findall(r"^anthropic_exporter_last_record_timestamp_seconds (\S+)$", scrape(port), re.MULTILINE)
    first.stop()
    second = start()
    text = scrape(port)
    assert f"anthropic_exporter_last_record_timestamp_seconds {at}\n" in text
    assert total(text, "anthropic_request_output_tokens_max") == 20000
    assert total(text, "anthropic_inflight_requests") == 0
    assert 'anthropic_exporter_workers{state="alive"} 1.0' in text
    assert 'anthropic_exporter_workers{state="exited"} 1.0' in text
    second.ask("recorder.record(made(7))")
    assert total(scrape(port), "anthropic_request_output_tokens_max") == 20000


LAST_WORDS = """
import atexit, sys
from anthropic_exporter import Recorder, serve

recorder = Recorder()
count = lambda: recorder.record_usage(model="claude-opus-5-5", usage={"input_tokens": 7, "output_tokens": 1})
atexit.register(count)  # runs after those that are registered later
serve(recorder, port=int(sys.argv[1]))
count()
"""


def test_what_an_exit_handler_counts_after_ours_is_not_lost(
    start: Callable[..., Worker], port: int, folder: Path
) -> None:
    environment = {**os.environ, "ANTHROPIC_EXPORTER_RUNTIME_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", LAST_WORDS, str(port)], env=environment, check=True, timeout=60)
    start()
    assert total(scrape(port)) == 2


def test_pages_of_every_kind_continue(
    port: int, folder: Path, monkeypatch: pytest.MonkeyPatch, start: Callable[..., Worker]
) -> None:
    first = start()
    first.record(3)
    first.stop()
    monkeypatch.setenv("ANTHROPIC_EXPORTER_RUNTIME_DIR", str(folder))
    registry = CollectorRegistry()
    recorder = Recorder(registry=registry)
    with serve(recorder, port=port):
        recorder.record_usage(model="claude-opus-5-5", usage={"input_tokens": 7, "output_tokens": 1}, feature="chat")
        pages = [recorder.render().decode(), generate_latest(registry).decode(), scrape(port)]
        assert [total(page) for page in pages] == [4, 4, 4]


def test_a_recorder_that_is_gone_leaves_its_counts_and_no_open_file(
    port: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_EXPORTER_RUNTIME_DIR", str(folder))
    for _ in range(5):
        recorder = Recorder(registry=None)
        with serve(recorder, port=port):
            recorder.record_usage(model="claude-opus-5-5", usage={"input_tokens": 7, "output_tokens": 1})
        del recorder
    with serve(Recorder(registry=None), port=port):
        assert total(scrape(port)) == 5
        wait_for(lambda: gc.collect() >= 0 and len(cell_files(folder)) == 2)  # their threads may end a little later


def test_a_folder_without_room_is_one_log_line_and_the_process_counts_alone(
    port: int, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setenv("ANTHROPIC_EXPORTER_RUNTIME_DIR", str(folder))
    monkeypatch.setattr(os, "posix_fallocate", full)
    recorder = Recorder(registry=None)
    with caplog.at_level(logging.WARNING), serve(recorder, port=port):
        recorder.record_usage(model="claude-opus-5-5", usage={"input_tokens": 7, "output_tokens": 1})
        assert total(scrape(port)) == 1
    assert ["are not kept for its successor" in record.getMessage() for record in caplog.records] == [True]
    assert cell_files(folder) == []
