from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from prometheus_client import CollectorRegistry

from anthropic_exporter import Call, Inference, Recorder, Tokens
from anthropic_exporter.attribution import Attribution
from anthropic_exporter.metrics import exact_sum
from support import Clock, Samples


def test_a_label_set_exists_at_0_from_the_moment_a_request_starts(recorder: Recorder, samples: Samples) -> None:
    recorder.begin(1, "claude-opus-5-5", Attribution("chat", "acme"))
    place = {"model": "claude-opus-5-5", "feature": "chat", "user": "acme"}
    assert samples("anthropic_requests_total", outcome="success", **place) == 0
    assert samples("anthropic_tokens_total", type="output", tier="standard", **place) == 0
    assert samples("anthropic_cost_usd_total", type="cache_write_1h", tier="standard", **place) == 0
    assert samples("anthropic_request_duration_seconds_count", feature="chat") == 0
    assert samples("anthropic_requests_created", outcome="success", **place) == 1_795_262_400.0


def test_configured_features_exist_at_0_from_the_start(registry: CollectorRegistry, clock: Clock) -> None:
    Recorder(registry=registry, clock=clock, features=["chat", "agent"], models=["claude-haiku-5-5"])
    samples = Samples(registry)
    assert samples("anthropic_cost_usd_total", feature="agent", model="claude-haiku-5-5", type="input") == 0


def test_tokens_and_dollars_are_one_partition(recorder: Recorder, samples: Samples, call: Callable[..., Call]) -> None:
    recorder.record(call(input=100, cache_read=2000, cache_write_5m=1000, cache_write_1h=2000, output=500))
    tokens = {t: samples("anthropic_tokens_total", type=t) for t in Tokens._fields}
    assert tokens == {"input": 100, "cache_read": 2000, "cache_write_5m": 1000, "cache_write_1h": 2000, "output": 500}
    assert samples("anthropic_tokens_total") == 5600
    assert samples("anthropic_cost_usd_total", type="cache_read") == pytest.approx(0.0004, rel=1e-12)
    assert samples("anthropic_cost_usd_total") == pytest.approx(0.0318, rel=1e-12)


def test_iterations_are_counted_on_their_own_models(
    recorder: Recorder, samples: Samples, call: Callable[..., Call]
) -> None:
    recorder.record(
        call(
            inferences=(
                Inference("claude-opus-5-5", Tokens(input=1000, output=100)),
                Inference("claude-haiku-4-5", Tokens(input=400, output=50)),
            )
        )
    )
    assert samples("anthropic_tokens_total", model="claude-haiku-4-5") == 450
    assert samples("anthropic_tokens_total", model="claude-opus-5-5") == 1100
    assert samples("anthropic_cost_usd_total", model="claude-haiku-4-5") == pytest.approx(0.00065, rel=1e-12)
    assert samples("anthropic_requests_total") == 1
    assert samples("anthropic_request_output_tokens_sum", model="claude-opus-5-5") == 150


def test_histograms_count_into_the_bucket_whose_bound_is_not_exceeded(
    recorder: Recorder, samples: Samples, call: Callable[..., Call]
) -> None:
    for seconds in (0.1, 0.11, 700.0):
        recorder.record(call(input=1, duration_seconds=seconds))
    assert samples("anthropic_request_duration_seconds_bucket", le="0.1") == 1
    assert samples("anthropic_request_duration_seconds_bucket", le="0.25") == 2
    assert samples("anthropic_request_duration_seconds_bucket", le="600.0") == 2
    assert samples("anthropic_request_duration_seconds_bucket", le="+Inf") == 3
    assert samples("anthropic_request_duration_seconds_sum") == pytest.approx(700.21)


def test_a_stream_shows_its_first_token_and_its_speed(
    recorder: Recorder, samples: Samples, call: Callable[..., Call]
) -> None:
    recorder.record(call(input=1, output=171, duration_seconds=2.5, time_to_first_token_seconds=0.5))
    assert samples("anthropic_time_to_first_token_seconds_sum") == 0.5
    assert samples("anthropic_output_tokens_per_second_sum") == 85.5


def test_one_expensive_request_is_visible_for_a_minute(
    recorder: Recorder, samples: Samples, call: Callable[..., Call], clock: Clock
) -> None:
    recorder.record(call(input=10, output=100_000))
    assert samples("anthropic_request_cost_usd_max") == pytest.approx(2.00004)
    assert samples("anthropic_request_output_tokens_max") == 100_000
    clock.now += 61
    assert samples("anthropic_request_cost_usd_max") == 0


def test_cache_results_and_what_they_cost(recorder: Recorder, samples: Samples, call: Callable[..., Call]) -> None:
    recorder.record(call(cache_read=50_000, output=1, cache_asked=True))
    recorder.record(call(cache_write_5m=50_000, output=1, cache_asked=True))
    recorder.record(call(input=100, output=1, cache_asked=True))
    recorder.record(call(input=50_000, output=1))
    results = {r: samples("anthropic_cache_requests_total", result=r) for r in ("hit", "miss", "ineligible", "unasked")}
    assert results == {"hit": 1, "miss": 1, "ineligible": 1, "unasked": 1}
    assert samples("anthropic_cache_savings_usd_total") == pytest.approx(0.19)
    assert samples("anthropic_cache_miss_cost_usd_total") == pytest.approx(0.24)  # 50,000 at 5 instead of 0.20 dollars


