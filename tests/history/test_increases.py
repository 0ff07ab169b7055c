"""Growth of counters from a real Prometheus whose processes restarted, and which was down at times itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

import histories
from anthropic_exporter.history import series
from anthropic_exporter.history.increases import increases
from anthropic_exporter.history.prometheus_api import Prometheus

pytestmark = pytest.mark.stack

START = 1_795_219_200  # 2026-11-21T00:00:00Z
STEP, SCRAPE = 300, 60
SPAN = (float(START), float(START + 7_200), float(STEP))


class Life(NamedTuple):
    """A process, scraped from one minute to another: its counter at the first and at the last, and the user it is for.

    `goes_on` says that it is the process before, of which Prometheus missed some minutes.
    """

    since: int
    until: int
    first: float
    last: float
    user: str = ""
    goes_on: bool = False


HISTORIES: dict[str, tuple[list[Life], float]] = {
    "one life": ([Life(-20, 119, 40, 240)], 200.0 - 20 * 200 / 139),
    "regained between two scrapes": ([Life(-20, 61, 100, 100), Life(62, 119, 100, 130)], 130.0),
    "above its old value between two scrapes": ([Life(-20, 61, 100, 100), Life(62, 119, 120, 130)], 130.0),
    "regained while Prometheus was down": ([Life(-20, 31, 100, 100), Life(71, 119, 150, 150)], 150.0),
    "lower after Prometheus was down": ([Life(-20, 31, 100, 100), Life(71, 119, 50, 60)], 60.0),
    "down, and no restart": ([Life(-20, 31, 100, 100), Life(71, 119, 150, 180, goes_on=True)], 80.0),
    "a restart in the step in which Prometheus returns": (
        [Life(-20, 31, 100, 100), Life(71, 72, 110, 110, goes_on=True), Life(73, 119, 5, 9)],
        19.0,
    ),
    "three restarts in one step": (
        [Life(-20, 60, 100, 100), Life(61, 62, 10, 20), Life(63, 63, 20, 20), Life(64, 119, 30, 30)],
        70.0,
    ),
    "a restart in the first step": ([Life(-20, 2, 100, 100), Life(3, 119, 100, 107)], 107.0),
    "down until after the span begins, and restarted": ([Life(-20, -9, 100, 100), Life(2, 119, 101, 107)], 107.0),
    "born in the span": ([Life(30, 119, 3, 9)], 9.0),
    "a user appears": ([Life(-20, 119, 100, 100), Life(30, 119, 3, 9, "acme")], 9.0),
    "a user appears after a restart": (
        [Life(-20, 61, 100, 100), Life(62, 119, 101, 101), Life(90, 119, 3, 9, "acme")],
        110.0,
    ),
}
#: What cannot be known without `_created`: a counter that is not lower than it was.
HIDDEN = {
    "regained between two scrapes": 30.0,
    "above its old value between two scrapes": 30.0,
    "regained while Prometheus was down": 50.0,
    "three restarts in one step": 30.0,
    "a restart in the first step": 7.0,
    "down until after the span begins, and restarted": 7.0,
    "a user appears after a restart": 10.0,
}


def written(instance: str, lives: list[Life]) -> Iterator[tuple[dict[str, str], list[tuple[float, float]]]]:
    for user in {life.user for life in lives}:
        labels = {"instance": instance, "job": "anthropic", "model": "m", "feature": "", "user": user}
        counter: list[tuple[float, float]] = []
        created: list[tuple[float, float]] = []
        for life in (one for one in lives if one.user == user):
            times = [START + SCRAPE * minute for minute in range(life.since, life.until + 1)]
            length = len(times) - 1 or 1
            counter += [(at, life.first + (life.last - life.first) * n / length) for n, at in enumerate(times)]
            born = created[-1][1] if life.goes_on else times[0] - 20.0
            created += [(at, born) for at in times]
        labels |= {"tier": "standard", "type": "input"}
        yield {"__name__": "anthropic_tokens_total", **labels}, counter
        yield {"__name__": "anthropic_tokens_created", **labels}, created


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with histories.prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        found = [one for instance, (lives, _) in HISTORIES.items() for one in written(instance, lives)]
        counters = [one for one in found if one[0]["__name__"] == "anthropic_tokens_total"]
        found += [({**labels, "job": "no created"}, points) for labels, points in counters]
        for since in range(START - 1_800, START + 7_200, 1_800):
            part = [(labels, [one for one in points if since <= one[0] < since + 1_800]) for labels, points in found]
            histories.write_series(url, [one for one in part if one[1]])
        yield Prometheus(url)


def grown(prometheus: Prometheus, job: str) -> dict[str, float]:
    found: dict[str, float] = dict.fromkeys(HISTORIES, 0.0)
    for one in increases(prometheus, series.TOKENS, ("job", "instance"), SPAN):
        if one.labels[0] == job:
            found[one.labels[1]] += one.amount
    return found


def test_each_restart_counts_from_zero(prometheus: Prometheus) -> None:
    assert grown(prometheus, "anthropic") == pytest.approx({name: true for name, (_, true) in HISTORIES.items()})


def test_without_created_a_lower_value_is_a_restart(prometheus: Prometheus) -> None:
    expected = {name: HIDDEN.get(name, true) for name, (_, true) in HISTORIES.items()}
    assert grown(prometheus, "no created") == pytest.approx(expected)


def test_growth_is_in_the_step_in_which_it_was_seen(prometheus: Prometheus) -> None:
    found: Any = [
        (round(one.until - START) // 60, one.amount)
        for one in increases(prometheus, series.TOKENS, ("job", "instance"), SPAN)
        if one.labels == ("anthropic", "three restarts in one step")
    ]
    assert found == [(65, 70.0)]
