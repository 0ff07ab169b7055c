"""Thousands of damaged responses: the application sees the same with the middleware. More: `bench/fuzz/fuzz.py`."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from anthropic import Anthropic
from bench.fuzz import fuzz

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")


def same_view(client: Any, count: Any) -> Any:
    """Play so many cases; what holds for all of them, and the outcomes that were counted."""
    played = fuzz.Fuzz(seed=20_261_124, client=client)
    assert played.run(count) == []
    assert played.escaped == []
    assert played.total("anthropic_requests_total") == count
    assert played.total("anthropic_inflight_requests") == 0
    # what was damaged is counted, and nothing of ours broke on it: no stage but those that read bodies
    assert set(played.by("anthropic_exporter_record_errors_total", "stage")) == {"stream", "usage"}
    return {"success", "truncated", "abandoned", "connection_error", "overloaded_error"} <= set(
        played.by("anthropic_requests_total", "outcome")
    )


@pytest.mark.parametrize("client", ["sync", "async"])
def test_damaged_responses_look_the_same_with_and_without_the_middleware(
    caplog: pytest.LogCaptureFixture, client: Anthropic
) -> None:
    caplog.set_level(logging.CRITICAL)
    assert same_view(client, 2000)


@pytest.mark.parametrize("client", ["bedrock", "async bedrock"])
def test_damaged_event_streams_of_aws_look_the_same_with_and_without_the_middleware(
    caplog: pytest.LogCaptureFixture, client: Anthropic
) -> None:
    caplog.set_level(logging.CRITICAL)
    assert same_view(client, 500)
