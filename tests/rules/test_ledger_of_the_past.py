"""`history/ledger.py` computes what the rules record: compared with promtool, sample for sample."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter.history import ledger
from rules import ledger_cases, promtool_tests
from rules.ledger_cases import STEP, Process

HOUR_STEPS = 480
#: Totals keep what every evaluation before added, so some of them show all.
ASKED = (*range(40), *range(40, 1000, 29))


def a_random_hour(seed: int) -> list[Process]:
    """Targets that restart, crash in loops, vanish and come back; dollars are multiples of 1/64, so sums are exact."""
    chance = random.Random(seed)
    found = []
    for number in range(7):
        at = chance.choice((0, 0, 0, chance.randrange(300)))
        started = -9000.0 if at == 0 and chance.random() < 0.5 else STEP * at - chance.choice((1.0, 3.0, 130.0, 5000.0))
        life = 0
        while at < HOUR_STEPS - 20:
            length = chance.choice((1, 3, 5, 10, 17, 60, 200, 400))
            values = scrapes(chance, length)
            feature = chance.choice(("chat", "search"))
            for of, tier in (("cost_usd", "standard"), ("requests", "")):
                own = [None if value is None else value + (of == "requests") for value in values]
                found.append(Process(f"{number}-{life}", at, started, own, f"i{number}", feature, of=of, tier=tier))
            at += length + chance.choice((0, 1, 1, 2, 12, 80))
            started = STEP * at - chance.choice((1.0, 4.0, 4.0, 90.0))
            life += 1
    return found


def scrapes(chance: random.Random, length: int) -> list[float | None]:
    total, found = chance.choice((0.0, 0.0, chance.randrange(640) / 64)), []
    gap = 0
    for _ in range(length):
        total += chance.choice((0, 0, 1, 5, 30)) / 64
        gap = gap - 1 if gap else chance.choice((*[0] * 60, 1, 3, 8, 40))
        found.append(None if gap else total)
    return found if any(found) else [0.0] * length


def pages(processes: list[Process], step: int) -> list[ledger.Page]:
    """What the scrapes of one step find."""
    found: dict[tuple[str, str, str], dict[ledger.Key, float]] = {}
    shown: dict[tuple[str, str, str], Process] = {}
    for one in processes:
        inside = 0 <= step - one.first < len(one.values)
        if inside and (value := one.values[step - one.first]) is not None:
            place = one.job, one.instance, one.life
            shown[place] = one
            counters = found.setdefault(place, {})
            if value:
                counters[one.of, one.feature, "opus", one.tier] = value
    now = float(STEP * step)
    return [
        ledger.Page(now, place[:2], place[2], one.started + one.clock, now - one.started, found[place])
        for place, one in shown.items()
    ]


def by_python(processes: list[Process], steps: int, skipped: range = range(0)) -> dict[int, ledger.Evaluation]:
    computed = ledger.ReplayedLedger(ledger.Durations.of(STEP))
    found = {}
    for step in range(steps):
        computed.see(pages(processes, step))
        if step not in skipped:
            found[step] = computed.evaluate(float(STEP * step))
    return found


def expectation(at: int, name: str, samples: dict[tuple[ledger.Key, str], float]) -> dict[str, Any]:
    return {
        "eval_time": f"{at}s",
        "expr": f"round({name}, 0.000001)",
        "exp_samples": [
            {"labels": selector(key, when), "value": round(value, 6)} for (key, when), value in samples.items()
        ],
    }


def selector(key: ledger.Key, when: str) -> str:
    labels = dict(zip(ledger.BY, key, strict=True)) | {"when": when}
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items() if value) + "}"


def compared(processes: list[Process], steps: int) -> dict[str, Any]:
    found = by_python(processes, steps)
    asked = [step for step in ASKED if step < steps]
    case = ledger_cases.case(processes)
    case["promql_expr_test"] = [
        expectation(STEP * step, name, samples)  # type: ignore[arg-type]
        for step in asked
        for name, samples in (
            ("anthropic_ledger:total", found[step].totals),
            ("last_over_time(anthropic_ledger:increment[1ms])", found[step].increments),
        )
    ]
    return case


def awkward() -> list[Process]:
    """Two scrapes of one process, two processes behind one address, and one that is away for longer than the memory."""
    quarters = [step / 4 for step in range(900)]
    return [
        Process("twice", 0, -10, quarters),
        Process("twice", 0, -10, quarters[:500], "b", job="shop/checkout"),
        Process("first", 3, 1, [step / 8 if step % 3 else None for step in range(700)], "c"),
        Process("second", 3, -900, [step / 2 if not step % 3 else None for step in range(700)], "c"),
        Process("away", 0, -9000, [*quarters[:20], *[None] * 858, 500.0, 501.0], "d", feature="search"),
        Process("found late", 100, 200, quarters[:50], "e", clock=3600),
    ]


def verdict(promtool: Any, folder: Any, case: Any) -> str:
    return promtool_tests.run(promtool, folder, promtool_tests.Case("drawn", ("ledger",), {"name": "drawn"} | case))


@pytest.mark.parametrize("seed", range(2))
def test_totals_of_a_random_hour_are_those_of_the_rules(promtool: Path, tmp_path: Path, seed: Any) -> None:
    processes = a_random_hour(seed)
    found = by_python(processes, HOUR_STEPS)
    late = [amount for one in found.values() for (_, when), amount in one.increments.items() if when == ledger.LATE]
    assert sum(late) > 1
    assert verdict(promtool, tmp_path, compared(processes, HOUR_STEPS)) == ""


def counted(one: Process, steps: int) -> float:
    """What a life counted, as its scrapes show it; an old one begins with what it shows first."""
    seen = [(step, value) for step, value in enumerate(one.values) if value is not None and one.first + step < steps]
    if not seen:
        return 0.0
    (first, begins), (_, ends) = seen[0], seen[-1]
    age = STEP * (one.first + first) - one.started
    return ends - (begins if age >= 3600 or (age >= 60 and one.started < 0) else 0.0)


@pytest.mark.parametrize("seed", range(4))
def test_totals_of_a_random_hour_are_the_true_sums(seed: int) -> None:
    """Restarts, crash loops, gaps and births: exactly what was scraped, to the last 64th of a dollar."""
    processes = [one for one in a_random_hour(seed) if one.of == "cost_usd"]
    totals = by_python(processes, HOUR_STEPS)[HOUR_STEPS - 1].totals
    assert sum(totals.values()) == sum(counted(one, HOUR_STEPS) for one in processes)
    assert sum(totals.values()) > 100


def test_totals_of_awkward_processes_are_those_of_the_rules(promtool: Path, tmp_path: Path) -> None:
    assert verdict(promtool, tmp_path, compared(awkward(), 900)) == ""


def test_a_wrong_total_is_found(promtool: Path, tmp_path: Path) -> None:
    case = compared(awkward(), 100)
    case["promql_expr_test"][-2]["exp_samples"][0]["value"] += 0.25
    assert "FAILED" in verdict(promtool, tmp_path, case)


def test_the_ledger_waits_after_missed_evaluations_and_loses_nothing() -> None:
    """Evaluations from 100 s to 145 s are missed; the counter goes on at 3 dollars a minute."""
    found = by_python([Process("one", 0, -10, [step / 4 for step in range(60)])], 60, range(20, 30))
    key = (("cost_usd", "chat", "opus", "standard"), ledger.PROMPT)
    assert found[19].totals[key] == 4.75
    assert [found[step].pauses for step in (30, 31, 32, 33)] == [True, True, True, False]
    assert [found[step].totals[key] for step in (32, 33)] == [4.75, 8.25]


def test_the_ledger_begins_again_after_more_than_its_memory() -> None:
    computed = ledger.ReplayedLedger(ledger.Durations.of(STEP))
    key = ("cost_usd", "chat", "opus", "standard")
    for at, dollars in ((0.0, 1.0), (5.0, 3.0)):
        computed.see([ledger.Page(at, ("a",), "one", -1.0, at + 1, {key: dollars})])
        computed.evaluate(at)
    assert computed.evaluate(10.0).totals[key, ledger.PROMPT] == 3.0
    computed.see([ledger.Page(9000.0, ("a",), "one", -1.0, 9001.0, {key: 9.0})])
    assert computed.evaluate(9000.0).totals[key, ledger.PROMPT] == 0.0


def test_pages_are_what_each_scrape_of_a_target_shows() -> None:
    target = {"job": "anthropic", "instance": "a", "life": "one"}
    counter = {"__name__": "anthropic_ledger_total", "of": "requests", "feature": "chat", "model": "opus"}
    series = [
        (target | counter, [(5.0, 3.0), (10.0, 4.0)]),
        (target | {"__name__": "anthropic_exporter_start_timestamp_seconds"}, [(5.0, 1.0), (10.0, 1.0), (15.0, 1.0)]),
        (target | {"__name__": "anthropic_exporter_age_seconds"}, [(5.0, 4.0)]),
        (target | {"__name__": "anthropic_cost_usd_total"}, [(5.0, 171.0)]),
    ]
    place = ("instance=a", "job=anthropic")
    assert ledger.pages(series) == [
        ledger.Page(5.0, place, "one", 1.0, 4.0, {("requests", "chat", "opus", ""): 3.0}),
        ledger.Page(10.0, place, "one", 1.0, None, {("requests", "chat", "opus", ""): 4.0}),
        ledger.Page(15.0, place, "one", 1.0, None, {}),
    ]
