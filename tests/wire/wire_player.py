"""Plays a case: the real SDK, sync or async, against the fake API, with the recorder's middleware.

One player for both kinds of client: what a sync client returns is used as it is, what an async client returns is
awaited.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import anthropic
import pydantic
import pytest

from anthropic_exporter.capture.middleware import Capture

#: httpx before SDK 1.0, httpx2 from then on.
_HTTP = sys.modules[anthropic.DefaultHttpxClient.__mro__[1].__module__.partition(".")[0]]
MESSAGES = [{"role": "user", "content": "What does this cost?"}]
_AWS = {"aws_region": "us-east-1"}
#: client of a case: its class, what it needs, path below the server's address.
CLIENTS: dict[str, Any] = {
    "anthropic": ("Anthropic", {"api_key": "sk-ant-test"}, ""),
    "bedrock": ("AnthropicBedrock", {**_AWS, "aws_access_key": "test", "aws_secret_key": "test"}, ""),
    "mantle": ("AnthropicBedrockMantle", {**_AWS, "api_key": "test"}, "/anthropic"),
    "vertex": ("AnthropicVertex", {"project_id": "test", "access_token": "test"}, "/v1"),
    "google_cloud": ("AnthropicGoogleCloud", {"skip_auth": True}, ""),
    "foundry": ("AnthropicFoundry", {"api_key": "test"}, "/anthropic"),
    "aws": ("AnthropicAWS", {**_AWS, "api_key": "test", "workspace_id": "w"}, ""),
}


class Answer(pydantic.BaseModel):
    """What `parse` reads out of the text."""

    total: int


def make_client(case: dict[str, Any], mode: str, base_url: str, middleware: Capture) -> Any:
    """The client of a case; it neither waits for retries longer than it must nor reads the environment."""
    name, needs, path = CLIENTS[case.get("client", "anthropic")]
    sync = mode == "sync"
    if not hasattr(anthropic, name):
        pytest.skip(f"this SDK has no {name}")
    kind = getattr(anthropic, name if sync else f"Async{name}")
    http = anthropic.DefaultHttpxClient if sync else anthropic.DefaultAsyncHttpxClient
    # The SDK's own HTTP client; without TLS on loopback it need not read the machine's certificates every time.
    http_client = http(verify=False)
    options: dict[str, Any] = {
        "base_url": base_url + path,
        "http_client": http_client,
        **needs,
        **case.get("options", {}),
    }
    return kind(middleware=[middleware], **options)


async def play(client: Any, case: dict[str, Any]) -> None:
    """Make the calls of a case. What they raise is what the case says, by the name of the class or of one above it."""
    request = {"max_tokens": 1024, "messages": MESSAGES, **case.get("request", {})}
    raises = case.get("raises", "NoneType")
    raises = {raises} if isinstance(raises, str) else set(raises)
    for _ in range(case.get("times", 1)):
        raised = None
        try:
            await CALLS[case["call"]](client, dict(request), case)
        except (anthropic.APIError, _HTTP.HTTPError, ValueError) as error:
            raised = error
        assert raises & {cls.__name__ for cls in type(raised).__mro__}, raised


async def done(value: Any) -> Any:
    """The value, awaited where it has to be."""
    return await value if inspect.isawaitable(value) else value


async def _each(values: Any) -> AsyncIterator[Any]:
    if hasattr(values, "__aiter__"):
        async for value in values:
            yield value
    else:
        for value in values:
            yield value


@contextlib.asynccontextmanager
async def _open(manager: Any) -> AsyncIterator[Any]:
    if hasattr(manager, "__aenter__"):
        async with manager as inside:
            yield inside
    else:
        with manager as inside:
            yield inside


async def _create(client: Any, request: dict[str, Any], case: dict[str, Any]) -> None:
    await done(client.messages.create(**request))


async def _with_options(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    await done(client.with_options(timeout=20).messages.create(**request))


async def _copy(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    await done(client.copy(max_retries=1).messages.create(**request))


async def _create_stream(client: Any, request: dict[str, Any], case: dict[str, Any]) -> None:
    """Iterate it whole, or take so many events, or so many until one of a type, and close."""
    stream = await done(client.messages.create(**request, stream=True))
    taken = 0
    if case.get("take") != 0:
        async for event in _each(stream):
            taken += 1
            if taken == case.get("take") or event.type == case.get("until"):
                break
    await done(stream.close())


async def _stream(client: Any, request: dict[str, Any], case: dict[str, Any]) -> None:
    async with _open(client.messages.stream(**request)) as stream:
        await done(stream.get_final_message())


async def _stream_text(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    async with _open(client.messages.stream(**request)) as stream:
        async for _ in _each(stream.text_stream):
            if "take" in case:
                break


async def _parse(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    parsed = await done(client.messages.parse(**request, output_format=Answer))
    assert parsed.parsed_output == Answer(total=42)


async def _raw(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    response = await done(client.messages.with_raw_response.create(**request))
    assert (await done(response.parse())).type == "message"


async def _raw_unparsed(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    response = await done(client.messages.with_raw_response.create(**request))
    assert response.status_code == 200


async def _streaming_read(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    async with _open(client.messages.with_streaming_response.create(**request)) as response:
        await done(response.read())


async def _streaming_lines(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    async with _open(client.messages.with_streaming_response.create(**request)) as response:
        async for _ in _each(response.iter_lines()):
            pass


async def _streaming_left(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    async with _open(client.messages.with_streaming_response.create(**request)):
        pass


async def _post(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    await done(client.post("/v1/messages", cast_to=anthropic.types.Message, body=request))


async def _beta(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    await done(client.beta.messages.create(**request))


async def _beta_stream(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    async with _open(client.beta.messages.stream(**request)) as stream:
        await done(stream.get_final_message())


async def _beta_create_stream(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    async for _ in _each(await done(client.beta.messages.create(**request, stream=True))):
        pass


async def _tool_runner(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    if isinstance(client, anthropic.Anthropic):

        @anthropic.beta_tool
        def total() -> str:
            """The total."""
            return "42"

    else:

        @anthropic.beta_async_tool
        async def total() -> str:
            """The total."""
            return "42"

    await done(client.beta.messages.tool_runner(**request, tools=[total]).until_done())  # type: ignore[list-item]


async def _count_tokens(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    del request["max_tokens"]
    await done(client.messages.count_tokens(**request))


async def _models(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    await done(client.models.retrieve(request["model"]))


async def _batch_create(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    await done(client.messages.batches.create(requests=[{"custom_id": "first", "params": request}]))  # type: ignore[typeddict-item]


async def _batch_results(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    async for _ in _each(await done(client.messages.batches.results("msgbatch_013Zva2CMHLNnXjNJJKqJ2EF"))):
        pass


async def _beta_batch_results(
    client: anthropic.Anthropic | anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]
) -> None:
    async for _ in _each(await done(client.beta.messages.batches.results("msgbatch_013Zva2CMHLNnXjNJJKqJ2EF"))):
        pass


async def _cancelled_stream(client: anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]) -> None:
    """A task that is cancelled while it waits for more of a stream (async alone)."""
    waiting = asyncio.Event()

    async def read() -> None:
        async for event in await client.messages.create(**request, stream=True):
            if event.type == case["until"]:
                waiting.set()

    await _cancel(asyncio.create_task(read()), waiting)


async def _cancelled(client: anthropic.AsyncAnthropic, request: dict[str, Any], case: dict[str, Any]) -> None:
    """A task that is cancelled while it waits for the response's body (async alone)."""
    waiting = asyncio.Event()
    client._client.event_hooks["response"].append(_setter(waiting))
    await _cancel(asyncio.create_task(client.messages.create(**request)), waiting)


def _setter(event: asyncio.Event) -> Callable[..., Awaitable[None]]:
    async def hook(_response: Any) -> None:
        event.set()

    return hook


async def _cancel(task: Any, when: asyncio.Event) -> None:
    await asyncio.wait_for(when.wait(), 10)
    await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
        raise AssertionError("the task was not cancelled")


CALLS = {
    "create": _create,
    "with_options": _with_options,
    "copy": _copy,
    "create_stream": _create_stream,
    "stream": _stream,
    "stream_text": _stream_text,
    "parse": _parse,
    "with_raw_response": _raw,
    "with_raw_response_unparsed": _raw_unparsed,
    "with_streaming_response_read": _streaming_read,
    "with_streaming_response_lines": _streaming_lines,
    "with_streaming_response_left": _streaming_left,
    "post": _post,
    "beta_create": _beta,
    "beta_stream": _beta_stream,
    "beta_create_stream": _beta_create_stream,
    "tool_runner": _tool_runner,
    "count_tokens": _count_tokens,
    "models": _models,
    "batch_create": _batch_create,
    "batch_results": _batch_results,
    "beta_batch_results": _beta_batch_results,
    "cancelled_stream": _cancelled_stream,
    "cancelled": _cancelled,
}
