"""`record` and `record_usage` write most calls by a line: the numbers must be those of the general way."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

import pytest
from anthropic.types import CacheCreation, Usage
from anthropic.types.beta import BetaUsage

from anthropic_exporter import Call, Inference, Recorder, Tokens, attribution
from support import Clock

MODELS = ["claude-opus-5-5", "claude-haiku-5-5", "us.anthropic.claude-sonnet-4-6-v1:0", "claude-unheard-of", "x" * 300]
ODD: list[dict[str, Any]] = [
    {"outcome": "overloaded_error"},
    {"time_to_first_token_seconds": 0.4},
    {"thinking_tokens": 7},
    {"server_tools": (("web_search", 2),)},
    {"cache_miss_reason": "system_changed"},
    {"inference_geo": "us"},
    {"regional": True},
    {"billable": False},
    {"requests": 0},
    {"retry_reason": "timeout"},
    {"estimated_output_tokens": 5},
    {"rate_limit_headers": {b"anthropic-ratelimit-tokens-remaining": b"5"}},
    {"estimates": ("priority_tier",)},
    {"unmetered": "no_usage"},
    {"session_seconds": 60.0},
    {"stop_reason": "end_turn"},
    {"stop_reason": "of a server's own"},
    {"tier": "batch"},
    {"tier": "flex"},
    {"duration_seconds": None},
    {"call_duration_seconds": 3.5},
    {"inferences": ()},
]


class OtherMapping(dict[str, Any]):
    """A mapping that takes the general way."""


def two(clock: Clock) -> tuple[Recorder, Recorder]:
    """Two recorders that have both looked up the models without a price, which takes a thread."""
    both = (
        Recorder(registry=None, clock=clock, max_series=3_000),
        Recorder(registry=None, clock=clock, max_series=3_000),
    )
    both[1].life = both[0].life
    unknown = ["claude-unheard-of", "x" * 300, "x" * 128]
    for recorder in both:
        for model in unknown:
            recorder.record(Call(model, inferences=(Inference(model, Tokens(1)),)))
        deadline = time.monotonic() + 60
        while sum(one.values[0] for one in recorder.read()["anthropic_requests_total"]) < len(unknown):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    return both


def shown(recorder: Recorder) -> dict[str, Any]:
    return {
        name: sorted((reading.labels, reading.values) for reading in readings)
        for name, readings in recorder.read().items()
    }


def counts(chance: random.Random) -> Tokens:
    large = [0, 1, 171, 2_048, 150_000]
    return Tokens(*(chance.choice(large) for _ in range(5)))


def a_call(chance: random.Random, at: float) -> Call:
    model = chance.choice(MODELS)
    billed: list[dict[str, Any]] = [{}, {}, {}, {"billable": False}, {"certain": False}, {"rewritten": 10}]
    one = Inference(model, counts(chance), **chance.choice(billed))
    usual: dict[str, Any] = {
        "feature": f"feature-{chance.randrange(3)}",
        "user": chance.choice(["", "acme"]),
        "started_at": at - chance.choice([0, 5, 90_000]),
        "duration_seconds": chance.choice([0.2, 4.0]),
        "cache_asked": chance.random() < 0.5,
        "inferences": (one,) if chance.random() < 0.9 else (one, Inference("claude-opus-5-5", counts(chance))),
    }
    odd = chance.choice(ODD) if chance.random() < 0.5 else {}
    return Call(model, **{**usual, **odd})


@pytest.mark.parametrize("seed", range(4))
def test_calls_show_the_same_on_both_ways(clock: Clock, seed: int) -> None:
    chance = random.Random(seed)
    usual, general = two(clock)
    general.subscribe(lambda _: None, may_wait=True)
    for _ in range(1_500):
        call = a_call(chance, clock())
        usual.record(call)
        general.record(call)
        clock.now += chance.choice([0, 0, 0.4, 7])
        if chance.random() < 0.03:
            assert shown(usual) == shown(general)
    assert shown(usual) == shown(general)


def a_usage(chance: random.Random) -> dict[str, Any]:
    tokens = counts(chance)
    usage: dict[str, Any] = {
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "cache_read_input_tokens": chance.choice([None, tokens.cache_read]),
        "cache_creation_input_tokens": chance.choice([None, tokens.cache_write_5m + tokens.cache_write_1h]),
    }
    split = {
        "ephemeral_5m_input_tokens": tokens.cache_write_5m,
        "ephemeral_1h_input_tokens": tokens.cache_write_1h,
    }
    others: list[dict[str, Any]] = [
        {"cache_creation": split},
        {"cache_creation": None},
        {"service_tier": chance.choice(["standard", "priority", "batch", "Flex", "of its own", "", 7])},
        {"speed": chance.choice(["fast", "standard", None])},
        {"inference_geo": chance.choice(["us", "global", None])},
        {"server_tool_use": {"web_search_requests": 2}},
        {"output_tokens_details": {"thinking_tokens": 3}},
        {"iterations": [{"type": "message", "input_tokens": 3, "output_tokens": 4}]},
        {"input_tokens": chance.choice([-1, 2.0, "3", True, None, 10**12])},
        {"total_tokens": 12},
        {"cached_tokens": 12},
        {"input_token_details": {"cache_read": 3}},
        {"cache_creation": {**split, "ephemeral_24h_input_tokens": 9}},
        {"cache_creation": "a lot"},
    ]
    for one in chance.sample(others, chance.choice([0, 0, 1, 2])):
        usage.update(one)
    return usage


@pytest.mark.parametrize("seed", range(4))
def test_usages_show_the_same_on_both_ways(clock: Clock, seed: int) -> None:
    chance = random.Random(seed)
    usual, general = two(clock)
    for _ in range(1_500):
        usage, model = a_usage(chance), chance.choice([*MODELS, "", "arn:aws:bedrock:eu-west-1:123456789012:x/y"])
        known: dict[str, Any] = {
            "duration": chance.choice([None, 1.5, -1, "long", float("nan"), True]),
            "feature": chance.choice([None, "chat", "y" * 300]),
            "user": chance.choice([None, "acme"]),
        }
        with attribution(feature="outer", user="somebody"):
            usual.record_usage(model=model, usage=usage, **known)
            general.record_usage(model=model, usage=OtherMapping(usage), **known)
        clock.now += chance.choice([0, 0, 0.4, 7])
        if chance.random() < 0.03:
            assert shown(usual) == shown(general)
    assert shown(usual) == shown(general)


@pytest.mark.parametrize("kind", [Usage, BetaUsage])
def test_an_object_of_the_sdk_counts_as_the_mapping_does(clock: Clock, kind: Callable[..., Any]) -> None:
    split = CacheCreation(ephemeral_5m_input_tokens=100, ephemeral_1h_input_tokens=20)
    fields: dict[str, Any] = {"input_tokens": 3, "output_tokens": 171, "cache_read_input_tokens": 5}
    usage = kind.construct(**fields, cache_creation_input_tokens=150, cache_creation=split)  # type: ignore[attr-defined]
    recorder = Recorder(registry=None, clock=clock)
    for _ in range(3):
        recorder.record_usage(model="claude-opus-5-5", usage=usage, feature="chat")
    tokens = {one.labels[-1]: one.values[0] for one in recorder.read()["anthropic_tokens_total"]}
    assert tokens == {"input": 9, "cache_read": 15, "cache_write_5m": 390, "cache_write_1h": 60, "output": 513}


def test_an_unknown_field_is_not_ignored(clock: Clock) -> None:
    recorder = Recorder(registry=None, clock=clock)
    usage = Usage.construct(input_tokens=3, output_tokens=171, cached_tokens=5)
    for _ in range(3):
        recorder.record_usage(model="claude-opus-5-5", usage=usage)
    (unmetered,) = recorder.read()["anthropic_exporter_unmetered_responses_total"]
    assert (unmetered.labels[-1], unmetered.values[0]) == ("unknown_shape", 3)


def test_usages_that_wait_are_read_as_they_were_given(clock: Clock) -> None:
    recorder = Recorder(registry=None, clock=clock)
    usage = {"input_tokens": 3, "output_tokens": 171, "cache_creation": {"ephemeral_1h_input_tokens": 5}}
    for _ in range(3):
        recorder.record_usage(model="claude-opus-5-5", usage=usage)
    usage["output_tokens"] = 9_999
    assert len(recorder.pending) == 2
    output = [one.values[0] for one in recorder.read()["anthropic_tokens_total"] if one.labels[-1] == "output"]
    assert output == [513]


def test_calls_wait_until_a_scrape_and_few_of_them(clock: Clock) -> None:
    recorder = Recorder(registry=None, clock=clock)
    call = Call("claude-opus-5-5", inferences=(Inference("claude-opus-5-5", Tokens(output=171)),))
    for _ in range(300):
        recorder.record(call)
        assert len(recorder.pending) < 128
    assert [one.values[0] for one in recorder.read()["anthropic_requests_total"] if one.values[0]] == [300]


def test_a_sink_that_wants_each_call_gets_it_at_once(clock: Clock) -> None:
    recorder = Recorder(registry=None, clock=clock)
    seen: list[Call] = []
    recorder.subscribe(seen.append)
    recorder.record_usage(model="claude-opus-5-5", usage={"input_tokens": 3, "output_tokens": 171}, feature="chat")
    (call,) = seen
    assert (call.feature, call.output_tokens, call.bill is not None) == ("chat", 171, True)


@pytest.mark.parametrize("call", [None, 7, Call("m", inferences=None), Call("m", feature=["a"])])  # type: ignore[arg-type]
def test_an_object_that_is_not_a_call_is_counted_and_never_raised(clock: Clock, call: Any) -> None:
    recorder = Recorder(registry=None, clock=clock)
    recorder.record(call)
    assert [one.values for one in recorder.read()["anthropic_exporter_record_errors_total"]] == [[1.0]]


@pytest.mark.parametrize("tokens", [None, (1, 2), Tokens("3"), Tokens(3, None), Tokens(3, 0, 0, 0, [1])])  # type: ignore[arg-type]
def test_tokens_that_are_not_numbers_are_counted_only_as_a_failure(clock: Clock, tokens: Any) -> None:
    recorder = Recorder(registry=None, clock=clock)
    for _ in range(2):
        recorder.record(Call("claude-opus-5-5", inferences=(Inference("claude-opus-5-5", Tokens(output=171)),)))
    recorder.record(Call("claude-opus-5-5", inferences=(Inference("claude-opus-5-5", tokens),)))
    found = recorder.read()
    assert [one.values for one in found["anthropic_exporter_record_errors_total"]] == [[1.0]]
    assert [one.values[0] for one in found["anthropic_requests_total"] if one.values[0]] == [2.0]
    assert [one.values[0] for one in found["anthropic_tokens_total"] if one.values[0]] == [342.0]
