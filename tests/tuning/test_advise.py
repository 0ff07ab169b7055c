"""Planted waste whose true dollars are known: the same traffic once as it is, once with the change made."""

from __future__ import annotations

import datetime as dt
import io
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from bench.tuning import jobs_and_people
from rich.console import Console

import histories
import printed
from anthropic_exporter import Recorder
from anthropic_exporter.commands.main import run
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.tuning.advice import items, jobs, models, show
from anthropic_exporter.tuning.advice.usage import Usage
from support import Clock
from tuning import wasteful

START = 1_795_392_000.0  # Monday, 2026-11-23T00:00:00Z
DAY = 86_400
MONTH_DAYS = 30.4375
SCRAPE_SECONDS = 300
PLANTED = {
    "support": ("uncached_prefix", wasteful.uncached_prefix),
    "agent": ("uncached_prefix", wasteful.uncached_history),
    "poll": ("cache_lifetime", wasteful.short_lifetime),
    "documents": ("cache_lifetime", wasteful.long_lifetime),
    "clock": ("unread_cache_writes", wasteful.unread_writes),
    "labels": ("batch", wasteful.nightly),
    "minutes": ("long_prompt", wasteful.long_prompts),
    "quick": ("fast_mode", wasteful.fast),
    "legacy": ("model", wasteful.older_model),
    "at home": ("region", wasteful.region),
    "essay": ("cut_off_output", wasteful.cut_off),
    "loop": ("overlong_output", wasteful.overlong),
}


def sent(make: Any, feature: Any, *, tidy: Any) -> Any:
    return sorted(make(random.Random(feature), tidy), key=lambda one: one.at)


def spent(make: Any, feature: Any, *, tidy: Any) -> Any:
    """Dollars of a day, by the wire and the price book."""
    clock = Clock(START)
    application = wasteful.Application(Recorder(registry=None, clock=clock, strict=True), clock)
    for one in sent(make, feature, tidy=tidy):
        clock.now = START + one.at
        application.send(*one[1:])
    return application.usd


