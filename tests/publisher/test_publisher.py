"""Whatever happens to the queue, the application goes on, and everything arrives when the queue is back."""

from __future__ import annotations

import logging
import shutil
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anthropic_exporter import Call, Recorder, publish
from anthropic_exporter.collector.merge import Fleet
from anthropic_exporter.publisher import publisher as module
from anthropic_exporter.publisher.changes import Changes, Origin
from anthropic_exporter.transport.address import parse
from anthropic_exporter.transport.cells_message import decode, encode
from anthropic_exporter.transport.opening import open_transport
from anthropic_exporter.transport.redis_streams import RedisStream
from collectors import value_of, wait_until
from fleet_messages import total
from ports import free_port
from queue_engines import Redis

redis = pytest.importorskip("redis")
TOKENS = "anthropic_tokens_total"
ORIGIN = Origin("one", 1, "api", "web-1", 1.0, "0.1.0")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(registry=None)


def arrived(url: str) -> Fleet:
    """Everything in the stream, merged."""
    fleet, transport = Fleet("life"), open_transport(parse(url), "anthropic-cells")
    while found := transport.receive(1000, 0.01):
        for one in found:
            fleet.take(decode(one.data), 0.0)
    transport.close()
    return fleet


def results(recorder: Recorder) -> dict[str, float]:
    text = recorder.render().decode()
    names = ("sent", "unreachable", "timeout", "refused", "full", "failed")
    found = {name: value_of(text, "anthropic_publish_messages_total", result=name) for name in names}
    return {name: value for name, value in found.items() if value}


def test_only_what_changed_is_sent(recorder: Recorder, call: Callable[..., Call]) -> None:
    recorder.record(call(output=171, feature="chat"))
    changes = Changes(ORIGIN)
    first = changes.find(recorder.snapshot())
    changes.accepted(first)
    recorder.record(call(output=29, feature="chat"))
    second = changes.find(recorder.snapshot())
    assert second.definitions == []
    assert len(second.numbers) < len(first.numbers)
    assert 200.0 in second.values
    assert 171.0 not in second.values


def test_what_the_queue_did_not_take_is_sent_with_the_next_message(
    recorder: Recorder, call: Callable[..., Call]
) -> None:
    changes, fleet = Changes(ORIGIN), Fleet("life")
    for output in (171, 29, 1):
        recorder.record(call(output=output))
        lost = changes.find(recorder.snapshot())
    for one in changes.messages(lost, 1.0):
        fleet.take(decode(encode(one)), 0.0)
    assert total(fleet, TOKENS, type="output") == 201.0


def test_a_message_says_how_many_before_it_were_not_accepted(recorder: Recorder, call: Callable[..., Call]) -> None:
    changes = Changes(ORIGIN)
    recorder.record(call(output=171))
    unsent = []
    for accepted in (True, False, False, True, True):
        changed = changes.find(recorder.snapshot())
        unsent += [(decode(encode(one)).sequence, one.unsent) for one in changes.messages(changed, 1.0)]
        if accepted:
            changes.accepted(changed)
    assert unsent == [(1, 0), (2, 0), (3, 1), (4, 2), (5, 0)]


def test_a_long_message_goes_in_parts(recorder: Recorder, call: Callable[..., Call]) -> None:
    for number in range(100):
        for user in range(4):
            recorder.record(call(output=1, feature=f"f{number}", user=f"u{user}"))
    changes, fleet = Changes(ORIGIN), Fleet("life")
    parts = list(changes.messages(changes.find(recorder.snapshot(), full=True), 1.0, final=True))
    assert len(parts) > 2
    assert [one.full for one in parts] == [one.final for one in parts] == [False] * (len(parts) - 1) + [True]
    assert max(len(encode(one)) for one in parts) < 600_000
    for one in parts:
        fleet.take(decode(encode(one)), 0.0)
    assert total(fleet, TOKENS, type="output") == 400.0


def test_a_gauge_that_is_gone_is_said_once(recorder: Recorder) -> None:
    changes = Changes(ORIGIN)
    snapshot = recorder.snapshot()
    changes.accepted(changes.find(snapshot))
    without = snapshot._replace(gauges={})
    gone = changes.find(without)
    changes.accepted(gone)
    assert len(gone.numbers) == sum(map(len, snapshot.gauges.values()))
    assert changes.find(without).numbers == []


def test_a_queue_that_is_not_there_costs_nothing_and_loses_nothing(
    tmp_path: Path, recorder: Recorder, call: Callable[..., Call], caplog: pytest.LogCaptureFixture
) -> None:
    server = Redis(tmp_path / "redis")
    with publish(recorder, server.url, service="api", period_seconds=0.05):
        recorder.record(call(output=171))
        wait_until(lambda: results(recorder).get("unreachable", 0) >= 3)
        recorder.record(call(output=29))
        with server:
            wait_until(lambda: total(arrived(server.url), TOKENS, type="output") == 200.0)
            wait_until(lambda: "accepts messages again" in caplog.text)
    lines = [one.getMessage() for one in caplog.records if "does not accept messages" in one.getMessage()]
    expected = (
        f"the queue {server.url} does not accept messages: unreachable: ConnectionError; "
        "recording continues; counts are sent when it does"
    )
    assert lines == [expected]  # once a minute, not once a message


