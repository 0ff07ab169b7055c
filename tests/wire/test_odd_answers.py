"""More inputs of each kind of fault: through the real SDK and a real socket, read back from the text of /metrics.

Each case says what has to be counted, all of it. opus-5-5 costs 4 dollars a million tokens of input and 20 of output,
0.20 to read and 5 to write (8 for an hour); fable-5-2 costs 8 and 40, sonnet-4-6 costs 3 and 15.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple

import pytest

from anthropic_exporter import Recorder
from anthropic_exporter.simulator.fake_api import Chunk, FakeApi, Scripted
from anthropic_exporter.simulator.fake_api.wire import event
from bodies import MODEL, answer, delta, message
from support import NOON
from wire import wire_case, wire_player

FABLE, SONNET = "claude-fable-5-2", "claude-sonnet-4-6"
#: 1,000 in and 10 out on opus-5-5: 0.004 and 0.0002 dollars.
PLAIN = {"input_tokens": 1000, "output_tokens": 10}
PLAIN_COUNTED = {"input": 1000, "output": 10, "usd": 0.0042}


class Case(NamedTuple):
    """An answer, how it is asked for, and what is counted: outcome, tokens by type, dollars, and whatever else."""

    answer: Scripted
    counted: dict[str, float]
    call: str = "create"
    client: str = "anthropic"
    request: dict[str, Any] = {}  # noqa: RUF012 - of a named tuple, never changed


def body(
    value: bytes | dict[str, Any] | list[dict[str, dict[str, str]]],
    *,
    status: int = 200,
    content_type: str = "application/json",
    headers: None = None,
) -> Scripted:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return Scripted(status, {"content-type": content_type} | (headers or {}), (Chunk(data),))


def stream(
    first: dict[str, Any], *later: dict[str, Any], tail: tuple[bytes, ...] = (), content_type: str = "text/event-stream"
) -> Scripted:
    """A stream whose `message_start` and `message_delta` events count so."""
    begun = event("message_start", message=message(first, content=[], stop_reason=None))
    ends = [event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage) for usage in later]
    return body(b"".join((begun, delta(), *ends, *tail)), content_type=content_type)


def streamed(
    first: dict[str, Any], *later: dict[str, Any], counted: dict[str, float], content_type: str = "text/event-stream"
) -> Case:
    answers = stream(first, *later, tail=(event("message_stop"),), content_type=content_type)
    return Case(answers, counted, "create_stream")


def broken_by(text: bytes) -> Case:
    """A stream that began and ends with this text."""
    return Case(stream(PLAIN, tail=(text,)), {"input": 1000, "usd": 0.004, "api_error": 1}, "create_stream")


def asked(model: str, usd: float, **counted: float) -> Case:
    """A million tokens of input, asked for under this id and served as the plain model; 4 dollars at global prices."""
    usage = {"input_tokens": 1_000_000, "output_tokens": 0}
    return Case(answer(usage), {"input": 1_000_000, "usd": usd, **counted}, request={"model": model})


def hop(*entries: dict[str, Any], category: str = "cyber", declined: str = FABLE) -> Scripted:
    """A fallback: these iterations, behind a block that says why the first model declined."""
    trigger = {"type": "refusal", "category": category}
    block = {"type": "fallback", "from": {"model": declined}, "to": {"model": MODEL}, "trigger": trigger}
    return answer({"input_tokens": 1, "output_tokens": 1, "iterations": [*entries]}, content=[block])


DECLINED = {"type": "message", "input_tokens": 1000, "cache_read_input_tokens": 100_000, "output_tokens": 1}
SERVED = {
    "type": "fallback_message",
    "model": MODEL,
    "input_tokens": 1000,
    "cache_creation_input_tokens": 100_000,
    "output_tokens": 100,
}
#: 1,000 in, 100,000 written at the price of a read, 100 out: 0.004 + 0.02 + 0.002 dollars; the declined attempt free.
HOPPED = {"input": 2000, "cache_read": 100_000, "cache_write_5m": 100_000, "output": 101, "usd": 0.026}
UNMETERED = {"unmetered no_usage": 1}

CASES = {
    # -- cumulative counts
    "fractions that are whole": streamed(
        {"input_tokens": 9325.0, "cache_read_input_tokens": 2000.0, "output_tokens": 1.0},
        {"input_tokens": 0, "output_tokens": 76.0},
        counted={"input": 9325, "cache_read": 2000, "output": 76, "usd": 0.03922},
    ),
    "fractions in a body": Case(
        answer({"input_tokens": 9325.0, "output_tokens": 76.0}), {"input": 9325, "output": 76, "usd": 0.03882}
    ),
    "iterations in another order": streamed(
        {"input_tokens": 1000, "output_tokens": 1, "iterations": [{"type": "message", "model": MODEL, **PLAIN}]},
        {
            "output_tokens": 50,
            "iterations": [
                {"type": "advisor_message", "model": SONNET, "input_tokens": 10, "output_tokens": 5},
                {"type": "message", "model": MODEL, "input_tokens": 1000, "output_tokens": 50},
            ],
        },
        counted={"input": 1010, "output": 55, "usd": 0.005105},
    ),
    "iterations older than the last count": streamed(
        {
            "input_tokens": 1000,
            "output_tokens": 1,
            "iterations": [{"type": "message", "input_tokens": 1000, "output_tokens": 1}],
        },
        {"output_tokens": 50, "iterations": []},
        counted={"input": 1000, "output": 50, "usd": 0.005},
    ),
    # -- usage that leaves out a side
    "an answer without its prompt": Case(answer({"output_tokens": 76}), {"output": 76, "usd": 0.00152} | UNMETERED),
    "an answer whose prompt is null": Case(
        answer({"input_tokens": None, "output_tokens": 76}), {"output": 76, "usd": 0.00152} | UNMETERED
    ),
    "an answer without its output": Case(answer({"input_tokens": 76}), {"input": 76, "usd": 0.000304} | UNMETERED),
    "a stream without its prompt": streamed(
        {"input_tokens": 0, "output_tokens": 0},
        {"output_tokens": 76},
        counted={"output": 76, "usd": 0.00152} | UNMETERED,
    ),
    "no output is an output": Case(answer({"input_tokens": 1000, "output_tokens": 0}), {"input": 1000, "usd": 0.004}),
    # -- answers that end well for the SDK, and say nothing
    "a page where a stream was asked for": Case(
        body(b"<html>busy</html>", content_type="text/html"),
        {"truncated": 1, "unmetered unreadable": 1},
        "create_stream",
    ),
    "nothing but the end of another API's stream": Case(
        body(b"data: [DONE]\n\n", content_type="text/event-stream"),
        {"truncated": 1, "unmetered unreadable": 1},
        "create_stream",
    ),
    # -- errors after HTTP 200
    "a status as text": Case(body({"error": {"code": "429", "message": "slow"}}), {"rate_limit_error": 1}),
    "a status as a fraction": Case(body({"error": {"code": 529.0}}), {"overloaded_error": 1}),
    "an error beside empty usage": Case(
        body({"error": {"type": "overloaded_error"}, "usage": {"input_tokens": 0}}), {"overloaded_error": 1}
    ),
    "an error in a list": Case(body([{"error": {"status": "RESOURCE_EXHAUSTED"}}]), {"rate_limit_error": 1}),
    "an error of an AWS gateway": Case(
        body({"__type": "com.amazon.coral.availability#ThrottlingException"}), {"rate_limit_error": 1}
    ),
    "an error of an Azure gateway": Case(body({"statusCode": 429, "message": "slow"}), {"rate_limit_error": 1}),
    "several errors": Case(body({"errors": [{"code": 503}]}), {"api_error": 1}),
    "an error event in a proxy's words": broken_by(b"event: error\ndata: upstream connect error\n\n"),
    "an error event without data": broken_by(b"event: error\ndata:\n\n"),
    "an error event that is a list": broken_by(b'event: error\ndata: [{"error": {"code": 500}}]\n\n'),
    # -- words of others
    "a stop reason in free words": Case(
        answer(PLAIN, stop_reason="the user said so"), PLAIN_COUNTED | {"stop other": 1}
    ),
    "a tool named for an account": Case(
        answer(PLAIN | {"server_tool_use": {"lookup_123456789012_requests": 2}}), PLAIN_COUNTED | {"tool other": 2}
    ),
    "one search under two names": Case(
        answer(PLAIN | {"server_tool_use": {"web_search_requests": 2, "web_search": {"requests": 2}}}),
        PLAIN_COUNTED | {"tool web_search": 2, "usd": 0.0242},
    ),
    "searches that are a list": Case(answer(PLAIN | {"server_tool_use": [1]}), PLAIN_COUNTED | {"failed usage": 1}),
    "a tier in capitals": Case(answer(PLAIN | {"service_tier": "Standard"}), PLAIN_COUNTED),
    "a speed in capitals": Case(answer(PLAIN | {"speed": "FAST"}), PLAIN_COUNTED | {"usd": 0.0084}),
    "a geography in capitals": Case(answer(PLAIN | {"inference_geo": "US"}), PLAIN_COUNTED | {"usd": 0.00462}),
    # -- ids
    "a region of GovCloud before the id": asked("bedrock/us-gov-west-1/anthropic.claude-opus-5-5-v1:0", 4.8),
    "a geography without a vendor": asked("us.claude-opus-5-5", 4.4),
    "the world without a vendor": asked("global.claude-opus-5-5", 4.0),
    "SAP AI Core": asked("anthropic--claude-5.5-opus", 4.0),
    "fast mode with a date": asked("claude-opus-5-5-fast-20260901", 8.0),
    "a profile without its ARN": asked("r742sbn2zckd", 4.0, uncertain=0.4),
    "a profile behind a gateway": asked(
        "bedrock/arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/a1", 4.0, uncertain=0.4
    ),
    "a router of prompts": asked(
        "arn:aws:bedrock:us-east-1:123456789012:default-prompt-router/anthropic.claude:1", 4.0, uncertain=0.4
    ),
    # -- attempts that declined
    "a declined attempt that names no model": Case(
        hop(DECLINED, SERVED), HOPPED, "beta_create", request={"model": FABLE}
    ),
    "an advisor between two attempts": Case(
        hop(
            DECLINED | {"model": FABLE},
            {"type": "advisor_message", "model": SONNET, "input_tokens": 10, "output_tokens": 10},
            SERVED,
        ),
        HOPPED | {"input": 2010, "output": 111, "usd": 0.02618},
        "beta_create",
    ),
    # -- rate-limit headers
    **{
        f"{name}: {value}": Case(answer(PLAIN, headers={f"anthropic-ratelimit-{name}": value}), PLAIN_COUNTED)
        for name, value in (
            *(("tokens-limit", value) for value in ("-5", "1_000", "0x10", "5,6", "1e308", "+nan")),
            *(
                ("tokens-reset", value)
                for value in ("0001-01-01T00:00:00Z", "20261130", "2026-W49-1", "30", "2026-11-30T12:00:00")
            ),
            ("limit", "5"),
        )
    },
    "a reset with a tenth of a second": Case(
        answer(PLAIN, headers={"anthropic-ratelimit-tokens-reset": "2026-11-30T12:00:00.5Z"}),
        PLAIN_COUNTED | {"reset tokens": 1_796_040_000},
    ),
    "ninety resources": Case(
        answer(PLAIN, headers={f"anthropic-ratelimit-r{number}-limit": "5" for number in range(90)}),
        PLAIN_COUNTED | {f"limit r{number}": 5 for number in range(20)},
    ),
}

#: What is counted: metric and label, and the name in front of the label's value.
COUNTED = {
    "anthropic_tokens_total": ("type", ""),
    "anthropic_requests_total": ("outcome", ""),
    "anthropic_exporter_unmetered_responses_total": ("reason", "unmetered "),
    "anthropic_exporter_record_errors_total": ("stage", "failed "),
    "anthropic_exporter_unpriced_tokens_total": ("model", "unpriced "),
    "anthropic_exporter_label_overflow_total": ("label", "folded "),
    "anthropic_server_tool_requests_total": ("tool", "tool "),
    "anthropic_ratelimit_limit": ("resource", "limit "),
    "anthropic_ratelimit_remaining": ("resource", "remaining "),
    "anthropic_ratelimit_reset_timestamp_seconds": ("resource", "reset "),
}


def counted(text: str) -> dict[str, Any]:
    """Every sample of these metrics that is not 0, with success and the plain stop reason left out."""
    found: dict[str, float] = {}
    for (name, labels), value in wire_case.samples(text).items():
        label, word = COUNTED.get(name, ("", ""))
        key = word + dict(labels).get(label, "") if label else ""
        if name == "anthropic_stop_reasons_total":
            key = f"stop {dict(labels)['stop_reason']}"
        if name.endswith("_cost_usd_total"):
            key = "uncertain" if "estimated" in name else "usd" if name == "anthropic_cost_usd_total" else ""
        if key and value and key not in ("success", "stop end_turn"):
            found[key] = found.get(key, 0) + value
    return {key: pytest.approx(value, rel=1e-9) for key, value in found.items()}


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_counted_of_an_odd_answer(case: Case, mode: str, wire_api: FakeApi) -> None:
    recorder = Recorder(registry=None, clock=lambda: NOON)
    wire_api.clear()
    wire_api.push(case.answer)

    async def call() -> None:
        made = {"client": case.client, "options": {"max_retries": 0}}
        client = wire_player.make_client(made, mode, wire_api.base_url, recorder.middleware())
        request = {"model": MODEL, "max_tokens": 100, "messages": wire_player.MESSAGES} | case.request
        try:
            await wire_player.CALLS[case.call](client, request, made)
        except wire_player.anthropic.APIStatusError:  # type: ignore[attr-defined]
            assert "error" in " ".join(case.counted)
        await wire_player.done(client.close())

    asyncio.run(call())
    assert counted(recorder.render().decode()) == case.counted


def test_an_opaque_id_is_not_a_label_before_anything_was_served(wire_api: FakeApi) -> None:
    recorder = Recorder(registry=None, clock=lambda: NOON)
    client = wire_player.make_client({"options": {"max_retries": 0}}, "sync", wire_api.base_url, recorder.middleware())
    wire_api.clear()
    for model in ("r742sbn2zckd", "2f1e9b7c-11d2-4c3a-9f3e-a1b2c3d4e5f6"):
        wire_api.push(body(b"", status=529))
        with pytest.raises(wire_player.anthropic.APIStatusError):  # type: ignore[attr-defined]
            client.messages.create(model=model, max_tokens=1, messages=wire_player.MESSAGES)
    client.close()
    samples = wire_case.samples(recorder.render().decode())
    labels = {("model", "inference-profile"), ("outcome", "overloaded_error")}
    assert samples["anthropic_requests_total", frozenset(labels)] == 2
