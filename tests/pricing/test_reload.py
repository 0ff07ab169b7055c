from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from anthropic_exporter import Call, Recorder, bounded_files, threads
from anthropic_exporter.pricing import genai_lookup, reload
from anthropic_exporter.pricing.price_file import Model
from support import Clock, Samples, wait_for_prices

FILE = """models:
  claude-house:
    prices: [{input: %s, cache_read: 1, cache_write_5m: 1, cache_write_1h: 1, output: 1}]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "prices.yml"
    path.write_text(FILE % 1)
    os.utime(path, (1, 1))
    return path


@pytest.fixture
def recorder(registry: CollectorRegistry, clock: Clock, path: Path) -> Recorder:
    return Recorder(registry=registry, strict=True, clock=clock, prices=path)


def spend(recorder: Recorder, samples: Samples, call: Callable[..., Call]) -> float:
    before = samples("anthropic_cost_usd_total", model="claude-house") or 0
    recorder.record(call(model="claude-house", input=1_000_000))
    return samples("anthropic_cost_usd_total", model="claude-house") - before


def test_an_edit_holds_30_seconds_later_at_the_latest(
    recorder: Recorder, samples: Samples, call: Callable[..., Call], clock: Clock, path: Path
) -> None:
    assert spend(recorder, samples, call) == 1
    path.write_text(FILE % 3)
    clock.now += 29
    assert spend(recorder, samples, call) == 1
    clock.now += 1
    samples("anthropic_cost_usd_total")
    assert spend(recorder, samples, call) == 3
    assert samples("anthropic_exporter_record_errors_total", stage="prices") is None


def test_a_broken_edit_keeps_the_old_prices_counts_once_and_says_where(
    recorder: Recorder,
    samples: Samples,
    call: Callable[..., Call],
    clock: Clock,
    path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path.write_text(FILE % "cheap")
    for _ in range(3):
        clock.now += 30
        assert spend(recorder, samples, call) == 1
    assert samples("anthropic_exporter_record_errors_total", stage="prices") == 1
    assert caplog.text.count("prices.yml:3: input: expected a number of 0 or more, got 'cheap'") == 1
    path.write_text(FILE % 2)
    clock.now += 30
    samples("anthropic_cost_usd_total")
    assert spend(recorder, samples, call) == 2


def test_a_file_that_breaks_its_reader_keeps_the_prices_and_the_scrape(
    recorder: Recorder,
    samples: Samples,
    call: Callable[..., Call],
    clock: Clock,
    path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(_: Path) -> None:
        raise RecursionError

    monkeypatch.setattr(reload.PriceBook, "load", load)  # type: ignore[attr-defined]
    path.write_text(FILE % 3)
    clock.now += 30
    assert spend(recorder, samples, call) == 1
    assert samples("anthropic_exporter_record_errors_total", stage="prices") == 1
    assert "prices.yml: RecursionError; the previous prices stay in effect" in caplog.text


def test_a_file_that_is_gone_keeps_the_prices_counts_once_and_is_read_when_it_is_back(
    recorder: Recorder,
    samples: Samples,
    call: Callable[..., Call],
    clock: Clock,
    path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path.unlink()
    for _ in range(3):
        clock.now += 30
        assert spend(recorder, samples, call) == 1
    assert samples("anthropic_exporter_record_errors_total", stage="prices") == 1
    assert caplog.text.count("prices.yml: cannot be read: No such file") == 1
    path.write_text(FILE % 2)
    clock.now += 30
    samples("anthropic_cost_usd_total")
    assert spend(recorder, samples, call) == 2


def test_the_file_is_checked_every_30_seconds_and_not_more_often(
    recorder: Recorder,
    samples: Samples,
    call: Callable[..., Call],
    clock: Clock,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked = []
    stamp = bounded_files.stamp
    monkeypatch.setattr(bounded_files, "stamp", lambda path: looked.append(clock.now) or stamp(path))
    begun = clock.now
    for _ in range(600):  # ten minutes of calls and scrapes
        clock.now += 1
        recorder.record(call(model="claude-house", input=1, started_at=clock.now))
        samples("anthropic_cost_usd_total")
    gaps = [later - earlier for earlier, later in itertools.pairwise([begun, *looked])]
    assert len(looked) >= 18
    assert min(gaps) >= 30
    assert max(gaps) <= 31


def test_without_scrapes_a_short_thread_reads_the_edit(
    recorder: Recorder, call: Callable[..., Call], clock: Clock, path: Path
) -> None:
    path.write_text(FILE % 3)
    clock.now += 30
    recorder.record(call(model="claude-house", input=1, started_at=clock.now))
    wait_for_prices()
    assert recorder.prices.models["claude-house"].rows[0].rates.input == 3e-06


def test_an_unknown_model_is_looked_up_once_and_no_dollar_is_lost(
    registry: CollectorRegistry, clock: Clock, call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("genai_prices")
    asked, look_up = [], genai_lookup.look_up
    monkeypatch.setattr(genai_lookup, "look_up", lambda name: asked.append(name) or look_up(name))
    recorder, samples = Recorder(registry=registry, strict=True, clock=clock), Samples(registry)
    for _ in range(3):
        recorder.record(call(model="claude-3-haiku-20240307", input=1_000_000))
        recorder.record(call(model="claude-unheard-of", input=10))
        wait_for_prices()
        assert samples("anthropic_tokens_total") is not None
    assert sorted(asked) == ["claude-3-haiku-20240307", "claude-unheard-of"]
    assert samples("anthropic_cost_usd_total", model="claude-3-haiku-20240307") == 0.75
    assert samples("anthropic_exporter_unpriced_tokens_total", model="claude-unheard-of") == 30
    for model, source in (("claude-3-haiku-20240307", "genai-prices"), ("claude-unheard-of", "none")):
        assert samples("anthropic_exporter_price_source_info", model=model, source=source) == 1


def test_a_scrape_waits_for_the_thread_that_looks_a_model_up(
    registry: CollectorRegistry, clock: Clock, call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def look_up(_: str) -> None:
        asked.set()
        assert answer.wait(10)

    monkeypatch.setattr(genai_lookup, "installed", lambda: True)
    monkeypatch.setattr(genai_lookup, "look_up", look_up)
    monkeypatch.setattr(reload, "_PATIENCE_SECONDS", 60)
    recorder = Recorder(registry=registry, clock=clock)
    recorder.record(call(model="claude-new", output=171))
    assert asked.wait(10)
    shown = []
    scrape = threading.Thread(target=lambda: shown.append(Samples(registry)("anthropic_tokens_total", type="output")))
    scrape.start()
    scrape.join(0.2)
    assert shown == []
    answer.set()
    scrape.join(10)
    assert shown == [171]


def test_a_call_during_a_lookup_of_other_models_has_the_price_that_was_found(
    registry: CollectorRegistry, clock: Clock, call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("genai_prices")
    found = genai_lookup.look_up("claude-3-haiku-20240307")
    monkeypatch.setattr(threads, "start", lambda *_, **__: None)  # a scrape looks both up, in order
    recorder, samples = Recorder(registry=registry, strict=True, clock=clock), Samples(registry)

    def look_up(name: str) -> Model | None:
        if name == "claude-3-haiku-20240307":
            return found
        recorder.record(call(model="claude-3-haiku-20240307", input=1_000_000))
        return None

    monkeypatch.setattr(genai_lookup, "look_up", look_up)
    recorder.record(call(model="claude-3-haiku-20240307", input=1_000_000))
    recorder.record(call(model="claude-unheard-of", input=10))
    samples("anthropic_tokens_total")
    assert samples("anthropic_cost_usd_total", model="claude-3-haiku-20240307") == 0.5
    assert samples("anthropic_exporter_unpriced_tokens_total", model="claude-3-haiku-20240307") is None
    assert samples("anthropic_exporter_unpriced_tokens_total", model="claude-unheard-of") == 10


def test_without_the_extra_an_unknown_model_is_unpriced_at_once(
    registry: CollectorRegistry, clock: Clock, call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(genai_lookup, "installed", lambda: False)
    recorder, samples = Recorder(registry=registry, strict=True, clock=clock), Samples(registry)
    recorder.record(call(model="claude-3-haiku-20240307", input=10))
    assert samples("anthropic_exporter_unpriced_tokens_total") == 10


def test_the_source_of_each_used_model_is_shown(
    recorder: Recorder, samples: Samples, call: Callable[..., Call]
) -> None:
    recorder.record(call(model="claude-house", input=1))
    recorder.record(call(input=1))
    assert samples("anthropic_exporter_price_source_info", model="claude-house", source="file") == 1
    assert samples("anthropic_exporter_price_source_info", model="claude-opus-5-5", source="shipped") == 1
