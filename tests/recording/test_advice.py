"""What a recorder remembers of requests for advice: counts and lengths, nothing of a prompt, and only if asked."""

from __future__ import annotations

import gc
import json
from typing import Any

import anthropic
import pytest
from prometheus_client import CollectorRegistry

from anthropic_exporter import Recorder, attribution
from anthropic_exporter.capture.attempt import Attempt
from anthropic_exporter.recording.advice.prefixes import Sampler
from anthropic_exporter.recording.advice.recent import Recent
from anthropic_exporter.simulator.fake_api import FakeApi, Scripted
from support import MODEL, NOON, Clock, Samples

SYSTEM = "You are a very careful clerk. " * 200
QUESTION = "Where is my parcel? "
pytest_plugins = ("fixtures_fake_api", "fixtures_clients")
PROMPT_TOKENS = "anthropic_advice_prompt_tokens_total"
COST = "anthropic_advice_cost_usd_total"


@pytest.fixture
def recorder(registry: CollectorRegistry, clock: Clock) -> Recorder:
    return Recorder(registry=registry, strict=True, clock=clock, advise=True)


def message(output: int = 40, stop_reason: str = "end_turn", model: str = MODEL, **usage: Any) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "input_tokens": 0,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 0,
        "output_tokens": output,
    }
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": "ok"}],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": counts | usage,
    }


class Headers:
    raw = ((b"content-type", b"application/json"),)


def send(recorder: Recorder, request: dict[str, Any], **usage: Any) -> None:
    with attribution(feature="chat"):
        attempt = Attempt(recorder, {"model": MODEL, "max_tokens": 1_024, **request}, 0, None)
    attempt.head(200, Headers, b"/v1/messages", buffered=True)
    attempt.body(json.dumps(message(**usage)).encode())


def ask(text: str = QUESTION, **fields: Any) -> dict[str, Any]:
    return {"system": SYSTEM, "messages": [{"role": "user", "content": text}], **fields}


def asked(gap: str, kind: str = "uncached") -> dict[str, str]:
    return {"model": MODEL, "feature": "chat", "kind": kind, "gap": gap}


def test_the_sdk_repeats_a_prefix(client: anthropic.Anthropic, fake_api: FakeApi, samples: Samples) -> None:
    for _ in range(2):
        fake_api.push(Scripted.of(json.dumps(message(input_tokens=1_510)).encode()))
        with attribution(feature="chat"):
            client.messages.create(model=MODEL, max_tokens=1_024, **ask())
    # 6,000 of 6,020 characters are the system prompt
    assert samples(PROMPT_TOKENS, **asked("5m")) == pytest.approx(1_510 * 6_000 / 6_020)
    assert samples(PROMPT_TOKENS, **asked("new")) == pytest.approx(1_510 * 6_000 / 6_020)
    # 1,510 at 4 dollars a million and 40 at 20, twice
    assert samples(COST, model=MODEL, feature="chat", waste="unstreamed") == pytest.approx(2 * 0.00684)


async def test_the_async_sdk_does_too(
    async_client: anthropic.AsyncAnthropic, fake_api: FakeApi, samples: Samples
) -> None:
    for _ in range(2):
        fake_api.push(Scripted.of(json.dumps(message(input_tokens=1_510)).encode()))
        with attribution(feature="chat"):
            await async_client.messages.create(model=MODEL, max_tokens=1_024, **ask())
    assert samples(PROMPT_TOKENS, **asked("5m")) == pytest.approx(1_510 * 6_000 / 6_020)


def test_a_stream_is_waited_for(client: anthropic.Anthropic, fake_api: FakeApi, samples: Samples) -> None:
    with attribution(feature="chat"), client.messages.stream(model=MODEL, max_tokens=1_024, **ask()) as stream:
        stream.get_final_message()
    assert samples("anthropic_requests_total", model=MODEL, feature="chat", user="", outcome="success") == 1.0
    assert samples(COST, model=MODEL, feature="chat", waste="unstreamed") is None


def test_off_unless_asked_for(registry: CollectorRegistry, clock: Clock) -> None:
    recorder = Recorder(registry=registry, strict=True, clock=clock)
    for _ in range(3):
        send(recorder, ask(), input_tokens=1_510)
    assert "anthropic_advice" not in "".join(
        one for one in recorder.render().decode().splitlines(True) if one[0] != "#"
    )
    assert recorder.advice is None


