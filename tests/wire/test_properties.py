"""What holds for any chopping of a stream, any usage object and any labels."""

from __future__ import annotations

import datetime as dt
import gzip
import importlib
import itertools
import json
import math
from collections.abc import Callable
from typing import Any
from unittest import mock

import anthropic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from anthropic_exporter import Call, Inference, Recorder, Tokens
from anthropic_exporter.capture.attempt import Attempt
from anthropic_exporter.capture.tee import tee
from anthropic_exporter.metrics import bounded_labels
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.simulator.fake_api import wire
from anthropic_exporter.wire.events import SseSplitter
from anthropic_exporter.wire.usage import Reading, fold_event, read_message, read_usage
from bodies import ASK, MODEL, USAGE, delta, events
from support import NOON, Samples

# The independent calculation lives beside the wire corpus.
from wire import independent

HTTP = anthropic._base_client.SyncAPIClient.__init__.__globals__
LIBRARY = "httpx2" if "httpx2" in HTTP else "httpx"
HTTPX = importlib.import_module(LIBRARY)
ByteStream = HTTPX.SyncByteStream

pytestmark = pytest.mark.filterwarnings("error")
same_every_time = settings(max_examples=150, deadline=None, derandomize=True, database=None)


# -- any chopping

RICH = USAGE | {
    "cache_creation_input_tokens": 500,
    "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 150},
    "server_tool_use": {"web_search_requests": 2},
}
STREAM = b"".join(
    [*events(RICH)[:5], *[delta(text) for text in ("Ünï€😀", 'event: error\\n\\ndata: "{}"', "")], *events(RICH)[5:]]
)
#: Anywhere, or every few bytes.
CUTS = st.lists(st.integers(0, 5000), max_size=100) | st.integers(1, 40).map(lambda size: range(0, 2000, size))
LINE_ENDS = {"LF": b"\n", "CRLF": b"\r\n", "CR": b"\r"}


class Chopped(ByteStream):  # type: ignore[misc, valid-type]
    def __init__(self, body: bytes, cuts: list[int] | range) -> None:
        edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
        self.chunks = [body[start:end] for start, end in itertools.pairwise(edges)]

    def __iter__(self) -> Any:
        return iter(self.chunks)


def recorded(chopped: Chopped, headers: dict[str, str], at: float = NOON) -> tuple[Call, list[bytes]]:
    """The call that a body becomes, and what the application got of it."""
    calls: list[Any] = []
    recorder = Recorder(registry=None, strict=True, clock=lambda: at)
    recorder.subscribe(calls.append)
    attempt = Attempt(recorder, ASK, 0, None)
    attempt.head(200, HTTPX.Headers(headers), b"/v1/messages", buffered=False)
    passed = list(tee(chopped, attempt, LIBRARY))
    (call,) = calls
    return call, passed


@pytest.mark.parametrize("end", LINE_ENDS)
@pytest.mark.parametrize("encoding", ["", "gzip"])
@same_every_time
@given(cuts=CUTS)
def test_any_chopping_of_a_stream_gives_the_same_tokens_and_dollars(
    end: str, encoding: str, cuts: list[int] | range
) -> None:
    body = STREAM.replace(b"\n", LINE_ENDS[end])
    body = gzip.compress(body, mtime=0) if encoding else body
    chopped = Chopped(body, cuts)
    call, passed = recorded(chopped, {"content-type": "text/event-stream", "content-encoding": encoding})
    assert passed == chopped.chunks
    assert (call.outcome, call.stop_reason, call.estimated_output_tokens) == ("success", "end_turn", 0)
    # the 50 written tokens beyond the split are 5m
    assert call.inferences == (Inference(MODEL, Tokens(100, 2000, 350, 150, 50)),)
    # 100 at 4, 2000 at 0.20, 350 at 5, 150 at 8, 50 at 20 dollars a million, and two searches of a cent
    assert call.bill.total_usd == pytest.approx(0.02475, rel=1e-12)


PIECES = (
    b"event: content_block_delta",
    b"event: content_block_deltas",
    b"event: ping",
    b"data: {}",
    b"\n",
    b"\n\n",
    b"\r",
)
ANY_EVENTS = (
    st.binary(max_size=200)
    | st.text("ab:\r\n ", max_size=200).map(str.encode)
    | st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)
)


