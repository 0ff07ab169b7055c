"""Two thousand damaged responses: the application sees the same with the middleware. More: `bench/fuzz.py`."""

from __future__ import annotations

import logging

import fuzz
import pytest


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")
def test_damaged_responses_look_the_same_with_and_without_the_middleware(caplog):
    caplog.set_level(logging.CRITICAL)
    played = fuzz.Fuzz(seed=20_261_124)
    assert played.run(2000) == []
    assert played.total("anthropic_requests_total") == 2000
    assert played.total("anthropic_inflight_requests") == 0
    # what was damaged is counted, and nothing of ours broke on it: no stage but those that read bodies
    assert set(played.by("anthropic_exporter_record_errors_total", "stage")) == {"stream", "usage"}
    assert {"success", "truncated", "abandoned", "connection_error", "overloaded_error"} <= set(
        played.by("anthropic_requests_total", "outcome")
    )
