from __future__ import annotations

import enum
import gc
import logging
import sys
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from anthropic.types import Usage
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from anthropic_exporter import Call, ConfigurationError, Recorder, attribution
from support import Clock, Samples, wait_for_prices


def test_a_second_recorder_on_one_registry_continues_where_the_first_stands(
    registry: CollectorRegistry, call: Callable[..., Call], samples: Samples, caplog: pytest.LogCaptureFixture
) -> None:
    first = Recorder(registry=registry, features=["chat"])
    first.record(call(output=171, feature="chat"))
    second = Recorder(registry=registry, features=["chat", "agent"], models=["claude-haiku-4-5"])
    assert second is first
    second.record(call(output=9, feature="chat"))
    first.record(call(output=7, feature="agent"))
    assert samples("anthropic_tokens_total", type="output", feature="chat") == 180
    assert samples("anthropic_tokens_total", type="output", feature="agent") == 7
    assert samples("anthropic_requests_total", model="claude-haiku-4-5", feature="agent") == 0
    assert [line for line in caplog.messages if "already has a Recorder" in line] == caplog.messages


class Feature(str, enum.Enum):
    CHAT = "chat"


@pytest.mark.parametrize("names", ["chat", Feature.CHAT, [Feature.CHAT], iter(["chat"])])
def test_the_only_name_may_be_given_alone_and_as_a_member_of_an_enum(
    registry: CollectorRegistry, call: Callable[..., Call], names: Any
) -> None:
    recorder = Recorder(registry=registry, features=names, strict=True)
    for feature in ("chat", "c", "agent"):
        recorder.record(call(output=171, feature=feature))
    recorder.record_usage(model="claude-opus-5-5", usage={"input_tokens": 1, "output_tokens": 9}, feature=Feature.CHAT)
    samples = Samples(registry)
    assert samples("anthropic_tokens_total", type="output", feature="chat") == 180
    assert samples("anthropic_tokens_total", type="output", feature="other") == 342


def test_a_second_recorder_takes_the_prices_that_it_is_given(
    registry: CollectorRegistry, call: Callable[..., Call], samples: Samples, tmp_path: Path
) -> None:
    Recorder(registry=registry)
    file = tmp_path / "prices.yml"
    row = "{input: 1, output: 2, cache_read: 3, cache_write_5m: 4, cache_write_1h: 5}"
    file.write_text(f"models:\n  claude-opus-5-5:\n    prices: [{row}]\n")
    Recorder(registry=registry, prices=file).record(call(output=1_000_000))
    assert samples("anthropic_cost_usd_total", type="output") == 2


def test_a_recorder_of_another_copy_of_the_library_gives_way(
    registry: CollectorRegistry, recorder: Recorder, call: Callable[..., Call], samples: Samples
) -> None:
    recorder.record(call(output=171))
    registry._anthropic_exporter_collector.owner = "of a module that was reloaded"  # type: ignore[attr-defined]
    registry._anthropic_exporter_recorder = "of that module too"  # type: ignore[attr-defined]
    second = Recorder(registry=registry)
    second.record(call(output=9))
    assert second is not recorder
    assert samples("anthropic_tokens_total", type="output") == 9


