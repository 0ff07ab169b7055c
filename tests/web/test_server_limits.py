"""A server that is attacked: the process that it is a guest of keeps its descriptors, threads, memory and time."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import resource
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

import pytest

from anthropic_exporter import Recorder
from anthropic_exporter.serving import serve_alone
from anthropic_exporter.web import limits
from anthropic_exporter.web.handler_threads import HandlerThreads
from anthropic_exporter.web.limits import CpuBudget, ServerLimits
from anthropic_exporter.web.routes import TEXT, Answer, Request, Route
from support import Clock

LARGE = 3_200_000
POST = b"POST /take HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


class Site:
    """A server of small limits with slow and large routes, and what a test asks it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, routes: tuple[Route, ...] = (), **changed: int) -> None:
        monkeypatch.setattr(limits, "of_this_process", lambda: ServerLimits()._replace(**changed))
        self.recorder = Recorder(registry=None)
        self.server = serve_alone(self.recorder, port=0, routes=routes)
        self.opened = contextlib.ExitStack()
        self.opened.callback(self.server.close)

    def connect(self, sent: bytes = b"") -> socket.socket:
        connection = socket.create_connection((self.server.host, self.server.port), timeout=10)
        self.opened.enter_context(connection)
        connection.sendall(sent)
        return connection

    def get(self, path: str = "/-/healthy") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def reached(self) -> dict[str, float]:
        readings = self.recorder.read().get("anthropic_exporter_limits_reached_total", ())
        return {reading.labels[0]: reading.values[0] for reading in readings}


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Site]]:
    with contextlib.ExitStack() as opened:

        def make(*routes: Route, **changed: int) -> Site:
            made = Site(monkeypatch, routes, **changed)
            opened.enter_context(made.opened)
            return made

        yield make


