"""The coarse counters that the rules read, as /metrics shows them."""

from __future__ import annotations

import re

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from anthropic_exporter import Call, Inference, Recorder, Tokens

MODEL = "claude-opus-5-5"
CALL = Call(
    MODEL,
    feature="chat",
    user="acme",
    inferences=(Inference(MODEL, Tokens(input=100, cache_read=2_000, output=40)),),
    cache_asked=True,
    duration_seconds=1.0,
)
LINE = re.compile(r"^(anthropic_ledger_total|anthropic_exporter_(?:start|age)\w+)\{(.*)\} (\S+)$", re.MULTILINE)


def recorder(now: list[float]) -> Recorder:
    return Recorder(registry=CollectorRegistry(), clock=lambda: now[0], strict=True)


def shown(text: str) -> dict[tuple[str, ...], float]:
    """Value by name and labels, the life left out."""
    found = {}
    for name, labels, value in LINE.findall(text):
        pairs = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        pairs.pop("life")
        key = (name, *(pairs[label] for label in ("of", "feature", "model", "tier") if label in pairs))
        found[key] = float(value)
    return found


def lives(text: str) -> set[str]:
    return set(re.findall(r'life="(\w+)"', text))


def test_users_types_and_outcomes_are_summed() -> None:
    one = recorder([1000.0])
    one.record(CALL)
    one.record(CALL._replace(user="umbrella"))
    one.record(CALL._replace(inferences=(), outcome="overloaded_error"))
    one.record(CALL._replace(feature="search", tier="batch", requests=0))
    found = {key[1:]: value for key, value in shown(one.render().decode()).items() if "ledger" in key[0]}
    usd = found.pop(("cost_usd", "chat", MODEL, "standard"))
    assert round(usd, 12) == 0.0032
    found.pop(("cost_usd", "search", MODEL, "batch"))
    found.pop(("cache_savings_usd", "chat", MODEL, ""))
    assert {key: value for key, value in found.items() if key[1] == "chat"} == {
        ("requests", "chat", MODEL, ""): 3,
        ("requests_overloaded_error", "chat", MODEL, ""): 1,
        ("tokens_input", "chat", MODEL, "standard"): 200,
        ("tokens_cache_read", "chat", MODEL, "standard"): 4_000,
        ("tokens_output", "chat", MODEL, "standard"): 80,
        ("cache_requests_hit", "chat", MODEL, ""): 2,
    }
    assert found["tokens_output", "search", MODEL, "batch"] == 40


def test_what_has_counted_nothing_is_not_shown_but_the_requests_are() -> None:
    one = Recorder(registry=CollectorRegistry(), features=["chat"], models=[MODEL], strict=True)
    found = shown(one.render().decode())
    assert {key: value for key, value in found.items() if key[0] == "anthropic_ledger_total"} == {
        ("anthropic_ledger_total", "requests", "chat", MODEL, ""): 0
    }


def test_a_life_says_when_it_began_and_how_old_it_is_before_the_first_call() -> None:
    now = [1000.0]
    one = recorder(now)
    now[0] = 1042.5
    found = shown(one.render().decode())
    assert found["anthropic_exporter_start_timestamp_seconds",] == 1000
    assert found["anthropic_exporter_age_seconds",] == 42.5


def test_a_life_gets_no_younger_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules count a young life in full when they see it first, such as after a long outage of Prometheus."""
    now, elapsed = [1000.0], [50.0]
    monkeypatch.setattr("anthropic_exporter.metrics.ledger.time.monotonic", lambda: elapsed[0])
    one = recorder(now)
    now[0], elapsed[0] = 8200.0, 7250.0
    assert shown(one.render().decode())["anthropic_exporter_age_seconds",] == 7200
    now[0], elapsed[0] = 4611.0, 7261.0
    assert shown(one.render().decode())["anthropic_exporter_age_seconds",] == 7211
    now[0], elapsed[0] = 11_900.0, 7271.0  # set forward
    assert shown(one.render().decode())["anthropic_exporter_age_seconds",] == 10_900


def test_a_life_is_one_for_all_series_and_another_for_another_recorder() -> None:
    one, other = recorder([1000.0]), recorder([1000.0])
    one.record(CALL)
    (first,) = lives(one.render().decode())
    assert lives(one.render(openmetrics=True).decode()) == {first}
    assert lives(other.render().decode()) != {first}


def test_a_forked_child_whose_counters_begin_at_0_has_a_life_of_its_own() -> None:
    one = recorder([1000.0])
    before = one.life.name
    one._forked()
    assert one.life.name != before


def test_a_registry_shows_the_same() -> None:
    registry, now = CollectorRegistry(), [1000.0]
    one = Recorder(registry=registry, clock=lambda: now[0], strict=True)
    one.record(CALL)
    assert shown(generate_latest(registry).decode()) == shown(one.render().decode())


def test_series_that_appear_later_are_counted_and_an_older_snapshot_is_read_as_it_was() -> None:
    one = recorder([1000.0])
    one.record(CALL)
    older = one.snapshot()
    for number in range(300):
        one.record(CALL._replace(user=f"user-{number}", feature=f"feature-{number % 3}"))
    shown(one.render().decode())
    readings = one._ledger.readings(older, one.life, 1000.0)["anthropic_ledger_total"]
    assert sum(reading.values[0] for reading in readings if reading.labels[1] == "requests") == 1
    assert sum(v for k, v in shown(one.render().decode()).items() if k[1:2] == ("requests",)) == 301
