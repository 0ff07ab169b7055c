from __future__ import annotations

from anthropic_exporter.recording.retries import Failed, Retries


def test_a_failed_attempt_is_given_once() -> None:
    retries = Retries()
    retries.failed("key", Failed("overloaded_error"))
    assert retries.before("key") == Failed("overloaded_error")
    assert retries.before("key") is None


def test_calls_that_never_retry_do_not_pile_up() -> None:
    retries = Retries()
    for number in range(10_000):
        retries.failed(f"key-{number}", Failed("api_error"))
    assert retries.before("key-0") is None
    assert retries.before("key-9999") == Failed("api_error")


def test_a_call_without_a_key_is_not_remembered() -> None:
    retries = Retries()
    retries.failed(None, Failed("api_error"))
    assert retries.before(None) is None


def test_calls_that_nobody_tries_again_are_taken_out_once_their_deadline_passed() -> None:
    retries = Retries()
    late, early = Failed("api_error", deadline=90.0), Failed("timeout", deadline=91.0)
    retries.failed("late", late)
    retries.failed("early", early)
    assert retries.given_up(90.5) == [late]
    assert retries.given_up(90.5) == []
    assert retries.before("early") == early
