"""Workers of one host: one port, the whole on it, and nothing lost by kill -9."""

from __future__ import annotations

import os
import random
import socket
import stat
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from bench.host import restarts, rules_of_workers
from prometheus_client import CollectorRegistry

from anthropic_exporter import ConfigurationError, Recorder, serve
from anthropic_exporter.host import runtime_dir
from anthropic_exporter.host.cell_folder import CellFolder
from anthropic_exporter.host.identity import process_name
from host.workers import Worker, cell_files, scrape, total, wait_for
from ports import free_port

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes share counts on POSIX systems only")


def test_the_first_worker_holds_the_port_and_every_answer_is_the_whole(start: Callable[..., Worker], port: int) -> None:
    first, second, third = start(), start(), start()
    assert (first.held_port, second.held_port, third.held_port) == (True, False, False)
    for worker, times in ((first, 3), (second, 16), (third, 11)):
        worker.record(times)
    assert total(scrape(port)) == 30
    assert [total(worker.own_text()) for worker in (first, second, third)] == [30, 30, 30]
    assert round(total(scrape(port), "anthropic_cost_usd_total"), 9) == 0.1242


def test_another_worker_takes_the_port_of_a_killed_one_and_nothing_is_lost(
    start: Callable[..., Worker], port: int
) -> None:
    workers = [start(), start(), start()]
    for worker in workers:
        worker.record(5)
    workers[0].kill()
    assert wait_for(lambda: total(scrape(port)), 30) == 15
    assert 'anthropic_exporter_workers{state="alive"} 2.0' in scrape(port)
    assert 'anthropic_exporter_workers{state="lost"} 1.0' in scrape(port)


def test_a_service_that_restarts_continues_unscraped_counts(start: Callable[..., Worker], port: int) -> None:
    for worker in [start(), start()]:
        worker.record(4)
        worker.kill()
    later = start()
    assert later.held_port
    later.record(1)
    assert total(scrape(port)) == 9


def test_another_port_is_another_service(start: Callable[..., Worker], port: int) -> None:
    here, elsewhere = start(), start(free_port())
    here.record(2)
    elsewhere.record(5)
    assert total(scrape(port)) == 2


def test_a_short_job_beside_a_service_counts_once_and_for_ever(
    start: Callable[..., Worker], port: int, folder: Path
) -> None:
    service = start()
    service.record(2)
    for _ in range(3):
        job = start()
        job.record(1)
        job.stop()
    wait_for(lambda: len(cell_files(folder)) == 2)
    assert [total(scrape(port)) for _ in range(3)] == [5, 5, 5]
    assert 'anthropic_exporter_workers{state="exited"} 3.0' in scrape(port)


HOLD = """
def hold():
    from anthropic_exporter.locking import this_frame
    recorder._waiting.lock.wait(this_frame(), 5)
    held.set()
    threading.Event().wait(0.3)
    recorder._waiting.lock.release(this_frame())

import threading
held = threading.Event()
threading.Thread(target=hold, daemon=True).start()
held.wait()
"""


def test_a_call_that_another_thread_was_about_to_write_counts_though_its_process_ends(
    start: Callable[..., Worker], port: int
) -> None:
    service, worker = start(), start()
    service.record(2)
    worker.record(1)
    worker.ask(f"exec({HOLD!r}, globals())")
    worker.ask("recorder.record(made(7))")
    worker.stop()
    assert total(scrape(port)) == 4


def test_restarts_leave_no_more_files_than_living_workers_and_two(
    start: Callable[..., Worker], port: int, folder: Path
) -> None:
    keeper = start()
    for _ in range(20):
        worker = start()
        worker.record(1)
        worker.kill()
    wait_for(lambda: len(cell_files(folder)) <= 2)
    keeper.record(1)
    assert total(scrape(port)) == 21
    assert total(scrape(port), "anthropic_exporter_workers", 'state="lost"') == 20


def test_kills_of_the_worker_with_the_port_leave_nothing_open_and_lose_nothing() -> None:
    """The long form, with 200 kills and the seconds until another worker answers, is bench/host/restarts.py."""
    found = restarts.run(7)
    assert found.shown == found.made
    assert found.is_flat


def test_kill_9_under_traffic_loses_nothing_and_no_counter_falls(start: Callable[..., Worker], port: int) -> None:
    """Workers and the one with the port; the long form is bench/host/kills.py."""
    chance, workers, recorded, last = random.Random(7), [start(), start(), start()], 0, 0.0
    for _ in range(8):
        for worker in workers:
            worker.record(20)
            recorded += 20
        victim = workers.pop(chance.randrange(len(workers)))
        victim.kill()
        workers.append(start())
        shown = wait_for(lambda: total(scrape(port)), 10)
        assert shown >= last
        last = shown
    assert wait_for(lambda: total(scrape(port)) == recorded)