def in_one_piece(runs: list[bytes]) -> list[bytes]:
    """The events: where they come in one piece, the deltas stay with the event before them."""
    return [event for run in runs for event in run.split(b"\n\n")]


@same_every_time
@given(data=ANY_EVENTS, cuts=st.lists(st.integers(0)))
def test_any_bytes_split_into_the_same_events_however_they_come(data: bytes, cuts: list[int]) -> None:
    data += b"\n\n"
    whole, pieces = SseSplitter(), SseSplitter()
    expected = whole.feed(data) + whole.finish()
    found = [run for piece in Chopped(data, cuts) for run in pieces.feed(piece)] + pieces.finish()
    assert in_one_piece(found) == in_one_piece(expected)


# -- any usage object

NAMES = st.sampled_from(
    [
        *("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation"),
        *("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens", "iterations", "model", "server_tool_use"),
        *("web_search_requests", "service_tier", "speed", "inference_geo", "output_tokens_details", "thinking_tokens"),
        *("fallback_credit", "status", "type", "usage", "message", "delta", "stop_reason", "stop_details", "category"),
    ]
)
WORDS = st.sampled_from([MODEL, "batch", "priority", "fast", "us", "refusal", "redeemed", "claude-haiku-5-5"])
LEAVES = st.none() | st.booleans() | st.integers() | st.integers(0, 10**6) | st.floats() | st.text(max_size=5) | WORDS
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=8),
    max_leaves=8,
)
COUNTED = {name: st.integers(-3, 10**6) | LEAVES for name in USAGE}
OBJECTS = st.dictionaries(NAMES, JSON, max_size=9) | st.fixed_dictionaries(COUNTED, optional={"iterations": JSON})
BOOK = PriceBook.load()


def sound(reading: Reading) -> bool:
    """Whether nothing is negative, in tokens or dollars."""
    call = Call(
        model=reading.model,
        inferences=reading.inferences,
        tier=reading.tier,
        server_tools=reading.server_tools,
        inference_geo=reading.inference_geo,
        billable=reading.billable,
        started_at=NOON,
    )
    bill = BOOK.bill(call)
    counts = [count for one in reading.inferences for count in one.tokens]
    dollars = [bill.total_usd, bill.cache_savings_usd, *(sum(cost) for cost in bill.costs if cost is not None)]
    return (
        all(type(count) is int and count >= 0 for count in [*counts, reading.thinking_tokens])
        and all(count > 0 for _, count in reading.server_tools)
        and all(math.isfinite(amount) and amount >= 0 for amount in dollars)
    )


@same_every_time
@given(usage=OBJECTS)
def test_any_usage_object_is_read_without_raising_and_nothing_in_it_is_negative(usage: dict[str, Any]) -> None:
    assert sound(read_usage(usage, MODEL))


@same_every_time
@given(message=OBJECTS, parts=st.lists(OBJECTS, max_size=2))
def test_any_events_are_folded_without_raising(message: dict[str, Any], parts: list[dict[str, Any]]) -> None:
    folded: dict[Any, Any] = {}
    for event in [{"message": message}, *parts]:
        fold_event(folded, event)
    assert sound(read_message(folded, MODEL))


COUNTS = st.integers(0, 10**6)


@same_every_time
@given(counts=st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS))
def test_the_types_of_tokens_sum_to_what_was_sent(counts: tuple[int, ...]) -> None:
    plain, read, written, short, long, output = counts
    usage = {
        "input_tokens": plain,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens": output,
    }
    (inference,) = read_usage(usage, MODEL).inferences
    assert sum(inference.tokens) == plain + read + max(written, short + long) + output
    assert inference.tokens.cache_write_1h == long


# -- any bill

BILLED_REFUSALS = ("bio", "frontier_llm", "reasoning_extraction")
#: Any, and more often the one with a price for long prompts.
MODELS = st.just("claude-haiku-5-5") | st.sampled_from(sorted(independent.LIST))
DAYS = st.sampled_from([(2026, 10, 6), (2026, 10, 7), (2026, 11, 21), (2026, 11, 29), (2026, 11, 30)])
#: Parts that sum to 100,000, too, from where on a prompt is long, and to one more.
PROMPTS = st.integers(0, 3000) | st.sampled_from([0, 1, 50_000, 100_000]) | st.integers(0, 10**6)


