"""The catalogue of `bench/detection/incidents.py`: what the measurement and the guard's tests play."""

from __future__ import annotations

import pytest
from bench.detection import incidents

from anthropic_exporter.pricing.book import PriceBook
from support import NOON

EACH = pytest.mark.parametrize("incident", incidents.INCIDENTS, ids=lambda incident: incident.name)


@EACH
def test_calls_come_in_the_order_in_which_they_end(incident: incidents.Incident) -> None:
    seconds = [at for at, _ in incidents.recorded(incident, start=-30, end=30)]
    assert seconds == sorted(seconds)
    assert -30 < seconds[0] < 0 < seconds[-1] < 30


@EACH
def test_the_same_seed_draws_the_same_calls_and_another_seed_others(incident: incidents.Incident) -> None:
    first, same, other = (list(incidents.recorded(incident, seed=seed, end=10)) for seed in (1, 1, 2))
    assert first == same
    assert first != other


@EACH
def test_nothing_is_broken_before_second_0_and_a_step_is_there_at_once(incident: incidents.Incident) -> None:
    drawn = list(incidents.sent(incident, start=-30, end=30))
    assert not any(one.broken for one in drawn if one.seconds < 0)
    if not incident.ramp_seconds:
        first = next(one for one in drawn if one.broken)
        assert 0 <= first.seconds < 10


def test_a_creep_grows_with_its_ramp() -> None:
    creep = next(one for one in incidents.INCIDENTS if one.ramp_seconds)
    minutes = [0] * 8
    for one in incidents.sent(creep, start=-120, end=360):
        minutes[int((one.seconds + 120) // 60)] += 1
    assert 40 < minutes[1] < 80
    assert minutes[1] < minutes[4] < minutes[7]
    assert 140 < minutes[7] < 200


def test_hung_requests_are_sent_and_do_not_end() -> None:
    hung = next(one for one in incidents.INCIDENTS if one.name == "hung requests")
    assert sum(one.seconds >= 0 for one in incidents.sent(hung, end=120)) > 60
    assert all(at < 3 for at, _ in incidents.recorded(hung, end=120))


def test_ordinary_traffic_stays_below_two_dollars_a_minute_and_the_book_knows_its_models() -> None:
    book = PriceBook.load()
    for incident in incidents.INCIDENTS:
        calls = [call._replace(started_at=NOON) for at, call in incidents.recorded(incident, start=-60) if at < 0]
        bills = [book.bill(call) for call in calls]
        assert not any(None in bill.costs for bill in bills), incident.name
        assert sum(bill.total_usd for bill in bills) < 2, incident.name


def test_an_incident_is_played_on_another_model() -> None:
    storm = next(one for one in incidents.INCIDENTS if one.name == "429 storm").on("claude-opus-4-7")
    assert {call.model for _, call in incidents.recorded(storm)} == {"claude-opus-4-7"}
