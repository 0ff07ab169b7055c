"""Libraries on top of the SDK, recorded through `instrument()` without a change where they make their clients.

They are no dependencies of the tests: each test runs where its library is installed, and counts literal tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from anthropic_exporter import Recorder, instrument
from anthropic_exporter.simulator.fake_api import FakeApi
from bodies import ASK, MODEL, USAGE, answer, events, message, streamed
from support import Samples

pytest_plugins = ("fixtures_fake_api", "fixtures_clients")
pytestmark = pytest.mark.filterwarnings("default")  # theirs, not ours

PARTS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
ONCE = (100, 2000, 0, 0, 50)
TWICE = (200, 4000, 0, 0, 100)


@pytest.fixture
def instrumented(recorder: Recorder) -> Iterator[Recorder]:
    undo = instrument(recorder)
    yield recorder
    undo()


def tokens(samples: Any) -> Any:
    return tuple(samples("anthropic_tokens_total", type=part) for part in PARTS)


async def test_the_aiohttp_client_of_the_sdk(fake_api: FakeApi, recorder: Recorder, samples: Samples) -> None:
    pytest.importorskip("aiohttp")
    fake_api.push(answer(), streamed(events()))
    async with anthropic.AsyncAnthropic(
        api_key="k",
        base_url=fake_api.base_url,
        http_client=anthropic.DefaultAioHttpClient(),
        middleware=[recorder.middleware()],
    ) as client:
        await client.messages.create(**ASK)
        async with client.messages.stream(**ASK) as stream:
            assert await stream.get_final_text() == "Hello " * 4
    assert tokens(samples) == TWICE
    assert samples("anthropic_requests_total", outcome="success") == 2


async def test_langchain(fake_api: FakeApi, instrumented: Recorder, samples: Samples) -> None:
    models = pytest.importorskip("langchain_anthropic")
    fake_api.push(answer(), answer(), streamed(events()))
    model = models.ChatAnthropic(model=MODEL, api_key="k", base_url=fake_api.base_url, max_retries=0)
    assert model.invoke("Hi").usage_metadata["input_tokens"] == 2100
    await model.ainvoke("Hi")
    assert "".join(one.text for one in model.stream("Hi")) == "Hello " * 4
    assert tokens(samples) == (300, 6000, 0, 0, 150)
    assert samples("anthropic_requests_total", outcome="success") == 3


async def test_pydantic_ai(fake_api: FakeApi, instrumented: Recorder, samples: Samples) -> None:
    pytest.importorskip("pydantic_ai")
    models = pytest.importorskip("pydantic_ai.models.anthropic")
    from pydantic_ai import Agent  # noqa: PLC0415 - only there with the library
    from pydantic_ai.providers.anthropic import AnthropicProvider  # noqa: PLC0415 - as above

    fake_api.push(streamed(events()), streamed(events()))  # this version of the library always streams
    client = anthropic.AsyncAnthropic(api_key="k", base_url=fake_api.base_url, max_retries=0)
    agent = Agent(models.AnthropicModel(MODEL, provider=AnthropicProvider(anthropic_client=client)))
    for _ in range(2):
        assert (await agent.run("Hi")).usage.input_tokens == 2100
    await client.close()
    assert tokens(samples) == TWICE


def test_instructor(fake_api: FakeApi, instrumented: Recorder, samples: Samples) -> None:
    instructor = pytest.importorskip("instructor")
    from pydantic import BaseModel  # noqa: PLC0415 - only there with the library

    class Total(BaseModel):
        total: int

    called = {"type": "tool_use", "id": "toolu_1", "name": "Total", "input": {"total": 42}}
    fake_api.push(answer(USAGE, content=[called], stop_reason="tool_use"))
    client = instructor.from_anthropic(anthropic.Anthropic(api_key="k", base_url=fake_api.base_url, max_retries=0))
    asked = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Sum"}]}
    assert client.messages.create(**asked, response_model=Total, max_retries=1).total == 42
    assert tokens(samples) == ONCE
    assert message()["usage"]["output_tokens"] == 50
