"""Newest for each identity, then the sum: whatever a queue does to messages, totals are right and never fall."""

from __future__ import annotations

import random as randomness
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anthropic_exporter.collector import merge
from anthropic_exporter.collector.merge import Fleet, Patience
from anthropic_exporter.transport.cells_message import CellsMessage, Definition, Layout
from fleet_messages import COST, INFLIGHT, MODEL, REQUESTS, SPEED, message, requests, total
from support import NOON

NAME = "anthropic_requests_total"
PATIENCE = Patience(99.0, 1.0, 1000.0)


@pytest.fixture
def fleet() -> Fleet:
    return Fleet("life-1")


def test_publishers_are_added_up(fleet: Fleet) -> None:
    fleet.take(message(requests(), identity="one", cells={0: 171.0}), 0.0)
    fleet.take(message(requests(), identity="two", cells={0: 29.0}), 0.0)
    assert total(fleet, NAME) == 200.0


def test_a_repeated_message_adds_nothing(fleet: Fleet) -> None:
    once = message(requests(), cells={0: 171.0})
    fleet.take(once, 0.0)
    fleet.take(once, 0.0)
    assert total(fleet, NAME) == 171.0


def test_an_overtaken_message_takes_nothing_back(fleet: Fleet) -> None:
    fleet.take(message(requests(), sequence=1, cells={0: 10.0}), 0.0)
    fleet.take(message(sequence=3, cells={0: 171.0}), 0.0)
    fleet.take(message(sequence=2, cells={0: 50.0}), 0.0)
    assert total(fleet, NAME) == 171.0
    assert fleet.counts.gaps == 1


def test_a_lost_message_is_made_up_for_by_the_next(fleet: Fleet) -> None:
    fleet.take(message(requests(), sequence=1, cells={0: 10.0}), 0.0)
    fleet.take(message(sequence=9, cells={0: 171.0}), 0.0)
    assert (total(fleet, NAME), fleet.counts.gaps) == (171.0, 7)


def test_a_publisher_that_restarts_with_the_same_cells_adds_only_growth(fleet: Fleet) -> None:
    chat, search = requests("chat", first=0), requests("search", first=1)
    fleet.take(message(chat, search, epoch=1, cells={0: 100.0, 1: 7.0}), 0.0)
    again = (requests("search", first=0), requests("chat", first=1))  # another numbering
    fleet.take(message(*again, epoch=2, cells={0: 7.0, 1: 171.0}, full=True), 0.0)
    assert total(fleet, NAME, feature="chat") == 171.0
    assert total(fleet, NAME, feature="search") == 7.0


def test_a_message_of_the_numbering_before_is_still_understood(fleet: Fleet) -> None:
    fleet.take(message(requests("chat"), requests("search", first=1), epoch=1, cells={0: 1.0}), 0.0)
    fleet.take(message(requests("search"), epoch=2, cells={0: 5.0}), 0.0)
    fleet.take(message(epoch=1, sequence=2, cells={0: 171.0}), 0.0)
    assert total(fleet, NAME, feature="chat") == 171.0
    assert total(fleet, NAME, feature="search") == 5.0


def test_cells_without_a_definition_are_counted_and_repaired_by_the_next_full_message(fleet: Fleet) -> None:
    fleet.take(message(requests(), cells={0: 1.0}), 0.0)
    fleet.take(message(sequence=3, cells={1: 40.0}), 0.0)
    assert (total(fleet, NAME), fleet.counts.undefined_cells) == (1.0, 1)
    full = message(requests(), requests("search", first=1), sequence=4, cells={0: 1.0, 1: 50.0}, full=True)
    fleet.take(full, 0.0)
    assert total(fleet, NAME) == 51.0


def test_a_family_of_a_newer_version_is_counted_and_left_out(fleet: Fleet) -> None:
    newer = Definition(1, Layout("anthropic_telepathy_total", "counter", ("model",)), (MODEL,), NOON)
    fleet.take(message(requests(), newer, cells={0: 171.0, 1: 5.0}), 0.0)
    assert (total(fleet, NAME), fleet.counts.ignored_cells) == (171.0, 1)