def test_memory_stays_flat_while_the_queue_is_down(recorder: Recorder, call: Callable[..., Call]) -> None:
    """Sixty periods of outage, by rounds instead of by the clock: what waits is one copy of the cells."""
    publisher = publish(recorder, f"redis://127.0.0.1:{free_port()}", service="api", period_seconds=3600)
    calls = [call(output=number, feature=f"f{number % 50}") for number in range(200)]

    def rounds(number: int) -> None:
        for _ in range(number):
            for one in calls:
                recorder.record(one)
            assert not publisher.flush()

    tracemalloc.start()
    try:
        rounds(10)
        before = tracemalloc.get_traced_memory()[0]
        rounds(60)
        assert tracemalloc.get_traced_memory()[0] - before < 100_000
    finally:
        tracemalloc.stop()
        publisher.close(timeout=0.01)


def test_a_wrong_password_is_counted(tmp_path: Path, recorder: Recorder) -> None:
    with Redis(tmp_path / "redis", "--requirepass", "s3cret") as server:
        publisher = publish(recorder, server.url, service="api", period_seconds=3600)
        assert not publisher.flush()
        assert results(recorder) == {"refused": 1.0}
        publisher.close(timeout=0.01)


def test_a_queue_that_hangs_does_not_keep_the_application_from_ending(
    server: Redis, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    publisher = publish(recorder, server.url, service="api", period_seconds=3600)
    assert publisher.flush()
    server.pause()
    began = time.monotonic()
    assert not publisher.close(timeout=0.2)
    assert time.monotonic() - began < 4.5
    assert "did not accept the last messages within 0 s" in caplog.text
    server.resume()


def test_something_else_than_a_queue_listens(recorder: Recorder) -> None:
    def answer() -> None:
        with stranger.accept()[0] as connection:
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as stranger:
        port = stranger.getsockname()[1]
        publisher = publish(recorder, f"redis://127.0.0.1:{port}", service="api", period_seconds=3600)
        thread = threading.Thread(target=answer)
        thread.start()
        assert not publisher.flush()
        thread.join()
        publisher.close(timeout=0.01)
    assert sum(results(recorder).values()) >= 1.0


def test_everything_is_sent_again_every_minute(
    server: Redis, recorder: Recorder, call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FULL_EVERY_SECONDS", 0.0)
    publisher = publish(recorder, server.url, service="api", period_seconds=3600)
    recorder.record(call(output=171))
    assert publisher.flush()
    redis.Redis(port=server.port).delete("anthropic-cells")  # the queue lost its disk
    assert publisher.flush()
    assert total(arrived(server.url), TOKENS, type="output") == 171.0
    publisher.close()


def test_everything_is_sent_again_after_an_outage_because_the_queue_may_have_lost_it(
    tmp_path: Path, recorder: Recorder, call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FULL_AFTER_FAILURE_SECONDS", 0.0)
    server = Redis(tmp_path / "redis")
    with server, publish(recorder, server.url, service="api", period_seconds=0.05):
        recorder.record(call(output=171))
        wait_until(lambda: total(arrived(server.url), TOKENS, type="output") == 171.0)
        server.kill()
        wait_until(lambda: results(recorder).get("unreachable"))
        shutil.rmtree(server.folder)
        server.folder.mkdir()
        server.start()
        wait_until(lambda: total(arrived(server.url), TOKENS, type="output") == 171.0)


def test_what_the_server_refuses_is_named_by_its_code(
    server: Redis, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    redis.Redis(port=server.port).set("anthropic-cells", "no stream")
    publisher = publish(recorder, server.url, service="api")
    assert not publisher.flush()
    assert "does not accept messages: failed: ResponseError WRONGTYPE; recording continues" in caplog.text
    publisher.close(0.1)


def test_recording_continues_while_a_message_waits(
    server: Redis, recorder: Recorder, call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of the recorder is not held while the queue hangs."""
    hangs, goes_on, send = threading.Event(), threading.Event(), RedisStream.send

    def hanging(stream: RedisStream, messages: list[bytes]) -> None:
        hangs.set()
        goes_on.wait(120)
        send(stream, messages)

    monkeypatch.setattr(RedisStream, "send", hanging)
    with publish(recorder, server.url, service="api", period_seconds=0.05):
        assert hangs.wait(60)
        counting = threading.Thread(target=lambda: (recorder.record(call(output=171)), recorder.render()))
        counting.start()
        counting.join(60)
        assert not counting.is_alive()
        goes_on.set()
        wait_until(lambda: total(arrived(server.url), TOKENS, type="output") == 171.0)


def test_a_failure_of_ours_is_counted_and_the_next_message_is_sent(
    server: Redis,
    recorder: Recorder,
    call: Callable[..., Call],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING)
    publisher = publish(recorder, server.url, service="api", period_seconds=0.05)
    with monkeypatch.context() as patch:
        patch.setattr(Changes, "find", lambda *_, **__: 1 / 0)
        name = "anthropic_exporter_record_errors_total"
        wait_until(lambda: value_of(recorder.render().decode(), name, stage="publish"))
    recorder.record(call(output=171))
    wait_until(lambda: total(arrived(server.url), TOKENS, type="output") == 171.0)
    publisher.close()