@pytest.mark.parametrize(("seconds", "gap"), [(300, "5m"), (301, "1h"), (3_600, "1h"), (3_601, "more")])
def test_gaps_are_those_of_the_caches_lifetimes(
    recorder: Recorder, clock: Clock, samples: Samples, seconds: int, gap: str
) -> None:
    send(recorder, ask(), input_tokens=1_510)
    clock.now += seconds
    send(recorder, ask("Another one?"), input_tokens=1_510)
    assert samples(PROMPT_TOKENS, **asked(gap)) == pytest.approx(1_510 * 6_000 / 6_012)


def test_a_prefix_that_the_model_would_not_cache_does_not_count(recorder: Recorder, samples: Samples) -> None:
    for _ in range(3):
        send(recorder, ask(), input_tokens=511)
    assert samples(PROMPT_TOKENS, **asked("5m")) is None


def test_a_prefix_that_changes_between_its_samples_is_not_a_repetition(recorder: Recorder, samples: Samples) -> None:
    for number in range(12):
        send(recorder, ask(system=f"{SYSTEM}{number:04d}{SYSTEM * 3}"), input_tokens=6_000)
    counted = samples(PROMPT_TOKENS, **asked("5m"))
    # the first comparison of two whole texts finds out; before it one request was taken for a repetition
    assert counted == pytest.approx(6_000 * 24_004 / 24_024)


def test_a_conversation_repeats_all_of_its_history(recorder: Recorder, samples: Samples) -> None:
    turns = [{"role": "user", "content": QUESTION}]
    send(recorder, {"messages": list(turns)}, input_tokens=900)
    turns += [{"role": "assistant", "content": "In Ghent."}, {"role": "user", "content": "Since when?"}]
    send(recorder, {"messages": list(turns)}, input_tokens=1_000)
    turns += [{"role": "assistant", "content": "Monday."}, {"role": "user", "content": "Why?"}]
    send(recorder, {"messages": list(turns)}, input_tokens=1_171)
    assert samples(PROMPT_TOKENS, **asked("5m")) == 900 + 1_000
    assert samples(PROMPT_TOKENS, **asked("new")) == 900 + 100 + 171


def test_writes_that_replace_a_lost_cache_have_the_gap_that_lost_it(
    recorder: Recorder, clock: Clock, samples: Samples
) -> None:
    cached = [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}]
    send(recorder, ask(system=cached), input_tokens=10, cache_creation_input_tokens=1_500)
    clock.now += 60
    send(recorder, ask(system=cached), input_tokens=10, cache_read_input_tokens=1_500)
    clock.now += 900
    send(recorder, ask(system=cached), input_tokens=10, cache_creation_input_tokens=1_500)
    assert samples(PROMPT_TOKENS, **asked("new", "cache_write_5m")) == 1_500
    assert samples(PROMPT_TOKENS, **asked("5m", "cache_read")) == 1_500
    assert samples(PROMPT_TOKENS, **asked("1h", "cache_write_5m")) == 1_500


def test_dollars_of_a_region_a_cliff_and_a_cut_answer(recorder: Recorder, samples: Samples) -> None:
    send(recorder, ask(stream=False, tools=[{"name": "a"}]), output=100, inference_geo="us")
    haiku: dict[str, Any] = {"model": "claude-haiku-5-5", "tools": [{"name": "a"}]}
    send(recorder, ask(**haiku), input_tokens=100_001, output=0, model="claude-haiku-5-5")
    send(recorder, ask(tools=[{"name": "a"}]), output=1_024, stop_reason="max_tokens")
    assert samples(COST, model=MODEL, feature="chat", waste="region") == pytest.approx(0.0002)
    cliff = samples(COST, model="claude-haiku-5-5", feature="chat", waste="long_prompt")
    assert cliff == pytest.approx(100_001 * 0.4e-6)
    assert samples(COST, model=MODEL, feature="chat", waste="cut_off") == pytest.approx(1_024 * 20e-6)
    assert samples(COST, model=MODEL, feature="chat", waste="unstreamed") is None


def test_an_overlong_answer_is_one_beyond_eight_times_the_usual(recorder: Recorder, samples: Samples) -> None:
    for _ in range(20):
        send(recorder, ask(tools=[{"name": "a"}]), output=400)
    send(recorder, ask(tools=[{"name": "a"}]), output=10_000)
    # 8 x 400 are usual
    assert samples(COST, model=MODEL, feature="chat", waste="overlong") == pytest.approx(6_800 * 20e-6)