def test_recorders_that_threads_make_at_once_are_one(registry: CollectorRegistry, samples: Samples) -> None:
    together, made = threading.Barrier(16), []

    def work() -> None:
        together.wait()
        made.append(Recorder(registry=registry))
        made[-1].record_usage(model="claude-opus-5-5", usage={"input_tokens": 1, "output_tokens": 9})

    workers = [threading.Thread(target=work) for _ in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len({id(one) for one in made}) == 1
    assert Samples(registry)("anthropic_tokens_total", type="output") == 144


def test_a_recorder_whose_making_failed_takes_no_place(registry: CollectorRegistry, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Recorder(registry=registry, prices=tmp_path / "missing.yml")
    Recorder(registry=registry).record_usage(model="claude-opus-5-5", usage={"input_tokens": 1, "output_tokens": 9})
    assert Samples(registry)("anthropic_tokens_total", type="output") == 9


def test_a_second_recorder_says_which_settings_stay(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    Recorder(registry=registry, max_series=5000)
    Recorder(registry=registry)
    Recorder(registry=registry, max_series=6000, strict=True)
    assert [line.partition("given now")[2] for line in caplog.messages] == [
        "",
        ", except max_series, strict, which does not change",
    ]


def test_a_second_recorder_is_shown_where_somebody_has_cleared_the_registry(
    registry: CollectorRegistry, recorder: Recorder, call: Callable[..., Call], samples: Samples
) -> None:
    recorder.record(call(output=171))
    for one in list(registry._collector_to_names):
        registry.unregister(one)
    assert samples("anthropic_tokens_total", type="output") is None
    assert Recorder(registry=registry) is recorder
    assert samples("anthropic_tokens_total", type="output") == 171


def test_a_recorder_of_a_class_of_the_users_is_the_one_of_its_registry(
    registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    class Mine(Recorder):
        pass

    plain = Recorder(registry=registry)
    mine = Mine(registry=registry)
    assert mine is not plain
    assert "this registry showed a Recorder of another class" in caplog.text
    assert Recorder(registry=registry) is mine


@pytest.mark.parametrize("names", [5, True])
def test_an_argument_that_is_not_a_list_of_names_is_one_clear_line(registry: CollectorRegistry, names: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"Recorder: expected a list of names, not (int|bool)"):
        Recorder(registry=registry, users=names)


def test_a_registry_that_already_holds_our_names_is_one_clear_error() -> None:
    registry = CollectorRegistry()
    Counter("anthropic_requests", "somebody else's", registry=registry)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="already contains anthropic_"):
            Recorder(registry=registry)


def test_a_recorder_needs_no_registry(call: Callable[..., Call]) -> None:
    recorder = Recorder(registry=None)
    recorder.record(call(output=171))
    assert b'type="output",user=""} 171.0' in recorder.render()


def test_values_beyond_the_limits_are_folded_and_totals_stay_exact(
    recorder: Recorder, samples: Samples, call: Callable[..., Call]
) -> None:
    for number in range(130):
        recorder.record(call(feature=f"feature-{number}", output=10))
    assert samples("anthropic_tokens_total") == 1300
    assert samples("anthropic_tokens_total", feature="other") == 300
    assert samples("anthropic_exporter_label_overflow_total", label="feature") == 30


def test_models_beyond_the_limit_are_priced_by_their_name_and_shown_as_other(
    recorder: Recorder, samples: Samples, call: Callable[..., Call]
) -> None:
    for number in range(50):
        recorder.record(call(model=f"claude-unheard-of-{number}", output=1))
    wait_for_prices()
    assert samples("anthropic_tokens_total", type="output") == 50  # none waits for a price any more
    recorder.record(call(model="claude-haiku-4-5", output=1_000_000))
    assert samples("anthropic_cost_usd_total", model="other") == pytest.approx(5.0)


@pytest.mark.parametrize("value", ["x" * 10_240, 'say "hi"\nthere\\', "naïve ✓"])
def test_any_label_value_leaves_a_readable_exposition(
    recorder: Recorder, samples: Samples, call: Callable[..., Call], value: Any
) -> None:
    recorder.record(call(feature=value, output=171))
    families = list(text_string_to_metric_families(recorder.render().decode()))
    tokens = next(family for family in families if family.name == "anthropic_tokens")
    found = {s.labels["feature"]: s.value for s in tokens.samples if s.labels.get("type") == "output" and s.value}
    assert found == {"other" if len(value) > 120 else value: 171.0}


def test_a_failing_sink_is_counted_and_logged_once_a_minute(
    registry: CollectorRegistry, clock: Clock, call: Callable[..., Call], caplog: pytest.LogCaptureFixture
) -> None:
    recorder, samples = Recorder(registry=registry, clock=clock), Samples(registry)
    recorder.subscribe(lambda _: {}["the prompt of a customer"])  # type: ignore[index]
    for _ in range(3):
        recorder.record(call(output=1))
    assert samples("anthropic_exporter_record_errors_total", stage="sink") == 3
    assert samples("anthropic_tokens_total") == 3
    assert caplog.text.count("recording failed at stage sink: KeyError at test_recorder.py:") == 1
    assert "customer" not in caplog.text
    clock.now += 61
    recorder.record(call(output=1))
    assert caplog.text.count("recording failed at stage sink") == 2


def test_strict_raises_our_failures(recorder: Recorder, call: Callable[..., Call]) -> None:
    recorder.subscribe(lambda _: 1 / 0)  # type: ignore[arg-type]
    with pytest.raises(ZeroDivisionError):
        recorder.record(call(output=1))


def test_a_subscriber_gets_the_call_as_it_was_under_the_labels_of_its_series(
    registry: CollectorRegistry, clock: Clock
) -> None:
    recorder = Recorder(registry=registry, features=["chat"], clock=clock)
    seen: list[Any] = []
    recorder.subscribe(seen.append)
    told_apart = Call._make([f"value of {name}" for name in Call._fields])
    one = told_apart._replace(
        inferences=(), server_tools=(), started_at=clock.now, duration_seconds=1.0, time_to_first_token_seconds=0.5
    )
    one = one._replace(requests=1, estimated_output_tokens=0, rate_limit_headers=(), call_duration_seconds=2.0)  # type: ignore[arg-type]
    one = one._replace(thinking_tokens=0, estimates=(), session_seconds=0.0)
    recorder.record(one)
    assert seen == [one._replace(feature="other", bill=seen[0].bill)]
    assert seen[0].bill.total_usd == 0


def test_a_subscriber_gets_priced_calls_until_it_leaves(recorder: Recorder, call: Callable[..., Call]) -> None:
    seen: list[Any] = []
    leave = recorder.subscribe(seen.append)
    recorder.record(call(output=1_000_000))
    leave()
    recorder.record(call(output=1))
    assert [one.bill.total_usd for one in seen] == [20.0]


def test_what_a_finalizer_recorded_is_there_at_the_next_scrape(
    recorder: Recorder, samples: Samples, call: Callable[..., Call]
) -> None:
    recorder.record_later(call(output=171))
    assert samples("anthropic_tokens_total", type="output") == 171


def test_record_usage_counts_one_successful_request(recorder: Recorder, samples: Samples) -> None:
    usage = {"input_tokens": 3, "output_tokens": 171, "cache_creation_input_tokens": None, "service_tier": "standard"}
    with attribution(feature="import", user="acme"):
        recorder.record_usage(model="claude-haiku-4-5", usage=usage, duration=2.0)
    assert samples("anthropic_requests_total", outcome="success", feature="import", user="acme") == 1
    assert samples("anthropic_cost_usd_total") == pytest.approx(0.000858, rel=1e-12)
    assert samples("anthropic_request_duration_seconds_sum") == 2.0


def test_record_usage_says_which_dollars_the_bill_may_be_below(recorder: Recorder, samples: Samples) -> None:
    usage = {"output_tokens": 1_000_000, "service_tier": "priority"}
    recorder.record_usage(model="claude-haiku-4-5", usage=usage)
    assert samples("anthropic_exporter_estimated_cost_usd_total", reason="priority_tier") == pytest.approx(5.0)


def test_record_usage_takes_any_mapping(recorder: Recorder, samples: Samples) -> None:
    recorder.record_usage(model="claude-haiku-4-5", usage=MappingProxyType({"input_tokens": 3, "output_tokens": 171}))
    assert samples("anthropic_tokens_total", type="output") == 171
    assert not samples("anthropic_exporter_record_errors_total")


def test_record_usage_takes_the_sdks_own_object(recorder: Recorder, samples: Samples) -> None:
    recorder.record_usage(model="claude-haiku-4-5", usage=Usage(input_tokens=3, output_tokens=171), feature="x")
    assert samples("anthropic_tokens_total", feature="x") == 174


@pytest.mark.parametrize(
    ("usage", "reason"), [(None, "no_usage"), (7, "unknown_shape"), ("tokens", "unknown_shape"), ([], "unknown_shape")]
)
def test_usage_that_cannot_be_read_is_counted_as_unmetered_and_never_raised(
    registry: CollectorRegistry, usage: Any, reason: Any
) -> None:
    recorder, samples = Recorder(registry=registry), Samples(registry)
    recorder.record_usage(model="claude-haiku-4-5", usage=usage)
    assert samples("anthropic_exporter_unmetered_responses_total", reason=reason) == 1
    assert not samples("anthropic_exporter_record_errors_total")


def test_unusable_values_of_usage_are_counted_as_our_failure_and_never_raised(registry: CollectorRegistry) -> None:
    recorder, samples = Recorder(registry=registry), Samples(registry)
    recorder.record_usage(model="claude-haiku-4-5", usage={"input_tokens": -5, "output_tokens": "many"})
    assert samples("anthropic_exporter_record_errors_total", stage="usage") == 1


def test_nothing_is_lost_with_32_threads_at_a_switch_interval_of_a_microsecond(
    registry: CollectorRegistry, call: Callable[..., Call]
) -> None:
    recorder, samples = Recorder(registry=registry), Samples(registry)
    one, stop = call(output=1, user="u"), threading.Event()

    def work() -> None:
        for _ in range(500):
            recorder.record(one)

    def scrape() -> None:
        while not stop.is_set():
            recorder.render()

    threads, scraper = [threading.Thread(target=work) for _ in range(32)], threading.Thread(target=scrape)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in [scraper, *threads]:
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        scraper.join()
    finally:
        sys.setswitchinterval(before)
    assert samples("anthropic_tokens_total", type="output") == 16_000
    assert samples("anthropic_requests_total") == 16_000
    assert samples("anthropic_exporter_record_errors_total") is None


def test_a_finalizer_that_records_in_the_middle_of_recording_does_not_deadlock(
    registry: CollectorRegistry, call: Callable[..., Call]
) -> None:
    """Every allocation may run the garbage collector, and with it the finalizer of a dropped stream."""
    recorder, samples, count = Recorder(registry=registry), Samples(registry), 80

    class Dropped:
        def __init__(self, number: Any) -> None:
            self.cycle, self.number = self, number

        def __del__(self) -> None:
            recorder.record_later(call(output=1, feature=f"dropped-{self.number % 50}"))

    def work() -> None:
        for number in range(count):
            Dropped(number)
            recorder.record(call(output=1, feature=f"live-{number % 50}"))
            recorder.render()

    before = gc.get_threshold()
    gc.set_threshold(1)
    try:
        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        worker.join(60)
        assert not worker.is_alive(), "deadlock"
    finally:
        gc.set_threshold(*before)
    gc.collect()
    assert samples("anthropic_tokens_total", type="output") == 2 * count


def test_logs_hold_no_values(registry: CollectorRegistry, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="anthropic_exporter")
    recorder = Recorder(registry=registry)
    recorder.record_usage(model="claude-haiku-4-5", usage={"input_tokens": "sk-ant-secret"})
    recorder.failed("begin", ValueError("sk-ant-secret"))
    assert "sk-ant-secret" not in caplog.text


def test_no_name_is_kept_whole_however_long_it_is(caplog: pytest.LogCaptureFixture) -> None:
    """A gateway that answers with a megabyte as the name of a model: 60 such names would be 180 MB."""
    caplog.set_level(logging.CRITICAL, "anthropic_exporter")
    recorder, usage = Recorder(registry=None), {"input_tokens": 100, "output_tokens": 171}
    recorder.record_usage(model="claude-first", usage=usage)
    recorder.render()
    tracemalloc.start()
    for number in range(60):
        long = f"{number}-{'x' * 1_000_000}"
        recorder.record_usage(model=f"claude-{long}", usage=usage, feature=f"f{long}", user=f"u{long}")
        recorder.record_usage(model=f"claude-a{long}", usage={"odd": long}, feature=f"f{long}", user=f"u{long}")
    del long
    page = recorder.render()
    recorder.drain()
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 8_000_000
    assert max(map(len, page.splitlines())) < 1_000