def test_a_histogram_with_other_buckets_is_counted_and_left_out(fleet: Fleet) -> None:
    other = SPEED._replace(buckets=(1.0, 2.0))
    fleet.take(message(Definition(0, other, (MODEL,), NOON), cells={0: 3.0, 3: 2.5}), 0.0)
    assert (total(fleet, SPEED.family), fleet.counts.ignored_cells) == (0.0, 2)


def test_labels_are_matched_by_name(fleet: Fleet) -> None:
    newer = Layout(NAME, "counter", ("region", "outcome", "user", "feature", "model"))
    fleet.take(message(Definition(0, newer, ("eu", "success", "acme", "chat", MODEL), NOON), cells={0: 171.0}), 0.0)
    assert total(fleet, NAME, feature="chat", user="acme", model=MODEL, outcome="success", service="api") == 171.0


def test_a_label_that_an_older_version_does_not_have_is_empty(fleet: Fleet) -> None:
    older = Layout(NAME, "counter", ("model", "outcome"))
    fleet.take(message(Definition(0, older, (MODEL, "success"), NOON), cells={0: 171.0}), 0.0)
    assert total(fleet, NAME, feature="", user="") == 171.0


def test_a_histogram_is_added_up_bucket_by_bucket(fleet: Fleet) -> None:
    speed = Definition(0, SPEED, (MODEL,), NOON)
    fleet.take(message(speed, identity="one", cells={4: 2.0, 11: 101.5}), 0.0)
    fleet.take(message(speed, identity="two", cells={4: 3.0, 10: 1.0, 11: 500.0}), 0.0)
    (target,) = fleet.series.targets
    assert fleet.series.totals[target.start : target.start + 12] == [0, 0, 0, 0, 5.0, 0, 0, 0, 0, 0, 1.0, 601.5]


@pytest.mark.parametrize("wrong", [float("inf"), float("nan"), -5.0, 1e301])
def test_a_value_that_no_counter_has_adds_nothing(fleet: Fleet, wrong: float) -> None:
    fleet.take(message(requests(), cells={0: 171.0}), 0.0)
    fleet.take(message(sequence=2, cells={0: wrong}), 0.0)
    fleet.take(message(sequence=3, cells={0: 172.0}), 0.0)
    assert total(fleet, NAME) == 172.0


def test_dollars_of_many_messages_stay_exact_to_the_last_bit(fleet: Fleet) -> None:
    cost = Definition(0, COST, (MODEL, "chat", "", "standard", "input"), NOON)
    for number in range(1, 10_001):
        fleet.take(message(*((cost,) if number == 1 else ()), sequence=number, cells={0: number / 10}), 0.0)
    assert total(fleet, COST.family) == 1000.0


def test_gauges_are_those_of_the_newest_message(fleet: Fleet) -> None:
    inflight = Definition(0, INFLIGHT, (MODEL, "chat"), NOON)
    fleet.take(message(inflight, sequence=2, cells={0: 3.0}), 0.0)
    fleet.take(message(sequence=1, cells={0: 9.0}), 0.0)
    assert list(fleet.members["one"].gauges.values()) == [3.0]
    fleet.take(message(sequence=3, cells={0: float("nan")}), 0.0)
    assert fleet.members["one"].gauges == {}


def test_the_cells_of_a_member_that_is_long_gone_are_dropped_and_its_share_stays(fleet: Fleet) -> None:
    fleet.take(message(requests(), cells={0: 171.0}), 0.0)
    fleet.forget(100.0, PATIENCE)
    assert (total(fleet, NAME), fleet.members) == (171.0, {})


def test_one_that_was_forgotten_and_comes_back_is_not_counted_again(fleet: Fleet) -> None:
    fleet.take(message(requests(), cells={0: 171.0}), 0.0)
    fleet.forget(100.0, PATIENCE)
    fleet.take(message(requests(), sequence=2, cells={0: 180.0}, full=True), 101.0)
    fleet.take(message(sequence=3, cells={0: 185.0}), 102.0)
    assert (total(fleet, NAME), fleet.counts.rebased) == (176.0, 1)


def test_a_host_that_stopped_cleanly_comes_back_after_a_weekend(fleet: Fleet) -> None:
    fleet.take(message(requests(), cells={0: 171.0}, final=True, lasting=True), 0.0)
    fleet.forget(500.0, PATIENCE)
    fleet.take(message(requests(), epoch=2, cells={0: 180.0}, lasting=True), 501.0)
    assert (total(fleet, NAME), fleet.counts.rebased) == (180.0, 0)


