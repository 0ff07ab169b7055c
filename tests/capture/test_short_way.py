"""The short way of a whole answer: it waits to be read, and shows the same numbers as the general way."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic, Middleware
from bench.fuzz import two_ways
from bench.fuzz.fuzz_bodies import http as library
from prometheus_client import CollectorRegistry

from anthropic_exporter import Recorder, SpendLimitExceeded, attribution, serve
from anthropic_exporter.guard import Guard, Limits, Timing
from anthropic_exporter.recording.answers import MOST_BODY_BYTES, MOST_WAITING
from anthropic_exporter.simulator.fake_api import FakeApi
from bodies import ASK, USAGE, answer, events, message, refused, streamed
from support import MODEL, Clock, Samples

pytest_plugins = ("fixtures_fake_api",)

PRICES = """
models:
  claude-opus-5-5:
    prices: [{input: %d, output: 20, cache_write_5m: 5, cache_write_1h: 8, cache_read: 0.2}]
"""


@pytest.fixture
def recorder(registry: CollectorRegistry, clock: Clock) -> Any:
    """Not strict: a strict recorder lets no answer wait."""
    return Recorder(registry=registry, clock=clock)


@pytest.fixture
def client(fake_api: FakeApi, recorder: Recorder) -> Generator[Any, Any, Any]:
    options: dict[str, Any] = {"api_key": "sk-ant-test", "base_url": fake_api.base_url, "max_retries": 0}
    with anthropic.Anthropic(**options, middleware=[recorder.middleware()]) as client:
        yield client


def waiting(recorder: Recorder) -> Any:
    """How many answers wait."""
    return sum(entry[0] == recorder.answers.write for entry in recorder.pending)


def call(fake_api: FakeApi, client: anthropic.Anthropic, number: Any = 1, *, usage: Any = USAGE, **fields: Any) -> None:
    fake_api.push(*[answer(usage, **fields)] * number)
    for _ in range(number):
        client.messages.create(**ASK)


@pytest.mark.parametrize("seed", [1, 2])
def test_both_ways_show_the_same(seed: Any) -> None:
    seen = two_ways.run(400, seed)
    assert seen["kept"] > 200
    assert seen["not kept"] > 50


def test_both_ways_count_the_same_for_advice() -> None:
    seen = two_ways.run(400, 3, advise=True)
    assert seen["kept"] > 200
    assert seen["advised"] > 50


def test_an_answer_waits_while_requests_are_watched_and_keeps_nothing_of_its_request(
    fake_api: FakeApi, registry: CollectorRegistry, clock: Clock, samples: Samples
) -> None:
    recorder = Recorder(registry=registry, clock=clock, advise=True)
    options: dict[str, Any] = {"api_key": "sk-ant-test", "base_url": fake_api.base_url, "max_retries": 0}
    request: Any = {**ASK, "system": "You are a careful clerk. " * 200}
    with anthropic.Anthropic(**options, middleware=[recorder.middleware()]) as client:
        fake_api.push(*[answer({"input_tokens": 1_000, "output_tokens": 50})] * 3, streamed(events(USAGE)))
        for _ in range(3):
            client.messages.create(**request)
        list(client.messages.create(**request, stream=True))
    assert waiting(recorder) == 3
    assert len(recorder.pending) == 4
    assert "careful clerk" not in str([gc.get_referents(*entry) for entry in recorder.pending])
    # 5,000 of 5,005 characters are the system prompt; the first request is counted once it is known to repeat
    again = samples("anthropic_advice_prompt_tokens_total", kind="uncached", gap="5m")
    assert again == pytest.approx(2 * 1_000 * 5_000 / 5_005)
    # 1,000 at 4 dollars a million and 50 at 20; the stream is not counted
    assert samples("anthropic_advice_cost_usd_total", waste="unstreamed") == pytest.approx(3 * 0.005)


def test_answers_wait_until_a_scrape(
    fake_api: FakeApi, client: anthropic.Anthropic, recorder: Recorder, samples: Samples
) -> None:
    call(fake_api, client, 4)
    assert waiting(recorder) == 4
    assert samples("anthropic_tokens_total", type="output") == 200
    assert waiting(recorder) == 0
    assert samples("anthropic_requests_total", outcome="success") == 4
    assert samples("anthropic_cost_usd_total") == pytest.approx(4 * 0.0018, rel=1e-12)


def test_a_stream_that_ended_well_waits_too_and_one_that_was_cut_off_does_not(
    fake_api: FakeApi, client: anthropic.Anthropic, recorder: Recorder, samples: Samples, clock: Clock
) -> None:
    fake_api.push(streamed(events(USAGE)), streamed(events(USAGE)[:-2]))
    assert len(list(client.messages.create(**ASK, stream=True))) > 3
    assert len(recorder.pending) == 1
    ended = clock()
    clock.now += 10
    list(client.messages.create(**ASK, stream=True))
    assert len(recorder.pending) == 0
    assert samples("anthropic_requests_total", outcome="success") == 1
    assert samples("anthropic_requests_total", outcome="truncated") == 1
    assert samples("anthropic_tokens_total", type="output") == 50
    assert samples("anthropic_exporter_last_record_timestamp_seconds") == ended + 10


def test_a_failure_is_labelled_by_the_answers_that_wait(
    fake_api: FakeApi, client: anthropic.Anthropic, recorder: Recorder, samples: Samples
) -> None:
    call(fake_api, client, 2, model="claude-sonnet-4-6")
    assert waiting(recorder) == 2
    fake_api.push(refused(529, "overloaded_error"))
    with pytest.raises(anthropic.APIStatusError):
        client.messages.create(**ASK)
    assert samples("anthropic_requests_total", model="claude-sonnet-4-6", outcome="success") == 2
    assert samples("anthropic_requests_total", model="claude-sonnet-4-6", outcome="overloaded_error") == 1
    assert not samples("anthropic_requests_total", model=MODEL)


def test_few_answers_wait_and_none_with_much_text(
    fake_api: FakeApi, client: anthropic.Anthropic, recorder: Recorder
) -> None:
    call(fake_api, client)
    call(fake_api, client, MOST_WAITING + 5, content=[{"type": "text", "text": "word " * 2_000}])
    assert 0 < waiting(recorder) < MOST_WAITING
    bodies = [entry[4] for entry in recorder.pending if entry[0] == recorder.answers.write]
    assert all(len(body) <= MOST_BODY_BYTES for body in bodies)
    assert "word" not in str(bodies)


def test_a_server_writes_what_waits(fake_api: FakeApi, client: anthropic.Anthropic, recorder: Recorder) -> None:
    with serve(recorder, port=0):
        call(fake_api, client, 4)
        deadline = time.monotonic() + 30
        while waiting(recorder) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert waiting(recorder) == 0


def test_times_are_those_of_the_end_of_the_call(
    fake_api: FakeApi, client: anthropic.Anthropic, recorder: Recorder, clock: Clock, samples: Samples
) -> None:
    call(fake_api, client, 2)
    ended = clock()
    clock.now += 61
    assert samples("anthropic_exporter_last_record_timestamp_seconds") == ended
    assert samples("anthropic_request_output_tokens_max") == 0


def test_an_answer_has_the_prices_of_its_time(
    fake_api: FakeApi, registry: CollectorRegistry, clock: Clock, tmp_path: Path
) -> None:
    prices = tmp_path / "prices.yml"
    prices.write_text(PRICES % 4)
    recorder, samples = Recorder(registry=registry, clock=clock, prices=prices), Samples(registry)
    options: dict[str, Any] = {"api_key": "sk-ant-test", "base_url": fake_api.base_url, "max_retries": 0}
    with anthropic.Anthropic(**options, middleware=[recorder.middleware()]) as client:
        call(fake_api, client, 2, usage={"input_tokens": 1_000_000, "output_tokens": 1})
        assert waiting(recorder) == 2
        prices.write_text(PRICES % 7000)
        clock.now += 31
        assert samples("anthropic_cost_usd_total", type="input") == 8
        call(fake_api, client, usage={"input_tokens": 1_000_000, "output_tokens": 1})
        assert samples("anthropic_cost_usd_total", type="input") == 7008


def test_a_gate_is_asked_after_every_call_before_was_counted(
    fake_api: FakeApi, client: anthropic.Anthropic, recorder: Recorder
) -> None:
    seen = []
    recorder.admit_by(lambda request, _: seen.append(waiting(recorder)) or request)
    call(fake_api, client, 4)
    assert seen == [0, 0, 0, 0]


def test_a_sink_gets_each_call_at_once_and_none_from_before(
    fake_api: FakeApi, client: anthropic.Anthropic, recorder: Recorder
) -> None:
    call(fake_api, client, 3)
    seen: list[Any] = []
    leave = recorder.subscribe(seen.append)
    assert seen == []
    call(fake_api, client)
    assert [one.inferences[0].tokens.output for one in seen] == [50]
    leave()
    call(fake_api, client)
    assert (len(seen), waiting(recorder)) == (1, 1)


def test_answers_wait_for_a_sink_that_lets_them_and_it_misses_none(
    fake_api: FakeApi, client: anthropic.Anthropic, recorder: Recorder
) -> None:
    call(fake_api, client, 3)
    seen, late = [], []  # type: ignore[var-annotated]
    leave = recorder.subscribe(seen.append, may_wait=True)
    call(fake_api, client, 3, headers={"anthropic-ratelimit-requests-remaining": "7"})
    assert (len(seen), waiting(recorder)) == (0, 3)
    recorder.subscribe(late.append)()
    assert ([one.inferences[0].tokens.output for one in seen], late) == ([50, 50, 50], [])
    assert [one.bill.total_usd for one in seen] == [pytest.approx(0.0018, rel=1e-12)] * 3
    call(fake_api, client, 2)
    leave()
    call(fake_api, client)
    assert (len(seen), waiting(recorder)) == (5, 1)


@pytest.mark.parametrize(("every_seconds", "may_wait"), [(None, 0), (0.5, MOST_WAITING), (60.0, 0)])
def test_a_breaker_stops_the_same_call_whether_answers_wait_or_not(
    fake_api: FakeApi, client: anthropic.Anthropic, recorder: Recorder, every_seconds: Any, may_wait: Any
) -> None:
    limits = Limits.shipped().replace(cost_usd_per_day=0.0018 * 5.5)
    with Guard(recorder, limits, timing=Timing(evaluate_every_seconds=every_seconds)) as guard:
        guard.breaker(scope="total", when=["daily_cost"], action="block")
        call(fake_api, client, 6)
        assert recorder.answers.most == may_wait
        with pytest.raises(SpendLimitExceeded):
            client.messages.create(**ASK)
        assert [spent.usd for spent in guard.today()] == [pytest.approx(0.0018 * 6, rel=1e-12)]


def test_the_newest_rate_limits_are_shown_though_newer_answers_have_none(
    fake_api: FakeApi, client: anthropic.Anthropic, clock: Clock, samples: Samples
) -> None:
    for number, headers in enumerate([{}, {"anthropic-ratelimit-requests-remaining": "7"}, {}, {}]):
        clock.now += number
        fake_api.push(answer(headers=headers))
        client.messages.create(**ASK)
    fake_api.push(answer(headers={"Anthropic-Ratelimit-Requests-Remaining": "5"}), answer())
    client.messages.create(**ASK)
    client.messages.create(**ASK)
    assert samples("anthropic_ratelimit_remaining", resource="requests") == 5


def test_an_answer_of_another_model_that_quotes_this_one_hides_no_rate_limits(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    limits = "anthropic-ratelimit-requests-remaining"
    call(fake_api, client, headers={limits: "9"})
    assert samples("anthropic_ratelimit_remaining", model=MODEL, resource="requests") == 9
    call(fake_api, client, headers={limits: "7"})
    quoted = [{"type": "text", "text": MODEL, "of": MODEL}]
    call(fake_api, client, headers={limits: "3"}, model="claude-sonnet-4-6", content=quoted)
    assert samples("anthropic_ratelimit_remaining", model=MODEL, resource="requests") == 7
    assert samples("anthropic_ratelimit_remaining", model="claude-sonnet-4-6", resource="requests") == 3


def test_an_answer_with_an_inference_of_another_model_hides_no_rate_limits_of_that(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    limits, sonnet = "anthropic-ratelimit-requests-remaining", "claude-sonnet-4-6"
    call(fake_api, client, headers={limits: "9"}, model=sonnet)
    assert samples("anthropic_ratelimit_remaining", model=sonnet, resource="requests") == 9
    call(fake_api, client, headers={limits: "7"}, model=sonnet)
    inside = {"container": {"model": sonnet}}
    call(fake_api, client, headers={limits: "3"}, **inside)
    assert samples("anthropic_ratelimit_remaining", model=sonnet, resource="requests") == 7
    assert samples("anthropic_ratelimit_remaining", model=MODEL, resource="requests") == 3


def test_an_object_inside_names_no_model_even_where_the_answer_before_named_its_own(
    recorder: Recorder, samples: Samples
) -> None:
    limits, sonnet = "anthropic-ratelimit-requests-remaining", "claude-sonnet-4-6"
    of_sonnet = {"id": "", "model": ""} | message() | {"id": "msg_", "model": sonnet}
    inside = {"container": {"model": sonnet}, **message(), "model": MODEL}
    bodies = [json.dumps(one) for one in (of_sonnet, of_sonnet, of_sonnet, inside)]
    assert len({body.index(f'"model": "{sonnet}"') for body in bodies}) == 1
    answers = iter(zip(bodies, "9873", strict=True))

    def respond(_: Any) -> Any:
        body, remaining = next(answers)
        return library.Response(200, content=body, headers={"content-type": "application/json", limits: remaining})

    http = library.Client(transport=library.MockTransport(respond))
    client = anthropic.Anthropic(api_key="none", middleware=[recorder.middleware()], http_client=http)
    client.messages.create(**ASK)
    assert samples("anthropic_ratelimit_remaining", model=sonnet, resource="requests") == 9
    for _ in range(3):
        client.messages.create(**ASK)
    assert samples("anthropic_ratelimit_remaining", model=sonnet, resource="requests") == 7
    assert samples("anthropic_ratelimit_remaining", model=MODEL, resource="requests") == 3


def test_a_sink_that_comes_after_answers_have_waited_gets_rate_limits(
    fake_api: FakeApi, client: anthropic.Anthropic, recorder: Recorder
) -> None:
    limits = "anthropic-ratelimit-requests-remaining"
    seen: list[Any] = []
    for remaining in "987":
        call(fake_api, client, headers={limits: remaining})
        recorder.drain()
    recorder.subscribe(seen.append)
    call(fake_api, client, headers={limits: "5"})
    assert [one.rate_limit_headers for one in seen] == [{limits.encode(): b"5"}]


@pytest.mark.parametrize("are_read_between", [True, False])
def test_the_newest_rate_limits_are_shown_after_the_clock_was_set_back(
    fake_api: FakeApi, client: anthropic.Anthropic, clock: Clock, samples: Samples, *, are_read_between: bool
) -> None:
    limits = "anthropic-ratelimit-requests-remaining"
    for remaining, passed in (("9", 1), ("7", 1), ("5", -86_400), ("3", 1)):
        clock.now += passed
        call(fake_api, client, headers={limits: remaining})
        if are_read_between:
            assert samples("anthropic_ratelimit_remaining", resource="requests") == int(remaining)
    assert samples("anthropic_ratelimit_remaining", resource="requests") == 3


def test_an_attempt_in_flight_is_shown(registry: CollectorRegistry, clock: Clock) -> None:
    recorder, samples = Recorder(registry=registry, clock=clock), Samples(registry)
    seen = []

    def respond(_: Any) -> Any:
        clock.now += 3
        seen.append(
            [samples(f"anthropic_{name}") for name in ("inflight_requests", "oldest_inflight_request_age_seconds")]
        )
        return library.Response(200, json=message())

    http = library.Client(transport=library.MockTransport(respond))
    client = anthropic.Anthropic(api_key="none", middleware=[recorder.middleware()], http_client=http)
    for _ in range(3):
        client.messages.create(**ASK)
    assert seen == [[1, 3]] * 3
    assert samples("anthropic_inflight_requests") == 0


class InATask(Middleware):
    """Sends each attempt in a task of its own, as a middleware with a deadline does."""

    async def handle_async(self, request: Any, call_next: Any) -> Any:
        return await asyncio.create_task(call_next(request))


async def test_an_async_client_that_carries_the_middleware_twice_is_counted_once_across_tasks(
    registry: CollectorRegistry, clock: Clock
) -> None:
    recorder = Recorder(registry=registry, clock=clock)
    http = library.AsyncClient(transport=library.MockTransport(lambda _: library.Response(200, json=message())))
    middleware = [recorder.middleware(), InATask(), recorder.middleware()]
    async with AsyncAnthropic(api_key="none", middleware=middleware, http_client=http) as client:
        await asyncio.gather(*(client.messages.create(**ASK) for _ in range(5)))
        with attribution(feature="chat"):
            await client.messages.create(**ASK)
    samples = Samples(registry)
    assert samples("anthropic_requests_total", outcome="success") == 6
    assert samples("anthropic_requests_total", outcome="success", feature="chat") == 1
    assert recorder.inflight.snapshot() == []


def test_an_answer_that_is_nested_too_deeply_counts_as_one_that_cannot_be_read(
    recorder: Recorder, registry: CollectorRegistry
) -> None:
    body = json.dumps(message())[:-1] + ',"zz":' + "[" * 100_000 + "]" * 100_000 + "}"
    headers = {"content-type": "application/json"}
    http = library.Client(
        transport=library.MockTransport(lambda _: library.Response(200, headers=headers, content=body))
    )
    client = anthropic.Anthropic(api_key="none", middleware=[recorder.middleware()], http_client=http)
    with pytest.raises((RecursionError, ValueError)):  # as without the middleware
        client.messages.create(**ASK)
    samples = Samples(registry)
    assert samples("anthropic_requests_total", outcome="truncated") == 1
    assert samples("anthropic_exporter_unmetered_responses_total", reason="unreadable") == 1
    assert samples("anthropic_inflight_requests") == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_what_waits_at_a_fork_is_counted_by_the_parent_alone(
    fake_api: FakeApi, client: anthropic.Anthropic, recorder: Recorder, samples: Samples
) -> None:
    call(fake_api, client, 4)
    assert waiting(recorder) == 4
    recorder._about_to_fork()
    child = Recorder(registry=None)
    child.pending.extend(recorder.pending)
    child._reset()  # what a forked child does first
    assert b"anthropic_requests_total{" not in child.render()
    assert samples("anthropic_requests_total", outcome="success") == 4


def test_nothing_waits_in_cells_that_other_processes_read(
    fake_api: FakeApi, client: anthropic.Anthropic, recorder: Recorder, samples: Samples
) -> None:
    call(fake_api, client, 3)
    recorder._about_to_fork()
    assert (waiting(recorder), recorder.sharing is None) == (0, False)
    call(fake_api, client, 3)
    assert waiting(recorder) == 0  # kill -9 loses none of them
    assert samples("anthropic_requests_total", outcome="success") == 6


class Interrupted(Exception):  # noqa: N818 - as an application names its own
    """What a signal handler of an application raises."""


def raising_at(number: Any) -> Any:
    """A trace function that raises at the instruction of ours with this number, and how many it has left."""
    left = [number]

    def trace(frame: Any, event: Any, _: Any) -> Any:
        module = frame.f_globals.get("__name__", "")
        if not module.startswith("anthropic_exporter.") or module.endswith(("bounded_labels", "reload")):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left[0] -= 1
            if left[0] == 0:
                raise Interrupted
        return trace

    return trace, left


def interrupted(number: Any, passed: Any) -> Any:
    """Requests counted of 1 + 3, where the instruction with this number was interrupted; None if there is none."""
    recorder = Recorder(registry=None)
    middleware, (request, response) = recorder.middleware(), passed

    def one() -> None:  # in a context of its own, as a request of a web framework
        contextvars.Context().run(middleware.handle, request, lambda _: response)

    one()
    trace, left = raising_at(number)
    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 traces instructions only if a frame asks before
    sys.settrace(trace)
    try:
        one()
        one()
        recorder.render()
    except Interrupted:
        pass
    finally:
        sys.settrace(before)
    if left[0] > 0:
        return None
    page = recorder.render().decode()
    lines = dict(line.rpartition(" ")[::2] for line in page.splitlines() if line[0] != "#")
    numbers = {
        sum(float(value) / each for name, value in lines.items() if name.startswith(family) and part in name)
        for family, part, each in (
            ("anthropic_requests_total{", 'outcome="success"', 1),
            ("anthropic_tokens_total{", 'type="output"', 50),
            ("anthropic_stop_reasons_total{", "", 1),
            ("anthropic_request_cost_usd_bucket{", 'le="+Inf"', 1),
        )
    }
    assert len(numbers) == 1  # every family counts the same
    return numbers.pop()


class Kept(Middleware):
    """Keeps what passes last."""

    def handle(self, request: Any, call_next: Any) -> Any:
        self.passed = request, call_next(request)
        return self.passed[1]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signal handlers as on POSIX")
def test_an_answer_is_counted_once_or_not_at_all_wherever_the_short_way_is_interrupted() -> None:
    kept = Kept()
    http = library.Client(
        transport=library.MockTransport(lambda _: library.Response(200, content=json.dumps(message())))
    )
    anthropic.Anthropic(api_key="none", middleware=[kept], http_client=http).messages.create(**ASK)
    found = []
    for number in [*range(1, 1_500, 7), *range(1_500, 100_000, 1_777)]:
        counted = interrupted(number, kept.passed)
        if counted is None:
            break
        found.append(counted)
    assert set(found) == {1, 2, 3}
    assert found == sorted(found)  # what was taken in before the interruption is counted, what came later is not


class Hedged(Middleware):
    """Sends each attempt twice at a time, as a middleware does that wants the faster answer."""

    async def handle_async(self, request: Any, call_next: Any) -> Any:
        first, _ = await asyncio.gather(call_next(request), asyncio.create_task(call_next(request)))
        return first


@pytest.mark.parametrize("copies", [1, 2], ids=["once", "middleware twice"])
@pytest.mark.parametrize("wrong", [False, True], ids=["answered", "refused"])
async def test_both_attempts_of_a_hedged_request_are_counted(
    registry: CollectorRegistry, clock: Clock, copies: int, *, wrong: bool
) -> None:
    recorder = Recorder(registry=registry, clock=clock)

    async def respond(_: Any) -> Any:
        await asyncio.sleep(0)  # both are under way
        return library.Response(400 if wrong else 200, json={} if wrong else message())

    http = library.AsyncClient(transport=library.MockTransport(respond))
    middleware = [Hedged(), *[recorder.middleware() for _ in range(copies)]]
    async with AsyncAnthropic(api_key="none", middleware=middleware, http_client=http, max_retries=0) as client:
        for _ in range(3):
            with contextlib.suppress(anthropic.BadRequestError):
                await client.messages.create(**ASK)
    assert Samples(registry)("anthropic_requests_total") == 6
    assert recorder.inflight.snapshot() == []
