"""What holds for any chopping of a stream, any usage object and any labels."""

from __future__ import annotations

import gzip
import importlib
import itertools
import math
from unittest import mock

import anthropic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from anthropic_exporter import Call, Inference, Recorder, Tokens, metrics
from anthropic_exporter.attempt import Attempt
from anthropic_exporter.prices import PriceBook
from anthropic_exporter.reading import fold_event, read_message, read_usage
from anthropic_exporter.stream import split_sse
from anthropic_exporter.tee import tee
from bodies import ASK, MODEL, USAGE, delta, events
from support import NOON, Samples

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


class Chopped(ByteStream):
    def __init__(self, body, cuts):
        edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
        self.chunks = [body[start:end] for start, end in itertools.pairwise(edges)]

    def __iter__(self):
        return iter(self.chunks)


def recorded(chopped, headers):
    """The call that a stream becomes, and what the application got of it."""
    calls = []
    recorder = Recorder(registry=None, strict=True, clock=lambda: NOON)
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
def test_any_chopping_of_a_stream_gives_the_same_tokens_and_dollars(end, encoding, cuts):
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


@same_every_time
@given(data=st.binary(max_size=200) | st.text("ab:\r\n ", max_size=200).map(str.encode), cuts=st.lists(st.integers(0)))
def test_any_bytes_split_into_the_same_events_however_they_come(data, cuts):
    data += b"\n\n"
    whole, rest = split_sse(data)
    found, kept = [], b""
    for chunk in Chopped(data, cuts):
        more, kept = split_sse(kept + chunk)
        found += more
    assert found == whole
    assert kept == rest


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


def sound(reading):
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
def test_any_usage_object_is_read_without_raising_and_nothing_in_it_is_negative(usage):
    assert sound(read_usage(usage, MODEL))


@same_every_time
@given(message=OBJECTS, parts=st.lists(OBJECTS, max_size=2))
def test_any_events_are_folded_without_raising(message, parts):
    folded = {}
    for event in [{"message": message}, *parts]:
        fold_event(folded, event)
    assert sound(read_message(folded, MODEL))


COUNTS = st.integers(0, 10**6)


@same_every_time
@given(counts=st.tuples(COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS))
def test_the_types_of_tokens_sum_to_what_was_sent(counts):
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


# -- any labels

LABELS = st.sampled_from(["", "other", "a", "b", "c", "d"]) | st.text(max_size=4)


@settings(same_every_time, max_examples=60)
@given(asked=st.lists(st.tuples(LABELS, LABELS, st.integers(0, 10**6)), max_size=40))
def test_totals_are_conserved_when_labels_overflow(asked):
    registry = CollectorRegistry()
    with mock.patch.dict(metrics._LIMITS, feature=2, user=1):
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
