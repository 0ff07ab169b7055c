from __future__ import annotations

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.utils import floatToGoString

from anthropic_exporter import Call, Recorder
from anthropic_exporter.metrics.text import escape, format_value


@pytest.fixture
def busy(recorder: Recorder, call: Callable[..., Call]) -> Recorder:
    """A recorder with every kind of series, and values on both sides of a million."""
    for feature in ("chat", 'quoted "name"\nsecond line\\', "ünïcode"):
        for output in (0, 171, 2_700_000):
            recorder.record(
                call(
                    feature=feature,
                    user="acme",
                    input=3,
                    cache_read=1_234_567,
                    output=output,
                    cache_asked=True,
                    stop_reason="end_turn",
                    server_tools=(("web_search", 2),),
                    retry_reason="overloaded_error",
                    time_to_first_token_seconds=0.3,
                    rate_limit_headers={b"anthropic-ratelimit-tokens-remaining": b"5"},
                )
            )
    recorder.record(call(model="claude-unheard-of", output=1))
    return recorder


def test_text_is_byte_for_byte_what_prometheus_client_writes(busy: Recorder, registry: CollectorRegistry) -> None:
    assert busy.render().decode() == generate_latest(registry).decode()


def test_openmetrics_is_byte_for_byte_what_prometheus_client_writes(
    busy: Recorder, registry: CollectorRegistry
) -> None:
    assert busy.render(openmetrics=True).decode() == openmetrics.generate_latest(registry).decode()  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("form", [False, True])
def test_a_later_scrape_shows_what_changed_and_what_is_new(
    busy: Recorder, registry: CollectorRegistry, call: Callable[..., Call], form: bool
) -> None:
    busy.render(openmetrics=form)
    busy.record(call(feature="chat", user="acme", output=42))
    busy.record(call(feature="new", output=171))
    expected = openmetrics.generate_latest(registry) if form else generate_latest(registry)  # type: ignore[no-untyped-call]
    assert busy.render(openmetrics=form).decode() == expected.decode()
    assert 'type="output",user="acme"} 2.700213e+06' in expected.decode()


def test_openmetrics_is_read_back_by_a_strict_parser(busy: Recorder) -> None:
    families = {
        family.name: family
        for family in text_string_to_metric_families(busy.render(openmetrics=True).decode())  # type: ignore[no-untyped-call]
    }
    assert families["anthropic_tokens"].type == "counter"
    assert families["anthropic_request_duration_seconds"].type == "histogram"


def test_an_empty_recorder_renders_every_family(recorder: Recorder, registry: CollectorRegistry) -> None:
    assert recorder.render() == generate_latest(registry)
    assert b"# TYPE anthropic_cost_usd_total counter" in recorder.render()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0"),
        (171.0, "171.0"),
        (0.0002, "0.0002"),
        (1e-07, "1e-07"),
        (999_999.0, "999999.0"),
        (1_000_000.0, "1e+06"),
        (2_700_000.0, "2.7e+06"),
        (1_795_262_400.25, "1.79526240025e+09"),
        (1e16, "1e+16"),
        (float("inf"), "+Inf"),
    ],
)
def test_numbers_are_written_as_go_writes_them(value: float, text: str) -> None:
    assert format_value(value) == text == floatToGoString(value)  # type: ignore[no-untyped-call]


def test_label_values_are_escaped() -> None:
    assert escape('a"b\nc\\') == r"a\"b\nc\\"
