from __future__ import annotations

from anthropic_exporter.labels import Bounded


def test_the_first_values_are_let_in_and_the_rest_becomes_other():
    bounded = Bounded(2)
    assert [bounded.fold(v) for v in ("chat", "agent", "late", "chat", "")] == ["chat", "agent", "other", "chat", ""]


def test_an_allow_list_lets_in_nothing_else():
    bounded = Bounded(100, ["chat"])
    assert [bounded.fold(v) for v in ("chat", "agent", "")] == ["chat", "other", ""]


def test_a_value_of_10_kb_is_no_name_and_takes_no_room():
    bounded = Bounded(1)
    assert bounded.fold("x" * 10_240) == "other"
    assert bounded.fold("chat") == "chat"


def test_other_itself_takes_no_room():
    bounded = Bounded(1)
    assert bounded.fold("other") == "other"
    assert bounded.fold("chat") == "chat"
