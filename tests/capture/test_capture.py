"""Every way into the API, through the real SDK and a real socket: seen once an attempt, unchanged for the caller."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from anthropic_exporter import Recorder, attribution
from anthropic_exporter.capture import sending
from anthropic_exporter.simulator.fake_api import FakeApi, Scripted
from anthropic_exporter.simulator.fake_api.wire import event
from bodies import ASK, MODEL, USAGE, answer, events, message, refused, streamed
from support import Clock, Samples

pytest_plugins = ("fixtures_fake_api", "fixtures_clients")

#: Of one answer with `USAGE`: 100 input, 2000 read from the cache, 50 output, at 4, 0.20 and 20 dollars a million.
TOKENS, DOLLARS = 2150, 0.0018


class Verdict(BaseModel):
    good: bool


def counted(samples: Samples, **outcomes: int) -> None:
    """Requests by outcome, nothing else than these."""
    for outcome, count in outcomes.items():
        assert samples("anthropic_requests_total", outcome=outcome) == count, outcome
    assert samples("anthropic_requests_total") == sum(outcomes.values())


# -- each entry point: what it sends back to play, how it is called, sync and async


def create(client: anthropic.Anthropic) -> dict[str, Any]:
    return client.messages.create(**ASK).to_dict()


def create_stream(client: anthropic.Anthropic) -> list[dict[str, Any]]:
    return [event.to_dict() for event in client.messages.create(**ASK, stream=True)]


def stream_text(client: anthropic.Anthropic) -> tuple[list[str], dict[str, Any]]:
    with client.messages.stream(**ASK) as stream:
        return list(stream.text_stream), stream.get_final_message().to_dict()


def stream_events(client: anthropic.Anthropic) -> list[str]:
    with client.messages.stream(**ASK) as stream:
        return [event.type for event in stream]


def parse(client: anthropic.Anthropic) -> Verdict:
    return client.messages.parse(**ASK, output_format=Verdict).parsed_output


def raw(client: anthropic.Anthropic) -> tuple[int, str, bytes, dict[str, Any]]:
    response = client.messages.with_raw_response.create(**ASK)
    return (
        response.status_code,
        response.headers["content-type"],
        response.http_response.content,
        response.parse().to_dict(),
    )


def raw_stream(client: anthropic.Anthropic) -> list[dict[str, Any]]:
    response = client.messages.with_raw_response.create(**ASK, stream=True)
    return [event.to_dict() for event in response.parse()]


def streaming_read(client: anthropic.Anthropic) -> bytes:
    with client.messages.with_streaming_response.create(**ASK) as response:
        return response.read()


def streaming_bytes(client: anthropic.Anthropic) -> bytes:
    with client.messages.with_streaming_response.create(**ASK, stream=True) as response:
        return b"".join(response.iter_bytes())


def streaming_lines(client: anthropic.Anthropic) -> list[str]:
    with client.messages.with_streaming_response.create(**ASK, stream=True) as response:
        return list(response.iter_lines())


def streaming_parse(client: anthropic.Anthropic) -> dict[str, Any]:
    with client.messages.with_streaming_response.create(**ASK) as response:
        return response.parse().to_dict()


def post(client: anthropic.Anthropic) -> dict[str, Any]:
    return client.post("/v1/messages", body=ASK, cast_to=object)  # type: ignore[arg-type]


def beta(client: anthropic.Anthropic) -> dict[str, Any]:
    return client.beta.messages.create(**ASK).to_dict()


def beta_stream(client: anthropic.Anthropic) -> dict[str, Any]:
    with client.beta.messages.stream(**ASK) as stream:
        return stream.get_final_message().to_dict()


def beta_parse(client: anthropic.Anthropic) -> Verdict:
    return client.beta.messages.parse(**ASK, output_format=Verdict).parsed_output


def with_options(client: anthropic.Anthropic) -> dict[str, Any]:
    return client.with_options(timeout=30).messages.create(**ASK).to_dict()


def copied(client: anthropic.Anthropic) -> dict[str, Any]:
    return client.copy(max_retries=1).messages.create(**ASK).to_dict()


async def acreate(client: anthropic.AsyncAnthropic) -> dict[str, Any]:
    return (await client.messages.create(**ASK)).to_dict()


async def acreate_stream(client: anthropic.AsyncAnthropic) -> list[dict[str, Any]]:
    return [event.to_dict() async for event in await client.messages.create(**ASK, stream=True)]


async def astream_text(client: anthropic.AsyncAnthropic) -> tuple[list[str], dict[str, Any]]:
    async with client.messages.stream(**ASK) as stream:
        return [text async for text in stream.text_stream], (await stream.get_final_message()).to_dict()


async def astream_events(client: anthropic.AsyncAnthropic) -> list[str]:
    async with client.messages.stream(**ASK) as stream:
        return [event.type async for event in stream]


async def aparse(client: anthropic.AsyncAnthropic) -> Verdict:
    return (await client.messages.parse(**ASK, output_format=Verdict)).parsed_output


async def araw(client: anthropic.AsyncAnthropic) -> tuple[int, str, bytes]:
    response = await client.messages.with_raw_response.create(**ASK)
    return response.status_code, response.headers["content-type"], response.http_response.content


async def araw_stream(client: anthropic.AsyncAnthropic) -> list[dict[str, Any]]:
    response = await client.messages.with_raw_response.create(**ASK, stream=True)
    parsed = response.parse()
    stream = parsed if hasattr(parsed, "__aiter__") else await parsed
    return [event.to_dict() async for event in stream]


async def astreaming_read(client: anthropic.AsyncAnthropic) -> bytes:
    async with client.messages.with_streaming_response.create(**ASK) as response:
        return await response.read()


async def astreaming_bytes(client: anthropic.AsyncAnthropic) -> bytes:
    async with client.messages.with_streaming_response.create(**ASK, stream=True) as response:
        return b"".join([chunk async for chunk in response.iter_bytes()])


async def astreaming_lines(client: anthropic.AsyncAnthropic) -> list[str]:
    async with client.messages.with_streaming_response.create(**ASK, stream=True) as response:
        return [line async for line in response.iter_lines()]


async def astreaming_parse(client: anthropic.AsyncAnthropic) -> dict[str, Any]:
    async with client.messages.with_streaming_response.create(**ASK) as response:
        return (await response.parse()).to_dict()


async def apost(client: anthropic.AsyncAnthropic) -> dict[str, Any]:
    return await client.post("/v1/messages", body=ASK, cast_to=object)  # type: ignore[arg-type]


async def abeta(client: anthropic.AsyncAnthropic) -> dict[str, Any]:
    return (await client.beta.messages.create(**ASK)).to_dict()


async def abeta_stream(client: anthropic.AsyncAnthropic) -> dict[str, Any]:
    async with client.beta.messages.stream(**ASK) as stream:
        return (await stream.get_final_message()).to_dict()


async def abeta_parse(client: anthropic.AsyncAnthropic) -> Verdict:
    return (await client.beta.messages.parse(**ASK, output_format=Verdict)).parsed_output


async def awith_options(client: anthropic.AsyncAnthropic) -> dict[str, Any]:
    return (await client.with_options(timeout=30).messages.create(**ASK)).to_dict()


async def acopied(client: anthropic.AsyncAnthropic) -> dict[str, Any]:
    return (await client.copy(max_retries=1).messages.create(**ASK)).to_dict()


WHOLE, STREAM = answer(), streamed(events())
VERDICT = answer(content=[{"type": "text", "text": json.dumps({"good": True})}])
SYNC = [
    *((f, WHOLE) for f in (create, raw, streaming_read, streaming_parse, post, beta, with_options, copied)),
    *((f, STREAM) for f in (create_stream, stream_text, stream_events, raw_stream, streaming_bytes, streaming_lines)),
    *((beta_stream, STREAM), (parse, VERDICT), (beta_parse, VERDICT)),
]
ASYNC = [
    *((f, WHOLE) for f in (acreate, araw, astreaming_read, astreaming_parse, apost, abeta, awith_options, acopied)),
    *((f, STREAM) for f in (acreate_stream, astream_text, astream_events, araw_stream)),
    *((f, STREAM) for f in (astreaming_bytes, astreaming_lines, abeta_stream)),
    *((aparse, VERDICT), (abeta_parse, VERDICT)),
]


def named(entries: list[tuple[Callable[..., Any], Scripted]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("call", "played"), entries, ids=[call.__name__ for call, _ in entries])


def supported(client: anthropic.Anthropic | anthropic.AsyncAnthropic, call: Callable[..., Any]) -> None:
    if call.__name__.endswith("parse") and "streaming" not in call.__name__ and not hasattr(client.messages, "parse"):
        pytest.skip("this SDK has no messages.parse")


#: SDK 0.x says so where beta parses.
@pytest.mark.filterwarnings("ignore:The 'output_format' parameter is deprecated:DeprecationWarning")
@named(SYNC)
def test_a_sync_entry_point_is_seen_once_and_gets_what_the_sdk_gives(
    fake_api: FakeApi,
    client: anthropic.Anthropic,
    sdk_client: anthropic.Anthropic,
    samples: Samples,
    call: Callable[..., Any],
    played: Scripted,
) -> None:
    supported(client, call)
    fake_api.push(played, played)
    assert call(client) == call(sdk_client)
    counted(samples, success=1)
    assert samples("anthropic_tokens_total") == TOKENS
    assert samples("anthropic_cost_usd_total") == pytest.approx(DOLLARS, rel=1e-12)


@pytest.mark.filterwarnings("ignore:The 'output_format' parameter is deprecated:DeprecationWarning")
@named(ASYNC)
async def test_an_async_entry_point_is_seen_once_and_gets_what_the_sdk_gives(
    fake_api: FakeApi,
    async_client: anthropic.AsyncAnthropic,
    async_sdk_client: anthropic.AsyncAnthropic,
    samples: Samples,
    call: Callable[..., Any],
    played: Scripted,
) -> None:
    supported(async_client, call)
    fake_api.push(played, played)
    assert await call(async_client) == await call(async_sdk_client)
    counted(samples, success=1)
    assert samples("anthropic_tokens_total") == TOKENS
    assert samples("anthropic_cost_usd_total") == pytest.approx(DOLLARS, rel=1e-12)


# -- the tool runner: every round is a request


TOOL_ROUNDS = (
    answer(
        content=[{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Rome"}}],
        stop_reason="tool_use",
    ),
    answer(),
)


def test_each_round_of_the_tool_runner_is_a_request(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    @anthropic.beta_tool
    def weather(city: str) -> str:
        """Say the weather.

        Args:
            city: where.
        """
        return f"{city}: sunny"

    fake_api.push(*TOOL_ROUNDS)
    final = client.beta.messages.tool_runner(**ASK, tools=[weather]).until_done()
    assert final.stop_reason == "end_turn"
    counted(samples, success=2)
    assert samples("anthropic_tokens_total") == 2 * TOKENS


async def test_each_round_of_the_async_tool_runner_is_a_request(
    fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
) -> None:
    @anthropic.beta_async_tool
    async def weather(city: str) -> str:
        """Say the weather.

        Args:
            city: where.
        """
        return f"{city}: sunny"

    fake_api.push(*TOOL_ROUNDS)
    await async_client.beta.messages.tool_runner(**ASK, tools=[weather]).until_done()
    counted(samples, success=2)


TOOL_STREAMS = (
    streamed(
        [
            event("message_start", message=message(USAGE | {"output_tokens": 1}, content=[], stop_reason=None)),
            event(
                "content_block_start",
                index=0,
                content_block={"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
            ),
            event(
                "content_block_delta",
                index=0,
                delta={"type": "input_json_delta", "partial_json": json.dumps({"city": "Rome"})},
            ),
            event("content_block_stop", index=0),
            event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 50}),
            event("message_stop"),
        ]
    ),
    STREAM,
)


def test_each_round_of_a_streaming_tool_runner_is_a_request(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    @anthropic.beta_tool
    def weather(city: str) -> str:
        """Say the weather.

        Args:
            city: where.
        """
        return f"{city}: sunny"

    fake_api.push(*TOOL_STREAMS)
    for stream in client.beta.messages.tool_runner(**ASK, tools=[weather], stream=True):
        list(stream)
    counted(samples, success=2)
    assert samples("anthropic_tokens_total") == 2 * TOKENS
    assert samples("anthropic_time_to_first_token_seconds_count") == 2


async def test_each_round_of_an_async_streaming_tool_runner_is_a_request(
    fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
) -> None:
    @anthropic.beta_async_tool
    async def weather(city: str) -> str:
        """Say the weather.

        Args:
            city: where.
        """
        return f"{city}: sunny"

    fake_api.push(*TOOL_STREAMS)
    async for stream in async_client.beta.messages.tool_runner(**ASK, tools=[weather], stream=True):
        async for _ in stream:
            pass
    counted(samples, success=2)
    assert samples("anthropic_tokens_total") == 2 * TOKENS


# -- what is free


def test_what_is_not_billed_is_not_a_request(fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples) -> None:
    fake_api.push(Scripted.of(b'{"input_tokens": 7}'), Scripted.of(b'{"data": [], "has_more": false}'))
    assert client.messages.count_tokens(model=MODEL, messages=ASK["messages"]).input_tokens == 7
    assert client.models.list().data == []
    assert samples("anthropic_requests_total") is None


def test_unbilled_requests_leave_nothing_in_memory(fake_api: FakeApi, client: anthropic.Anthropic) -> None:
    fake_api.push(*[Scripted.of(b'{"input_tokens": 7}')] * 50, streamed(events(USAGE)))
    sending.innermost.set(None)
    for _ in range(50):
        client.messages.count_tokens(model=MODEL, messages=ASK["messages"])
    assert sending.innermost.get() is None
    with client.messages.stream(**ASK):
        pass
    last = sending.innermost.get()
    assert last is not None
    assert last.outer is None


# -- errors


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
@pytest.mark.parametrize("call", [create, create_stream, streaming_read])
def test_an_error_goes_by_the_apis_type_and_is_raised_as_ever(
    fake_api: FakeApi,
    client: anthropic.Anthropic,
    sdk_client: anthropic.Anthropic,
    samples: Samples,
    status: int,
    error_type: str,
    call: Callable[..., Any],
) -> None:
    fake_api.push(*[refused(status, error_type)] * 2)
    with pytest.raises(anthropic.APIStatusError) as recorded:
        call(client)
    with pytest.raises(anthropic.APIStatusError) as plain:
        call(sdk_client)
    assert type(recorded.value) is type(plain.value)
    assert recorded.value.body == plain.value.body
    assert samples("anthropic_requests_total", outcome=error_type) == 1
    assert samples("anthropic_requests_total") == 1
    assert samples("anthropic_tokens_total") == 0


def test_a_spend_limit_is_distinguished_from_a_rate_limit(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    details = {"error_code": "enforced_spend_limit_reached"}
    fake_api.push(refused(429, "rate_limit_error", details=details))
    with pytest.raises(anthropic.RateLimitError):
        client.messages.create(**ASK)
    counted(samples, enforced_spend_limit_reached=1, rate_limit_error=0, success=0, overloaded_error=0)


def test_the_error_page_of_a_proxy_is_an_api_error_and_no_failure_of_ours(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    page = Scripted.of(b"<html>Bad Gateway</html>", status=502, content_type="text/html")
    fake_api.push(page)
    with pytest.raises(anthropic.InternalServerError):
        client.messages.create(**ASK)
    counted(samples, api_error=1, success=0, rate_limit_error=0, overloaded_error=0)
    assert samples("anthropic_exporter_record_errors_total") is None


def test_an_unreachable_server_is_a_connection_error(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.close()
    with pytest.raises(anthropic.APIConnectionError):
        client.messages.create(**ASK)
    assert samples("anthropic_requests_total", outcome="connection_error") == 1


def test_no_answer_in_time_is_a_timeout(fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples) -> None:
    fake_api.push(streamed(events(), after=5.0))
    with pytest.raises(anthropic.APITimeoutError):
        client.with_options(timeout=0.05).messages.create(**ASK)
    assert samples("anthropic_requests_total", outcome="timeout") == 1


# -- where and what


def test_a_call_belongs_to_the_block_in_which_it_was_made(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(WHOLE, STREAM)
    with attribution(feature="chat", user="acme"):
        client.messages.create(**ASK)
        stream = client.messages.create(**ASK, stream=True)
    list(stream)
    assert samples("anthropic_requests_total", feature="chat", user="acme", outcome="success") == 2


def test_the_served_model_is_counted_not_the_one_asked_for(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(answer(model="claude-haiku-4-5-20251001"))
    client.messages.create(**ASK)
    assert samples("anthropic_tokens_total", model="claude-haiku-4-5-20251001") == TOKENS


def test_what_asks_for_caching_and_writes_without_reading_is_a_miss(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(answer({"input_tokens": 3, "cache_creation_input_tokens": 3000, "output_tokens": 5}))
    system = [{"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}]
    client.messages.create(**ASK, system=system)  # type: ignore[arg-type]
    assert samples("anthropic_cache_requests_total", result="miss") == 1


def test_redeemed_fallback_credit_marks_the_most_that_it_can_be(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    usage = {"fallback_credit": {"status": "redeemed"}, "cache_creation_input_tokens": 500}
    fake_api.push(answer(USAGE | usage))
    client.messages.create(**ASK)
    # 500 tokens written at 5 dollars a million instead of read at 0.20
    assert samples("anthropic_exporter_estimated_cost_usd_total", reason="fallback_credit") == pytest.approx(0.0024)


# -- rate limits


KINDS = ("requests", "tokens", "input-tokens", "output-tokens")
DEARER = ("priority-input-tokens", "priority-output-tokens", "fast-input-tokens", "fast-output-tokens")


def test_all_24_rate_limit_headers_become_gauges(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    resources = [*(f"ratelimit-{kind}" for kind in KINDS), *DEARER]
    headers = {}
    for number, resource in enumerate(resources):
        headers[f"anthropic-{resource}-limit"] = str(1000 + number)
        headers[f"anthropic-{resource}-remaining"] = str(number)
        headers[f"anthropic-{resource}-reset"] = "2026-11-21T12:00:00Z"
    assert len(headers) == 24
    fake_api.push(answer(headers=headers))
    client.messages.create(**ASK)
    for name in ("limit", "remaining", "reset_timestamp_seconds"):
        found = [s for f in samples.registry.collect() for s in f.samples if s.name == f"anthropic_ratelimit_{name}"]
        assert len(found) == 8
        assert {s.labels["model"] for s in found} == {MODEL}
    assert samples("anthropic_ratelimit_limit", resource="requests") == 1000
    assert samples("anthropic_ratelimit_remaining", resource="output_tokens") == 3
    assert samples("anthropic_ratelimit_limit", resource="priority_input_tokens") == 1004
    assert samples("anthropic_ratelimit_remaining", resource="fast_output_tokens") == 7
    assert samples("anthropic_ratelimit_reset_timestamp_seconds", resource="tokens") == 1_795_262_400.0


def test_a_long_stream_does_not_bring_back_the_limits_of_its_beginning(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples, clock: Clock
) -> None:
    def left(number: int) -> dict[str, str]:
        return {"anthropic-ratelimit-requests-remaining": str(number)}

    fake_api.push(streamed(events(), headers=left(10)), answer(headers=left(9)))
    stream = client.messages.create(**ASK, stream=True)
    clock.now += 1
    client.messages.create(**ASK)
    list(stream)
    assert samples("anthropic_ratelimit_remaining", resource="requests") == 9


# -- two middlewares


def test_a_client_that_carries_the_middleware_twice_is_counted_once(
    fake_api: FakeApi, recorder: Recorder, client: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(WHOLE, STREAM)
    twice = client.with_options(middleware=[*client.middleware, recorder.middleware()])
    twice.messages.create(**ASK)
    list(twice.messages.create(**ASK, stream=True))
    counted(samples, success=2)
    assert samples("anthropic_tokens_total") == 2 * TOKENS


def test_two_recorders_see_the_same_call(
    fake_api: FakeApi, recorder: Recorder, client: anthropic.Anthropic, samples: Samples
) -> None:
    other = Samples(CollectorRegistry())
    second = Recorder(registry=other.registry, strict=True)
    fake_api.push(WHOLE)
    client.with_options(middleware=[*client.middleware, second.middleware()]).messages.create(**ASK)
    assert samples("anthropic_tokens_total") == other("anthropic_tokens_total") == TOKENS


def test_an_answer_from_memory_is_not_an_attempt(
    client_options: dict[str, Any], recorder: Recorder, samples: Samples
) -> None:
    def remembered(request: anthropic.APIRequest, call_next: Callable[..., Any]) -> str:
        return "from memory"

    chain = [recorder.middleware(), remembered]
    with anthropic.Anthropic(**client_options, middleware=chain) as client:  # type: ignore[arg-type]
        assert client.messages.create(**ASK) == "from memory"
    assert samples("anthropic_requests_total") == 0
    assert samples("anthropic_inflight_requests") == 0
