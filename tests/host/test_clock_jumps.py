"""The clock of a host is set forward and back, as by NTP after a boot or when a virtual machine resumes."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anthropic_exporter.metrics import families as f
from anthropic_exporter.metrics.stores import merge
from anthropic_exporter.metrics.stores.merge import StoredGauge
from host.workers import Worker, scrape, total, wait_for

#: What any module of the process reads as the time.
CLOCK = """
    import time
    real, ahead = time.time, [0.0]
    time.time = lambda: real() + ahead[0]
"""
HOUR, DAY = 3_600, 86_400
JUMPS = (HOUR, -DAY, 2 * DAY, 0)
NOW = 1_795_262_400.0


@pytest.fixture
def jumping(port: int, folder: Path) -> Iterator[Callable[[int], list[Worker]]]:
    """That many workers on one host."""
    with contextlib.ExitStack() as owned:

        def start(count: int) -> list[Worker]:
            found = []
            for _ in range(count):
                found.append(worker := Worker(port, folder, CLOCK))
                owned.callback(end, worker)
            for one in found if count > 1 else ():
                wait_for(lambda one=one: one.ask("recorder.membership.is_shared") == "True")
            return found

        yield start


def end(worker: Worker) -> None:
    if worker.process.poll() is None:
        worker.kill()


def set_clocks(workers: list[Worker], ahead: int) -> None:
    for one in workers:
        one.ask(f"ahead.__setitem__(0, {ahead})")


def gauge(text: str, name: str) -> list[float]:
    return [float(value) for value in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)]


def created(text: str) -> list[str]:
    return re.findall(r"^(anthropic_(?:requests|tokens|cost_usd)_created\{.*\} \S+)$", text, re.MULTILINE)


WHERE = "sys.modules['anthropic_exporter.attribution'].Attribution('chat', '')"
BEGIN = f"recorder.begin(1, 'claude-opus-5-5', {WHERE})"
RECORD = "recorder.record(made(7)._replace(started_at=time.time() - 1.5))"


@pytest.mark.parametrize("count", [1, 3])
def test_counters_only_grow_and_gauges_stay_sane(jumping: Callable[[int], list[Worker]], port: int, count: int) -> None:
    workers = jumping(count)
    newest = 0.0
    began: list[str] = []
    for one in workers:
        one.ask(BEGIN)  # one request each is in flight over all of it
    for jump, ahead in enumerate((0, *JUMPS)):
        set_clocks(workers, ahead)
        for one in workers:
            one.ask(RECORD)
        wait_for(lambda jump=jump: total(scrape(port)) == count * (jump + 1))
        text = scrape(port)
        assert total(text) >= newest
        newest = total(text)
        began = began or created(text)
        assert set(began) <= set(created(text))
        now = time.time() + ahead
        assert gauge(text, "anthropic_exporter_age_seconds")[0] >= 0
        for name in (f.OLDEST_INFLIGHT.name, f.LONGEST_SILENCE.name):
            (age,) = gauge(text, name)
            assert 0 <= age <= max(0, ahead) + 120
        assert gauge(text, f.REQUEST_OUTPUT_TOKENS_MAX.name) == [7.0]

        def is_recent(now: float = now) -> bool:
            (last,) = gauge(scrape(port), f.LAST_RECORD.name)
            return now - 60 < last < now + 60

        assert wait_for(is_recent)
    assert total(scrape(port), "anthropic_tokens_total") == count * 5 * 1_007


def test_a_restart_after_the_clock_was_set_back_continues(jumping: Callable[[int], list[Worker]], port: int) -> None:
    (first,) = jumping(1)
    set_clocks([first], DAY)
    first.ask(RECORD)
    before = created(wait_for(lambda: total(scrape(port)) == 1 and scrape(port)))
    first.stop()
    (second,) = jumping(1)
    second.ask(RECORD)
    text = wait_for(lambda: total(scrape(port)) == 2 and scrape(port))
    assert {one.partition(" ")[0] for one in before} <= {one.partition(" ")[0] for one in created(text)}
    (last,) = gauge(text, f.LAST_RECORD.name)
    assert last < time.time() + 60


# --- what processes left behind that ended before the clock was set back


@pytest.mark.parametrize(
    ("family", "stored", "shown"),
    [
        # the largest request of a minute that is a day ahead, and that of this minute; nothing of this minute
        (f.REQUEST_COST_MAX, [(9.0, DAY, False), (0.5, -10, True)], 0.5),
        (f.REQUEST_COST_MAX, [(9.0, DAY, False), (0.5, -90, False)], 0.0),
        (f.REQUEST_COST_MAX, [(9.0, -10, False), (0.5, 1, True)], 9.0),
        # the newest rate limits are those of this clock, if there are any
        (f.RATELIMIT_REMAINING, [(100.0, DAY, True), (40.0, -10, True), (50.0, -20, True)], 40.0),
        (f.RATELIMIT_REMAINING, [(100.0, DAY, True)], 100.0),
        (f.LAST_RECORD, [(NOW + DAY, DAY, False), (NOW - 900, 0, True)], NOW - 900),
        (f.LAST_RECORD, [(NOW + DAY, DAY, False)], NOW + DAY),
        # an age is never negative
        (f.OLDEST_INFLIGHT, [(5.0, DAY, True)], 0.0),
        (f.OLDEST_INFLIGHT, [(5.0, DAY, True), (5.0, -5, True)], 5.0),
    ],
)
def test_gauges_of_another_time_do_not_stay(
    family: f.Family, stored: list[tuple[float, float, bool]], shown: float
) -> None:
    values = [StoredGauge(value, NOW + at, alive) for value, at, alive in stored]
    assert merge._GAUGE_MERGES.get(family.name, merge._newest)(values, NOW) == shown