def request(path: str = "/-/healthy", *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: localhost", *headers, "", "")).encode()


def end(connection: socket.socket) -> bytes:
    """What the server sends until it closes."""
    with connection, contextlib.suppress(ConnectionResetError):
        return connection.makefile("rb").read()


def wait_until(holds: Callable[..., Any]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# -- descriptors and threads


def test_idle_connections_cost_no_thread_and_the_longest_idle_make_room(site: Callable[..., Site]) -> None:
    attacked = site(connections=10)
    before = threading.active_count()
    idle = [attacked.connect() for _ in range(50)]
    assert attacked.get() == (200, b"healthy\n")
    assert threading.active_count() <= before + 4
    assert len(attacked.server._loop._connections) <= 10
    assert attacked.reached()["server_connections"] >= 40
    assert end(idle[0]) == b""


def test_clients_that_drip_make_room_for_a_scrape(site: Callable[..., Site]) -> None:
    attacked = site(connections=10)
    _ = [attacked.connect(b"GET /metrics HTTP/1.1\r\nX: ") for _ in range(30)]
    assert attacked.get("/metrics")[0] == 200


def test_readers_that_stop_make_room_for_a_scrape(site: Callable[..., Site]) -> None:
    attacked = site(
        Route("/large", lambda _: Answer(HTTPStatus.OK, TEXT, b"x" * LARGE), share=lambda _: 0), connections=5
    )
    _ = [attacked.connect(request("/large")) for _ in range(5)]
    wait_until(lambda: sum(bool(one.page) for one in list(attacked.server._loop._connections)) == 5)
    wait_until(lambda: b"" != attacked.connect(request("/metrics")).recv(1000)[9:12] == b"200")


def test_where_every_client_is_being_served_a_new_one_waits_for_room(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anthropic_exporter.web.accepting._FULL_SECONDS", 60.0)
    held, started = threading.Event(), threading.Semaphore(0)

    def wait(_: Any) -> Any:
        started.release()
        held.wait(10)
        return Answer(HTTPStatus.OK, TEXT, b"done")

    attacked = site(Route("/wait", wait), connections=3, threads=2)
    waiting = [attacked.connect(request("/wait")) for _ in range(3)]
    assert started.acquire(timeout=10)
    assert started.acquire(timeout=10)
    later = [attacked.connect(request()) for _ in range(5)]
    wait_until(lambda: attacked.server._loop._acceptor.waiting is not None)
    held.set()
    assert all(one.recv(1_000).startswith(b"HTTP/1.1 200 ") for one in (*waiting, *later))


def test_a_new_connection_keeps_its_place_until_it_had_time_to_ask(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anthropic_exporter.web.accepting._FULL_SECONDS", 60.0)
    monkeypatch.setattr("anthropic_exporter.web.event_loop._FRESH_SECONDS", 60.0)
    attacked = site(connections=2)
    first = [attacked.connect() for _ in range(2)]
    wait_until(lambda: len(attacked.server._loop._connections) == 2)
    later = attacked.connect(request())
    wait_until(lambda: attacked.reached().get("server_connections"))
    for one in first:
        one.sendall(request())
    assert all(one.recv(1_000).startswith(b"HTTP/1.1 200 ") for one in (*first, later))


def test_where_every_client_is_being_served_for_long_a_new_one_is_turned_away(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anthropic_exporter.web.accepting._FULL_SECONDS", 0.1)
    held, started = threading.Event(), threading.Semaphore(0)

    def wait(_: Any) -> Any:
        started.release()
        held.wait(10)
        return Answer(HTTPStatus.OK, TEXT, b"done")

    attacked = site(Route("/wait", wait), connections=3, threads=2)
    waiting = [attacked.connect(request("/wait", "Connection: close")) for _ in range(3)]
    assert started.acquire(timeout=10)
    assert started.acquire(timeout=10)
    wait_until(lambda: len(attacked.server._loop._wanting) == 0 and len(attacked.server._loop._connections) == 3)
    assert end(attacked.connect()).startswith(b"HTTP/1.1 503 ")
    held.set()
    assert all(end(one).endswith(b"done") for one in waiting)


def test_quick_routes_answer_while_every_thread_is_held(site: Callable[..., Site]) -> None:
    held = threading.Event()
    attacked = site(Route("/wait", lambda _: held.wait(10)), threads=2, handler_seconds=0.3)  # type: ignore[arg-type, return-value]
    waiting = [attacked.connect(request("/wait")) for _ in range(5)]
    assert attacked.get() == (200, b"healthy\n")
    assert {end(one).partition(b"\r\n")[0] for one in waiting} == {b"HTTP/1.1 503 Service Unavailable"}
    assert attacked.reached()["server_handler_seconds"] == 5
    held.set()


def test_connections_stay_below_the_limit_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for soft in (20, 256, 1024, 20_000, resource.RLIM_INFINITY):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=soft: (soft, soft))
        found.append(limits.of_this_process().connections)
    assert found == [4, 32, 128, 128, 128]


def test_without_descriptors_the_server_waits_instead_of_spinning_and_comes_back(site: Callable[..., Site]) -> None:
    """The application itself takes the last descriptor: a client waits in the backlog meanwhile."""
    attacked = site()
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as client:
        taken = os.dup(0)
        os.close(taken)
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken, hard))
        try:
            client.connect((attacked.server.host, attacked.server.port))
            wait_until(lambda: attacked.reached().get("server_descriptors", 0) >= 1)
            began = time.process_time()
            time.sleep(0.3)
            assert time.process_time() - began < 0.1
            assert attacked.reached()["server_descriptors"] <= 5
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (before, hard))
        client.settimeout(10)
        client.sendall(request())
        assert client.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_a_system_without_threads_answers_on_the_thread_it_has(
    monkeypatch: pytest.MonkeyPatch, site: Callable[..., Site]
) -> None:
    attacked = site()

    def refuse(_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert attacked.get("/metrics")[0] == 200
    assert attacked.reached()["server_threads"] == 1


def test_handler_threads_are_few_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anthropic_exporter.web.handler_threads._IDLE_SECONDS", 0.05)
    threads, done, gate = HandlerThreads(3, lambda: None), [], threading.Event()
    for number in range(20):
        threads.run(lambda number=number: (gate.wait(10), done.append(number)))  # type: ignore[arg-type, misc]
    assert sum(one.name == "anthropic-exporter-handler" for one in threading.enumerate()) <= 3
    gate.set()
    wait_until(lambda: sorted(done) == list(range(20)) and threads._threads == 0)
    threads.run(lambda: done.append("again"))
    wait_until(lambda: done[-1] == "again")
    threads.close()


# -- time


@pytest.mark.parametrize(
    ("limit", "sent", "status"),
    [
        ("head_seconds", b"GET / HTTP/1.1\r\nX: ", b"HTTP/1.1 408 "),
        ("body_seconds", b"%bContent-Length: 99\r\n\r\n{" % POST, b"HTTP/1.1 408 "),
        ("idle_seconds", b"", b""),
    ],
)
def test_a_client_that_drips_is_cut_off_by_the_clock_and_not_by_its_last_byte(
    site: Callable[..., Site], limit: Any, sent: Any, status: bytes | int
) -> None:
    take = Route("/take", lambda _: Answer(HTTPStatus.OK, TEXT, b""), method="POST", max_body_bytes=99)
    attacked = site(take, **{limit: 0.4})
    connection = attacked.connect(sent)
    began = time.monotonic()
    while not select.select([connection], [], [], 0.05)[0]:
        if sent:
            connection.sendall(b" ")
    assert 0.2 < time.monotonic() - began < 5
    assert end(connection).startswith(status)  # type: ignore[arg-type]
    assert attacked.reached() == ({} if limit == "idle_seconds" else {f"server_{limit}": 1.0})


def test_a_reader_that_stops_is_cut_off(site: Callable[..., Site]) -> None:
    attacked = site(Route("/large", lambda _: Answer(HTTPStatus.OK, TEXT, b"x" * 30_000_000)), answer_seconds=0.4)
    connection = attacked.connect(request("/large"))
    wait_until(lambda: attacked.reached() == {"server_answer_seconds": 1.0})
    assert len(end(connection)) < 30_000_000


def test_processor_time_is_a_quarter_of_a_core_and_what_was_saved() -> None:
    clock = Clock(100.0)
    budget = CpuBudget(clock)
    assert budget.spend(2.0) == 0.0
    assert budget.spend(0.1) == pytest.approx(0.4)
    clock.now += 0.4
    assert budget.spend(0.0) == 0.0
    clock.now += 1000
    assert (budget.spend(2.0), budget.spend(10.0)) == (0.0, 0.5)


def test_a_flood_leaves_the_processor_to_the_application(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_CPU_BURST_SECONDS", 0.02)
    monkeypatch.setattr(limits, "_CPU_SHARE", 0.02)  # less than a busy machine gives the flood
    attacked = site(Route("/busy", burn))
    began, used = time.monotonic(), time.process_time()
    connections = [attacked.connect() for _ in range(4)]
    while time.monotonic() - began < 1:
        for connection in connections:
            connection.sendall(request("/busy"))
        for connection in connections:
            connection.recv(65_536)
    assert (time.process_time() - used) / (time.monotonic() - began) < 0.6
    assert attacked.reached()["server_cpu"] >= 1


def burn(_: Any) -> Any:
    until = time.thread_time() + 0.01
    while time.thread_time() < until:
        pass
    return Answer(HTTPStatus.OK, TEXT, b"x")


# -- memory


def test_readers_of_one_page_share_it(site: Callable[..., Site]) -> None:
    """What each connection holds is the same object, made once for all who asked before it was begun."""
    made, first = [], threading.Event()

    def page(_: Any) -> Any:
        first.wait(10)
        made.append(1)
        return Answer(HTTPStatus.OK, TEXT, b"x" * LARGE)

    attacked = site(Route("/page", page, share=lambda _: 0))
    _ = [attacked.connect(request("/page")) for _ in range(40)]
    wait_until(lambda: sum(map(len, attacked.server._loop._wanting.values())) == 39)
    first.set()
    wait_until(lambda: sum(len(one.page) == LARGE for one in list(attacked.server._loop._connections)) == 40)
    assert len({id(one.page) for one in attacked.server._loop._connections}) == 2
    assert len(made) == 2


def test_slow_readers_of_different_pages_are_cut_off_but_for_the_newest(site: Callable[..., Site]) -> None:
    count = iter(range(100))
    attacked = site(Route("/page", lambda _: Answer(HTTPStatus.OK, TEXT, b"%d" % next(count) * LARGE)), pages=3)
    readers = []
    for _ in range(10):
        readers.append(attacked.connect(request("/page")))
        assert readers[-1].recv(20).startswith(b"HTTP/1.1 200")
    wait_until(lambda: attacked.reached() == {"server_pages": 7.0})
    for connection in readers[-3:]:
        assert b"Content-Length: 3200000" in connection.recv(500)
    assert sum(bool(one.page) for one in attacked.server._loop._connections) == 3


def test_bodies_are_bounded_together(site: Callable[..., Site]) -> None:
    take = Route("/take", lambda _: Answer(HTTPStatus.OK, TEXT, b""), method="POST", max_body_bytes=1000)
    attacked = site(take, body_bytes=2500)
    post = POST + b"Content-Length: 1000\r\n\r\n{"
    first = [attacked.connect(post) for _ in range(2)]
    wait_until(lambda: attacked.server._loop._body_bytes == 2000)
    assert end(attacked.connect(post)).startswith(b"HTTP/1.1 503 ")
    first[0].sendall(b" " * 999)
    assert first[0].recv(100).startswith(b"HTTP/1.1 200 ")
    wait_until(lambda: attacked.server._loop._body_bytes == 1000)
    first[1].close()
    wait_until(lambda: attacked.server._loop._body_bytes == 0)


def test_headers_are_bounded(site: Callable[..., Site]) -> None:
    attacked = site()
    assert end(attacked.connect(b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 4000)).startswith(b"HTTP/1.1 431 ")
    assert end(attacked.connect(b"x" * 20_000)).startswith(b"HTTP/1.1 431 ")
    assert attacked.reached() == {"server_head_bytes": 2.0}


# -- desync


@pytest.mark.parametrize("length", ["Content-Length: 36", "Transfer-Encoding: chunked", "Content-Length: x"])
def test_an_unexpected_body_is_not_a_second_request(site: Callable[..., Site], length: str) -> None:
    attacked = site()
    said = end(attacked.connect(request("/-/healthy", length) + b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"))
    assert said.startswith(b"HTTP/1.1 400 ")
    assert said.count(b"HTTP/1.1") == 1
    assert b"Connection: close" in said


def test_pipelined_requests_are_answered_in_order(site: Callable[..., Site]) -> None:
    attacked = site()
    said = end(attacked.connect(request() + request("/nowhere") + request("/-/healthy", "Connection: close")))
    assert re.findall(rb"HTTP/1\.1 (\d+)", said) == [b"200", b"404", b"200"]
    said = end(attacked.connect(request() * 300 + request("/metrics", "Connection: close")))
    assert said.count(b"HTTP/1.1 200 OK") == 301


# -- fork


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="a fork beside threads warns from 3.12 on")
def test_a_forked_child_holds_no_socket_and_disturbs_no_connection(site: Callable[..., Site]) -> None:
    attacked = site()
    kept = attacked.connect(request())
    assert kept.recv(1000).startswith(b"HTTP/1.1 200 ")
    (read, write), (ready, is_ready) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:  # the child lives until the test has looked at its parent
        os.close(write)
        os.write(is_ready, b".")
        os.read(read, 1)
        os._exit(0)
    os.read(ready, 1)
    for descriptor in (read, ready, is_ready):
        os.close(descriptor)
    kept.sendall(request())
    assert kept.recv(1000).startswith(b"HTTP/1.1 200 ")
    assert attacked.get() == (200, b"healthy\n")
    port = attacked.server.port
    attacked.server.close()
    with pytest.raises(ConnectionRefusedError):
        attacked.get()
    with serve_alone(attacked.recorder, port=port) as again:
        assert again.port == port
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0


def test_closing_waits_for_an_answer_that_is_under_way(site: Callable[..., Site]) -> None:
    began, finish = threading.Event(), threading.Event()

    def slow(_: Request) -> Answer:
        began.set()
        finish.wait(10)
        return Answer(HTTPStatus.OK, TEXT, b"whole")

    attacked = site(Route("/slow", slow))
    connection = attacked.connect(request("/slow"))
    assert began.wait(10)
    closing = threading.Thread(target=attacked.server.close)
    closing.start()
    wait_until(lambda: attacked.server._loop._acceptor._listener.fileno() < 0)
    finish.set()
    closing.join(10)
    assert end(connection).endswith(b"whole")
