from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from anthropic_exporter import Call, Recorder
from anthropic_exporter.commands.main import run as run_command
from anthropic_exporter.demo import live
from anthropic_exporter.pricing import price_file

pytest_plugins = ("fixtures_fake_api",)


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-test")


def run(fake_api: Any, **settings: Any) -> Any:
    console = Console(file=io.StringIO(), width=120)
    code = live.run(live.LiveOptions(base_url=fake_api.base_url, **settings), console)
    return code, " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]


def test_a_handful_of_calls_of_three_features_stays_far_below_the_cap(key: Any, fake_api: Any) -> None:
    code, said = run(fake_api)
    assert code == 0
    assert len(fake_api.requests) == 5
    assert {request.body["model"] for request in fake_api.requests} == {"claude-haiku-5-5"}
    assert "chat success 64 0 6,000" in said
    assert "chat success 64 6,000 0" in said
    for feature in ("summarise", "agent"):
        assert f"{feature} success" in said
    assert 0 < float(said.rpartition("all ")[2]) < 0.002


@pytest.mark.parametrize(("cap", "requests"), [(0.0, 0), (0.0001, 0), (0.0262, 1)])
def test_nothing_is_sent_that_could_go_beyond_the_cap(key: Any, fake_api: Any, cap: Any, requests: Any) -> None:
    code, said = run(fake_api, cap_usd=cap)
    assert len(fake_api.requests) == requests
    assert "stopped below the cap" in said
    assert code == (0 if requests else 1)


def test_a_call_that_failed_counts_with_the_most_it_could_have_cost(call: Callable[..., Call]) -> None:
    cap = live.Cap(1.0, Recorder(registry=None).prices)
    cap._counted = cap._unsettled = 0.25
    cap.settle(call(outcome="timeout"))
    assert cap._counted == 0.25


def test_what_the_api_refuses_is_said_without_its_text(key: Any, start_fake_api: Any) -> None:
    code, said = run(start_fake_api(api_keys=frozenset({"sk-ant-other"})))
    assert code == 1
    assert "the API refused: AuthenticationError" in said


def test_without_a_key_it_is_one_line_and_2(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_command(["demo", "--live"]) == 2
    assert capfd.readouterr().err == "anthropic-exporter: --live makes real calls: set ANTHROPIC_API_KEY\n"


def test_the_model_is_the_cheapest_of_the_price_book() -> None:
    rates = {name: model.rows[-1].rates for name, model in price_file.read(price_file.SHIPPED).models.items()}
    assert min(rates, key=lambda name: rates[name].input) == live.MODEL
    assert min(rates, key=lambda name: rates[name].output) == live.MODEL
