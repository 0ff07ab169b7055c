from __future__ import annotations

import gzip
import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPResponse
from typing import Any

import anthropic
import pytest
from anthropic.types import Usage

from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.simulator.fake_api import Behaviour, Chunk, FakeApi, Scripted, start
from anthropic_exporter.simulator.fake_api.behaviour import OrganizationLimits
from fixtures_fake_api import ManualClock

pytest_plugins = ("fixtures_fake_api",)

OPUS = "claude-opus-5-5"
HEADERS = {"x-api-key": "sk-ant-test", "anthropic-version": "2026-10-21"}
EPHEMERAL = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}


def text(tokens: int, control: dict[str, str] | None = None, letter: str = "a") -> dict[str, Any]:
    """A text block of exactly so many tokens of the fake tokenizer."""
    block = {"type": "text", "text": letter * (4 * tokens)}
    return block | ({"cache_control": control} if control else {})


def ask(
    client: anthropic.Anthropic,
    system: list[dict[str, Any]] | str,
    question: str = "q" * 40,
    model: str = OPUS,
    **options: Any,
) -> Usage:
    messages = [{"role": "user", "content": question}]
    return client.messages.create(model=model, max_tokens=500, system=system, messages=messages, **options).usage  # type: ignore[arg-type]


def parts(usage: Usage) -> tuple[int, int, int]:
    return usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens


class TestPromptCache:
    def test_the_same_prefix_is_written_once_and_then_read(self, sdk_client: anthropic.Anthropic) -> None:
        system = [text(50_000, EPHEMERAL)]
        assert parts(ask(sdk_client, system)) == (10, 0, 50_000)
        assert parts(ask(sdk_client, system)) == (10, 50_000, 0)

    def test_a_changed_byte_in_front_of_the_prefix_loses_it(self, sdk_client: anthropic.Anthropic) -> None:
        system = [text(50_000, EPHEMERAL)]
        ask(sdk_client, system)
        assert parts(ask(sdk_client, [text(4, letter="b"), *system])) == (10, 0, 50_004)

    def test_a_prompt_without_cache_control_is_plain_input_although_it_is_cached(
        self, sdk_client: anthropic.Anthropic
    ) -> None:
        ask(sdk_client, [text(50_000, EPHEMERAL)])
        assert parts(ask(sdk_client, [text(50_000)])) == (50_010, 0, 0)

    def test_another_model_has_another_cache(self, sdk_client: anthropic.Anthropic) -> None:
        system = [text(50_000, EPHEMERAL)]
        ask(sdk_client, system)
        assert parts(ask(sdk_client, system, model="claude-sonnet-5-5")) == (10, 0, 50_000)

    def test_another_key_has_another_cache(self, sdk_client: anthropic.Anthropic) -> None:
        system = [text(50_000, EPHEMERAL)]
        ask(sdk_client, system)
        assert parts(ask(sdk_client.with_options(api_key="sk-ant-other"), system)) == (10, 0, 50_000)

    def test_a_prefix_below_the_minimum_of_the_model_is_not_cached(self, sdk_client: anthropic.Anthropic) -> None:
        for _ in range(2):
            assert parts(ask(sdk_client, [text(511, EPHEMERAL)])) == (521, 0, 0)
        assert parts(ask(sdk_client, [text(512, EPHEMERAL)])) == (10, 0, 512)

    def test_an_entry_lives_five_minutes_from_its_last_use(
        self, sdk_client: anthropic.Anthropic, api_clock: ManualClock
    ) -> None:
        system = [text(2_000, EPHEMERAL)]
        ask(sdk_client, system)
        for _ in range(3):
            api_clock.advance(299)
            assert parts(ask(sdk_client, system)) == (10, 2_000, 0)
        api_clock.advance(300)
        assert parts(ask(sdk_client, system)) == (10, 0, 2_000)

    def test_a_one_hour_entry_lives_an_hour_and_is_distinguished(
        self, sdk_client: anthropic.Anthropic, api_clock: ManualClock
    ) -> None:
        system = [text(2_000, HOUR), text(1_000, EPHEMERAL, "b")]
        written = ask(sdk_client, system)
        assert written.cache_creation.ephemeral_1h_input_tokens == 2_000
        assert written.cache_creation.ephemeral_5m_input_tokens == 1_000
        api_clock.advance(3_599)
        assert parts(ask(sdk_client, system)) == (10, 2_000, 1_000)

    def test_a_growing_conversation_reads_its_cache_and_writes_new_turns(self, sdk_client: anthropic.Anthropic) -> None:
        turns = [{"role": "user", "content": [text(1_000, letter="a")]}]
        first = sdk_client.messages.create(model=OPUS, max_tokens=9, messages=turns, cache_control=EPHEMERAL).usage  # type: ignore[call-overload]
        turns += [{"role": "assistant", "content": "yes!"}, {"role": "user", "content": [text(100, letter="c")]}]
        second = sdk_client.messages.create(model=OPUS, max_tokens=9, messages=turns, cache_control=EPHEMERAL).usage  # type: ignore[call-overload]
        assert parts(first) == (0, 0, 1_000)
        assert parts(second) == (0, 1_000, 101)

    def test_a_prefix_more_than_twenty_blocks_back_is_not_found(self, sdk_client: anthropic.Anthropic) -> None:
        ask(sdk_client, [text(1_000, EPHEMERAL)])
        near = [text(1_000), *[text(1, letter="b")] * 19, text(1, EPHEMERAL, "c")]
        far = [text(1_000), *[text(1, letter="d")] * 20, text(1, EPHEMERAL, "e")]
        assert parts(ask(sdk_client, near)) == (10, 1_000, 20)
        assert parts(ask(sdk_client, far)) == (10, 0, 1_021)

    def test_clearing_the_cache_loses_everything(self, sdk_client: anthropic.Anthropic, fake_api: FakeApi) -> None:
        system = [text(2_000, EPHEMERAL)]
        ask(sdk_client, system)
        fake_api.cache.clear()
        assert parts(ask(sdk_client, system)) == (10, 0, 2_000)

    @pytest.mark.parametrize(
        ("system", "words"),
        [
            ([text(1, EPHEMERAL)] * 5, "maximum of 4 blocks"),
            ([text(1, EPHEMERAL), text(1, HOUR)], "must not come after"),
            ([text(1, {"type": "ephemeral", "ttl": "2h"})], "ttl '5m' or '1h'"),
        ],
    )
    def test_wrong_cache_control_is_a_400(
        self, sdk_client: anthropic.Anthropic, system: list[dict[str, Any]], words: str
    ) -> None:
        with pytest.raises(anthropic.BadRequestError, match=words):
            ask(sdk_client, system)