def test_cells_that_move_to_another_identity_are_counted_once(fleet: Fleet) -> None:
    fleet.take(message(requests(), requests("search", first=1), identity="one", cells={0: 171.0, 1: 5.0}), 0.0)
    fleet.take(message(requests(), identity="host", cells={0: 20.0}), 0.0)
    moved = message(identity="host", sequence=2, cells={0: 200.0}, replaces=("one",))
    fleet.take(moved, 1.0)
    assert (total(fleet, NAME, feature="chat"), total(fleet, NAME, feature="search")) == (200.0, 5.0)
    fleet.take(message(requests("search", first=1), identity="host", sequence=3, cells={1: 7.0}), 2.0)
    assert total(fleet, NAME, feature="search") == 7.0
    assert list(fleet.members) == ["host"]


def test_messages_of_a_replaced_identity_that_come_late_add_nothing(fleet: Fleet) -> None:
    fleet.take(message(requests(), identity="host", cells={0: 200.0}, replaces=("one",)), 0.0)
    assert fleet.take(message(requests(), identity="one", cells={0: 171.0}), 1.0)
    assert total(fleet, NAME) == 200.0


def test_histograms_move_as_well(fleet: Fleet) -> None:
    speed = Definition(0, SPEED, (MODEL,), NOON)
    fleet.take(message(speed, identity="one", cells={0: 3.0, 11: 12.5}), 0.0)
    fleet.take(message(speed, identity="host", cells={0: 4.0, 2: 1.0, 11: 40.0}, replaces=("one",)), 1.0)
    assert total(fleet, SPEED.family) == 5.0


def test_what_replaces_one_that_was_forgotten_starts_from_what_it_says(fleet: Fleet) -> None:
    fleet.take(message(requests(), identity="one", cells={0: 171.0}), 0.0)
    fleet.forget(100.0, PATIENCE)
    fleet.take(message(requests(), identity="host", cells={0: 180.0}, replaces=("one",), full=True), 101.0)
    fleet.take(message(identity="host", sequence=2, cells={0: 185.0}, replaces=("one",)), 102.0)
    assert (total(fleet, NAME), fleet.counts.rebased) == (176.0, 1)


def test_members_are_bounded(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "MOST_MEMBERS", 2)
    for name in ("one", "two", "three"):
        fleet.take(message(requests(), identity=name, cells={0: 1.0}), 0.0)
    assert (total(fleet, NAME), fleet.counts.refused_members) == (2.0, 1)


def test_series_are_bounded_and_totals_stay_exact() -> None:
    fleet = Fleet("life", most_series=10)
    for number in range(300):
        fleet.take(message(requests(f"f{number}", f"u{number}"), identity=str(number), cells={0: 1.0}), 0.0)
    assert total(fleet, NAME) == 300.0
    assert len(fleet.series.targets) <= 12
    assert fleet.series.overflow == {"service": 0, "model": 0, "feature": 390, "user": 290}


def test_services_are_distinguished(fleet: Fleet) -> None:
    fleet.take(message(requests(), identity="one", service="api", cells={0: 171.0}), 0.0)
    fleet.take(message(requests(), identity="two", service="batch", cells={0: 29.0}), 0.0)
    assert total(fleet, NAME, service="api") == 171.0
    assert total(fleet, NAME, service="batch") == 29.0


def test_what_a_partitioned_host_brings_is_late(fleet: Fleet) -> None:
    fleet.take(message(requests(), sequence=1, sent_at=NOON, cells={0: 1.0}), 0.0)
    fleet.take(message(sequence=2, sent_at=NOON + 600, cells={0: 171.0}), 600.0)
    assert (total(fleet, NAME), fleet.late) == (171.0, {0: 170.0})


def test_the_clock_of_a_host_may_be_an_hour_off(fleet: Fleet) -> None:
    fleet.take(message(requests()._replace(created=NOON - 3600), sent_at=NOON - 3600, cells={0: 1.0}), 0.0)
    fleet.take(message(sequence=2, sent_at=NOON - 3599, cells={0: 171.0}), 1.0)
    assert fleet.late == {}


