"""The product of labels is bounded: a few thousand series whatever is recorded, and every total exact."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from anthropic_exporter import Call, ConfigurationError, Recorder
from anthropic_exporter.attribution import attribution, current
from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.series_budget import SeriesBudget, series_of
from anthropic_exporter.recording.retries import Failed, Retries
from support import Clock

MODELS = ("claude-opus-5-5", "claude-haiku-4-5", "claude-sonnet-4-5")
TIERS = ("standard", "batch", "priority", "fast")
OUTCOMES = ("success", "timeout", "overloaded_error", "rate_limit_error", "blocked", "made up")
LABELS = {family.name: family.labels for family in f.FAMILIES}


def recorder(**settings: Any) -> Recorder:
    return Recorder(registry=None, clock=Clock(), strict=True, **settings)


def series(recorded: Recorder) -> int:
    """As Prometheus would keep them, `_created` not counted."""
    shown = recorded.render().splitlines()
    return sum(not line.startswith(b"#") and b"_created{" not in line for line in shown)


def total(recorded: Recorder, family: str, **labels: str) -> float:
    return sum(
        reading.values[0]
        for reading in recorded.read()[family]
        if labels.items() <= dict(zip(LABELS[family], reading.labels, strict=True)).items()
    )


def values(recorded: Recorder, label: str, family: str = "anthropic_requests_total") -> set[str]:
    return {reading.labels[LABELS[family].index(label)] for reading in recorded.read()[family]}


def test_many_models_features_and_users_stay_within_the_budget_and_exact(call: Callable[..., Call]) -> None:
    """3 models x 20 features x 1,000 users: 208,000 lines and 253 MB without a budget."""
    bounded = recorder()
    for number, (model, feature) in enumerate(itertools.product(MODELS, range(20))):
        for user in range(50):
            bounded.record(call(model=model, feature=f"f{feature}", user=f"u{(number * 17 + user) % 1000}", output=171))
    assert series(bounded) <= 20_000
    assert total(bounded, "anthropic_requests_total") == 3000
    assert total(bounded, "anthropic_tokens_total", type="output") == 513_000
    assert total(bounded, "anthropic_tokens_total", type="output", feature="f7") == 25_650
    assert values(bounded, "feature") == {f"f{number}" for number in range(20)}


def test_users_fold_first_then_features(call: Callable[..., Call]) -> None:
    small = recorder(max_series=3000)
    for user in range(200):
        small.record(call(feature="chat", user=f"u{user}", output=1))
    users = values(small, "user")
    assert "other" in users
    assert 10 < len(users) < 100
    for feature in range(100):
        small.record(call(feature=f"f{feature}", user="new", output=1))
    features = values(small, "feature")
    assert {"chat", "other"} < features
    assert len(features) < 20
    assert total(small, "anthropic_tokens_total", type="output") == 300
    assert series(small) <= 3000
    assert total(small, "anthropic_exporter_label_overflow_total", label="user") >= 300 - len(users)
    assert total(small, "anthropic_exporter_label_overflow_total", label="feature") >= 100 - len(features)


def test_everything_at_once_stays_within_the_budget(call: Callable[..., Call]) -> None:
    """Every model, feature, user, tier, outcome and word that there can be."""
    small = recorder(max_series=3000)
    for number in range(6000):
        made = call(model=f"model-{number % 61}", feature=f"f{number % 127}", user=f"u{number % 257}", output=1)
        small.record(
            made._replace(
                outcome=OUTCOMES[number % 6],
                tier=TIERS[number % 4],
                stop_reason=f"word {number % 71}",
                retry_reason=OUTCOMES[number % 5],
                cache_miss_reason=f"reason {number % 73}",
                server_tools=((f"tool {number % 79}", 1),),
            )
        )
    assert total(small, "anthropic_tokens_total", type="output") == 6000
    assert total(small, "anthropic_requests_total") == 6000
    assert total(small, "anthropic_stop_reasons_total") == 6000
    assert series(small) <= 3000


def test_what_exists_stays_itself(call: Callable[..., Call]) -> None:
    small = recorder(max_series=3000)
    small.record(call(feature="chat", user="acme", output=1))
    for number in range(1000):
        small.record(call(feature=f"f{number}", user=f"u{number}", output=1))
    small.record(call(feature="chat", user="acme", output=170))
    assert total(small, "anthropic_tokens_total", type="output", feature="chat", user="acme") == 171
    assert small.place_of("claude-opus-5-5", "chat") == ("claude-opus-5-5", "chat")
    assert small.place_of("claude-opus-5-5", "late") == ("claude-opus-5-5", "other")


def test_named_users_keep_their_series(call: Callable[..., Call]) -> None:
    """200 sign-ups of robots do not take the place of the largest customer."""
    named = recorder(users=["acme"])
    for number in range(300):
        named.record(call(user=f"robot{number}", output=1))
    named.record(call(user="acme", output=171))
    assert total(named, "anthropic_tokens_total", type="output", user="acme") == 171
    assert total(named, "anthropic_tokens_total", type="output", user="other") == 300


@pytest.mark.parametrize("most", [0, 2999, -1, True, 3000.0, "20000"])
def test_too_small_a_budget_is_one_clear_error(most: float | str) -> None:
    with pytest.raises(ConfigurationError, match=r"Recorder\(max_series=.*give a whole number of 3,000 or more"):
        recorder(max_series=most)


def test_series_are_counted_as_prometheus_counts_them() -> None:
    assert series_of(f.TOKENS) == 1
    assert series_of(f.DURATION) == 16  # 13 buckets, +Inf, sum, count
    budget = SeriesBudget(3000)
    budget.take([f.DURATION, f.TOKENS])
    assert budget.used == 17


def test_counts_are_at_least_what_a_page_shows(call: Callable[..., Call]) -> None:
    bounded = recorder()
    for number in range(40):
        bounded.record(call(feature=f"f{number % 7}", user=f"u{number}", tier=TIERS[number % 4], output=1))
    assert series(bounded) - 20 <= bounded._metrics.label_sets.budget.used <= 1.6 * series(bounded)


def test_names_of_10_kb_are_kept_short() -> None:
    bounded, retries, long = recorder(), Retries(), "x" * 10_000
    tracemalloc.start()
    for number in range(3000):
        name = f"{number}{long}"
        with attribution(feature=name, user=name):
            assert {len(text) for text in current()[:2]} == {128}
            bounded.begin(number, name, current())
            bounded.inflight.end(number)
        retries.failed(name, Failed("timeout", name, name))
        bounded.served.learn(name, "claude-opus-5-5")
        bounded.cached_threads.add(name)
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert held < 12_000_000
    assert b"x" * 121 not in bounded.render()
