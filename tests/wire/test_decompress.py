"""Compressed answers beyond gzip, over a real socket: the application gets what the SDK makes of them."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

import anthropic
import pytest
from prometheus_client import CollectorRegistry

from anthropic_exporter import Recorder
from anthropic_exporter.simulator.fake_api import Chunk, FakeApi, Scripted
from anthropic_exporter.wire.decompress import inflater
from bodies import ASK, events, message
from support import Clock, Samples

pytest_plugins = ("fixtures_fake_api", "fixtures_clients")

JSON, SSE = {"content-type": "application/json"}, {"content-type": "text/event-stream; charset=utf-8"}


def bare(data: bytes) -> bytes:
    """A deflate stream without the wrapping of zlib, as some servers send it."""
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


CODES: dict[str, Any] = {
    "deflate": zlib.compress,
    "bare deflate": bare,
    "x-gzip": gzip.compress,
    "identity": bytes,
    "deflate, gzip": lambda data: gzip.compress(zlib.compress(data)),
}


def packed(name: str, head: dict[str, str], data: bytes, size: int) -> Scripted:
    """An answer in pieces of `size` bytes, compressed."""
    body = CODES[name](data)
    pieces = tuple(Chunk(body[start : start + size]) for start in range(0, len(body), size))
    return Scripted(200, head | {"content-encoding": name.removeprefix("bare ")}, pieces)


# One byte is too little for httpx2 to tell the two kinds of deflate apart.
@pytest.mark.parametrize("size", [7, 100_000])
@pytest.mark.parametrize("name", sorted(set(CODES) - {"x-gzip"}))
def test_a_compressed_stream_is_read_in_any_pieces(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples, name: str, size: int
) -> None:
    fake_api.push(packed(name, SSE, b"".join(events()), size))
    with client.messages.stream(**ASK) as stream:
        assert stream.get_final_text() == "Hello " * 4
    assert samples("anthropic_tokens_total", type="output") == 50
    assert samples("anthropic_tokens_total", type="cache_read") == 2000


@pytest.mark.parametrize("name", sorted(set(CODES) - {"x-gzip"}))
def test_a_compressed_message_is_read(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples, name: str
) -> None:
    fake_api.push(packed(name, JSON, json.dumps(message()).encode(), 50))
    assert client.messages.create(**ASK).usage.output_tokens == 50
    assert samples("anthropic_tokens_total", type="output") == 50


@pytest.mark.parametrize("name", sorted(CODES))
def test_what_was_packed_comes_out(name: str) -> None:
    data = b"".join(events())
    read = inflater(name.removeprefix("bare "))
    body = CODES[name](data)
    assert b"".join(map(read, (body[:40], body[40:]))) == data if read else name == "identity"


def test_a_stream_that_nobody_here_can_read_is_counted_and_logged_and_reaches_the_application(
    fake_api: FakeApi,
    client_options: dict[str, Any],
    registry: CollectorRegistry,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    recorder = Recorder(registry=registry, clock=clock)
    fake_api.push(Scripted(200, SSE | {"content-encoding": "snappy"}, (Chunk(b"".join(events())),)))
    with (
        anthropic.Anthropic(**client_options, middleware=[recorder.middleware()]) as client,
        client.messages.stream(**ASK) as stream,
    ):
        assert stream.get_final_text() == "Hello " * 4
    found = Samples(registry)
    assert found("anthropic_requests_total", outcome="success") == found("anthropic_requests_total") == 1
    assert found("anthropic_time_to_first_token_seconds_count") == 0
    assert found("anthropic_exporter_record_errors_total", stage="stream") == 1
    assert found("anthropic_exporter_unmetered_responses_total", reason="unreadable") == 1
    failed, unmetered = caplog.messages
    assert failed.startswith("recording failed at stage stream: ValueError at decompress.py:")
    assert unmetered.startswith("answers of model 'claude-opus-5-5' without usable usage (unreadable)")
    assert found("anthropic_inflight_requests") == 0
