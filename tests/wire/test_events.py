"""An event of any size: time in proportion to its bytes, and an end to what is read."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import pytest
from prometheus_client import CollectorRegistry

from anthropic_exporter import Recorder
from anthropic_exporter.simulator.fake_api import Chunk, FakeApi, Scripted
from anthropic_exporter.wire import events as wire_events
from anthropic_exporter.wire.events import AwsSplitter, OversizedError, SseSplitter
from anthropic_exporter.wire.stream import BodyFold
from bodies import ASK, events
from support import Samples

pytest_plugins = ("fixtures_fake_api", "fixtures_clients")

MEGABYTE = 1_000_000
CHUNK_BYTES = 4096


def start(size: int) -> bytes:
    """A `message_start` event of so many bytes, before the first delta."""
    usage = {"input_tokens": 100, "output_tokens": 1}
    message = {"model": "claude-opus-5-5", "usage": usage, "padding": "x" * size}
    return (
        b"event: message_start\ndata: " + json.dumps({"type": "message_start", "message": message}).encode() + b"\n\n"
    )


def bytes_joined(size: int) -> int:
    """How many bytes the splitter joins for one event that comes in chunks."""
    joined = []
    splitter, body = SseSplitter(), start(size)

    class Parts(list[Any]):
        def __iter__(self) -> Any:
            found = list(super().__iter__())
            joined.append(sum(map(len, found)))
            return iter(found)

    splitter._parts = Parts()
    runs = [run for at in range(0, len(body), CHUNK_BYTES) for run in splitter.feed(body[at : at + CHUNK_BYTES])]
    assert len(runs) == 1
    return sum(joined)


def test_the_bytes_of_an_event_are_joined_once_however_large_it_is() -> None:
    assert bytes_joined(MEGABYTE) < 1.01 * MEGABYTE
    assert bytes_joined(8 * MEGABYTE) < 1.01 * 8 * MEGABYTE


def test_a_line_that_never_ends_is_kept_in_pieces_and_joined_never() -> None:
    splitter = SseSplitter()
    for _ in range(1000):
        assert splitter.feed(b"x" * CHUNK_BYTES) == []
    assert len(splitter._parts) == 1000


def test_an_event_of_eight_megabytes_is_read() -> None:
    fold, body = BodyFold(expects_stream=True), start(8 * MEGABYTE)
    for at in range(0, len(body), CHUNK_BYTES):
        fold.feed(body[at : at + CHUNK_BYTES])
    assert fold.message["usage"]["input_tokens"] == 100


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_events, "MOST_BYTES", 10_000)


@pytest.mark.parametrize("chunk", [b"data: x", b"x" * 50])
def test_kept_data_is_bounded(small_limit: None, chunk: bytes) -> None:
    with pytest.raises(OversizedError):
        list(map(SseSplitter().feed, [chunk] * 10_000))


def test_a_message_of_aws_that_never_ends_is_given_up(small_limit: None) -> None:
    with pytest.raises(OversizedError):
        list(map(AwsSplitter().feed, [b"\x00\xff\xff\xff" * 10] * 10_000))


def test_a_stream_that_is_too_large_is_counted_as_unreadable_and_reaches_the_application(
    small_limit: None, fake_api: FakeApi, client_options: dict[str, Any], registry: CollectorRegistry
) -> None:
    parts = events()
    comment = b": " + b"x" * 50_000 + b"\n\n"
    body = parts[0] + comment + b"".join(parts[1:])
    pieces = tuple(Chunk(body[at : at + CHUNK_BYTES]) for at in range(0, len(body), CHUNK_BYTES))
    fake_api.push(Scripted(200, {"content-type": "text/event-stream"}, pieces))
    recorder = Recorder(registry=registry)
    with (
        anthropic.Anthropic(**client_options, middleware=[recorder.middleware()]) as client,
        client.messages.stream(**ASK) as stream,
    ):
        assert stream.get_final_text() == "Hello " * 4
    samples = Samples(registry)
    assert samples("anthropic_exporter_unmetered_responses_total", reason="unreadable") == 1
    assert samples("anthropic_tokens_total", type="input") == 100
    assert samples("anthropic_requests_total", outcome="success") == 1


def test_a_body_that_is_too_large_is_counted_as_unreadable(
    small_limit: None, fake_api: FakeApi, client_options: dict[str, Any], registry: CollectorRegistry
) -> None:
    body = json.dumps({"type": "message", "content": [{"type": "text", "text": "x" * 50_000}]}).encode()
    pieces = tuple(Chunk(body[at : at + CHUNK_BYTES]) for at in range(0, len(body), CHUNK_BYTES))
    fake_api.push(Scripted(200, {"content-type": "application/json"}, pieces))
    recorder = Recorder(registry=registry)
    with anthropic.Anthropic(**client_options, middleware=[recorder.middleware()]) as client:
        assert len(client.messages.create(**ASK).content[0].text) == 50_000
    assert Samples(registry)("anthropic_exporter_unmetered_responses_total", reason="unreadable") == 1