@st.composite
def spent(draw: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, int]]:
    """What one inference used: as the wire says it, and as a person reads it."""
    plain, read, short, long, more, output = (draw(PROMPTS) for _ in range(6))
    usage = {"input_tokens": plain, "cache_read_input_tokens": read, "output_tokens": output}
    split = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    written, total, split = draw(
        st.sampled_from(
            [
                ((short, long), short + long, split),
                ((short + more, long), short + long + more, split),  # the remainder is 5m
                ((short, long), max(0, short + long - more), split),  # the split wins
                ((short, 0), short, None),
                ((short, 0), short, {}),
            ]
        )
    )
    usage |= {"cache_creation_input_tokens": total, "cache_creation": split}
    return usage, dict(zip(Tokens._fields, (plain, read, *written, output), strict=True))


@st.composite
def responses(draw: Callable[..., Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A message of the API, when it came, and what is billed for it."""
    model, (usage, parts) = draw(MODELS), draw(spent())
    billed = [parts | {"model": model}]
    tier = draw(st.sampled_from(["standard", "batch", "fast"]))
    usage |= {"speed": "fast"} if tier == "fast" else {"service_tier": tier}
    geo = draw(st.sampled_from(["us", "global", "not_available", None]))
    usage |= {"inference_geo": geo, "iterations": draw(st.sampled_from([None, []]))}
    if draw(st.booleans()):  # the top level is then not what is billed
        several = draw(st.lists(st.tuples(spent(), st.none() | MODELS), min_size=1, max_size=3))
        usage["iterations"] = [one | ({"model": other} if other else {}) for (one, _), other in several]
        billed = [parts | {"model": other or model} for (_, parts), other in several]
    searches = draw(st.integers(0, 3))
    usage["server_tool_use"] = {"web_search_requests": searches, "web_fetch_requests": 2}
    category = draw(st.sampled_from([*BILLED_REFUSALS, "cyber", "general_harms", None]))
    stop_reason = draw(st.sampled_from(["end_turn", "refusal"]))
    generated = sum(one["output"] for one in billed) > 1
    free = stop_reason == "refusal" and category not in BILLED_REFUSALS and not generated
    billed = [one | {"tier": tier, "geo": geo, "free": free} for one in billed]
    billed[0]["web_search"] = searches
    content = [{"type": "text", "text": "Hi."}] if generated else []
    told = {"stop_reason": stop_reason, "stop_details": {"type": "refusal", "category": category}}
    case = {"billed": billed, "at": dt.datetime(*draw(DAYS), 12, tzinfo=dt.timezone.utc)}  # type: ignore[call-arg, misc]
    return {"type": "message", "model": model, "content": content, "usage": usage} | told, case


def as_events(message: dict[str, Any]) -> list[bytes]:
    """The same message as a stream: the delta lacks what the API leaves out of it, and has the rest as a total."""
    usage, told = message["usage"], {key: message[key] for key in ("stop_reason", "stop_details")}
    started = {"output_tokens": 1, "server_tool_use": None, "iterations": None}
    last = {key: usage[key] for key in ("output_tokens", "input_tokens", "server_tool_use", "iterations")}
    early = {"output_tokens": 0, "cache_read_input_tokens": None, "input_tokens": usage["input_tokens"]}
    return [
        wire.event("message_start", message=message | {"content": [], "stop_reason": None, "usage": usage | started}),
        *([delta("Hi.")] if message["content"] else []),
        wire.event("message_delta", delta={"stop_reason": None}, usage=early),
        wire.event("message_delta", delta=told, usage=last),
        wire.event("message_stop"),
    ]


def billed_alike(call: Call, case: dict[str, Any]) -> None:
    """Whether the tokens are those of the case, and the dollars those of the independent calculation."""
    prices = independent.lines(independent.with_defaults(case))
    dollars = sum(value for (name, _), value in prices.items() if name == "anthropic_cost_usd_total")
    parts = [[one[part] for part in Tokens._fields] for one in case["billed"]]
    assert [list(one.tokens) for one in call.inferences] == parts
    assert [one.model for one in call.inferences] == [one["model"] for one in case["billed"]]
    assert call.bill.total_usd == pytest.approx(float(dollars), rel=1e-12)
    unpriced = [independent.rates(one, case["at"]) is None for one in case["billed"]]
    assert [cost is None for cost in call.bill.costs] == unpriced


@settings(same_every_time, max_examples=300)
@given(response=responses(), cuts=CUTS)
def test_any_response_costs_what_an_independent_calculation_says_whole_or_streamed(
    response: tuple[dict[str, Any], dict[str, Any]], cuts: list[int] | range
) -> None:
    message, case = response
    at = case["at"].timestamp()
    whole, _ = recorded(Chopped(json.dumps(message).encode(), cuts), {"content-type": "application/json"}, at)
    billed_alike(whole, case)
    chopped = Chopped(b"".join(as_events(message)), cuts)
    streamed, _ = recorded(chopped, {"content-type": "text/event-stream"}, at)
    billed_alike(streamed, case)
    assert (streamed.outcome, streamed.stop_reason, streamed.tier) == (whole.outcome, whole.stop_reason, whole.tier)


# -- any labels

LABELS = st.sampled_from(["", "other", "a", "b", "c", "d"]) | st.text(max_size=4)


@settings(same_every_time, max_examples=60)
@given(asked=st.lists(st.tuples(LABELS, LABELS, st.integers(0, 10**6)), max_size=40))
def test_totals_are_conserved_when_labels_overflow(asked: list[tuple[str, str, int]]) -> None:
    registry = CollectorRegistry()
    with mock.patch.dict(bounded_labels._LIMITS, feature=2, user=1):
        recorder = Recorder(registry=registry, strict=True, clock=lambda: NOON)
    for feature, user, output in asked:
        inferences = (Inference(MODEL, Tokens(0, 0, 0, 0, output)),)
        recorder.record(Call(MODEL, inferences=inferences, feature=feature, user=user, started_at=NOON))
    samples = Samples(registry)
    outputs = [output for _, _, output in asked]
    assert (samples("anthropic_requests_total") or 0) == len(asked)
    assert (samples("anthropic_tokens_total") or 0) == sum(outputs)
    assert (samples("anthropic_cost_usd_total") or 0) == pytest.approx(sum(outputs) * 20 / 1e6, rel=1e-12)
    shown = {s.labels["feature"] for f in registry.collect() for s in f.samples if "feature" in s.labels}
    assert len(shown - {"", "other"}) <= 2
    folded = len([1 for feature, _, _ in asked if feature not in shown])
    assert (samples("anthropic_exporter_label_overflow_total", label="feature") or 0) == folded


# -- never less, never silent

COUNT_KEYS = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
ANY_COUNTS = st.dictionaries(st.sampled_from(COUNT_KEYS), st.none() | st.integers(0, 10**6))
SNAPSHOTS = st.lists(ANY_COUNTS, min_size=1, max_size=6)


@same_every_time
@given(snapshots=SNAPSHOTS)
def test_a_stream_counts_the_largest_of_each_count_in_any_order(snapshots: list[dict[str, int | None]]) -> None:
    message: dict[Any, Any] = {}
    for usage in snapshots:
        fold_event(message, {"type": "message_delta", "usage": usage})
    largest = {key: max([usage.get(key) or 0 for usage in snapshots]) for key in COUNT_KEYS}
    tokens = read_usage(message["usage"], MODEL).inferences[0].tokens
    assert (tokens.input, tokens.output) == (largest["input_tokens"], largest["output_tokens"])
    assert (tokens.cache_read, tokens.cache_write_5m) == (
        largest["cache_read_input_tokens"],
        largest["cache_creation_input_tokens"],
    )


ANSWERS = (
    st.binary(max_size=300)
    | st.dictionaries(NAMES, JSON, max_size=6).map(lambda one: json.dumps(one).encode())
    | st.fixed_dictionaries({"type": st.just("message"), "usage": OBJECTS | JSON}).map(
        lambda one: json.dumps(one).encode()
    )
)


@settings(same_every_time, max_examples=300)
@given(body=ANSWERS, asked=st.booleans())
def test_no_answer_is_a_silent_zero(body: bytes, asked: bool) -> None:
    """What ends well has a prompt, or an outcome that says otherwise, or counts as unmetered."""
    calls: list[Any] = []
    recorder = Recorder(registry=None, clock=lambda: NOON)
    recorder.subscribe(calls.append)
    attempt = Attempt(recorder, ASK | {"stream": asked}, 0, None)
    attempt.head(200, HTTPX.Headers({}), b"/v1/messages", buffered=True)
    attempt.body(body)
    (call,) = calls
    counted = any(inference.tokens.prompt for inference in call.inferences)
    assert counted or call.unmetered or call.outcome not in ("success", "refusal")
