"""Attempts and calls: retries with their reason, the latency of each attempt and of the whole call."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import anthropic
import pytest
from prometheus_client import CollectorRegistry

from anthropic_exporter import Recorder, attribution
from anthropic_exporter.capture.attempt import Attempt, outcome_of
from anthropic_exporter.recording import retries
from anthropic_exporter.recording.retries import may_be_retried
from anthropic_exporter.simulator.fake_api import FakeApi, Scripted
from bodies import ASK, USAGE, answer, events, refused, streamed
from support import Samples

pytest_plugins = ("fixtures_fake_api", "fixtures_clients")

#: The SDK waits so long before it tries again, where the server says so.
SOON = {"retry-after-ms": "50"}
DROPPED = Scripted(drop=True)


def durations(samples: Samples) -> tuple[float, float]:
    """(attempts, calls) in the two histograms of latency."""
    return samples("anthropic_request_duration_seconds_count"), samples("anthropic_call_duration_seconds_count")


@pytest.fixture
def retrying(client: anthropic.Anthropic) -> anthropic.Anthropic:
    return client.with_options(max_retries=2)


def test_529_then_200_is_two_attempts_one_retry_with_its_reason_and_one_call(
    fake_api: FakeApi, retrying: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(refused(529, "overloaded_error", headers=SOON), answer())
    assert retrying.messages.create(**ASK).usage.output_tokens == 50
    assert samples("anthropic_requests_total", outcome="overloaded_error") == 1
    assert samples("anthropic_requests_total", outcome="success") == 1
    assert samples("anthropic_requests_total") == 2
    assert samples("anthropic_request_retries_total", reason="overloaded_error") == 1
    assert samples("anthropic_request_retries_total") == 1
    assert samples("anthropic_tokens_total") == 2150
    assert durations(samples) == (2, 1)
    both, whole = (samples(f"anthropic_{name}_duration_seconds_sum") for name in ("request", "call"))
    assert whole >= both + 0.05  # with the wait between the two


async def test_async_529_then_200_is_the_same(
    fake_api: FakeApi, async_client: anthropic.AsyncAnthropic, samples: Samples
) -> None:
    fake_api.push(refused(529, "overloaded_error", headers=SOON), answer())
    await async_client.with_options(max_retries=2).messages.create(**ASK)
    assert samples("anthropic_requests_total") == 2
    assert samples("anthropic_request_retries_total", reason="overloaded_error") == 1
    assert durations(samples) == (2, 1)


def test_a_stream_that_is_refused_first_is_two_attempts(
    fake_api: FakeApi, retrying: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(refused(429, "rate_limit_error", headers=SOON), streamed(events()))
    list(retrying.messages.create(**ASK, stream=True))
    assert samples("anthropic_requests_total", outcome="rate_limit_error") == 1
    assert samples("anthropic_requests_total", outcome="success") == 1
    assert samples("anthropic_request_retries_total", reason="rate_limit_error") == 1
    assert samples("anthropic_tokens_total") == 2150
    assert durations(samples) == (2, 1)


def test_a_dropped_connection_that_is_tried_again_is_two_attempts(
    fake_api: FakeApi, retrying: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(DROPPED, answer())
    retrying.messages.create(**ASK)
    assert samples("anthropic_requests_total", outcome="connection_error") == 1
    assert samples("anthropic_request_retries_total", reason="connection_error") == 1
    assert samples("anthropic_requests_total") == 2


def test_a_body_that_breaks_off_is_tried_again(
    fake_api: FakeApi, retrying: anthropic.Anthropic, samples: Samples
) -> None:
    half = answer()
    fake_api.push(Scripted(200, half.headers, half.body, drop=True), answer())
    assert retrying.messages.create(**ASK).usage.output_tokens == 50
    assert samples("anthropic_requests_total", outcome="connection_error") == 1
    assert samples("anthropic_request_retries_total", reason="connection_error") == 1
    assert samples("anthropic_tokens_total") == 2150


def test_the_last_failing_attempt_is_not_a_retry_and_its_call_is_timed_once_nobody_comes_back(
    fake_api: FakeApi,
    retrying: anthropic.Anthropic,
    recorder: Recorder,
    samples: Samples,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("anthropic_exporter.capture.attempt.PATIENCE_SECONDS", 0.0)
    fake_api.push(*[refused(500, "api_error", headers=SOON)] * 3)
    with pytest.raises(anthropic.InternalServerError):
        retrying.messages.create(**ASK)
    assert samples("anthropic_requests_total", outcome="api_error") == 3
    assert samples("anthropic_request_retries_total", reason="api_error") == 2
    assert durations(samples) == (3, 1)
    assert samples("anthropic_call_duration_seconds_sum") >= 0.1


def test_a_call_that_may_be_tried_again_is_not_over(
    fake_api: FakeApi, client: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(refused(500, "api_error"))
    with pytest.raises(anthropic.InternalServerError):
        client.messages.create(**ASK)
    assert durations(samples) == (1, 0)


@pytest.mark.parametrize(("status", "kind"), [(400, "invalid_request_error"), (401, "authentication_error")])
def test_a_call_that_nobody_tries_again_is_over_at_once(
    fake_api: FakeApi, retrying: anthropic.Anthropic, samples: Samples, status: int, kind: str
) -> None:
    fake_api.push(refused(status, kind))
    with pytest.raises(anthropic.APIStatusError):
        retrying.messages.create(**ASK)
    assert durations(samples) == (1, 1)


def test_the_server_decides_whether_a_call_is_over(
    fake_api: FakeApi, retrying: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(refused(529, "overloaded_error", headers={"x-should-retry": "false"}))
    with pytest.raises(anthropic.APIStatusError):
        retrying.messages.create(**ASK)
    assert durations(samples) == (1, 1)


def test_two_calls_at_once_keep_their_retries_apart(
    fake_api: FakeApi, retrying: anthropic.Anthropic, samples: Samples
) -> None:
    fake_api.push(refused(529, "overloaded_error", headers=SOON), answer())
    with attribution(feature="a"):
        retrying.messages.create(**ASK)
    fake_api.push(refused(429, "rate_limit_error", headers=SOON), answer())
    with attribution(feature="b"):
        retrying.messages.create(**ASK)
    assert samples("anthropic_request_retries_total", feature="a", reason="overloaded_error") == 1
    assert samples("anthropic_request_retries_total", feature="b", reason="rate_limit_error") == 1
    assert samples("anthropic_request_retries_total") == 2


def test_what_the_sdk_tries_again() -> None:
    assert [s for s in (400, 401, 404, 408, 409, 413, 429, 500, 529) if may_be_retried(s, "", "")] == [
        *(408, 409, 429, 500, 529)
    ]
    assert may_be_retried(400, "true", "invalid_request_error")
    assert not may_be_retried(500, "false", "api_error")
    assert not may_be_retried(200, "true", "success")
    assert may_be_retried(0, "", "timeout")
    assert not may_be_retried(0, "", "cancelled")


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (TimeoutError(), "timeout"),
        (asyncio.TimeoutError(), "timeout"),
        (asyncio.CancelledError(), "cancelled"),
        (KeyboardInterrupt(), "cancelled"),
        (SystemExit(), "cancelled"),
        (ConnectionResetError(), "connection_error"),
        (OSError(), "connection_error"),
    ],
)
def test_what_an_exception_is_called(error: Any, outcome: str) -> None:
    assert outcome_of(error) == outcome


def test_a_priced_call_says_why_its_dollars_may_differ(
    fake_api: FakeApi, client: anthropic.Anthropic, recorder: Recorder
) -> None:
    seen: list[Any] = []
    recorder.subscribe(seen.append)
    fake_api.push(answer(USAGE | {"service_tier": "priority"}))
    client.messages.create(**ASK)
    assert (seen[0].tier, seen[0].estimates) == ("priority", ("priority_tier",))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_an_attempt_that_began_before_a_fork_is_left_to_the_parent(registry: CollectorRegistry) -> None:
    recorder = Recorder(registry=registry)
    attempt = Attempt(recorder, ASK, 0, "key")
    recorder._reset()  # what a forked child does first
    attempt.closed()
    assert Samples(registry)("anthropic_requests_total") is None


def test_patience_is_longer_than_any_wait_of_the_sdk() -> None:
    assert retries.PATIENCE_SECONDS == 90.0  # the longest retry-after that it obeys is 60 s
