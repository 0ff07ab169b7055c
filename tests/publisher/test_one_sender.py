"""Processes that count together have one sender: whoever ends, however it ends, nothing is lost or counted twice."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter.collector.merge import Fleet
from anthropic_exporter.host.cell_folder import CellFolder
from anthropic_exporter.host.shipping import Shipping
from anthropic_exporter.transport.address import parse
from anthropic_exporter.transport.cells_message import decode
from anthropic_exporter.transport.opening import open_transport
from collectors import wait_until
from fleet_messages import total
from ports import free_port
from queue_engines import Redis

pytest.importorskip("redis")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes count together where there is fork")
REQUESTS = "anthropic_requests_total"
PROCESS = """
    import multiprocessing, os, sys
    from anthropic_exporter import Call, Inference, Recorder, Tokens, publish, publishing, serve

    URL, PORT = sys.argv[1], int(sys.argv[2])
    recorder = Recorder(registry=None)

    def record(times):
        call = Call("claude-opus-5-5", inferences=(Inference("claude-opus-5-5", Tokens(1000, 0, 0, 0, 7)),),
                    feature="chat", started_at=1_795_262_400.0, duration_seconds=1.5)
        for _ in range(times):
            recorder.record(call)

    def serving():
        serve(recorder, port=PORT)

    def publishes():
        global publisher
        publisher = publish(recorder, URL, service="api", host="web-1", period_seconds=0.05)

    def shown(name):
        lines = recorder.render().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{"))

    def forked(work):
        child = os.fork()
        if child == 0:
            work()
            publisher.close()
            os._exit(0)
        return os.waitpid(child, 0)[1]

    print("ready", flush=True)
    for line in sys.stdin:
        print(eval(line), flush=True)
"""


class Process:
    """A process that evaluates expressions."""

    def __init__(self, url: str, port: int, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore::DeprecationWarning", "-c", textwrap.dedent(PROCESS), url, str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "ANTHROPIC_EXPORTER_RUNTIME_DIR": str(folder)},
        )
        assert self.process.stdout.readline() == "ready\n"

    def ask(self, *expressions: str) -> str:
        for expression in expressions:
            self.process.stdin.write(expression + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline().strip()
        return answer

    def kill(self) -> None:
        self.process.kill()
        self.stop()

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


class Queue:
    """What arrived, merged as a collector merges it."""

    def __init__(self, url: str) -> None:
        self.fleet = Fleet("life")
        self.messages: list[Any] = []
        self._transport = open_transport(parse(url), "anthropic-cells")

    def read(self) -> float:
        for one in self._transport.receive(1000, 0.01):
            self.messages.append(decode(one.data))
            self.fleet.take(self.messages[-1], time.monotonic())
        return total(self.fleet, REQUESTS)

    def wait_for(self, requests: float) -> None:
        wait_until(lambda: self.read() == requests, lambda: f"{self.read()} of {requests} requests")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def queue(server: Redis) -> Queue:
    return Queue(server.url)


@pytest.fixture
def start(server: Redis, tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start a process of the service."""
    port = free_port()
    with contextlib.ExitStack() as owned:

        def make(*expressions: str) -> Process:
            process = Process(server.url, port, tmp_path)
            owned.callback(lambda: process.process.poll() is None and process.kill())
            process.ask(*expressions)
            return process

        yield make


def test_one_process_sends_for_all(start: Callable[..., Process], queue: Queue) -> None:
    first, second = start("serving()", "publishes()"), start("serving()", "publishes()")
    first.ask("record(3)")
    second.ask("record(4)")
    queue.wait_for(7.0)
    assert len({one.identity for one in queue.messages}) == 1
    assert len({one.epoch for one in queue.messages}) <= 2  # the first one's alone, and with the second
    assert queue.messages[-1].lasting


def test_a_killed_sender_leaves_nothing_behind(start: Callable[..., Process], queue: Queue) -> None:
    first, second = start("serving()", "publishes()"), start("serving()", "publishes()")
    first.ask("record(3)")
    queue.wait_for(3.0)
    first.ask("publisher._stopped.set()", "record(5)")  # in the middle of a period
    first.kill()
    second.ask("record(1)")
    queue.wait_for(9.0)


def test_what_a_service_left_is_sent_when_it_starts_again(start: Callable[..., Process], queue: Queue) -> None:
    first = start("serving()", "publishes()", "record(3)")
    queue.wait_for(3.0)
    first.ask("publisher._stopped.set()", "record(5)")
    first.kill()
    start("serving()", "publishes()", "record(1)")
    queue.wait_for(9.0)
    assert len({one.identity for one in queue.messages}) == 1


def test_a_process_that_published_before_it_served_is_not_counted_twice(
    start: Callable[..., Process], queue: Queue
) -> None:
    first = start("serving()", "publishes()", "record(3)")
    queue.wait_for(3.0)
    second = start("publishes()", "record(4)")
    queue.wait_for(7.0)
    alone = queue.messages[-1].identity if not queue.messages[-1].lasting else second.ask("publisher.identity")
    second.ask("serving()", "record(5)")
    first.ask("record(1)")
    queue.wait_for(13.0)
    assert alone in queue.fleet.replaced
    assert len(queue.fleet.members) == 1


def test_forked_children_are_sent_with_their_parent(start: Callable[..., Process], queue: Queue) -> None:
    parent = start("publishes()", "record(3)")
    queue.wait_for(3.0)
    assert parent.ask("forked(lambda: record(4))") == "0"
    parent.ask("record(5)")
    queue.wait_for(12.0)
    assert parent.ask("forked(lambda: record(1))") == "0"
    queue.wait_for(13.0)
    assert len(queue.fleet.members) == 1


def test_processes_that_forked_first_and_serve_later_are_counted_once(
    start: Callable[..., Process], queue: Queue
) -> None:
    parent = start("publishes()", "record(3)")
    parent.ask("forked(lambda: record(4))")
    queue.wait_for(7.0)
    parent.ask("serving()", "record(5)")
    queue.wait_for(12.0)
    start("serving()", "publishes()", "record(1)")
    queue.wait_for(13.0)
    assert len(queue.fleet.members) == 1


def test_children_that_ended_long_before_their_parent_serves_are_counted(
    start: Callable[..., Process], queue: Queue, tmp_path: Path
) -> None:
    """Their files are folded into one by then."""
    parent = start("publishes()", "record(3)")
    for _ in range(2):
        parent.ask("forked(lambda: record(4))")
    wait_until(lambda: [one.name for one in tmp_path.rglob("family-*/*.cells")].count("ended.cells") == 1)
    wait_until(lambda: len(list(tmp_path.rglob("family-*/*.cells"))) == 2)  # that one, and the parent's
    assert parent.ask("serving()", "record(5)", "shown('anthropic_requests_total')") == "16.0"
    assert parent.ask("shown('anthropic_exporter_workers')") == "3.0"
    queue.wait_for(16.0)
    start("serving()", "publishes()", "record(1)")
    queue.wait_for(17.0)


def test_the_last_one_says_that_the_host_ends(start: Callable[..., Process], queue: Queue) -> None:
    processes = [start("serving()", "publishes()", "record(1)") for _ in range(3)]
    queue.wait_for(3.0)
    for process in processes[:2]:
        process.stop()
        assert not any(one.final for one in queue.messages)
        queue.read()
    processes[2].stop()
    queue.read()
    assert [one.finished for one in queue.fleet.members.values()] == [True]


def test_all_ending_at_once_say_that_the_host_ends(start: Callable[..., Process], queue: Queue) -> None:
    processes = [start("serving()", "publishes()", "record(1)") for _ in range(3)]
    queue.wait_for(3.0)
    for process in processes:
        process.process.stdin.close()
    for process in processes:
        process.process.wait(30)
        process.process.stdout.close()
    queue.wait_for(3.0)
    assert [one.finished for one in queue.fleet.members.values()] == [True]


def test_each_queue_has_a_sender_of_its_own(tmp_path: Path) -> None:
    folder = CellFolder(tmp_path)
    child = os.fork()
    if child == 0:  # another process, so that it has locks of its own
        taken = Shipping(CellFolder(tmp_path), "redis://one api").take()
        other = Shipping(CellFolder(tmp_path), "redis://two api").take()
        os._exit(2 * taken + other)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert Shipping(folder, "redis://one api").take()


def test_an_epoch_is_above_the_one_before_although_the_clock_was_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipping = Shipping(CellFolder(tmp_path), "redis://one api")
    monkeypatch.setattr(time, "time_ns", lambda: 1_795_262_400_000_000_000)
    first = shipping.next_epoch()
    monkeypatch.setattr(time, "time_ns", lambda: 1_795_258_800_000_000_000)  # an hour earlier
    assert Shipping(CellFolder(tmp_path), "redis://one api").next_epoch() == first + 1


def test_identities_replaced_long_ago_are_forgotten(tmp_path: Path) -> None:
    for name, age in (("aa", 60.0), ("bb", 9 * 86_400.0), ("not an identity", 0.0)):
        path = tmp_path / f"{name}.replaced"
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    assert Shipping(CellFolder(tmp_path), "q").replaced("cc") == ("aa",)
    assert not (tmp_path / "bb.replaced").exists()
