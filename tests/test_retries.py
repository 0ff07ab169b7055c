from __future__ import annotations

from anthropic_exporter.retries import Retries


def test_a_reason_is_given_once():
    retries = Retries()
    retries.failed("key", "overloaded_error")
    assert retries.reason("key") == "overloaded_error"
    assert retries.reason("key") == "unknown"


def test_calls_that_never_retry_do_not_pile_up():
    retries = Retries()
    for number in range(10_000):
        retries.failed(f"key-{number}", "api_error")
    assert retries.reason("key-0") == "unknown"
    assert retries.reason("key-9999") == "api_error"


def test_a_call_without_a_key_is_not_remembered():
    retries = Retries()
    retries.failed(None, "api_error")
    assert retries.reason(None) == "unknown"