def truth(feature: Any) -> Any:
    kind, make = PLANTED[feature]
    saved = spent(make, feature, tidy=False) - spent(make, feature, tidy=True)
    return MONTH_DAYS * (saved / 2 if kind == "batch" else saved)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Prometheus with a wasteful Monday and a tidy Tuesday."""
    with histories.prometheus(tmp_path_factory.mktemp("prometheus")) as url:
        for number, tidy in enumerate((False, True)):
            fleet = histories.Fleet(START + number * DAY)
            fleet.start("app", advise=True, features=[*PLANTED], models=["claude-opus-5-5"])
            application = wasteful.Application(fleet["app"], fleet.clock)
            made = {name: make for name, (_, make) in PLANTED.items()} | {"classify": wasteful.interactive}
            waiting = [one for name, make in made.items() for one in sent(make, name, tidy=tidy)]
            play(url, fleet, application, START + number * DAY, sorted(waiting, key=lambda one: -one.at))
        yield url


def play(url: Any, fleet: Any, application: Any, begin: Any, waiting: Any) -> None:
    def step(_since: Any, now: Any) -> None:
        while waiting and begin + waiting[-1].at <= now:
            one = waiting.pop()
            fleet.clock.now = begin + one.at
            application.send(*one[1:])
        fleet.clock.now = now

    fleet.scrape()
    histories.write(url, fleet, begin + DAY, SCRAPE_SECONDS, step)


@pytest.fixture
def advise(days: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COLUMNS", "160")

    def run_it(*arguments: Any, until: Any = "2026-11-24") -> Any:
        code = run(["advise", "--prometheus", days, "--last", "1d", "--until", until, *arguments])
        return code, capsys.readouterr()

    return run_it


@pytest.mark.stack
def test_planted_waste_is_found_within_a_tenth_of_its_true_dollars(advise: Any) -> None:
    code, shown = advise("--json")
    found = json.loads(shown.out)
    assert code == 1
    assert found["days"] == pytest.approx(1.0, abs=0.01)
    saved = {(one["feature"], one["kind"]): one["usd_per_month"] for one in found["items"]}
    assert saved.keys() == {(feature, kind) for feature, (kind, _) in PLANTED.items()}
    for feature, (kind, _) in PLANTED.items():
        assert saved[feature, kind] == pytest.approx(truth(feature), rel=0.1), feature
    dollars = [one["usd_per_month"] for one in found["items"]]
    assert dollars == sorted(dollars, reverse=True)


@pytest.mark.stack
def test_json_has_every_figure_of_the_tables(advise: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", printed.WIDE)
    found = printed.same(advise, printed.advise)
    assert len(found["items"]) == len(PLANTED)


@pytest.mark.stack
def test_a_tidy_application_gets_no_advice(advise: Any) -> None:
    code, shown = advise(until="2026-11-25")
    assert "Nothing to change." in shown.out, shown.out
    assert code == 0


@pytest.mark.stack
def test_each_item_says_what_to_change_and_why(advise: Any) -> None:
    _, shown = advise("--waited-for", "labels", "--at-least", "300")
    assert "cache repeated prompts" in shown.out
    assert "at the end of what repeats: the system prompt and tools" in shown.out
    assert "x (input - cache read) - all others x (cache write" in shown.out
    assert "Source: Anthropic's pages on prompt caching and pricing" in shown.out
    assert "send as batches" not in shown.out


@pytest.mark.stack
def test_a_span_without_anything_is_one_line(advise: Any) -> None:
    code, shown = advise(until="2026-11-20")
    assert code == 2
    assert shown.err == "anthropic-exporter: nothing was recorded in this period: give --last or --until\n"


# --- jobs


def steps(*amounts: float, start: int = 0) -> dict[float, float]:
    return {START + 300 * (start + number): amount for number, amount in enumerate(amounts) if amount}


@pytest.mark.parametrize(
    ("amounts", "requests", "expected"),
    [
        # an hour at a steady pace; the first and the last step are parts
        ([0.1, *[1.0, 1.2, 0.9] * 4, 0.3], 30, 12.8),
        # a job of more than an hour; what takes minutes, and comes once, may be people who meet
        ([1.0] * 14 + [0] * 50 + [2.0, 1.0], 30, 14.0),
        # minutes at the same time of four days, and at any time of four days
        (([2.0, 1.0] + [0] * 286) * 4, 30, 12.0),
        ([2.0, 1.0] + [0] * 300 + [2.0, 1.0] + [0] * 250 + [2.0, 1.0] + [0] * 310 + [2.0, 1.0], 30, 0.0),
        # minutes at equal intervals
        (([1.0] + [0] * 5) * 8, 30, 8.0),
        # a pause of one step does not end a job
        ([1.0] * 8 + [0] + [1.0] * 8, 30, 16.0),
        # two days at one pace: a job without an end
        ([1.0] * 600, 30, 600.0),
        # most of a day, with two levels: people
        ([1.0] * 150 + [0.5] * 150, 30, 0.0),
        # people in the morning: each half hour has more than the one before
        ([0.1, 0.1, 0.2, 0.2, 0.4, 0.5, 0.8, 1.0, 1.0, 1.0, 1.0, 1.0], 30, 0.0),
        # a few requests now and then
        ([0.1, 0, 0, 0.2, 0, 0, 0, 0.1], 2, 0.0),
        ([1.0] * 20, 3, 0.0),
        ([], 0, 0.0),
    ],
)
def test_a_job_begins_at_once_and_keeps_its_pace(amounts: list[float], requests: int, expected: float) -> None:
    usd = steps(*amounts)
    assert jobs.job_usd(usd, dict.fromkeys(usd, float(requests)), 300.0) == pytest.approx(expected)


def test_a_job_among_what_people_send_is_the_plateau() -> None:
    usd = steps(*[0.1] * 40, *[1.1] * 24, *[0.1] * 40)
    requests = {at: 100.0 if amount > 1 else 4.0 for at, amount in usd.items()}
    assert jobs.job_usd(usd, requests, 300.0) == pytest.approx(24.0, rel=0.05)


@pytest.mark.parametrize("name", jobs_and_people.FAMILY)
def test_jobs_are_distinguished_from_people(name: str) -> None:
    assert jobs_and_people.found(name, 0).is_right


def test_amounts_of_a_place_are_added_up() -> None:
    found = jobs.by_place([(("m", "b"), 300.0, 1.0), (("m", "a"), 300.0, 2.0), (("m", "b"), 300.0, 3.0)])
    assert found == {("m", "a"): {300.0: 2.0}, ("m", "b"): {300.0: 4.0}}


# --- formulas


def usage(**counts: dict[tuple[str, ...], float]) -> Usage:
    names = ("tokens", "usd", "prompts", "waste", "savings", "premiums", "jobs")
    empty: dict[str, Any] = {key: {} for key in names}
    return Usage(**{"days": 30.4375, **empty, **counts})


def advice(**counts: dict[tuple[str, ...], float]) -> list[items.Item]:
    return items.items(usage(**counts), PriceBook.load(), dt.date(2026, 11, 30), 1.0)


def test_a_newer_model_is_priced_with_the_tokens_that_it_counts() -> None:
    place = ("claude-opus-4-1", "chat", "standard")
    (one,) = advice(tokens={(*place, "input"): 1_000_000.0, (*place, "output"): 100_000.0}, usd={place: 22.5})
    assert (one.kind, one.change) == ("model", "Use claude-opus-5-5, the newest model of its family.")
    # 15 + 7.5 dollars now; 1.3 million at 4 and 130,000 at 20 then
    assert one.usd_per_month == pytest.approx(22.5 - 5.2 - 2.6)
    assert one.data["tokens for the same text"] == 1.3


def test_tokens_of_models_on_the_same_side_are_the_same() -> None:
    assert models.token_ratio("claude-opus-4-7", "claude-opus-5-5") == 1.0
    assert models.token_ratio("claude-haiku-4-5", "claude-haiku-5-5") == 1.3
    assert models.token_ratio("claude-haiku-5-5", "claude-haiku-4-5") == pytest.approx(1 / 1.3)
    assert models.token_ratio("somebody-elses", "claude-opus-5-5") == 1.0


def test_the_newest_model_gets_no_advice_to_change_it() -> None:
    place = ("claude-opus-5-5", "chat", "standard")
    assert advice(tokens={(*place, "input"): 1e9}, usd={place: 4_000.0}) == []


def test_a_batch_at_half_price_stays_at_half_price() -> None:
    place = ("claude-opus-4-1", "chat", "batch")
    (one,) = advice(tokens={(*place, "input"): 1_000_000.0}, usd={place: 7.5})
    assert one.usd_per_month == pytest.approx(7.5 - 2.6)


def test_of_two_lifetimes_the_better_one_is_advised() -> None:
    place = ("claude-opus-5-5", "chat")
    counts: dict[str, Any] = {
        (*place, "uncached", "5m"): 10e6,  # type: ignore[dict-item]
        (*place, "uncached", "1h"): 10e6,  # type: ignore[dict-item]
        (*place, "uncached", "new"): 1e6,  # type: ignore[dict-item]
    }
    (one,) = advice(prompts=counts, tokens={(*place, "standard", "input"): 21e6}, usd={(*place, "standard"): 84.0})  # type: ignore[arg-type]
    # 20 million at 4 - 0.2 less, 1 million at 8 - 4 more; with five minutes 38 - 11 x 1
    assert one.usd_per_month == pytest.approx(76.0 - 4.0)
    assert '"ttl": "1h"' in one.change


def test_savings_that_are_too_small_are_left_out() -> None:
    place = ("claude-opus-5-5", "chat")
    waste = {(*place, "cut_off"): 1.9}
    counts: dict[str, Any] = {"tokens": {(*place, "standard", "output"): 5e6}, "usd": {(*place, "standard"): 100.0}}
    assert advice(waste=waste, **counts) == []  # type: ignore[arg-type]
    assert [one.kind for one in advice(waste={(*place, "cut_off"): 2.1}, **counts)] == ["cut_off_output"]


def test_models_without_a_price_are_named() -> None:
    read = usage(tokens={("claude-unheard-of", "chat", "standard", "input"): 1e6})
    unpriced = items.unpriced(read, PriceBook.load(), dt.date(2026, 11, 30))
    shown = io.StringIO()
    Console(file=shown, width=200).print(show.table([], read, unpriced))
    assert "Not analysed, without a price: claude-unheard-of. Add prices with --prices." in shown.getvalue()
    assert show.as_json([], read, unpriced)["unpriced_models"] == ["claude-unheard-of"]


def test_without_a_watching_recorder_it_says_what_it_cannot_judge() -> None:
    place = ("claude-opus-5-5", "chat", "standard")
    shown = io.StringIO()
    read = usage(tokens={(*place, "input"): 1e6}, usd={place: 4.0})
    Console(file=shown, width=200).print(show.table([], read))
    assert "Recorder(advise=True)" in shown.getvalue()
