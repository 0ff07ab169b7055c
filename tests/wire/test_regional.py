"""Claude on other clouds: each client of the SDK, through a real socket, counted once at that cloud's price."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from collections.abc import Callable
from typing import Any

import anthropic
import pytest

from anthropic_exporter import Recorder
from anthropic_exporter.simulator.fake_api import Chunk, FakeApi, Scripted
from anthropic_exporter.wire.regional import is_regional
from bodies import ASK, answer, events, streamed
from support import Samples

pytest_plugins = ("fixtures_fake_api",)

GOOGLE = "/v1/projects/p/locations/{}/publishers/anthropic/models/claude-opus-5-5:{}"


@pytest.mark.parametrize(
    ("path", "regional"),
    [
        ("/v1/messages", False),
        ("/anthropic/v1/messages", False),
        ("", False),
        ("/v1/projects/p/locations/eu/workspaces/w/invoke/v1/messages", False),
        (GOOGLE.format("global", "rawPredict"), False),
        (GOOGLE.format("us", "rawPredict"), True),
        (GOOGLE.format("eu", "streamRawPredict"), True),
        (GOOGLE.format("europe-west1", "streamRawPredict"), True),
        ("/model/global.anthropic.claude-opus-5-5-v1:0/invoke", False),
        ("/model/us.anthropic.claude-opus-5-5-v1:0/invoke", True),
        ("/model/anthropic.claude-opus-5-5-v1%3A0/invoke-with-response-stream", True),
        ("/model/arn:aws:bedrock:us-east-1:1:inference-profile%2Fglobal.anthropic.claude-opus-5-5/invoke", False),
        ("/model/arn:aws:bedrock:us-east-1:1:inference-profile%2Feu.anthropic.claude-opus-5-5/invoke", True),
        ("/model/arn:aws:bedrock:us-east-1:1:application-inference-profile%2Fabc123/invoke", False),
        ("/model", False),
        ("/locations", False),
    ],
)
def test_the_path_identifies_a_regional_endpoint(path: str, regional: bool) -> None:
    assert is_regional(path.encode()) is regional


# -- the clients


def bedrock(base: str, model: str, name: str = "AnthropicBedrock") -> tuple[str, dict[str, str], str]:
    keys = {"aws_access_key": "AKIATEST", "aws_secret_key": "secret", "aws_region": "us-east-1"}
    return name, keys | {"base_url": base}, model


def google(base: str, region: str) -> tuple[str, dict[str, str], str]:
    options: dict[str, Any] = {"region": region, "project_id": "p", "access_token": "token", "base_url": f"{base}/v1"}
    return "AnthropicVertex", options, "claude-opus-5-5"


CLIENTS: dict[str, Any] = {
    "bedrock, global": (lambda base: bedrock(base, "global.anthropic.claude-opus-5-5-v1:0"), 0.0018),
    "bedrock, us": (lambda base: bedrock(base, "us.anthropic.claude-opus-5-5-v1:0"), 0.00198),
    "mantle": (lambda base: bedrock(base, "anthropic.claude-opus-5-5", "AnthropicBedrockMantle"), 0.00198),
    "vertex, global": (lambda base: google(base, "global"), 0.0018),
    "vertex, eu": (lambda base: google(base, "eu"), 0.00198),
    "foundry": (lambda base: ("AnthropicFoundry", {"api_key": "k", "base_url": base}, "claude-opus-5-5"), 0.0018),
    "aws": (
        lambda base: ("AnthropicAWS", {"api_key": "k", "workspace_id": "w", "base_url": base}, "claude-opus-5-5"),
        0.0018,
    ),
    "google cloud": (
        lambda base: (
            "AnthropicGoogleCloud",
            {"token_provider": lambda: "token", "workspace_id": "w", "base_url": base},
            "claude-opus-5-5",
        ),
        0.0018,
    ),
}
each = pytest.mark.parametrize("platform", CLIENTS)


@pytest.fixture(autouse=True)
def _no_other_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_BEARER_TOKEN_BEDROCK", "AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def made(fake_api: FakeApi, recorder: Recorder) -> Callable[..., tuple[Any, dict[str, Any]]]:
    """`made("vertex, eu", "Async")`: that client, recorded, and what it is asked."""

    def make(platform: str, kind: str = "") -> tuple[Any, dict[str, Any]]:
        name, options, model = CLIENTS[platform][0](fake_api.base_url)
        if not hasattr(anthropic, name):
            pytest.skip(f"this SDK has no {name}")
        cls = getattr(anthropic, kind + name)
        return cls(**options, max_retries=0, middleware=[recorder.middleware()]), ASK | {"model": model}

    return make


def frame(payload: bytes, **headers: str) -> bytes:
    """One message of the AWS event stream encoding: two lengths, CRC, headers of type string, payload, CRC."""
    packed = b"".join(
        struct.pack("!B", len(name)) + name + b"\x07" + struct.pack("!H", len(value)) + value
        for name, value in ((f":{n.replace('_', '-')}".encode(), v.encode()) for n, v in headers.items())
    )
    prelude = struct.pack("!II", len(packed) + len(payload) + 16, len(packed))
    body = prelude + struct.pack("!I", zlib.crc32(prelude)) + packed + payload
    return body + struct.pack("!I", zlib.crc32(body))


def chunk(sse: bytes) -> bytes:
    """A server-sent event as Bedrock wraps it."""
    data = sse.partition(b"data: ")[2].strip()
    payload = json.dumps({"bytes": base64.b64encode(data).decode()}).encode()
    return frame(payload, event_type="chunk", content_type="application/json", message_type="event")


def aws_streamed(frames: list[bytes], size: int | None = None) -> Scripted:
    """An answer of the AWS event stream, in chunks of `size` bytes."""
    body = b"".join(frames)
    size = size or len(body)
    named = {"content-type": "application/vnd.amazon.eventstream"}
    return Scripted(200, named, tuple(Chunk(body[at : at + size]) for at in range(0, len(body), size)))


def stream_for(platform: str) -> Scripted:
    return aws_streamed([chunk(one) for one in events()], 61) if "bedrock" in platform else streamed(events())


def counted_once(samples: Samples, platform: str) -> None:
    assert samples("anthropic_requests_total", outcome="success", model="claude-opus-5-5") == 1
    assert samples("anthropic_requests_total", outcome="success") == 1
    assert samples("anthropic_tokens_total", type="input") == 100
    assert samples("anthropic_tokens_total", type="cache_read") == 2000
    assert samples("anthropic_tokens_total", type="output") == 50
    assert samples("anthropic_cost_usd_total") == pytest.approx(CLIENTS[platform][1], rel=1e-12)
    assert samples("anthropic_inflight_requests") == 0


@each
def test_a_request_is_counted_once(
    fake_api: FakeApi, made: Callable[..., tuple[Any, dict[str, Any]]], samples: Samples, platform: str
) -> None:
    client, ask = made(platform)
    fake_api.push(answer())
    with client:
        assert client.messages.create(**ask).usage.output_tokens == 50
    counted_once(samples, platform)


@each
def test_a_stream_is_counted_once(
    fake_api: FakeApi, made: Callable[..., tuple[Any, dict[str, Any]]], samples: Samples, platform: str
) -> None:
    client, ask = made(platform)
    fake_api.push(stream_for(platform))
    with client:
        assert [event.type for event in client.messages.create(**ask, stream=True) if event.type != "ping"] == [
            "message_start",
            "content_block_start",
            *["content_block_delta"] * 4,
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
    counted_once(samples, platform)
    assert samples("anthropic_time_to_first_token_seconds_count") == 1


@each
async def test_an_async_request_is_counted_once(
    fake_api: FakeApi, made: Callable[..., tuple[Any, dict[str, Any]]], samples: Samples, platform: str
) -> None:
    client, ask = made(platform, "Async")
    fake_api.push(answer())
    async with client:
        assert (await client.messages.create(**ask)).usage.output_tokens == 50
    counted_once(samples, platform)


@each
async def test_an_async_stream_is_counted_once(
    fake_api: FakeApi, made: Callable[..., tuple[Any, dict[str, Any]]], samples: Samples, platform: str
) -> None:
    client, ask = made(platform, "Async")
    fake_api.push(stream_for(platform))
    async with client:
        stream = await client.messages.create(**ask, stream=True)
        assert len([event async for event in stream if event.type != "ping"]) == 9
    counted_once(samples, platform)


def test_the_first_event_of_bedrock_is_passed_on_before_the_second_was_sent(
    fake_api: FakeApi, made: Callable[..., tuple[Any, dict[str, Any]]]
) -> None:
    client, ask = made("bedrock, us")
    first = aws_streamed([chunk(events()[0])])
    fake_api.push(Scripted(200, first.headers, (*first.body, Chunk(b"", 3600.0))))
    with client, client.messages.create(**ask, stream=True, timeout=20) as stream:
        assert next(iter(stream)).type == "message_start"


async def test_the_first_event_of_async_bedrock_is_passed_on_before_the_second_was_sent(
    fake_api: FakeApi, made: Callable[..., tuple[Any, dict[str, Any]]]
) -> None:
    client, ask = made("bedrock, us", "Async")
    first = aws_streamed([chunk(events()[0])])
    fake_api.push(Scripted(200, first.headers, (*first.body, Chunk(b"", 3600.0))))
    async with client, await client.messages.create(**ask, stream=True, timeout=20) as stream:
        assert (await stream.__anext__()).type == "message_start"


@pytest.mark.parametrize("cut", [1, 5])
def test_a_stream_of_bedrock_that_is_left_is_abandoned_and_its_input_counted(
    fake_api: FakeApi, made: Callable[..., tuple[Any, dict[str, Any]]], samples: Samples, cut: int
) -> None:
    client, ask = made("bedrock, us")
    first = aws_streamed([chunk(one) for one in events()[:cut]])
    fake_api.push(Scripted(200, first.headers, (*first.body, Chunk(b"", 3600.0))))
    with client, client.messages.create(**ask, stream=True) as stream:
        next(iter(stream))
    assert samples("anthropic_requests_total", outcome="abandoned") == 1
    assert samples("anthropic_tokens_total", type="input") == 100
    assert samples("anthropic_tokens_total", type="output") == 0


def test_an_exception_frame_of_bedrock_is_the_outcome_and_the_input_is_counted(
    fake_api: FakeApi, made: Callable[..., tuple[Any, dict[str, Any]]], samples: Samples
) -> None:
    client, ask = made("bedrock, us")
    headers = {"exception_type": "throttlingException", "content_type": "application/json", "message_type": "exception"}
    frames = [chunk(one) for one in events()[:5]] + [frame(b'{"message":"slow down"}', **headers)]
    fake_api.push(aws_streamed(frames))
    with client, pytest.raises((anthropic.APIStatusError, ValueError)):  # SDK 0.x: ValueError
        list(client.messages.create(**ask, stream=True))
    assert samples("anthropic_requests_total", outcome="rate_limit_error") == 1
    assert samples("anthropic_requests_total", outcome="success") == 0
    assert samples("anthropic_tokens_total", type="cache_read") == 2000
    assert samples("anthropic_tokens_total", type="output") == 0
