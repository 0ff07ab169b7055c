"""A system that gives no thread, as under `pids_limit`: everything starts, and goes on when there is one."""

from __future__ import annotations

import os
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import Call, Recorder, publish, serve, threads
from anthropic_exporter.attribution import Attribution
from anthropic_exporter.guard.following import Following
from anthropic_exporter.transport.address import parse
from collectors import value_of, wait_until
from ports import free_port
from queue_engines import Redis


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(registry=None)


@pytest.fixture
def no_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Let no thread start; returns what lets them start again."""
    started = threading.Thread.start

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    yield lambda: monkeypatch.setattr(threading.Thread, "start", started)
    threads.waiting.clear()


def missed(recorder: Recorder) -> float:
    text = recorder.render().decode()
    return value_of(text, "anthropic_exporter_record_errors_total", stage="threads")


def test_a_port_is_served_once_there_is_a_thread(no_threads: Callable[..., Any], recorder: Recorder) -> None:
    with serve(recorder, port=0) as server:
        assert missed(recorder) == 1.0
        no_threads()
        recorder.begin(1, "claude-opus-5-5", Attribution())  # the next call of the application
        with urllib.request.urlopen(f"{server.url}/metrics", timeout=20) as response:
            assert b'stage="threads"} 1.0' in response.read()


def test_a_server_that_never_had_a_thread_gives_its_port_back(
    no_threads: Callable[..., Any], recorder: Recorder
) -> None:
    port = free_port()
    with serve(recorder, port=port):
        assert threads.missing() > 0
    no_threads()
    with serve(Recorder(registry=None), port=port, required=True) as server:
        assert server.port == port


def test_a_publisher_sends_once_there_is_a_thread(
    no_threads: Callable[..., Any], recorder: Recorder, call: Callable[..., Call], tmp_path: Path
) -> None:
    pytest.importorskip("redis")
    with Redis(tmp_path / "redis") as queue:
        publisher = publish(recorder, queue.url, service="api", period_seconds=0.05)
        recorder.record(call(output=171))
        assert missed(recorder) == 1.0
        no_threads()
        recorder.render()  # a scrape
        wait_until(lambda: publisher.identity)
        publisher.close()


def test_a_publisher_that_ends_without_a_thread_sends_remaining_cells(
    no_threads: Callable[..., Any], recorder: Recorder, call: Callable[..., Call], tmp_path: Path
) -> None:
    pytest.importorskip("redis")
    with Redis(tmp_path / "redis") as queue:
        publisher = publish(recorder, queue.url, service="api")
        recorder.record(call(output=171))
        assert publisher.close()
        no_threads()


def test_the_fleets_breakers_are_followed_once_there_is_a_thread(
    no_threads: Callable[..., Any], recorder: Recorder
) -> None:
    pytest.importorskip("redis")
    following = Following(parse(f"redis://127.0.0.1:{free_port()}"), recorder, lambda *_: None)
    assert missed(recorder) == 1.0
    no_threads()
    threads.retry()
    wait_until(lambda: any(one.name == "anthropic-guard-follow" for one in threading.enumerate()))
    following.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_threads_that_a_parent_waits_for_are_not_those_of_its_child() -> None:
    started: list[Any] = []
    threads.waiting.append(threads._Waiting(os.getpid() + 1, started.append, (1,), "other"))
    assert threads.missing() == 0
    threads.retry()
    assert (started, len(threads.waiting)) == ([], 0)


@pytest.mark.parametrize("kind", [RuntimeError, KeyError])
def test_what_interrupts_the_start_of_a_thread_reaches_the_application(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """As `Thread.start` does where a signal handler raises in it: an error about its own books hides the cause."""

    class Interrupted(Exception):  # noqa: N818 - as an application names its own
        pass

    def interrupted(_: threading.Thread) -> None:
        try:
            raise Interrupted
        finally:
            raise kind("release unlocked lock")

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(Interrupted):
        threads.start(lambda: None, name="test")


def test_no_thread_to_be_had_is_no_error_also_where_the_application_handles_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    try:
        int("of the application")
    except ValueError:
        assert threads.start(lambda: None, name="test") is None
