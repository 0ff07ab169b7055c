from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from anthropic_exporter import Call, Recorder
from anthropic_exporter.metrics.cells import Series, SeriesSample, Snapshot
from anthropic_exporter.metrics.families import COST, INFLIGHT, Family
from anthropic_exporter.metrics.renderer import Renderer


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
def test_a_later_scrape_shows_changes_and_new_series(
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


@pytest.mark.parametrize("form", [False, True])
def test_every_page_of_random_traffic_is_what_prometheus_client_writes(
    recorder: Recorder, registry: CollectorRegistry, call: Callable[..., Call], form: bool
) -> None:
    chance = random.Random(7)
    for _ in range(30):
        for _ in range(chance.randrange(4)):
            feature, user = f"feature-{chance.randrange(6)}", chance.choice(["", "acme", "100%"])
            recorder.record(call(feature=feature, user=user, output=chance.randrange(3_000_000)))
        expected = openmetrics.generate_latest(registry) if form else generate_latest(registry)  # type: ignore[no-untyped-call]
        assert recorder.render(openmetrics=form) == expected


COUNTER = Family("seen_total", "counter", ("name",), "How many.")


def lines(page: bytes) -> list[str]:
    return [line for line in page.decode().splitlines() if not line.startswith("#") and "_created" not in line]


def counters(*places: tuple[str, int, int]) -> dict[str, list[Series]]:
    return {"seen_total": [Series((name,), block, start, start + 1, 1.0) for name, block, start in places]}


def test_counters_that_do_not_follow_each_other_in_a_block_show_their_own_numbers() -> None:
    series = counters(("a", 0, 0), ("b", 0, 2), ("c", 0, 3), ("d", 1, 1))
    renderer = Renderer([COUNTER])
    page = renderer.text(Snapshot([[1.0, 99.0, 2.0, 3.0], [99.0, 4.0]], series, {}))
    assert lines(page) == [f'seen_total{{name="{name}"}} {n}.0' for name, n in zip("abcd", (1, 2, 3, 4), strict=True)]


@pytest.mark.parametrize("form", ["text", "openmetrics"])
def test_an_older_snapshot_shows_the_series_and_numbers_that_it_had(form: str) -> None:
    series = counters(("a", 0, 0), ("b", 1, 0))
    older, newer = Snapshot([[1.0]], series, {}), Snapshot([[2.0], [3.0]], series, {})
    renderer = Renderer([COUNTER])
    pages = [lines(getattr(renderer, form)(one)) for one in (newer, older, newer)]
    both = ['seen_total{name="a"} 2.0', 'seen_total{name="b"} 3.0']
    assert pages == [both, ['seen_total{name="a"} 1.0'], both]


def test_gauges_come_go_and_change_their_order() -> None:
    renderer = Renderer([INFLIGHT])

    def page(*gauges: tuple[str, float]) -> list[str]:
        readings = [SeriesSample(("opus", feature), [value], 0.0) for feature, value in gauges]
        return lines(renderer.text(Snapshot([], {}, {INFLIGHT.name: readings})))

    def line(feature: str, value: str) -> str:
        return f'anthropic_inflight_requests{{feature="{feature}",model="opus"}} {value}'

    assert page(("a", 1.0), ("b", 2.0)) == [line("a", "1.0"), line("b", "2.0")]
    assert page(("b", 2.0), ("a", 5e6)) == [line("b", "2.0"), line("a", "5e+06")]
    assert page() == []
    assert page(("b", 3.0)) == [line("b", "3.0")]


def test_numbers_of_other_cells_are_formatted_anew() -> None:
    renderer = Renderer([COST])
    labels = ("opus", "chat", "", "standard", "input")
    for usd in (1.5, 2.5):
        series = {COST.name: [Series(labels, 0, 0, 1, 1.0)]}
        (line,) = lines(renderer.text(Snapshot([[usd]], series, {})))
        assert line.endswith(f" {usd}")
