"""The ways in which `fuzz.py` reads a response. Each appends to `seen` what the application gets to see."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

ASK: dict[str, Any] = {
    "model": "claude-opus-5-5",
    "max_tokens": 500,
    "messages": [{"role": "user", "content": "hello"}],
}
_SOME = 3


def create(client: Any, seen: Any) -> None:
    seen.append(repr(client.messages.create(**ASK)))


def events(client: Any, seen: Any) -> None:
    for event in client.messages.create(**ASK, stream=True):
        seen.append(repr(event))


def helper(client: Any, seen: Any) -> None:
    with client.messages.stream(**ASK) as stream:
        for event in stream:
            seen.append(repr(event))
        seen.append(repr(stream.get_final_message()))


def some_events(client: Any, seen: Any) -> None:
    with client.messages.create(**ASK, stream=True) as stream:
        for event in stream:
            seen.append(repr(event))
            if len(seen) == _SOME:
                break


def dropped(client: Any, seen: Any) -> None:
    for event in client.messages.create(**ASK, stream=True):
        seen.append(repr(event))
        if len(seen) == _SOME:
            break


def raw_bytes(client: Any, seen: Any) -> None:
    with client.messages.with_streaming_response.create(**ASK, stream=True) as response:
        for chunk in response.iter_bytes():
            seen.append(chunk)


def lines(client: Any, seen: Any) -> None:
    with client.messages.with_streaming_response.create(**ASK) as response:
        for line in response.iter_lines():
            seen.append(line)


SYNC_READINGS = [create, events, helper, some_events, raw_bytes, lines, dropped]


async def async_create(client: Any, seen: Any, _case: Any) -> None:
    seen.append(repr(await client.messages.create(**ASK)))


async def async_events(client: Any, seen: Any, _case: Any) -> None:
    async for event in await client.messages.create(**ASK, stream=True):
        seen.append(repr(event))


async def async_helper(client: Any, seen: Any, _case: Any) -> None:
    async with client.messages.stream(**ASK) as stream:
        async for event in stream:
            seen.append(repr(event))
        seen.append(repr(await stream.get_final_message()))


async def async_some_events(client: Any, seen: Any, _case: Any) -> None:
    async with await client.messages.create(**ASK, stream=True) as stream:
        async for event in stream:
            seen.append(repr(event))
            if len(seen) == _SOME:
                break


async def async_dropped(client: Any, seen: Any, _case: Any) -> None:
    async for event in await client.messages.create(**ASK, stream=True):
        seen.append(repr(event))
        if len(seen) == _SOME:
            break


async def async_raw_bytes(client: Any, seen: Any, _case: Any) -> None:
    async with client.messages.with_streaming_response.create(**ASK, stream=True) as response:
        async for chunk in response.iter_bytes():
            seen.append(chunk)


async def async_lines(client: Any, seen: Any, _case: Any) -> None:
    async with client.messages.with_streaming_response.create(**ASK) as response:
        async for line in response.iter_lines():
            seen.append(line)


async def async_cancelled(client: Any, seen: Any, case: Any) -> None:
    """Cancelled so many steps of the event loop after it was sent: with the middleware, not one step more passes."""
    task = asyncio.ensure_future(async_events(client, seen, case))
    await case.sent.wait()  # some clients sign on another thread first, which takes any number of steps
    for _ in range(case.steps):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
        return
    seen.append("cancelled")


ASYNC_READINGS = [
    *(async_create, async_events, async_helper, async_some_events),
    *(async_raw_bytes, async_lines, async_dropped, async_cancelled),
]
