"""The labels of calls that are made elsewhere than in their block: by the real SDK, in frameworks and in threads."""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
import anyio
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from anthropic_exporter import Recorder, attribution
from anthropic_exporter.simulator.fake_api import FakeApi
from bodies import ASK, answer

pytest_plugins = ("fixtures_clients", "fixtures_fake_api")


@pytest.fixture(autouse=True)
def _answers(fake_api: FakeApi) -> None:
    fake_api.push(*[answer()] * 8)


@pytest.fixture
def counted(recorder: Recorder) -> Any:
    """Requests by (feature, user)."""

    def read() -> Any:
        requests = recorder.read()["anthropic_requests_total"]
        return {one.labels[1:3]: one.values[0] for one in requests if one.values[0]}

    return read


def ask(client: anthropic.Anthropic) -> Any:
    return client.messages.create(**ASK)


async def get(app: Any, path: Any = "/") -> Any:
    """Ask an ASGI application in this process, its background tasks included."""
    sent = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "http_version": "1.1", "method": "GET"}
    await app({**scope, "path": path, "raw_path": path.encode(), "query_string": b"", "headers": []}, receive, send)
    return b"".join(message.get("body", b"") for message in sent)


async def test_a_background_task_of_any_kind_is_bound_to_the_block_that_adds_it(
    client: anthropic.Anthropic, async_client: anthropic.AsyncAnthropic, counted: Any
) -> None:
    class Later:
        async def __call__(self) -> None:
            await ask(async_client)  # type: ignore[arg-type]

    def respond(request: Any) -> Any:
        with attribution(feature="chat", user=request.url.path[1:]):
            work = {"/plain": lambda: ask(client), "/object": Later(), "/coroutine": Later().__call__}
            return PlainTextResponse("", background=BackgroundTask(attribution.bind(work[request.url.path])))  # type: ignore[arg-type, type-var]

    app = Starlette(routes=[Route("/{name}", respond)])
    for path in ("/plain", "/object", "/coroutine"):
        await get(app, path)
    assert counted() == {("chat", "plain"): 1, ("chat", "object"): 1, ("chat", "coroutine"): 1}


async def test_each_step_of_a_decorated_generator_is_attributed_that_a_framework_runs_in_threads(
    client: anthropic.Anthropic, counted: Any
) -> None:
    """Starlette runs each step of a sync generator in a thread, in a copy of the context."""

    @attribution(feature="chat")
    def parts() -> Generator[Any, Any, Any]:
        for _ in range(3):
            ask(client)
            yield "part "

    app = Starlette(routes=[Route("/", lambda _: StreamingResponse(parts()))])
    assert await get(app) == b"part part part "
    assert counted() == {("chat", ""): 3}


async def test_task_groups_and_threads_of_anyio_stay_in_the_block(
    client: anthropic.Anthropic, async_client: anthropic.AsyncAnthropic, counted: Any
) -> None:
    async with anyio.create_task_group() as group:
        with attribution(feature="chat"):
            group.start_soon(anyio.to_thread.run_sync, ask, client)
            group.start_soon(ask, async_client)  # type: ignore[arg-type]
    assert counted() == {("chat", ""): 2}


async def test_callbacks_of_the_event_loop_stay_in_the_block_in_which_they_were_scheduled(
    client: anthropic.Anthropic, counted: Any
) -> None:
    done = asyncio.Event()

    def call() -> None:
        ask(client)
        done.set()

    with attribution(feature="chat"):
        asyncio.get_running_loop().call_later(0.001, call)
    await done.wait()
    assert counted() == {("chat", ""): 1}


def test_pools_and_timers_run_bound_work_in_its_block_and_other_work_in_none(
    client: anthropic.Anthropic, counted: Any
) -> None:
    with ThreadPoolExecutor(2) as pool, attribution(feature="chat", user="acme"):
        timer = threading.Timer(0.001, attribution.bind(ask), (client,))
        timer.start()
        list(pool.map(attribution.bind(ask), [client, client]))
        pool.submit(ask, client).result()
        timer.join()
    assert counted() == {("chat", "acme"): 3, ("", ""): 1}


def test_a_stream_that_another_thread_reads_and_closes_belongs_to_the_block_that_asked_for_it(
    client: anthropic.Anthropic, counted: Any
) -> None:
    with attribution(feature="chat"):
        stream = client.messages.create(**ASK, stream=True)
    with attribution(feature="other"), ThreadPoolExecutor(1) as pool:
        pool.submit(stream.close).result()
    assert counted() == {("chat", ""): 1}


def test_a_call_in_an_exception_handler_belongs_to_the_block_around_the_handler(
    client: anthropic.Anthropic, counted: Any
) -> None:
    with attribution(feature="outer"):
        try:
            with attribution(feature="inner"):
                raise LookupError  # noqa: TRY301 - what an application may do
        except LookupError:
            assert traceback.format_exc()
            ask(client)
    assert counted() == {("outer", ""): 1}
