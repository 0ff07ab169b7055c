"""The Guard of the fleet: budgets and paces of all publishers together."""

from __future__ import annotations

from typing import Any

import pytest

from anthropic_exporter.collector.merge import Fleet
from anthropic_exporter.collector.watch import FleetWatch
from anthropic_exporter.guard import Limits
from anthropic_exporter.transport.cells_message import Definition, Layout
from fleet_messages import COST, MODEL, message, requests
from support import Clock

TOKENS = Layout("anthropic_tokens_total", "counter", COST.labels)


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Publishers:
    """Hosts that spend; each message says their cumulative dollars, tokens and requests."""

    def __init__(self, clock: Clock, **limits: float) -> None:
        self.clock = clock
        self.fleet = Fleet("life")
        self.watch = FleetWatch(self.fleet, Limits.shipped().replace(**limits), clock)  # type: ignore[arg-type]
        self.sequences: dict[Any, Any] = {}
        self.cells: dict[Any, Any] = {}

    def spend(
        self,
        host: str,
        usd: float = 0.0,
        calls: int = 0,
        tokens: int = 0,
        cache_read: int = 0,
        feature: str = "chat",
        tier: str = "standard",
    ) -> None:
        labels = (MODEL, feature, "", tier)
        definitions = (
            Definition(0, COST, (*labels, "output"), self.clock.now),
            Definition(1, TOKENS, (*labels, "output"), self.clock.now),
            Definition(2, TOKENS, (*labels, "cache_read"), self.clock.now),
            requests(feature, first=3)._replace(created=self.clock.now),
        )
        identity = f"{host}-{feature}-{tier}"
        before = self.cells.get(identity, (0.0, 0.0, 0.0, 0.0))
        self.cells[identity] = tuple(map(sum, zip(before, (usd, tokens, cache_read, calls), strict=True)))
        self.sequences[identity] = sequence = self.sequences.get(identity, 0) + 1
        said = message(
            *definitions,
            identity=identity,
            host=host,
            sequence=sequence,
            sent_at=self.clock.now,
            cells=dict(enumerate(self.cells[identity])),
        )
        self.fleet.take(said, self.clock.now)

    def holding(self) -> dict[tuple[str, str, str], float]:
        self.watch.evaluate()
        return {(one.condition, one.scope, one.feature): one.value for one in self.watch.holding}


def test_a_budget_is_that_of_all_hosts_together(clock: Clock) -> None:
    fleet = Publishers(clock, cost_usd_per_day=10, cost_usd_per_minute=1e9, total_cost_usd_per_minute=1e9)
    for host in ("one", "two", "three"):
        fleet.spend(host, usd=3.0, calls=100)
    assert fleet.holding() == {}
    fleet.spend("four", usd=1.5, calls=1)
    assert fleet.holding() == {("daily_cost", "total", ""): 10.5}


def test_a_token_budget_leaves_cache_reads_out(clock: Clock) -> None:
    fleet = Publishers(clock, tokens_per_day=1000, cost_usd_per_day=1e9)
    fleet.spend("one", tokens=900, cache_read=5000)
    assert fleet.holding() == {}
    fleet.spend("two", tokens=101)
    assert fleet.holding() == {("daily_tokens", "total", ""): 1001.0}


def test_a_budget_starts_over_at_midnight(clock: Clock) -> None:
    fleet = Publishers(clock, cost_usd_per_day=10, cost_usd_per_minute=1e9, total_cost_usd_per_minute=1e9)
    fleet.spend("one", usd=11.0)
    assert ("daily_cost", "total", "") in fleet.holding()
    clock.now += 12 * 3600
    assert fleet.holding() == {}


def test_a_rate_is_that_of_all_hosts_together(clock: Clock) -> None:
    fleet = Publishers(clock, cost_usd_per_minute=2, total_cost_usd_per_minute=1e9, cost_min_requests=10)
    for _ in range(30):
        for host in ("one", "two"):
            fleet.spend(host, usd=0.012, calls=1)  # 0.72 USD a minute each, below 2 alone
        fleet.holding()
        clock.now += 1
    assert fleet.holding() == {}
    for _ in range(30):
        for host in ("one", "two", "three", "four"):
            fleet.spend(host, usd=0.012, calls=1)
        fleet.holding()
        clock.now += 1
    assert fleet.holding() == {("cost_rate", "place", "chat"): pytest.approx(2.88, rel=0.05)}


