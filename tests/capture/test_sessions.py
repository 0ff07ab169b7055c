"""Sessions, threads and dreams of managed agents: cumulative usage is counted once, however it is read."""

from __future__ import annotations

import copy
import json
from typing import Any

import anthropic
import pytest
from prometheus_client import CollectorRegistry

from anthropic_exporter import Recorder, attribution
from anthropic_exporter.simulator.fake_api import Chunk, FakeApi, Scripted
from support import Samples

pytest_plugins = ("fixtures_fake_api", "fixtures_clients")
pytestmark = pytest.mark.skipif(not hasattr(anthropic.Anthropic(api_key="k").beta, "sessions"), reason="an older SDK")

MODEL = "claude-opus-5-5"
AT = "2026-11-30T01:00:00Z"
USAGE = {
    "input_tokens": 1000,
    "output_tokens": 500,
    "cache_read_input_tokens": 20000,
    "cache_creation": {"ephemeral_5m_input_tokens": 3000, "ephemeral_1h_input_tokens": 0},
    "active_seconds": 3600.0,
    "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
    "list_cost": {"amount": "13", "currency": "USD"},
}
DOUBLE = {
    "input_tokens": 2000,
    "output_tokens": 1000,
    "cache_read_input_tokens": 40000,
    "cache_creation": {"ephemeral_5m_input_tokens": 6000, "ephemeral_1h_input_tokens": 0},
    "active_seconds": 7200.0,
    "server_tool_use": {"web_search_requests": 4, "web_fetch_requests": 0},
    "list_cost": {"amount": "27", "currency": "USD"},
}
PARTS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")


def agent(model: str = MODEL, **more: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"tools": [], "mcp_servers": [], "skills": [], "system": None, "description": None}
    return {"id": "agent_1", "type": "agent", "name": "a", "model": {"id": model, **more}, "version": 1, **empty}


def session(usage: dict[str, Any] | str | None = USAGE, name: str = "sesn_1", **options: Any) -> dict[str, Any]:
    return {
        "id": name,
        "type": "session",
        "agent": agent(**options),
        "archived_at": None,
        "created_at": AT,
        "updated_at": AT,
        "environment_id": "env_1",
        "metadata": {},
        "outcome_evaluations": [],
        "resources": [],
        "stats": {"active_seconds": 9999.0, "duration_seconds": 9999.0},
        "status": "idle",
        "title": None,
        "vault_ids": [],
        "usage": usage,
    }


def thread(usage: Any, name: Any, model: Any = MODEL) -> Any:
    base = {"id": name, "type": "session_thread", "session_id": "sesn_1", "agent": agent(model), "status": "idle"}
    return base | {"archived_at": None, "created_at": AT, "updated_at": AT, "usage": usage, "parent_thread_id": None}


def answer(body: Any) -> Any:
    return Scripted(200, {"content-type": "application/json"}, (Chunk(json.dumps(body).encode()),))


def page(*items: Any) -> Any:
    return answer({"data": list(items), "next_page": None, "has_more": False})


SPAN = {
    "input_tokens": 1000,
    "output_tokens": 500,
    "cache_read_input_tokens": 20000,
    "cache_creation_input_tokens": 3000,
}


def events(usage: Any = USAGE) -> Any:
    return [
        {"type": "span.model_request_start", "id": "evt_1", "processed_at": AT},
        {"type": "agent.message", "id": "evt_2", "content": [{"type": "text", "text": "hi"}], "processed_at": AT},
        {
            "type": "span.model_request_end",
            "id": "evt_3",
            "model_request_start_id": "evt_1",
            "is_error": False,
            "model_usage": SPAN,
            "processed_at": AT,
        },
        {"type": "session.usage", "id": "evt_4", "processed_at": AT, "usage": usage, "budget": None},
        {"type": "session.status_idle", "id": "evt_5", "processed_at": AT, "stop_reason": {"type": "end_turn"}},
    ]


def stream(usage: Any = USAGE, size: Any = 100) -> Any:
    body = b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in events(usage))
    pieces = tuple(Chunk(body[at : at + size]) for at in range(0, len(body), size))
    return Scripted(200, {"content-type": "text/event-stream"}, pieces)


def tokens(samples: Any, **labels: Any) -> Any:
    return tuple(samples("anthropic_tokens_total", type=part, **labels) or 0 for part in PARTS)


