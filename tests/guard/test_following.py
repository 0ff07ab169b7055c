"""`guard.follow(url)`: the fleet's conditions open the breakers of this process, and silence closes them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import ConfigurationError, Recorder, SpendLimitExceeded
from anthropic_exporter.attribution import Attribution
from anthropic_exporter.guard import Guard
from anthropic_exporter.transport import breakers_message
from anthropic_exporter.transport.address import parse
from anthropic_exporter.transport.breakers_message import BreakersMessage, Holding, decode, encode
from anthropic_exporter.transport.opening import open_transport
from collectors import value_of, wait_until
from queue_engines import Redis

pytest.importorskip("redis")
BUDGET = Holding("daily_cost", "total", "", "", 501.0, 500.0)
PACE = Holding("cost_rate", "place", "chat", "claude-opus-5-5", 3.0, 2.0)


class Request:
    json = {"model": "claude-opus-5-5"}  # noqa: RUF012 - as the SDK's request has it
    retries_taken = 0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis") as running:
        yield running


@pytest.fixture
def say(server: Redis) -> Callable[..., None]:
    transport = open_transport(parse(server.url), "anthropic-cells-breakers")

    def make(*holding: Holding, collector: str = "one", ago: float = 0.0) -> None:
        transport.send([encode(BreakersMessage(collector, time.time() - ago, holding))])

    return make


@pytest.fixture
def recorder() -> Recorder:
    return Recorder(registry=None)


@pytest.fixture
def guard(recorder: Recorder, server: Redis) -> Iterator[Guard]:
    with Guard(recorder) as made:
        made.breaker(scope="total", when=["daily_cost"], action="block")
        made.breaker(scope="feature", when=["cost_rate"], action="block")
        made.follow(server.url)
        yield made


def admitted(recorder: Recorder, feature: str = "chat") -> Any:
    try:
        for gate in recorder.gates:
            gate(Request, Attribution(feature))
    except SpendLimitExceeded as error:
        return error.reason
    return True


def test_a_budget_of_the_fleet_stops_every_process(recorder: Recorder, guard: Guard, say: Callable[..., None]) -> None:
    assert admitted(recorder) is True
    say(BUDGET)
    wait_until(lambda: admitted(recorder) == "daily_cost")
    say()  # the next day, or another budget
    wait_until(lambda: admitted(recorder) is True)


def test_a_rate_stops_its_feature_alone(recorder: Recorder, guard: Guard, say: Callable[..., None]) -> None:
    say(PACE)
    wait_until(lambda: admitted(recorder, "chat") == "cost_rate")
    assert admitted(recorder, "search") is True


def test_a_breaker_of_a_rate_stays_open_for_its_own_time(
    recorder: Recorder, guard: Guard, say: Callable[..., None]
) -> None:
    say(PACE)
    wait_until(lambda: admitted(recorder) == "cost_rate")
    say()
    say(BUDGET)
    wait_until(lambda: admitted(recorder, "search") == "daily_cost")
    assert admitted(recorder, "chat") in ("cost_rate", "daily_cost")
    say()
    wait_until(lambda: admitted(recorder, "search") is True)
    assert admitted(recorder, "chat") == "cost_rate"


def test_a_breaker_that_does_not_want_the_condition_stays_closed(
    recorder: Recorder, server: Redis, say: Callable[..., None]
) -> None:
    with Guard(recorder) as guard:
        guard.breaker(scope="total", when=["daily_tokens"], action="block")
        guard.follow(server.url)
        say(BUDGET)
        wait_until(lambda: guard._judge.elsewhere.get("fleet"))
        assert admitted(recorder) is True


def test_silence_fails_open_and_is_counted(
    recorder: Recorder,
    server: Redis,
    say: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(breakers_message, "EXPIRES_SECONDS", 0.5)
    with Guard(recorder) as guard:
        guard.breaker(scope="total", when=["daily_cost"], action="block")
        guard.follow(server.url)
        say(BUDGET)
        wait_until(lambda: admitted(recorder) == "daily_cost")
        wait_until(lambda: admitted(recorder) is True)  # nobody says it any more
        wait_until(lambda: "nothing received from a collector" in caplog.text)
        text = recorder.render().decode()
        assert value_of(text, "anthropic_guard_failed_open_total") == 1.0
        assert value_of(text, "anthropic_guard_fleet_followed") == 0.0
        say(BUDGET)
        wait_until(lambda: admitted(recorder) == "daily_cost")
        assert value_of(recorder.render().decode(), "anthropic_guard_fleet_followed") == 1.0


def test_a_queue_that_is_down_fails_open(
    recorder: Recorder, server: Redis, say: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breakers_message, "EXPIRES_SECONDS", 0.5)
    with Guard(recorder) as guard:
        guard.breaker(scope="total", when=["daily_cost"], action="block")
        guard.follow(server.url)
        say(BUDGET)
        wait_until(lambda: admitted(recorder) == "daily_cost")
        server.kill()
        wait_until(lambda: admitted(recorder) is True)


def test_a_message_that_comes_again_is_not_obeyed_again(
    recorder: Recorder, server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue that lost its newest messages in a failover is read again; its collector may be gone meanwhile."""
    monkeypatch.setattr(breakers_message, "EXPIRES_SECONDS", 0.5)
    transport = open_transport(parse(server.url), "anthropic-cells-breakers")
    message = encode(BreakersMessage("one", time.time(), (BUDGET,)))

    def is_admitted_again() -> bool:
        transport.send([message])
        return admitted(recorder) is True

    with Guard(recorder) as guard:
        guard.breaker(scope="total", when=["daily_cost"], action="block")
        guard.follow(server.url)
        transport.send([message])
        wait_until(lambda: admitted(recorder) == "daily_cost")
        wait_until(is_admitted_again)