class TestMessages:
    def test_a_message_has_ids_tier_place_and_a_stop_reason(self, sdk_client: anthropic.Anthropic) -> None:
        raw = sdk_client.messages.with_raw_response.create(
            model=OPUS, max_tokens=4_000, messages=[{"role": "user", "content": "hello"}]
        )
        message = raw.parse()
        assert message.id.startswith("msg_")
        assert (message.model, message.stop_reason) == (OPUS, "end_turn")
        assert (message.usage.service_tier, message.usage.inference_geo) == ("standard", "global")
        assert raw.headers["request-id"].startswith("req_")
        assert raw.headers["anthropic-organization-id"]

    def test_an_answer_stops_at_max_tokens(self, sdk_client: anthropic.Anthropic) -> None:
        message = sdk_client.messages.create(model=OPUS, max_tokens=3, messages=[{"role": "user", "content": "hello"}])
        assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 3)

    def test_no_tokens_asked_for_warms_the_cache_and_says_nothing(self, sdk_client: anthropic.Anthropic) -> None:
        messages = [{"role": "user", "content": [text(600, EPHEMERAL)]}]
        message = sdk_client.messages.create(model=OPUS, max_tokens=0, messages=messages)  # type: ignore[arg-type]
        assert (message.content, message.stop_reason, message.usage.output_tokens) == ([], "max_tokens", 0)
        assert message.usage.cache_creation_input_tokens == 600

    def test_the_same_seed_draws_the_same_lengths(self, start_fake_api: Callable[..., FakeApi]) -> None:
        lengths = []
        for seed in (7, 7, 8):
            api = start_fake_api(seed=seed)
            with anthropic.Anthropic(api_key="sk-ant-test", base_url=api.base_url) as client:
                lengths.append([ask(client, "x").output_tokens for _ in range(5)])
        assert lengths[0] == lengths[1] != lengths[2]

    def test_an_agent_gets_tool_calls_until_its_rounds_are_done(self, start_fake_api: Callable[..., FakeApi]) -> None:
        tools = [{"name": "search", "input_schema": {"type": "object", "properties": {"query": {"type": "string"}}}}]
        turns = [{"role": "user", "content": "find it"}]
        stops: list[Any] = []
        api = start_fake_api(tool_rounds=2)
        with anthropic.Anthropic(api_key="sk-ant-test", base_url=api.base_url) as client:
            while stops[-1:] != ["end_turn"]:
                message = client.messages.create(model=OPUS, max_tokens=4_000, messages=turns, tools=tools)  # type: ignore[arg-type]
                stops.append(message.stop_reason)
                results = [
                    {"type": "tool_result", "tool_use_id": block.id, "content": block.input["query"]}
                    for block in message.content
                    if block.type == "tool_use"
                ]
                turns += [{"role": "assistant", "content": message.content}, {"role": "user", "content": results}]  # type: ignore[dict-item]
        assert stops == ["tool_use", "tool_use", "end_turn"]

    def test_tokens_are_counted_without_a_message(self, sdk_client: anthropic.Anthropic) -> None:
        counted = sdk_client.messages.count_tokens(model=OPUS, messages=[{"role": "user", "content": "12345678"}])
        assert counted.input_tokens == 2

    async def test_the_async_client_gets_the_same(self, async_sdk_client: anthropic.AsyncAnthropic) -> None:
        messages = [{"role": "user", "content": [text(600, EPHEMERAL)]}]
        message = await async_sdk_client.messages.create(model=OPUS, max_tokens=9, messages=messages)  # type: ignore[arg-type]
        assert message.usage.cache_creation_input_tokens == 600