def create(client: Any) -> Any:
    return client.beta.sessions.create(agent="agent_1", environment_id="env_1")


def test_a_session_costs_its_tokens_its_searches_and_its_runtime(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(answer(session()))
    create(client)
    assert tokens(samples, model=MODEL) == (1000, 20000, 3000, 0, 500)
    assert samples("anthropic_cost_usd_total", type="session_runtime") == pytest.approx(0.08)
    assert samples("anthropic_cost_usd_total", type="web_search") == pytest.approx(0.02)
    assert samples("anthropic_cost_usd_total") == pytest.approx(0.133)
    assert samples("anthropic_server_tool_requests_total", tool="web_search") == 2
    assert not samples("anthropic_requests_total")
    assert not samples("anthropic_exporter_session_cost_mismatches_total")


def test_however_a_session_is_read_it_is_counted_once(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(answer(session()), answer(session()), page(session()), stream(), page(*events()), page(*events()))
    create(client)
    client.beta.sessions.retrieve("sesn_1")
    assert [one.id for one in client.beta.sessions.list()] == ["sesn_1"]
    with client.beta.sessions.events.stream("sesn_1") as passing:
        assert len(list(passing)) >= 4  # older SDKs do not know the usage event and pass over it
    for _ in range(2):
        assert len(list(client.beta.sessions.events.list("sesn_1"))) == 5
    assert tokens(samples) == (1000, 20000, 3000, 0, 500)
    assert samples("anthropic_cost_usd_total") == pytest.approx(0.133)


def test_what_came_since_the_last_reading_is_added(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(answer(session()), stream(DOUBLE), answer(session()), answer(session(DOUBLE)))
    create(client)
    with client.beta.sessions.events.stream("sesn_1") as passing:
        list(passing)
    for _ in range(2):  # an older snapshot, then the newest again
        client.beta.sessions.retrieve("sesn_1")
    assert tokens(samples) == (2000, 40000, 6000, 0, 1000)
    assert samples("anthropic_cost_usd_total") == pytest.approx(0.266)


async def test_the_async_client_counts_the_same_way(
    fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
) -> None:
    fake_api.push(answer(session()), stream(DOUBLE), answer(session(DOUBLE)))
    await async_client.beta.sessions.create(agent="agent_1", environment_id="env_1")
    async with await async_client.beta.sessions.events.stream("sesn_1") as passing:
        assert len([one async for one in passing]) >= 4  # as above
    await async_client.beta.sessions.retrieve("sesn_1")
    assert samples("anthropic_cost_usd_total") == pytest.approx(0.266)


def test_threads_are_counted_on_their_own_models_and_the_session_adds_what_they_lack(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    part = {"input_tokens": 600, "output_tokens": 300, "active_seconds": 3000.0}
    other = {"input_tokens": 300, "output_tokens": 100, "active_seconds": 3000.0}
    whole = {"input_tokens": 1000, "output_tokens": 400, "active_seconds": 3600.0}
    fake_api.push(page(thread(part, "sthr_1"), thread(other, "sthr_2", "claude-haiku-4-5")), answer(session(whole)))
    list(client.beta.sessions.threads.list("sesn_1"))
    client.beta.sessions.retrieve("sesn_1")
    assert tokens(samples, model="claude-haiku-4-5") == (300, 0, 0, 0, 100)
    assert tokens(samples, model=MODEL) == (700, 0, 0, 0, 300)
    # 700 at 4 and 300 at 20, 300 at 1 and 100 at 5 dollars a million, and an hour
    assert samples("anthropic_cost_usd_total") == pytest.approx(0.0028 + 0.006 + 0.0003 + 0.0005 + 0.08)


def test_threads_that_are_read_after_their_session_add_nothing(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(answer(session()), page(thread(USAGE, "sthr_1"), thread(None, "sthr_2")))
    create(client)
    list(client.beta.sessions.threads.list("sesn_1"))
    assert tokens(samples) == (1000, 20000, 3000, 0, 500)


def dream(usage: Any, name: Any = "sesn_2") -> Any:
    base = {"id": "drm_1", "type": "dream", "model": {"id": MODEL, "speed": "standard"}, "session_id": name}
    empty: dict[str, Any] = {
        "archived_at": None,
        "ended_at": AT,
        "error": None,
        "inputs": [],
        "instructions": None,
        "outputs": [],
    }
    more: dict[str, Any] = {
        "created_at": AT,
        "output_behavior": {"type": "create_new"},
        "status": "completed",
        "usage": usage,
    }
    return base | empty | more


def test_a_dream_and_its_session_are_one(fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples) -> None:
    if not hasattr(client.beta, "dreams"):
        pytest.skip("an older SDK")
    split = copy.deepcopy(USAGE)
    split["cache_creation"] = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 3000}
    fake_api.push(answer(dream(SPAN)), answer(dream(SPAN)), answer(session(split, "sesn_2")))
    for _ in range(2):
        client.beta.dreams.retrieve("drm_1")
    assert tokens(samples) == (1000, 20000, 3000, 0, 500)
    client.beta.sessions.retrieve("sesn_2")
    assert tokens(samples) == (1000, 20000, 3000, 0, 500)


def test_an_event_of_a_session_whose_model_nobody_named_is_unpriced_not_lost(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(stream())
    with client.beta.sessions.events.stream("sesn_1") as passing:
        list(passing)
    assert tokens(samples, model="unknown") == (1000, 20000, 3000, 0, 500)
    assert samples("anthropic_exporter_unpriced_tokens_total", model="unknown") == 24500
    assert samples("anthropic_cost_usd_total") == pytest.approx(0.10)  # the searches and the runtime


def test_fast_mode_of_an_agent_has_its_price(fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples) -> None:
    fake_api.push(answer(session({"input_tokens": 1000, "output_tokens": 500}, speed="fast")))
    create(client)
    assert samples("anthropic_cost_usd_total", tier="fast") == pytest.approx(0.028)


def test_a_session_belongs_to_the_block_that_made_it_unless_another_block_reads_it(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(answer(session({"input_tokens": 1000})), answer(session({"input_tokens": 3000})))
    with attribution(feature="agent", user="acme"):
        create(client)
    client.beta.sessions.retrieve("sesn_1")
    assert samples("anthropic_tokens_total", type="input", feature="agent", user="acme") == 3000


def test_dollars_that_differ_from_the_list_cost_are_counted_once(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    wrong = USAGE | {"list_cost": {"amount": "99", "currency": "USD"}}
    fake_api.push(answer(session(wrong)), answer(session(DOUBLE | {"list_cost": {"amount": "99", "currency": "USD"}})))
    create(client)
    client.beta.sessions.retrieve("sesn_1")
    assert samples("anthropic_exporter_session_cost_mismatches_total", model=MODEL) == 1


BAD = {
    "no json": b"<html>",
    "usage is text": json.dumps(session("none")).encode(),
    "usage is null": json.dumps(session(None)).encode(),
    "data is null": b'{"data": null}',
    "counts are text": json.dumps(session({"input_tokens": "1", "active_seconds": "x", "list_cost": 7})).encode(),
    "not a number": b'{"type": "session", "id": "s", "usage": {"active_seconds": NaN, "list_cost": {"amount": "x"}}}',
    "a list": b"[1, 2]",
}


@pytest.mark.parametrize("body", BAD.values(), ids=BAD)
def test_whatever_a_server_sends_the_application_gets_it(
    fake_api: FakeApi,
    client_options: dict[str, Any],
    sdk_client: anthropic.Anthropic,
    registry: CollectorRegistry,
    body: Any,
) -> None:
    sent = Scripted(200, {"content-type": "application/json"}, (Chunk(body),))
    fake_api.push(sent, sent)
    recorder = Recorder(registry=registry)
    with anthropic.Anthropic(**client_options, middleware=[recorder.middleware()]) as client:
        raw = [one.beta.sessions.with_raw_response for one in (client, sdk_client)]
        assert [one.retrieve("sesn_1").http_response.content for one in raw] == [body, body]
    assert not Samples(registry)("anthropic_tokens_total")


def test_a_session_that_is_not_there_counts_nothing(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(Scripted(404, {"content-type": "application/json"}, (Chunk(json.dumps(session()).encode()),)))
    with pytest.raises(anthropic.NotFoundError):
        client.beta.sessions.retrieve("sesn_1")
    assert not samples("anthropic_tokens_total")


def test_a_stream_of_events_is_read_whatever_its_header_says(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    sent = stream()
    fake_api.push(answer(session({"input_tokens": 1})), sent.__class__(200, {"content-type": "text/plain"}, sent.body))
    create(client)
    with client.beta.sessions.events.with_streaming_response.stream("sesn_1") as passing:
        passing.read()
    assert tokens(samples) == (1000, 20000, 3000, 0, 500)


def test_an_event_that_cannot_be_read_does_not_lose_the_next(
    fake_api: FakeApi, client_options: dict[str, Any], registry: CollectorRegistry
) -> None:
    whole = b"".join(chunk.data for chunk in stream().body)
    body = b'data: {"usage" broken\n\n' + whole
    fake_api.push(answer(session({"input_tokens": 1})), Scripted(200, stream().headers, (Chunk(body),)))
    with anthropic.Anthropic(**client_options, middleware=[Recorder(registry=registry).middleware()]) as client:
        create(client)
        with client.beta.sessions.events.with_streaming_response.stream("sesn_1") as passing:
            passing.read()
    samples = Samples(registry)
    assert tokens(samples) == (1000, 20000, 3000, 0, 500)
    assert samples("anthropic_exporter_record_errors_total", stage="session") == 1


ODD = {
    "another shape": ({"tokens": 5}, 0),
    "a list": ([1], 0),
    "runtime as text": (USAGE | {"active_seconds": "60"}, 24500),
    "negative runtime": (USAGE | {"active_seconds": -60}, 24500),
}


@pytest.mark.parametrize(("usage", "total"), ODD.values(), ids=ODD)
def test_usage_of_another_shape_is_not_a_silent_zero(
    fake_api: FakeApi, client_options: dict[str, Any], registry: CollectorRegistry, usage: Any, total: Any
) -> None:
    fake_api.push(answer(session(usage)))
    with anthropic.Anthropic(**client_options, middleware=[Recorder(registry=registry).middleware()]) as client:
        create(client)
    samples = Samples(registry)
    assert sum(tokens(samples)) == total
    assert samples("anthropic_exporter_record_errors_total", stage="usage") == 1


@pytest.mark.parametrize("name", ["sesn:1 2%", "sesn/../1", "s" * 5000])
def test_a_session_of_an_odd_name_is_counted_once(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples, name: Any
) -> None:
    fake_api.push(answer(session(name=name)), page(*events()), answer(session(name=name)))
    client.beta.sessions.retrieve(name)
    list(client.beta.sessions.events.list(name))
    client.beta.sessions.retrieve(name)
    assert tokens(samples, model=MODEL) == (1000, 20000, 3000, 0, 500)
    assert tokens(samples) == (1000, 20000, 3000, 0, 500)


def test_long_names_that_begin_alike_are_two_sessions(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    names = ["s" * 200 + end for end in "ab"]
    fake_api.push(*[answer(session(name=name)) for name in names])
    for name in names:
        client.beta.sessions.retrieve(name)
    assert tokens(samples, model=MODEL) == (2000, 40000, 6000, 0, 1000)


def test_a_session_without_an_id_is_that_of_the_path_or_none(
    fake_api: FakeApi, client_options: dict[str, Any], registry: CollectorRegistry
) -> None:
    nameless = {key: value for key, value in session().items() if key != "id"}
    fake_api.push(answer(nameless), page(*events()), page(nameless, nameless))
    recorder = Recorder(registry=registry)
    with anthropic.Anthropic(**client_options, middleware=[recorder.middleware()]) as client:
        client.beta.sessions.retrieve("sesn_1")
        list(client.beta.sessions.events.list("sesn_1"))
        list(client.beta.sessions.list())
    samples = Samples(registry)
    assert tokens(samples) == (1000, 20000, 3000, 0, 500)
    assert samples("anthropic_exporter_record_errors_total", stage="usage") == 2


def test_a_dream_that_gets_its_session_later_is_counted_once(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    if not hasattr(client.beta, "dreams"):
        pytest.skip("an older SDK")
    base = {"id": "drm_1", "type": "dream", "model": {"id": MODEL}, "status": "running", "created_at": AT}
    usage = {"input_tokens": 1000, "output_tokens": 500, "cache_read_input_tokens": 20000}
    fake_api.push(
        answer(base | {"session_id": None, "usage": usage | {"cache_creation_input_tokens": 2000}}),
        answer(base | {"session_id": "sesn_1", "usage": usage | {"cache_creation_input_tokens": 3000}}),
        answer(session()),
    )
    client.beta.dreams.retrieve("drm_1")
    client.beta.dreams.retrieve("drm_1")
    client.beta.sessions.retrieve("sesn_1")
    assert tokens(samples) == (1000, 20000, 3000, 0, 500)