def test_a_clock_that_jumps_changes_no_total(fleet: Fleet) -> None:
    """Forward, growth is late for once; back, it is not. Silence is measured by the collector's own clock."""
    for sequence, (sent_at, value) in enumerate(((0, 1.0), (3600, 50.0), (3601, 60.0), (-7200, 171.0)), 1):
        defined = () if sequence > 1 else (requests(),)
        fleet.take(message(*defined, sequence=sequence, sent_at=NOON + sent_at, cells={0: value}), float(sequence))
    assert (total(fleet, NAME), fleet.late) == (171.0, {0: 49.0})
    assert fleet.members["one"].heard_at == 4.0


# -- properties: a queue may lose, repeat and reorder

publishers = st.lists(
    st.lists(st.dictionaries(st.integers(0, 3), st.integers(0, 50), max_size=4), min_size=1, max_size=8),
    min_size=1,
    max_size=3,
)


def story_of(
    index: int, steps: list[dict[int, int]], restarts: set[int]
) -> tuple[list[CellsMessage], CellsMessage, list[float]]:
    """The messages of one publisher: values grow; it starts again where `restarts` says, with another numbering."""
    names = ["a", "b", "c", "d"]
    cells, epoch, sequence, order, made = [0.0] * 4, 0, 0, None, []
    for number, step in enumerate(steps):
        for cell, more in step.items():
            cells[cell] += more
        if order is None or number in restarts:
            epoch, sequence = epoch + 1, 0
            order = [(one + epoch) % 4 for one in range(4)]
        sequence += 1
        defined = [requests(names[cell], first=first) for first, cell in enumerate(order)]
        values = {first: cells[cell] for first, cell in enumerate(order) if sequence == 1 or cell in step}
        made.append(
            message(
                *(defined if sequence == 1 else ()), identity=str(index), epoch=epoch, sequence=sequence, cells=values
            )
        )
    defined = [requests(names[cell], first=first) for first, cell in enumerate(order)]
    final = {first: cells[cell] for first, cell in enumerate(order)}
    last = message(*defined, identity=str(index), epoch=epoch, sequence=sequence + 1, cells=final, full=True)
    return made, last, cells


@settings(deadline=None)
@given(publishers, st.sets(st.integers(0, 7)), st.data())
def test_whatever_a_queue_does_totals_never_fall_and_end_exact(
    stories: list[list[dict[int, int]]], restarts: set[int], data: st.DataObject
) -> None:
    fleet, before = Fleet("life"), 0.0
    made = [story_of(index, steps, restarts) for index, steps in enumerate(stories)]
    sent = [one for messages, _, _ in made for one in messages]
    delivered = data.draw(st.lists(st.sampled_from(sent), max_size=2 * len(sent)))
    for one in [*delivered, *(last for _, last, _ in made)]:
        fleet.take(one, 0.0)
        after = total(fleet, NAME)
        assert after >= before
        before = after
    for index, name in enumerate("abcd"):
        assert total(fleet, NAME, feature=name) == sum(cells[index] for _, _, cells in made)


@given(publishers, st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(stories: list[list[dict[int, int]]], random: randomness.Random) -> None:
    made = [story_of(index, steps, set()) for index, steps in enumerate(stories)]
    sent = [one for messages, last, _ in made for one in (*messages, last)]
    shuffled = sent * 2
    random.shuffle(shuffled)
    # A message before its definitions says nothing yet; the full one at the end of each story repairs that.
    one, other = Fleet("life"), Fleet("life")
    for each in sent:
        one.take(each, 0.0)
    for each in [*shuffled, *(last for _, last, _ in made)]:
        other.take(each, 0.0)
    assert total(one, NAME) == total(other, NAME)


def test_numbers_that_a_message_repeats_count_once(fleet: Fleet) -> None:
    twice = message(requests(), cells={0: 171.0})._replace(
        numbers=array("I", [0, 0]), values=array("d", [171.0, 171.0])
    )
    fleet.take(twice, 0.0)
    assert total(fleet, NAME) == 171.0


def test_the_definition_of_requests_is_the_library_s_own() -> None:
    assert REQUESTS.labels == ("model", "feature", "user", "outcome")