def test_an_old_message_of_a_collector_that_is_gone_is_not_obeyed(
    recorder: Recorder, server: Redis, say: Callable[..., None]
) -> None:
    say(BUDGET, ago=3600)
    with Guard(recorder) as guard:
        guard.breaker(scope="total", when=["daily_cost"], action="block")
        guard.follow(server.url)
        wait_until(lambda: guard._following._any)
        assert admitted(recorder) is True


def test_the_clock_of_the_collector_may_be_off(recorder: Recorder, guard: Guard, say: Callable[..., None]) -> None:
    def is_obeyed() -> bool:
        say(BUDGET, ago=3600)  # again and again, as collectors do: the first message that is found may be an old one
        return admitted(recorder) == "daily_cost"

    wait_until(is_obeyed)


def test_the_conditions_of_several_collectors_add_up(
    recorder: Recorder, guard: Guard, say: Callable[..., None]
) -> None:
    def both_are_heard() -> bool:
        say(BUDGET, collector="shard-0")  # again and again, as collectors do: a reader begins with the newest message
        say(collector="shard-1")
        return len(guard._following._heard) == 2

    wait_until(both_are_heard)
    assert admitted(recorder) == "daily_cost"


def test_following_twice_is_an_error(guard: Guard, server: Redis) -> None:
    with pytest.raises(ConfigurationError, match="already follows a collector"):
        guard.follow(server.url)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"rubbish",
        b"[]",
        b'{"format": 2, "collector": "one", "sent_at": 1, "holding": []}',
        b'{"format": 1, "collector": "one", "sent_at": "now", "holding": []}',
        b'{"format": 1, "collector": "one", "sent_at": 1, "holding": 5}',
        b"[" * 100_000,
    ],
)
def test_what_is_not_a_message_is_ignored(data: bytes) -> None:
    assert decode(data) is None


def test_keys_of_a_newer_version_are_ignored() -> None:
    message = BreakersMessage("one", 1.0, (BUDGET,))
    newer = encode(message).replace(b'"format": 1', b'"format": 1, "region": "eu"')
    assert decode(newer) == message


def test_of_too_many_conditions_the_widest_fit_into_a_message() -> None:
    places = [Holding("cost_rate", "place", f"é{number}" * 20, "claude-opus-5-5", 3.0, 2.0) for number in range(9_000)]
    total = Holding("daily_cost", "total", "", "", 501.0, 500.0)
    data = encode(BreakersMessage("one", 1.0, (*places, total)))
    assert len(data) < 1_000_000
    found = decode(data)
    assert found is not None
    assert found.holding[0] == total
    assert len(found.holding) > 1_000


def test_a_condition_that_cannot_be_read_hides_no_other() -> None:
    good = Holding("daily_cost", "total", "", "", 501.0, 500.0)
    bad = good._replace(condition="x" * 200), good._replace(value=float("inf")), good._replace(feature=None)
    found = decode(encode(BreakersMessage("one", 1.0, (*bad, good))))
    assert found is not None
    assert found.holding == (good,)