def test_an_unknown_model_has_tokens_but_no_dollars(
    recorder: Recorder, samples: Samples, call: Callable[..., Call], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        recorder.record(call(model="claude-unheard-of", input=70, output=30))
    assert samples("anthropic_tokens_total", model="claude-unheard-of") == 300
    assert samples("anthropic_cost_usd_total", model="claude-unheard-of") == 0
    assert samples("anthropic_exporter_unpriced_tokens_total", model="claude-unheard-of") == 300
    assert samples("anthropic_request_cost_usd_count", model="claude-unheard-of") == 0
    assert caplog.text.count("no price for model 'claude-unheard-of'") == 1


def test_server_tools_are_counted_and_only_priced_ones_cost(
    recorder: Recorder, samples: Samples, call: Callable[..., Call]
) -> None:
    recorder.record(call(input=1, server_tools=(("web_search", 3), ("web_fetch", 2))))
    assert samples("anthropic_server_tool_requests_total", tool="web_search") == 3
    assert samples("anthropic_server_tool_requests_total", tool="web_fetch") == 2
    assert samples("anthropic_cost_usd_total", type="web_search") == pytest.approx(0.03)
    assert samples("anthropic_cost_usd_total", type="web_fetch") is None


def test_a_batch_result_counts_tokens_but_is_not_a_request(
    recorder: Recorder, samples: Samples, call: Callable[..., Call]
) -> None:
    recorder.record(call(input=1000, output=100, tier="batch", requests=0, duration_seconds=None))
    assert samples("anthropic_tokens_total", tier="batch") == 1100
    assert samples("anthropic_cost_usd_total", tier="batch") == pytest.approx(0.003)
    assert samples("anthropic_requests_total") is None
    assert samples("anthropic_request_cost_usd_count") == 0


def test_rate_limit_headers_become_gauges(recorder: Recorder, samples: Samples, call: Callable[..., Call]) -> None:
    recorder.record(
        call(
            input=1,
            rate_limit_headers={
                b"anthropic-ratelimit-input-tokens-limit": b"2000000",
                b"anthropic-ratelimit-input-tokens-remaining": b"1999000",
                b"anthropic-ratelimit-input-tokens-reset": b"2026-11-21T12:00:30Z",
                b"anthropic-priority-output-tokens-remaining": b"12",
                b"anthropic-ratelimit-requests-limit": b"not a number",
            },
        )
    )
    assert samples("anthropic_ratelimit_limit", resource="input_tokens") == 2_000_000
    assert samples("anthropic_ratelimit_remaining", resource="input_tokens") == 1_999_000
    assert samples("anthropic_ratelimit_reset_timestamp_seconds", resource="input_tokens") == 1_795_262_430.0
    assert samples("anthropic_ratelimit_remaining", resource="priority_output_tokens") == 12
    assert samples("anthropic_ratelimit_limit", resource="requests") is None


def test_words_of_the_server_are_bounded(recorder: Recorder, samples: Samples, call: Callable[..., Call]) -> None:
    for number in range(60):
        recorder.record(call(input=1, stop_reason=f"reason-{number}"))
    assert samples("anthropic_stop_reasons_total") == 60
    assert samples("anthropic_stop_reasons_total", stop_reason="other") == 10
    assert samples("anthropic_exporter_label_overflow_total", label="stop_reason") == 10
    recorder.record(call(input=1, stop_reason="reason-59"))
    assert samples("anthropic_exporter_label_overflow_total", label="stop_reason") == 11


@pytest.mark.parametrize("scraped", [True, False])
def test_small_amounts_on_a_large_sum_are_not_rounded_off(
    recorder: Recorder, samples: Samples, call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch, scraped: bool
) -> None:
    monkeypatch.setattr(exact_sum, "SETTLE_EVERY", 10**9 if scraped else 100)
    recorder.record(call(cache_read=1_000_000_000))
    small = call(cache_read=7)
    for number in range(20_000):
        recorder.record(small)
        if scraped and number % 100 == 0:
            recorder.read()
    dollars = Fraction(20, 10**8) * (1_000_000_000 + 7 * 20_000)
    assert abs(Fraction(samples("anthropic_cost_usd_total")) - dollars) < Fraction(1, 10**12)


def test_the_dollars_of_server_tools_are_not_rounded_off(
    recorder: Recorder, samples: Samples, call: Callable[..., Call]
) -> None:
    searched = call(input=1, server_tools=(("web_search", 1),))
    for _ in range(20_000):
        recorder.record(searched)
    assert samples("anthropic_cost_usd_total", type="web_search") == 200.0