class TestStreams:
    def test_events_come_in_the_order_of_the_wire(self, sdk_client: anthropic.Anthropic) -> None:
        events = list(
            sdk_client.messages.create(
                model=OPUS,
                max_tokens=500,
                messages=[{"role": "user", "content": [text(600, EPHEMERAL)]}],  # type: ignore[list-item, misc]
                stream=True,
            )
        )
        kinds = [event.type for event in events]  # type: ignore[union-attr]
        assert kinds[:2] == ["message_start", "content_block_start"]
        assert set(kinds[2:-3]) == {"content_block_delta"}
        assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
        opening, closing = events[0].message.usage, events[-2].usage  # type: ignore[union-attr]
        assert opening.cache_creation.ephemeral_5m_input_tokens == 600
        assert (opening.output_tokens, opening.service_tier) == (1, "standard")
        assert closing.cache_creation_input_tokens == 600
        assert closing.output_tokens > 20
        assert not hasattr(closing, "cache_creation")

    def test_the_helper_puts_text_and_usage_together(self, sdk_client: anthropic.Anthropic) -> None:
        with sdk_client.messages.stream(
            model=OPUS, max_tokens=500, messages=[{"role": "user", "content": "hello"}]
        ) as stream:
            message = stream.get_final_message()
        assert len(message.content[0].text.split()) == message.usage.output_tokens  # type: ignore[union-attr]
        assert message.usage.input_tokens == 2

    def test_a_ping_is_on_the_wire(self, fake_api: FakeApi) -> None:
        body = post(
            fake_api, {"model": OPUS, "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "x"}]}
        )
        assert b'event: ping\ndata: {"type": "ping"}\n\n' in body.read()

    def test_latency_follows_the_speed(self, start_fake_api: Callable[..., FakeApi]) -> None:
        api = start_fake_api(speed=10.0, first_token_seconds=2.0, output_sigma=0.0, output_tokens=1)
        with anthropic.Anthropic(api_key="sk-ant-test", base_url=api.base_url) as client:
            began = time.monotonic()
            next(
                iter(
                    client.messages.create(
                        model=OPUS, max_tokens=9, messages=[{"role": "user", "content": "x"}], stream=True
                    )
                )
            )
            assert 0.12 <= time.monotonic() - began < 2.0


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({"max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}, "model: Field required"),
            ({"model": OPUS, "messages": [{"role": "user", "content": "x"}]}, "max_tokens: Field required"),
            (
                {"model": OPUS, "max_tokens": -1, "messages": [{"role": "user", "content": "x"}]},
                "greater than or equal",
            ),
            ({"model": OPUS, "max_tokens": 9, "messages": []}, "at least one message"),
        ],
    )
    def test_a_wrong_body_is_a_400_with_the_request_id_in_the_body(
        self, fake_api: FakeApi, body: dict[str, Any], words: str
    ) -> None:
        with pytest.raises(urllib.error.HTTPError) as raised:
            post(fake_api, body)
        with raised.value as error:
            content = json.loads(error.read())
        assert error.code == 400
        assert content["error"]["type"] == "invalid_request_error"
        assert words in content["error"]["message"]
        assert content["request_id"] == error.headers["request-id"]

    @pytest.mark.parametrize(
        ("headers", "status", "words"),
        [
            ({"anthropic-version": ""}, 400, "header is required"),
            ({"anthropic-version": "1999-01-01"}, 400, "is not a valid version"),
            ({"x-api-key": ""}, 401, "header is required"),
        ],
    )
    def test_version_and_key_are_needed(
        self, fake_api: FakeApi, headers: dict[str, str], status: int, words: str
    ) -> None:
        with pytest.raises(urllib.error.HTTPError) as raised:
            post(fake_api, {}, headers)
        with raised.value as error:
            assert error.code == status
            assert words in json.loads(error.read())["error"]["message"]

    def test_a_wrong_key_is_a_401(self, start_fake_api: Callable[..., FakeApi]) -> None:
        api = start_fake_api(api_keys=frozenset({"sk-ant-right"}))
        with (
            anthropic.Anthropic(api_key="sk-ant-wrong", base_url=api.base_url) as client,
            pytest.raises(anthropic.AuthenticationError, match="invalid x-api-key"),
        ):
            ask(client, "x")

    def test_an_unknown_model_is_a_404(self, sdk_client: anthropic.Anthropic) -> None:
        with pytest.raises(anthropic.NotFoundError, match="model: gpt-9"):
            ask(sdk_client, "x", model="gpt-9")

    def test_a_share_of_requests_is_overloaded(self, start_fake_api: Callable[..., FakeApi]) -> None:
        api = start_fake_api(faults=(("overloaded_error", 0.25),), seed=3)
        body = {"model": OPUS, "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
        answers = [outcome(api, body) for _ in range(40)]
        overloaded = [retry_after for status, retry_after in answers if status == 529]
        assert {status for status, _ in answers} == {200, 529}
        assert 4 <= len(overloaded) <= 16
        assert set(overloaded) == {"1"}

    def test_the_thirteenth_request_of_twelve_a_minute_is_a_429_that_says_when(
        self, start_fake_api: Callable[..., FakeApi], api_clock: ManualClock
    ) -> None:
        api = start_fake_api(limits=OrganizationLimits(requests=12))
        with anthropic.Anthropic(api_key="sk-ant-test", base_url=api.base_url, max_retries=0) as client:
            for _ in range(12):
                ask(client, "x")
            with pytest.raises(anthropic.RateLimitError) as raised:
                ask(client, "x")
            assert raised.value.response.headers["retry-after"] == "5"
            api_clock.advance(5)
            ask(client, "x")

    def test_cache_reads_do_not_count_to_the_input_limit(self, sdk_client: anthropic.Anthropic) -> None:
        system = [text(50_000, EPHEMERAL)]
        for _ in range(2):
            ask(sdk_client, system)
        headers = sdk_client.messages.with_raw_response.create(
            model=OPUS, max_tokens=9, messages=[{"role": "user", "content": "x"}]
        ).headers
        limits: dict[str, Any] = {
            name: value for name, value in headers.items() if name.startswith("anthropic-ratelimit-")
        }
        assert len(limits) == 12
        assert limits["anthropic-ratelimit-input-tokens-limit"] == "200000000"
        assert limits["anthropic-ratelimit-input-tokens-remaining"] == "199950000"
        assert limits["anthropic-ratelimit-requests-remaining"] == "3997"
        assert limits["anthropic-ratelimit-requests-reset"] == "2027-01-15T08:00:00Z"


class TestScript:
    def test_an_answer_goes_over_the_wire_as_it_was_queued(
        self, fake_api: FakeApi, sdk_client: anthropic.Anthropic
    ) -> None:
        body = gzip.compress(
            b'{"id": "msg_1", "type": "message", "model": "m", "content": [], "usage": {"input_tokens": 5}}'
        )
        fake_api.push(Scripted.of(body, content_encoding="gzip", request_id="req_mine"))
        raw = sdk_client.messages.with_raw_response.create(
            model=OPUS, max_tokens=9, messages=[{"role": "user", "content": "x"}]
        )
        assert raw.headers["request-id"] == "req_mine"
        assert raw.parse().usage.input_tokens == 5

    def test_answers_are_taken_in_order_and_then_the_api_is_itself_again(
        self, fake_api: FakeApi, sdk_client: anthropic.Anthropic
    ) -> None:
        fake_api.push(Scripted.of(b"{}", status=529), Scripted.of(b"{}", status=500))
        for status in (529, 500):
            with pytest.raises(anthropic.APIStatusError) as raised:
                ask(sdk_client, "x")
            assert raised.value.status_code == status
        assert ask(sdk_client, "xxxx").input_tokens == 11

    def test_an_answer_may_depend_on_the_request(self, fake_api: FakeApi, sdk_client: anthropic.Anthropic) -> None:
        fake_api.push(lambda received: Scripted.of(json.dumps({"input_tokens": received.body["system"]}).encode()))
        counted = sdk_client.messages.count_tokens(model=OPUS, system="12", messages=[{"role": "user", "content": "x"}])
        assert counted.input_tokens == "12"  # type: ignore[comparison-overlap]

    def test_a_connection_dropped_before_the_answer(self, fake_api: FakeApi, sdk_client: anthropic.Anthropic) -> None:
        fake_api.push(Scripted(drop=True))
        with pytest.raises(anthropic.APIConnectionError):
            ask(sdk_client, "x")

    def test_a_connection_dropped_in_the_middle_of_a_stream(
        self, fake_api: FakeApi, sdk_client: anthropic.Anthropic
    ) -> None:
        ping = b'event: ping\ndata: {"type": "ping"}\n\n'
        body = (Chunk(ping), Chunk(ping, after=0.01), Chunk(b"event: message_de"))
        fake_api.push(Scripted(headers={"content-type": "text/event-stream"}, body=body, drop=True))
        lines: list[Any] = []
        with (
            sdk_client.messages.with_streaming_response.create(
                model=OPUS, max_tokens=9, messages=[{"role": "user", "content": "x"}], stream=True
            ) as response,
            pytest.raises(Exception, match="peer closed connection"),
        ):
            lines.extend(response.iter_lines())
        assert lines.count("event: ping") == 2

    def test_requests_are_remembered(self, fake_api: FakeApi, sdk_client: anthropic.Anthropic) -> None:
        ask(sdk_client, "remember me")
        (received,) = fake_api.requests
        assert (received.method, received.path) == ("POST", "/v1/messages")
        assert received.body["system"] == "remember me"
        assert received.headers["anthropic-version"]


class TestServer:
    def test_a_port_in_use_is_one_clear_error(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(ConfigurationError, match=rf"cannot listen on 127.0.0.1:{port}"):
                start(port=port)

    def test_closing_ends_a_stream_that_still_runs(self) -> None:
        api = start(Behaviour(first_token_seconds=0.0, tokens_per_second=0.1))
        body = {"model": OPUS, "max_tokens": 400, "stream": True, "messages": [{"role": "user", "content": "x"}]}
        with post(api, body) as response:
            assert response.readline() == b"event: message_start\n"
            began = time.monotonic()
            api.close()
            assert time.monotonic() - began < 60.0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((api.host, api.port), timeout=1)

    def test_another_path_is_a_404(self, fake_api: FakeApi) -> None:
        with pytest.raises(urllib.error.HTTPError) as raised, urllib.request.urlopen(f"{fake_api.url}/v1/models"):
            pass
        with raised.value as error:
            assert json.loads(error.read())["error"]["type"] == "not_found_error"


def post(api: FakeApi, body: dict[str, Any], headers: dict[str, str] | None = None) -> HTTPResponse:
    """A request without the SDK; the caller closes the response."""
    sent = HEADERS | (headers or {})
    sent = {name: value for name, value in sent.items() if value}
    return urllib.request.urlopen(
        urllib.request.Request(f"{api.url}/v1/messages", json.dumps(body).encode(), sent), timeout=10
    )


def outcome(api: FakeApi, body: dict[str, Any]) -> tuple[int, str | None]:
    """The status and the retry-after header of one request."""
    try:
        with post(api, body) as response:
            return response.status, None
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["retry-after"]
