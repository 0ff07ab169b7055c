"""Usage objects of other libraries, as literals and as the libraries' own objects where they are installed."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable
from typing import Any, NamedTuple

import anthropic
import pytest
from anthropic.types import Usage
from prometheus_client import CollectorRegistry

from anthropic_exporter import Recorder
from support import NOON, Samples

MODEL = "claude-opus-5-5"
PARTS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
#: 100 uncached, 2,000 read, 3,000 written (1,000 of them for an hour where a shape says so), 10 out.
FIVE_MINUTES = (100, 2000, 3000, 0, 10)
SPLIT = (100, 2000, 2000, 1000, 10)
#: 100 at 4, 2,000 at 0.20, 3,000 at 5, 10 at 20 dollars a million; with the split 2,000 at 5 and 1,000 at 8.
USD = {FIVE_MINUTES: 0.016, SPLIT: 0.019, (5100, 0, 0, 0, 10): 0.0206}


@pytest.fixture
def recorded() -> Callable[..., Samples]:
    def record(usage: Any, model: str = MODEL) -> Samples:
        registry = CollectorRegistry()
        Recorder(registry=registry, clock=lambda: NOON, strict=True).record_usage(model=model, usage=usage)
        return Samples(registry)

    return record


def parts(samples: Samples) -> tuple[float, ...]:
    return tuple(samples("anthropic_tokens_total", type=part) for part in PARTS)


SHAPES = {
    "messages api": (
        {
            "input_tokens": 100,
            "output_tokens": 10,
            "cache_read_input_tokens": 2000,
            "cache_creation_input_tokens": 3000,
        },
        FIVE_MINUTES,
    ),
    "messages api with a split": (
        {
            "input_tokens": 100,
            "output_tokens": 10,
            "cache_read_input_tokens": 2000,
            "cache_creation_input_tokens": 3000,
            "cache_creation": {"ephemeral_5m_input_tokens": 2000, "ephemeral_1h_input_tokens": 1000},
        },
        SPLIT,
    ),
    "langchain": (
        {
            "input_tokens": 5100,
            "output_tokens": 10,
            "total_tokens": 5110,
            "input_token_details": {"cache_read": 2000, "cache_creation": 3000},
        },
        FIVE_MINUTES,
    ),
    "langchain with a split": (
        {
            "input_tokens": 5100,
            "output_tokens": 10,
            "total_tokens": 5110,
            "input_token_details": {
                "cache_read": 2000,
                "cache_creation": 0,
                "ephemeral_5m_input_tokens": 2000,
                "ephemeral_1h_input_tokens": 1000,
            },
            "output_token_details": {"reasoning": 4},
        },
        SPLIT,
    ),
    "langchain without details": (
        {"input_tokens": 5100, "output_tokens": 10, "total_tokens": 5110},
        (5100, 0, 0, 0, 10),
    ),
    "pydantic-ai": (
        {
            "input_tokens": 5100,
            "cache_write_tokens": 3000,
            "cache_read_tokens": 2000,
            "output_tokens": 10,
            "details": {},
        },
        FIVE_MINUTES,
    ),
    "pydantic-ai with 1h writes": (
        {
            "input_tokens": 5100,
            "cache_write_tokens": 3000,
            "cache_write_1h_tokens": 1000,
            "cache_read_tokens": 2000,
            "output_tokens": 10,
        },
        SPLIT,
    ),
    "openai chat without a cache": (
        {"prompt_tokens": 5100, "completion_tokens": 10, "total_tokens": 5110},
        (5100, 0, 0, 0, 10),
    ),
    "openai chat of a gateway": (
        {
            "prompt_tokens": 5100,
            "completion_tokens": 10,
            "total_tokens": 5110,
            "prompt_tokens_details": {"cached_tokens": 2000, "cache_write_tokens": 3000},
        },
        FIVE_MINUTES,
    ),
    "litellm": (
        {
            "prompt_tokens": 5100,
            "completion_tokens": 10,
            "total_tokens": 5110,
            "prompt_tokens_details": {
                "cached_tokens": 2000,
                "cache_creation_tokens": 3000,
                "cache_creation_token_details": {
                    "ephemeral_5m_input_tokens": 2000,
                    "ephemeral_1h_input_tokens": 1000,
                },
                "text_tokens": 100,
            },
            "cache_creation_input_tokens": 3000,
            "cache_read_input_tokens": 2000,
        },
        SPLIT,
    ),
    "openai responses": (
        {
            "input_tokens": 5100,
            "input_tokens_details": {"cached_tokens": 2000, "cache_write_tokens": 3000},
            "output_tokens": 10,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 5110,
        },
        FIVE_MINUTES,
    ),
    "bedrock converse": (
        {
            "inputTokens": 100,
            "outputTokens": 10,
            "totalTokens": 5110,
            "cacheReadInputTokens": 2000,
            "cacheWriteInputTokens": 3000,
        },
        FIVE_MINUTES,
    ),
    "bedrock converse with a split": (
        {
            "inputTokens": 100,
            "outputTokens": 10,
            "totalTokens": 5110,
            "cacheReadInputTokens": 2000,
            "cacheWriteInputTokens": 3000,
            "cacheDetails": [{"ttl": "1h", "inputTokens": 1000}, {"ttl": "5m", "inputTokens": 2000}],
        },
        SPLIT,
    ),
    "claude agent sdk": (
        {
            "inputTokens": 100,
            "outputTokens": 10,
            "cacheReadInputTokens": 2000,
            "cacheCreationInputTokens": 3000,
            "webSearchRequests": 0,
            "costUSD": 0.016,
            "contextWindow": 200000,
        },
        FIVE_MINUTES,
    ),
    "claude agent sdk with a split": (
        {
            "inputTokens": 100,
            "outputTokens": 10,
            "cacheReadInputTokens": 2000,
            "cacheCreationInputTokens": 3000,
            "cacheCreationEphemeral5mInputTokens": 2000,
            "cacheCreationEphemeral1hInputTokens": 1000,
            "thinkingTokens": 4,
        },
        SPLIT,
    ),
    "otel": (
        {
            "gen_ai.request.model": MODEL,
            "gen_ai.usage.input_tokens": 5100,
            "gen_ai.usage.cache_read.input_tokens": 2000,
            "gen_ai.usage.cache_creation.input_tokens": 3000,
            "gen_ai.usage.output_tokens": 10,
        },
        FIVE_MINUTES,
    ),
    "otel of old": (
        {"gen_ai.usage.prompt_tokens": 5100, "gen_ai.usage.completion_tokens": 10},
        (5100, 0, 0, 0, 10),
    ),
}


@pytest.mark.parametrize(("usage", "tokens"), SHAPES.values(), ids=SHAPES)
def test_a_known_shape_is_read_for_what_it_means(
    recorded: Callable[..., Samples], usage: dict[str, Any], tokens: tuple[int, int, int, int, int]
) -> None:
    samples = recorded(usage)
    assert parts(samples) == tokens
    assert samples("anthropic_cost_usd_total") == pytest.approx(USD[tokens], rel=1e-12)
    assert not samples("anthropic_exporter_unmetered_responses_total")
    assert samples("anthropic_requests_total", outcome="success") == 1


def test_searches_of_the_claude_agent_sdk_are_counted_and_priced(recorded: Callable[..., Samples]) -> None:
    samples = recorded(
        {"inputTokens": 100, "outputTokens": 10, "cacheCreationInputTokens": 0, "webSearchRequests": 3, "costUSD": 0.03}
    )
    assert samples("anthropic_server_tool_requests_total", tool="web_search") == 3
    assert samples("anthropic_cost_usd_total", type="web_search") == 0.03


UNREAD = {
    "none": (None, "no_usage"),
    "empty": ({}, "no_usage"),
    "zeros": ({"input_tokens": 0, "output_tokens": 0}, "no_usage"),
    "pydantic-ai zeros": ({"input_tokens": 0, "cache_read_tokens": 0, "output_tokens": 0}, "no_usage"),
    "a number": (171, "unknown_shape"),
    "text": ("171 tokens", "unknown_shape"),
    "gemini": ({"promptTokenCount": 5100, "candidatesTokenCount": 10}, "unknown_shape"),
    "cohere": ({"billed_units": {"input_tokens": 5100, "output_tokens": 10}}, "unknown_shape"),
    "a total alone": ({"total_tokens": 5110}, "unknown_shape"),
    "a prompt smaller than its cached part": (
        {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 2000}},
        "unknown_shape",
    ),
    "langchain that excludes the cache": (
        {"input_tokens": 100, "output_tokens": 10, "input_token_details": {"cache_read": 2000}},
        "unknown_shape",
    ),
    "text for a count": ({"prompt_tokens": "5100", "completion_tokens": 10}, "unknown_shape"),
    "half of it": ({"prompt_tokens": 5100}, "unknown_shape"),
    "camel case with another cache": (
        {"inputTokens": 5100, "outputTokens": 10, "cachedInputTokens": 2000},
        "unknown_shape",
    ),
    "a negative count": ({"inputTokens": -1, "outputTokens": 10}, "unknown_shape"),
    "haystack, which excludes the cache": (
        {"prompt_tokens": 5100, "completion_tokens": 10, "cache_read_input_tokens": 2000},
        "unknown_shape",
    ),
    "crewai": (
        {"prompt_tokens": 5100, "completion_tokens": 10, "total_tokens": 5110, "cached_prompt_tokens": 2000},
        "unknown_shape",
    ),
    "vercel ai sdk": ({"inputTokens": 5100, "outputTokens": 10, "cachedInputTokens": 2000}, "unknown_shape"),
    "codex": ({"input_tokens": 5100, "output_tokens": 10, "cached_input_tokens": 2000}, "unknown_shape"),
    "a cache beside the api's names": (
        {"input_tokens": 5100, "output_tokens": 10, "cached_tokens": 2},
        "unknown_shape",
    ),
    "openllmetry": (
        {
            "gen_ai.usage.prompt_tokens": 5100,
            "gen_ai.usage.completion_tokens": 10,
            "gen_ai.usage.cache_read_input_tokens": 2000,
        },
        "unknown_shape",
    ),
    "vercel ai sdk 6": (
        {
            "inputTokens": 5100,
            "outputTokens": 10,
            "inputTokenDetails": {"noCacheTokens": 3100, "cacheReadTokens": 2000},
        },
        "unknown_shape",
    ),
    "a cache that is counted as text": (
        {"input_tokens": 5100, "output_tokens": 10, "cached_tokens": "2000"},
        "unknown_shape",
    ),
    "a cache in an object of its own": (
        {"input_tokens": 5100, "output_tokens": 10, "cache": {"read": 2000, "write": 0}},
        "unknown_shape",
    ),
    "a cache in an object within another": (
        {"prompt_tokens": 5100, "completion_tokens": 10, "usage": {"tokens": {"Cached": 2000}}},
        "unknown_shape",
    ),
    "a cache elsewhere, and the api's names with zeros": (
        {"input_tokens": 5100, "output_tokens": 10, "cache_read_input_tokens": 0, "cached_tokens": 2000},
        "unknown_shape",
    ),
    "details as text": (
        {"prompt_tokens": 5100, "completion_tokens": 10, "prompt_tokens_details": "cached: 2000"},
        "unknown_shape",
    ),
    "details as a list": (
        {"input_tokens": 5100, "output_tokens": 10, "input_token_details": [{"cache_read": 2000}]},
        "unknown_shape",
    ),
    "a total of more than prompt and output": (
        {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 2110},
        "unknown_shape",
    ),
    "langchain whose total says that the cache is not in the input": (
        {"input_tokens": 2500, "output_tokens": 10, "total_tokens": 4510, "input_token_details": {"cache_read": 2000}},
        "unknown_shape",
    ),
    "responses whose total is another one": (
        {"input_tokens": 100, "output_tokens": 10, "total_tokens": 111, "input_tokens_details": {"cached_tokens": 0}},
        "unknown_shape",
    ),
    "the api's names with a total of more": (
        {"input_tokens": 100, "output_tokens": 10, "total_tokens": 2110},
        "unknown_shape",
    ),
    "langchain's other tiers": (
        {"input_tokens": 5100, "output_tokens": 10, "input_token_details": {"priority_cache_read": 2000}},
        "unknown_shape",
    ),
}


@pytest.mark.parametrize(("usage", "reason"), UNREAD.values(), ids=UNREAD)
def test_anything_else_is_counted_as_unmetered_and_never_guessed(
    recorded: Callable[..., Samples], usage: dict[str, Any] | int | str | None, reason: str
) -> None:
    samples = recorded(usage)
    assert samples("anthropic_exporter_unmetered_responses_total", model=MODEL, reason=reason) == 1
    assert samples("anthropic_exporter_unmetered_responses_total") == 1
    assert not samples("anthropic_tokens_total")
    assert samples("anthropic_requests_total", outcome="success") == 1


def test_a_model_whose_answers_are_unmetered_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder(registry=None)
    for _ in range(3):
        recorder.record_usage(model=MODEL, usage={"tokens": 5})
    assert caplog.messages == [
        (
            "answers of model 'claude-opus-5-5' without usable usage (unknown_shape): "
            "their tokens and dollars are not counted"
        )
    ]


FRACTIONS = {
    "messages api": {
        "input_tokens": 100.0,
        "output_tokens": 10.0,
        "cache_read_input_tokens": 2000.0,
        "cache_creation_input_tokens": 3000.0,
    },
    "openai": {
        "prompt_tokens": 5100.0,
        "completion_tokens": 10.0,
        "prompt_tokens_details": {"cached_tokens": 2000.0, "cache_creation_tokens": 3000.0},
    },
    "bedrock in both spellings": {
        "inputTokens": 100.0,
        "outputTokens": 10,
        "cacheReadInputTokens": 2000,
        "cacheReadInputTokenCount": 2000,
        "cacheWriteInputTokens": 3000,
        "cacheWriteInputTokenCount": 3000,
    },
}


@pytest.mark.parametrize("usage", FRACTIONS.values(), ids=FRACTIONS)
def test_a_whole_number_may_be_written_as_a_fraction(recorded: Callable[..., Samples], usage: dict[str, Any]) -> None:
    assert parts(recorded(usage)) == FIVE_MINUTES


class Raises:
    def model_dump(self) -> None:
        raise RuntimeError("another method of that name")


class NeedsMore:
    def dict(self, fields: Any) -> Any:
        return fields


@pytest.mark.parametrize("usage", [Raises(), NeedsMore()])
def test_an_object_that_cannot_be_read_is_unmetered(
    recorded: Callable[..., Samples], usage: NeedsMore | Raises
) -> None:
    samples = recorded(usage)
    assert samples("anthropic_exporter_unmetered_responses_total", reason="unknown_shape") == 1
    assert not samples("anthropic_exporter_record_errors_total")


@pytest.mark.parametrize("duration", [float("nan"), float("inf"), -3, "3", True])
def test_an_odd_duration_costs_no_tokens(duration: float | str) -> None:
    registry = CollectorRegistry()
    recorder = Recorder(registry=registry, clock=lambda: NOON)
    recorder.record_usage(model=MODEL, usage={"input_tokens": 100, "output_tokens": 10}, duration=duration)  # type: ignore[arg-type]
    samples = Samples(registry)
    assert parts(samples) == (100, 0, 0, 0, 10)
    assert samples("anthropic_exporter_record_errors_total", stage="usage") == 1
    assert not samples("anthropic_request_duration_seconds_count")


def test_odd_names_cost_no_tokens() -> None:
    registry = CollectorRegistry()
    recorder = Recorder(registry=registry, clock=lambda: NOON, strict=True)
    recorder.record_usage(model=MODEL, usage={"input_tokens": 100, "output_tokens": 10}, feature=5, user=7)  # type: ignore[arg-type]
    recorder.record_usage(model=None, usage={"input_tokens": 70, "output_tokens": 1})
    samples = Samples(registry)
    assert samples("anthropic_tokens_total", feature="5", user="7", type="input") == 100
    assert samples("anthropic_exporter_unpriced_tokens_total") == 71


@dataclasses.dataclass
class Dataclass:
    input_tokens: int = 100
    output_tokens: int = 10


class Tuple(NamedTuple):
    input_tokens: int = 100
    output_tokens: int = 10


@pytest.mark.parametrize("usage", [Dataclass(), Tuple(), anthropic.types.Usage(input_tokens=100, output_tokens=10)])
def test_an_object_is_read_by_its_fields(recorded: Callable[..., Samples], usage: Dataclass | Tuple | Usage) -> None:
    assert parts(recorded(usage)) == (100, 0, 0, 0, 10)


@dataclasses.dataclass
class Details:
    cached_tokens: int = 2000
    cache_write_tokens: int = 3000


class Named(NamedTuple):
    cached_tokens: int = 2000
    cache_write_tokens: int = 3000


@pytest.mark.parametrize(
    "details", [Details(), Named(), types.SimpleNamespace(**vars(Details()))], ids=lambda one: type(one).__name__
)
@pytest.mark.parametrize("outside", [dict, types.SimpleNamespace], ids=["mapping", "object"])
def test_details_may_be_objects_inside_of_mappings_and_of_objects(
    recorded: Callable[..., Samples], outside: Any, details: Any
) -> None:
    usage = outside(prompt_tokens=5100, completion_tokens=10, total_tokens=5110, prompt_tokens_details=details)
    assert parts(recorded(usage)) == FIVE_MINUTES


def test_the_apis_own_details_may_be_objects(recorded: Callable[..., Samples]) -> None:
    usage = {
        "input_tokens": 100,
        "output_tokens": 10,
        "cache_read_input_tokens": 2000,
        "cache_creation_input_tokens": 3000,
        "total_tokens": 5110,
        "cache_creation": types.SimpleNamespace(ephemeral_5m_input_tokens=2000, ephemeral_1h_input_tokens=1000),
        "server_tool_use": types.SimpleNamespace(web_search_requests=2),
    }
    samples = recorded(usage)
    assert parts(samples) == SPLIT
    assert samples("anthropic_cost_usd_total", type="web_search") == 0.02


# -- the libraries' own objects

API = {
    "input_tokens": 100,
    "output_tokens": 10,
    "cache_read_input_tokens": 2000,
    "cache_creation_input_tokens": 3000,
    "cache_creation": {"ephemeral_5m_input_tokens": 2000, "ephemeral_1h_input_tokens": 1000},
}


def test_langchain_core(recorded: Callable[..., Samples]) -> None:
    usage = pytest.importorskip("langchain_core.messages.ai")
    details = usage.InputTokenDetails(cache_read=2000, cache_creation=3000)
    one = usage.UsageMetadata(input_tokens=5100, output_tokens=10, total_tokens=5110, input_token_details=details)
    assert parts(recorded(one)) == FIVE_MINUTES


def test_langchain_anthropic(recorded: Callable[..., Samples]) -> None:
    models = pytest.importorskip("langchain_anthropic.chat_models")
    one = models._create_usage_metadata(anthropic.types.Usage.model_validate(API))
    assert parts(recorded(one)) == SPLIT


def test_pydantic_ai(recorded: Callable[..., Samples]) -> None:
    usage = pytest.importorskip("pydantic_ai.usage")
    counts: dict[str, Any] = {
        "input_tokens": 5100,
        "cache_write_tokens": 3000,
        "cache_read_tokens": 2000,
        "output_tokens": 10,
    }
    assert parts(recorded(usage.RequestUsage(**counts))) == FIVE_MINUTES
    assert parts(recorded(usage.RunUsage(**counts, requests=1))) == FIVE_MINUTES


def test_litellm(recorded: Callable[..., Samples], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # nothing is fetched
    models = pytest.importorskip("litellm.llms.anthropic.chat.transformation")
    one = models.AnthropicConfig().calculate_usage(usage_object=API, reasoning_content=None)
    assert one.prompt_tokens == 5100
    assert parts(recorded(one)) == SPLIT


def test_openai(recorded: Callable[..., Samples]) -> None:
    chat = pytest.importorskip("openai.types")
    one = chat.CompletionUsage.model_validate(SHAPES["openai chat of a gateway"][0])
    assert parts(recorded(one)) == FIVE_MINUTES
    from openai.types.responses import ResponseUsage  # noqa: PLC0415 - only there with the library

    assert parts(recorded(ResponseUsage.model_validate(SHAPES["openai responses"][0]))) == FIVE_MINUTES


def test_the_keys_of_the_otel_conventions(recorded: Callable[..., Samples]) -> None:
    keys = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    attributes = {
        keys.GEN_AI_USAGE_INPUT_TOKENS: 5100,
        keys.GEN_AI_USAGE_CACHE_READ_INPUT_TOKENS: 2000,
        keys.GEN_AI_USAGE_CACHE_CREATION_INPUT_TOKENS: 3000,
        keys.GEN_AI_USAGE_OUTPUT_TOKENS: 10,
    }
    assert parts(recorded(attributes)) == FIVE_MINUTES