def test_files_are_for_this_user_alone(start: Callable[..., Worker], folder: Path) -> None:
    start().record(1)
    start().record(1)
    for path in folder.rglob("*"):
        assert stat.S_IMODE(path.lstat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_deleted_folder_is_made_again_and_nothing_falls(
    start: Callable[..., Worker], port: int, folder: Path
) -> None:
    first, second = start(), start()
    first.record(3)
    second.record(4)
    assert total(scrape(port)) == 7
    for path in folder.rglob("*.cells"):
        path.unlink()
    assert total(scrape(port)) == 7
    wait_for(lambda: len(cell_files(folder)) >= 2)
    second.record(1)
    assert total(scrape(port)) == 8


def test_a_folder_that_is_a_link_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "target").mkdir(mode=0o700)
    (tmp_path / f"anthropic-exporter-{os.getuid()}").symlink_to(tmp_path / "target")
    monkeypatch.setenv("ANTHROPIC_EXPORTER_RUNTIME_DIR", str(tmp_path))
    with serve(Recorder(registry=registry), port=free_port()) as handle:
        assert handle.holds_port
    assert list((tmp_path / "target").iterdir()) == []
    assert "this process counts alone" in caplog.text


def test_a_port_of_another_program_is_one_error_line_and_is_taken_once_it_is_free(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        handle = serve(Recorder(registry=registry), port=port)
        assert not handle.holds_port
        assert handle.port == port
        assert [record.levelname for record in caplog.records] == ["ERROR"]
        assert f"cannot listen on 127.0.0.1:{port}: the port is in use" in caplog.text
        with pytest.raises(ConfigurationError, match="the port is in use"):
            serve(Recorder(registry=None), port=port, required=True)
    with handle:
        wait_for(lambda: handle.holds_port)
        assert total(scrape(port), "anthropic_exporter_workers", 'state="alive"') == 1


def test_closing_gives_the_port_to_another_worker(start: Callable[..., Worker], port: int) -> None:
    first, second = start(), start()
    first.record(1)
    second.record(2)
    first.ask("handle.close()")
    assert wait_for(lambda: second.ask("handle.holds_port") == "True")
    assert total(scrape(port)) == 3


def test_serving_again_takes_the_place_of_the_handle_before(
    registry: CollectorRegistry, port: int, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_EXPORTER_RUNTIME_DIR", str(folder))
    recorder = Recorder(registry=registry)
    first = serve(recorder, port=port)
    recorder.record_usage(model="claude-opus-5-5", usage={"input_tokens": 7, "output_tokens": 1})
    with serve(recorder, port=port, live=True) as second:
        assert (first.holds_port, second.holds_port) == (False, True)
        assert total(scrape(port)) == 1
        with urllib.request.urlopen(f"{second.url}/live", timeout=10) as page:
            assert page.status == 200
        first.close()
        assert second.holds_port
        assert total(scrape(port)) == 1
        assert len(cell_files(folder)) == 1


def test_a_full_disk_below_the_files_ends_no_process_and_hides_no_call_of_its_own(
    start: Callable[..., Worker], port: int
) -> None:
    """As ENOSPC does, the limit on the size of a file refuses the space that is reserved before a page is written."""
    first, second = start(), start()
    first.record(2)
    second.record(3)
    second.ask("__import__('resource').setrlimit(1, (0, __import__('resource').RLIM_INFINITY))")  # RLIMIT_FSIZE
    for number in range(30):
        second.record(1, feature=f"{number:->100}")
    second.record(4)  # of a label set that has its place
    assert total(second.own_text()) == 39
    refused = 'limit="cell_file"'
    assert wait_for(lambda: total(scrape(port), "anthropic_exporter_limits_reached_total", refused) >= 30)
    assert wait_for(lambda: total(scrape(port), "anthropic_requests_total", 'feature="chat"') == 9)
    second.stop()
    assert wait_for(lambda: total(scrape(port), "anthropic_requests_total", 'feature="chat"') == 9)


def test_workers_of_one_host_cost_the_rules_what_one_process_costs() -> None:
    """Rules cost by series. bench/host/rules_of_workers.py compares 20 workers, in a real Prometheus too."""
    one, three = rules_of_workers.page(1), rules_of_workers.page(3)
    assert total(three) == 3 * total(one) == 360
    assert rules_of_workers.series_of(three) <= 1.1 * rules_of_workers.series_of(one)


def test_a_relative_folder_is_that_of_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTHROPIC_EXPORTER_RUNTIME_DIR", ".")
    path = runtime_dir.port_folder(9464)
    monkeypatch.chdir("/")
    assert path == tmp_path / f"anthropic-exporter-{os.getuid()}" / "port-9464"
    assert path.is_dir()


def test_nothing_is_written_into_a_file_that_got_the_descriptor_of_the_lock_file(tmp_path: Path) -> None:
    folder = CellFolder(tmp_path / "service")
    assert folder.take_port()
    closed = folder.lock_file()
    os.close(closed)  # as a daemon does with all that it inherited
    other = os.open(tmp_path / "other", os.O_RDWR | os.O_CREAT)
    assert other == closed
    folder.remember()
    folder.name_holder(holds=True)
    assert os.fstat(other).st_size == 0
    assert folder.lock_file() not in (None, other)
    assert folder.holder() == process_name(os.getpid())
    os.close(other)
    folder.forget()


def test_a_file_of_ended_processes_that_cannot_be_read_is_one_log_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ended.cells").write_bytes(b"of another program")
    folder = CellFolder(tmp_path)
    for _ in range(3):
        folder.sources()
    assert [record.getMessage().partition(" in ")[0] for record in caplog.records] == ["the file of ended processes"]
