"""A disk that is really full below the files of the workers: a tmpfs of a few hundred kilobytes."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from host.workers import Worker, cell_files, scrape, total, wait_for

ONE_LINE = "free space there, or choose another folder with ANTHROPIC_EXPORTER_RUNTIME_DIR (No space left on device)"


class SmallDisk:
    """A tmpfs in a mount namespace of its own. Its files are reached through the process that keeps the namespace."""

    def __init__(self, at: Path, flags: str) -> None:
        script = 'mount -t tmpfs -o size=300k none "$0" && echo mounted && exec cat'
        self._keeper = subprocess.Popen(
            ["unshare", flags, "sh", "-c", script, str(at)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._at, self._is_of_a_user = at, "r" in flags
        self.is_mounted = self._keeper.stdout.readline() == b"mounted\n"
        self.path = Path(f"/proc/{self._keeper.pid}/root{at}")

    def free(self) -> int:
        found = os.statvfs(self.path)
        return found.f_bavail * found.f_frsize

    def fill(self) -> None:
        with (self.path / "other").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while self.free() >= 0:
                file.write(bytes(4096))
        assert self.free() == 0

    def empty(self) -> None:
        (self.path / "other").unlink()

    def grow(self) -> None:
        user = ("--user", "--preserve-credentials") if self._is_of_a_user else ()
        enter = ("nsenter", "--target", str(self._keeper.pid), "--mount", *user)
        subprocess.run([*enter, "mount", "-o", "remount,size=8m", str(self._at)], check=True)

    def close(self) -> None:
        self._keeper.communicate(timeout=20)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if shutil.which("unshare") is None or shutil.which("nsenter") is None:
        pytest.skip("no unshare here")
    for flags in ("-rm", "-m"):
        made = SmallDisk(tmp_path, flags)
        if made.is_mounted:
            yield made
            made.close()
            return
        made.close()
    pytest.skip("no mount namespace can be made here")


@pytest.fixture
def folder(disk: SmallDisk) -> Path:
    return disk.path


def names(worker: int, of: range) -> list[str]:
    return [f"{worker}-{number:x>100}" for number in of]


def record(worker: Worker, features: list[str]) -> None:
    worker.ask(f"[recorder.record(made(7, one)) for one in {features}] and None")


def missed(port: int) -> float:
    return total(scrape(port), "anthropic_exporter_limits_reached_total", 'limit="cell_file"')


def test_workers_whose_files_find_no_room_to_grow_share_everything_once_there_is_some(
    start: Callable[..., Worker], port: int, disk: SmallDisk, capfd: pytest.CaptureFixture[str]
) -> None:
    workers, shown = [start(), start()], 0.0
    for step in range(10):
        for number, worker in enumerate(workers):
            record(worker, names(number, range(6 * step, 6 * step + 6)))
        assert total(scrape(port)) >= shown
        shown = total(scrape(port))
    assert disk.free() < 64 << 10
    assert missed(port) > 0
    seen = [total(worker.own_text()) for worker in workers]
    assert min(seen) >= 60  # all of its own
    assert shown == seen[0] < 120  # the others' are missing, and counted
    assert wait_for(lambda: capfd.readouterr().err.count(ONE_LINE) == 2)
    disk.grow()
    assert wait_for(lambda: total(scrape(port)) == 120)
    for worker in workers:
        wait_for(lambda worker=worker: total(worker.own_text()) == 120)
    for worker in workers:
        record(worker, names(9, range(1)))
        worker.kill()
    start()
    assert wait_for(lambda: total(scrape(port)) == 122)
    assert total(scrape(port), "anthropic_tokens_total") == 122 * 1_007


def test_a_process_that_is_alone_copies_everything_once_there_is_room(
    start: Callable[..., Worker], port: int, folder: Path, disk: SmallDisk
) -> None:
    worker = start()
    record(worker, names(1, range(90)))
    assert total(scrape(port)) == 90
    assert missed(port) > 0
    disk.grow()
    wait_for(lambda: [path for path in folder.rglob("*.cells") if path.stat().st_size > 300 << 10])
    worker.kill()
    start()
    assert total(scrape(port)) == 90


def test_a_service_that_starts_on_a_full_disk_runs_and_is_whole_later(
    start: Callable[..., Worker], port: int, folder: Path, disk: SmallDisk, capfd: pytest.CaptureFixture[str]
) -> None:
    disk.fill()
    workers = [Worker(port, folder) for _ in range(2)]
    try:
        assert [worker.held_port for worker in workers] == [True, False]
        for worker in workers:
            worker.record(3)
        assert [total(worker.own_text()) for worker in workers] == [3, 3]
        assert cell_files(folder) == []
        assert wait_for(lambda: capfd.readouterr().err.count(ONE_LINE) == 2)
        disk.empty()
        assert wait_for(lambda: total(scrape(port)) == 6)
        life = [line for line in scrape(port).splitlines() if line.startswith("anthropic_exporter_start_timestamp")]
        workers[0].kill()
        assert wait_for(lambda: total(scrape(port)) == 6)
        assert life[0] in scrape(port)
    finally:
        for worker in workers:
            worker.kill()


def test_a_folder_that_vanishes_while_the_disk_is_full_is_made_again(
    start: Callable[..., Worker], port: int, folder: Path, disk: SmallDisk
) -> None:
    workers = [start(), start()]
    for worker in workers:
        worker.record(3)
    assert total(scrape(port)) == 6
    for path in folder.iterdir():
        shutil.rmtree(path)
    disk.fill()
    for number, worker in enumerate(workers):
        record(worker, names(number, range(60)))
        assert total(worker.own_text()) >= 63
    disk.empty()
    disk.grow()
    assert wait_for(lambda: total(scrape(port)) == 126)
    assert wait_for(lambda: len(cell_files(folder)) == 2)
    for worker in workers:
        worker.kill()
    start()
    assert total(scrape(port)) == 126