@pytest.mark.parametrize("jump", [-3_600, -86_400, 3_600])
def test_a_clock_that_is_set_stops_no_feature_and_hides_no_spending(clock: Clock, jump: int) -> None:
    fleet = Publishers(clock, cost_usd_per_minute=2, total_cost_usd_per_minute=1e9, cost_min_requests=10)
    for usd, seconds, holds in ((0.012, 60, set()), (0.012, 120, set()), (0.12, 30, {("cost_rate", "place", "chat")})):
        held = set()
        for _ in range(seconds):
            for host in ("one", "two"):
                fleet.spend(host, usd=usd, calls=1)
            held |= set(fleet.holding())
            clock.now += 1
        assert held == holds
        clock.now += jump
        jump = 0


def test_late_growth_counts_in_budgets_but_not_in_rates(clock: Clock) -> None:
    fleet = Publishers(clock, cost_usd_per_day=10, cost_usd_per_minute=2, total_cost_usd_per_minute=2)
    fleet.spend("one", usd=0.1, calls=100)
    fleet.holding()
    clock.now += 600  # the host was cut off
    fleet.spend("one", usd=20.0, calls=1000)
    assert fleet.holding() == {("daily_cost", "total", ""): pytest.approx(20.1)}


def test_other_thresholds_hold_at_once_and_keep_what_was_spent_today(clock: Clock) -> None:
    fleet = Publishers(clock, cost_usd_per_day=10, cost_usd_per_minute=1e9, total_cost_usd_per_minute=1e9)
    fleet.spend("one", usd=11.0)
    assert fleet.holding() == {("daily_cost", "total", ""): 11.0}
    limits = Limits.shipped().replace(cost_usd_per_minute=1e9, total_cost_usd_per_minute=1e9)
    fleet.watch.change(limits.replace(cost_usd_per_day=20))
    assert fleet.holding() == {}
    fleet.spend("one", usd=1.0)
    fleet.watch.change(limits.replace(cost_usd_per_day=12))
    assert fleet.holding() == {}
    fleet.spend("one", usd=0.5)
    assert fleet.holding() == {("daily_cost", "total", ""): 12.5}


def test_batches_count_in_budgets_and_in_no_rate(clock: Clock) -> None:
    fleet = Publishers(clock, cost_usd_per_day=10, cost_usd_per_minute=2, total_cost_usd_per_minute=2)
    fleet.spend("one", usd=20.0, tier="batch")
    assert fleet.holding() == {("daily_cost", "total", ""): 20.0}


def test_an_expensive_call_is_nothing_for_the_fleet(clock: Clock) -> None:
    fleet = Publishers(clock, request_cost_usd=0.01, request_output_tokens=1, cost_usd_per_day=1e9)
    fleet.spend("one", usd=0.5, tokens=5000, calls=1)
    assert fleet.holding() == {}


def test_the_day_survives_a_restart(clock: Clock) -> None:
    fleet = Publishers(clock, cost_usd_per_day=10, cost_usd_per_minute=1e9, total_cost_usd_per_minute=1e9)
    fleet.spend("one", usd=9.0)
    fleet.holding()
    saved = fleet.watch.dump()
    fleet.watch = FleetWatch(fleet.fleet, Limits.shipped().replace(cost_usd_per_day=10), clock)
    fleet.watch.load(saved)
    assert fleet.holding() == {}
    fleet.spend("one", usd=2.0)
    assert ("daily_cost", "total", "") in fleet.holding()


def test_a_clock_that_is_put_back_stops_nothing(clock: Clock) -> None:
    fleet = Publishers(clock, cost_usd_per_day=10, cost_usd_per_minute=1e9, total_cost_usd_per_minute=1e9)
    fleet.spend("one", usd=1.0)
    fleet.holding()
    clock.now -= 3600
    fleet.spend("one", usd=10.0)
    assert ("daily_cost", "total", "") in fleet.holding()