def test_nothing_of_a_prompt_is_kept(recorder: Recorder) -> None:
    secrets = [f"secret-{number} " * 100 for number in range(3)]
    for text in secrets:
        content = [{"type": "text", "text": f"{text}?"}]
        for _ in range(3):
            send(recorder, {"system": text, "messages": [{"role": "user", "content": content}]}, input_tokens=2_000)
    recorder.render()
    reached, waiting = set(), [recorder.advice]
    while waiting:
        one = waiting.pop()
        if id(one) not in reached:
            reached.add(id(one))
            assert not (isinstance(one, str) and "secret-" in one)
            if not isinstance(one, type) and type(one).__name__ not in ("module", "function", "dict_items"):
                waiting += gc.get_referents(one)
    sights: list[Any] = [Sampler(Recent(4), recorder.failed).sight(ask()) for _ in range(2)]
    assert sights[0][0] != sights[1][0]
    assert sights[0][1] != sights[1][1]


def test_what_is_remembered_is_bounded(recorder: Recorder) -> None:
    examples = [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And?"}]
    for number in range(9_000):
        first = {"role": "user", "content": f"{number}"}
        send(recorder, {"system": f"{number} {SYSTEM}", "messages": [first, *examples[: number % 3]]})
    watch = recorder.advice
    watch.write_counts(lambda *_: None)
    for remembered, most in ((watch._repeats.prefixes, 2_048), (watch._repeats.turns, 8_192)):
        assert most / 2 <= len(remembered) + len(remembered._old) <= most


def test_what_was_read_lately_survives_a_forgetting() -> None:
    recent: Any = Recent(4)
    for number in range(4):
        recent[number] = str(number)
    recent.limit()
    assert recent.get(2) is None
    assert recent.older(2) == "2"
    assert recent.get(2) == "2"
    assert recent.older(2) is None


@pytest.mark.parametrize(
    "request_body",
    [
        {"system": 3, "messages": 4, "tools": 5},
        {"system": [None, {"text": 7}], "messages": [None], "tools": [None, 3]},
        {"system": {"text": SYSTEM}, "messages": [{"role": "user", "content": [{"type": "image"}]}]},
        {"system": "\udcff", "messages": [{"content": "\udcff"}, {"content": None}], "tools": {"a": 1}},
        {"messages": []},
    ],
)
def test_no_shape_of_a_request_raises(recorder: Recorder, request_body: dict[str, Any], samples: Samples) -> None:
    for _ in range(4):
        send(recorder, request_body, input_tokens=2_000)
    assert samples("anthropic_requests_total", model=MODEL, feature="chat", user="", outcome="success") == 4.0


@pytest.mark.parametrize("part", ["sampler", "places", "repeats"])
def test_a_failure_here_loses_no_call(registry: CollectorRegistry, clock: Clock, part: str) -> None:
    recorder = Recorder(registry=registry, clock=clock, advise=True)
    advice: Any = recorder.advice
    sampler = advice.sight.__self__
    broken = {"sampler": (sampler, "_known"), "places": (advice, "_places"), "repeats": (advice._repeats, "turns")}
    setattr(*broken[part], None)
    for _ in range(3):
        send(recorder, ask(), input_tokens=1_510)
    samples = Samples(registry)
    assert samples("anthropic_requests_total", model=MODEL, feature="chat", user="", outcome="success") == 3.0
    assert samples("anthropic_exporter_record_errors_total", stage="advice") == 3.0


def test_a_second_recorder_of_a_registry_may_ask_for_it(registry: CollectorRegistry, clock: Clock) -> None:
    first = Recorder(registry=registry, clock=clock)
    assert Recorder(registry=registry, clock=clock, advise=True) is first
    assert first.advice is not None


def test_the_sdks_own_clients_are_not_touched(fake_api: FakeApi, registry: CollectorRegistry) -> None:
    """With advice, what the application gets is what it would have got."""
    recorder = Recorder(registry=registry, clock=Clock(NOON), strict=True, advise=True)
    options: dict[str, Any] = {"api_key": "sk-ant-test", "base_url": fake_api.base_url, "max_retries": 0}
    request = {"model": MODEL, "max_tokens": 1_024, **ask()}
    with anthropic.Anthropic(**options, middleware=[recorder.middleware()]) as client:
        client.messages.create(**request)
    assert fake_api.requests[-1].body == request
