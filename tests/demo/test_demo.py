from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from anthropic_exporter import Call, Recorder
from anthropic_exporter.demo import chart, closing, runner, story, view
from anthropic_exporter.demo.ledger import CallLog, total
from anthropic_exporter.demo.plain import PlainOutput
from anthropic_exporter.demo.play import Play, Scene
from anthropic_exporter.demo.story import Ending, Loss, Played, StoryEvent, pace
from anthropic_exporter.simulator.workload import CACHE_LOST, WORKLOAD, Incident, busy
from anthropic_exporter.stack import Notification
from support import NOON, Clock

LINKS = (
    ("Prometheus", "http://127.0.0.1:1"),
    ("Alertmanager", "http://127.0.0.1:2"),
    ("metrics", "http://127.0.0.1:3/metrics"),
)


class Deploys:
    """An application that only remembers what was deployed."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def deploy(self, incident: Incident | None, requests: int | None = None) -> None:
        self.seen.append((incident, requests) if incident else None)

    def fast_forward(self, times: float) -> None:
        self.seen.append(times)


@pytest.fixture
def clock(clock: Clock) -> Clock:
    clock.now = 0.0
    return clock


@pytest.fixture
def ledger(recorder: Recorder, clock: Clock) -> CallLog:
    found = CallLog(clock)
    recorder.subscribe(found)
    return found


@pytest.fixture
def hit(recorder: Recorder, call: Callable[..., Call]) -> Callable[..., Any]:
    return lambda: recorder.record(call(feature="chat", cache_read=50_000, cache_asked=True))


@pytest.fixture
def miss(recorder: Recorder, call: Callable[..., Call]) -> Callable[..., Any]:
    return lambda: recorder.record(call(feature="chat", cache_write_5m=50_000, cache_asked=True))


@pytest.fixture
def heard() -> list[Any]:
    return []


@pytest.fixture
def deploys() -> Deploys:
    return Deploys()


@pytest.fixture
def play(deploys: Deploys, ledger: CallLog, heard: list[Any], clock: Clock) -> Play:
    scene = Scene(45.0, 6, CACHE_LOST, WORKLOAD.features, 2.0, LINKS, NOON)
    return Play(scene, deploys, ledger, lambda: heard, clock)  # type: ignore[arg-type]


def notification(
    at: float, name: str = "AnthropicCacheMissWaste", status: str = "firing", **labels: str
) -> Notification:
    labels = {"feature": "chat", "category": "cache"} | labels
    return Notification(name, status, labels, {}, NOON + at - 0.1, NOON + at)


@pytest.fixture
def told(play: Play, clock: Clock, hit: Callable[..., Any], miss: Callable[..., Any], heard: list[Any]) -> Play:
    """The story up to 12 s after the incident: 4 misses, of which 2 had ended when the notification came."""
    hit()
    clock.now = 45.0
    assert play.step()
    for clock.now in (47.0, 50.0, 54.0, 56.0):
        miss()
    heard.append(notification(53.0))
    clock.now = 57.0
    assert play.step()
    return play


class TestLedger:
    def test_calls_are_added_over_the_time_asked_for(
        self, ledger: CallLog, clock: Clock, hit: Callable[..., Any], miss: Callable[..., Any]
    ) -> None:
        hit()
        clock.now = 10.0
        miss()
        assert total(ledger.between(0.0, 10.0)).lost_usd == pytest.approx(0.24)
        everything = total(ledger.between(-1.0, 10.0))
        assert (everything.requests, everything.hits, everything.misses) == (2, 1, 1)
        assert everything.tokens == (0, 50_000, 50_000, 0, 0)
        assert everything.cost_usd == pytest.approx(0.01 + 0.25)
        assert everything.hit_ratio == 0.5

    def test_nothing_is_nothing(self, ledger: CallLog) -> None:
        assert total(ledger.between(-1.0, 10.0)).hit_ratio is None


class TestArithmetic:
    def test_a_daily_report_comes_after_nine_hours(self) -> None:
        loss = Loss(seconds=8.0, requests=2, usd=0.48, usd_per_request=0.24, requests_per_minute=60.0)
        assert loss.until_report_usd == pytest.approx(7776.0)

    @pytest.mark.parametrize(("at", "expected"), [(0.0, 0.0), (10.0, 2.0), (30.0, 6.0), (35.0, 4.0), (70.0, 0.0)])
    def test_the_rate_is_that_of_the_window_before(self, at: float, expected: float) -> None:
        assert pace(((5.0, 1.0), (30.0, 2.0)), at, 30.0) == pytest.approx(expected)


def test_health_uses_less_than_the_shipped_budget_of_tokens_so_that_nothing_fires_before_the_incident() -> None:
    minutes = runner.DemoOptions().calm / 60
    chat, summarise, agent = busy(WORKLOAD, runner._CHAT_PER_MINUTE).features
    once = {one.name: one.system_tokens + one.question_tokens + one.max_tokens / 4 for one in (chat, summarise, agent)}
    calls = {chat.name: 1 + chat.per_minute * minutes, summarise.name: summarise.per_minute * minutes}
    calls[agent.name] = 4 * agent.per_minute * minutes
    assert sum(calls[name] * tokens for name, tokens in once.items()) < 0.95 * runner._threshold("tokens_per_day")


class TestPlay:
    def test_nothing_is_broken_before_its_time(self, play: Play, clock: Clock, deploys: Deploys) -> None:
        clock.now = 44.9
        assert play.step()
        assert deploys.seen == []
        assert (play.picture().phase, play.picture().loss) == ("calm", None)

    def test_the_incident_is_deployed_once(self, play: Play, clock: Clock, deploys: Deploys) -> None:
        for clock.now in (45.0, 46.0, 50.0):
            play.step()
        assert deploys.seen == [(CACHE_LOST, 6)]
        assert play.picture().moment(story.INCIDENT).at == 45.0

    def test_the_seconds_of_alert_and_notification_are_reported(self, told: Play) -> None:
        fired, arrived = told.picture().moment(story.FIRED), told.picture().moment(story.NOTIFIED)
        assert (round(fired.at, 3), round(arrived.at, 3)) == (52.9, 53.0)
        assert "7.9 s after the deploy" in fired.text
        assert "8.0 s" in arrived.text

    def test_the_loss_is_what_had_been_billed_when_the_notification_came(self, told: Play) -> None:
        loss = told.ending().loss
        assert (loss.seconds, loss.requests) == (pytest.approx(8.0), 2)  # type: ignore[comparison-overlap]
        assert loss.usd == pytest.approx(0.48)
        assert loss.usd_per_request == pytest.approx(0.24)
        assert loss.requests_per_minute == pytest.approx(5 / 57 * 60)
        assert (told.ending().tokens_lost, told.ending().model) == (50_000, "claude-opus-5-5")

    @pytest.mark.parametrize(
        "other",
        [
            notification(44.0),
            notification(53.0, status="resolved"),
            notification(53.0, feature="agent"),
            notification(53.0, category="latency"),
        ],
    )
    def test_other_notifications_are_not_the_one(
        self, play: Play, clock: Clock, heard: list[Any], other: Notification
    ) -> None:
        clock.now = 45.0
        play.step()
        heard.append(other)
        clock.now = 54.0
        play.step()
        assert play.notification is None

    def test_other_notifications_are_named(self, told: Play, heard: list[Notification]) -> None:
        heard.append(notification(60.0, "AnthropicCostRateHigh"))
        assert told.ending().notes == ("Also notified: AnthropicCostRateHigh",)

    def test_5_seconds_after_the_notification_the_rest_is_played_faster(
        self, told: Play, clock: Clock, deploys: Deploys
    ) -> None:
        clock.now = 57.9
        told.step()
        assert deploys.seen == [(CACHE_LOST, 6)]
        for clock.now in (58.0, 58.5):
            told.step()
        assert deploys.seen[1:] == [22.0 * 60 / 24]
        assert told.picture().phase == "forward"
        assert told.picture().moment(story.FORWARD).text == "nobody acts: the rest of 6 requests, 55 times as fast"

    def test_fast_playback_does_not_raise_the_usual_rate(
        self, told: Play, clock: Clock, miss: Callable[..., Any]
    ) -> None:
        clock.now = 58.0
        told.step()
        for clock.now in (58.1, 58.2):
            miss()
        assert told.ending().loss.requests_per_minute == pytest.approx(5 / 58 * 60)

    def test_it_ends_when_all_requests_are_played(self, told: Play, clock: Clock, miss: Callable[..., Any]) -> None:
        clock.now = 58.0
        assert told.step()
        miss()
        assert told.step()
        miss()
        assert not told.step()
        assert told.ending().played == Played(6, 6, pytest.approx(6 * 0.24), pytest.approx(6 * 0.25))  # type: ignore[arg-type]

    def test_it_ends_two_minutes_after_the_incident_however_many_were_played(self, told: Play, clock: Clock) -> None:
        clock.now = 164.9
        assert told.step()
        clock.now = 165.0
        assert not told.step()
        assert told.ending().played[:2] == (4, 6)

    def test_without_a_notification_it_waits_for_one_and_plays_on_meanwhile(
        self, play: Play, clock: Clock, miss: Callable[..., Any], deploys: Deploys
    ) -> None:
        clock.now = 45.0
        play.step()
        for clock.now in (47.0, 48.0, 49.0, 50.0, 51.0, 52.0):
            miss()
        for clock.now in (53.0, 74.9):
            assert play.step()
        assert len(deploys.seen) == 1
        for clock.now in (75.0, 164.9):
            assert play.step()
        assert len(deploys.seen) == 2
        clock.now = 165.0
        assert not play.step()
        assert not play.ending().notified

    def test_it_does_not_wait_without_a_receiver(self, play: Play, clock: Clock, miss: Callable[..., Any]) -> None:
        play._scene = play._scene._replace(left_out="no Prometheus")
        clock.now = 45.0
        play.step()
        clock.now = 60.0
        for _ in range(6):
            assert play.step()
            miss()
        assert play.picture().phase == "forward"
        assert not play.step()

    def test_a_repair_is_reported(self, told: Play, deploys: Deploys) -> None:
        told.repair()
        assert deploys.seen == [(CACHE_LOST, 6), None]
        assert told.picture().phase == "repaired"

    def test_a_picture_shows_each_feature_and_the_tokens_of_30_seconds(self, told: Play) -> None:
        picture = told.picture()
        chat = picture.features[0]
        assert (chat.name, chat.requests_per_minute, chat.hit_ratio) == ("chat", 8.0, 0.0)
        assert chat.usd_per_minute == pytest.approx(2.0)
        assert picture.tokens_per_minute["cache_write_5m"] == 400_000
        assert [line.name for line in picture.features] == ["chat", "summarise", "agent"]

    def test_the_clock_says_about_how_long_it_will_be(self, play: Play) -> None:
        assert play.picture().planned == pytest.approx(45 + 15 + 5 + 6 / 22)


def drawn(renderable: Any, width: int, height: int | None = None, *, terminal: bool = True) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height, force_terminal=terminal, color_system=None)
    if height:
        console.print(renderable, height=height)
    else:
        renderable(console)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


class TestView:
    @pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
    def test_it_fills_the_terminal_and_no_more(self, told: Play, width: int, height: int) -> None:
        lines = drawn(view.frame(told.picture()), width, height)
        assert len(lines) == height
        assert {len(line) for line in lines} == {width}

    def test_it_shows_the_incident_the_alert_the_notification_and_the_dollars(self, told: Play) -> None:
        text = "\n".join(drawn(view.frame(told.picture()), 80, 24))
        for shown in (
            "incident",
            "▲  45.0 s",
            "◆  52.9 s",
            "●  53.0 s",
            "0.96 USD lost in 4 requests",
            "until a daily report: 682 USD",
            "threshold 2.00",
        ):
            assert shown in text
        for _, url in LINKS:
            assert url in text
        for name in ("chat", "summarise", "agent", "cache read", "cache write", "400.0k"):
            assert name in text

    def test_it_names_omitted_parts(self, play: Play) -> None:
        play._scene = play._scene._replace(left_out="Prometheus", links=LINKS[2:])
        assert "skipped: Prometheus" in "\n".join(drawn(view.frame(play.picture()), 80, 24))

    @pytest.mark.parametrize(("number", "text"), [(0, "0"), (950, "950"), (12_345, "12.3k"), (2_100_000, "2.10M")])
    def test_amounts_are_short(self, number: int, text: str) -> None:
        assert story.amount(number) == text


class TestChart:
    @pytest.mark.parametrize(("value", "decades"), [(0.0, 1), (0.9, 1), (2.0, 2), (10.1, 3), (350.0, 4)])
    def test_the_scale_is_as_long_as_the_largest_value_needs(self, value: float, decades: int) -> None:
        assert chart.Scale.up_to(value).decades == decades

    def test_a_step_is_ten_times_the_one_below(self) -> None:
        scale = chart.Scale(4)
        assert [scale.level(value) for value in (0.0, 0.1, 1.0, 10.0, 1000.0, 5000.0)] == pytest.approx(
            [0, 0, 0.25, 0.5, 1, 1]
        )
        assert scale.labels(8) == {0: "0.1", 2: "1", 4: "10", 6: "100"}

    def test_calm_and_a_thousand_requests_a_minute_are_both_seen(self, play: Play) -> None:
        picture = play.picture()._replace(now=60.0, planned=60.0, spend=((10.0, 0.2), (59.0, 175.0)))
        *rows, _axis = drawn(chart.Chart(picture), 37, 9)
        heights = [sum(row[7 + column] in "▁▂▃▄▅▆▇█" for row in rows) for column in (14, 29)]
        assert heights == [2, 8]


def test_without_a_terminal_there_are_timed_lines_of_ascii(told: Play, clock: Clock) -> None:
    def show(console: Console) -> None:
        with PlainOutput(console) as screen:
            screen.show(told.picture())
            clock.now += 1.0
            screen.show(told.picture())

    lines = drawn(show, 80, terminal=False)
    *lines, tokens = lines
    assert [line.split()[2] for line in lines] == ["calm", "incident", "fired", "notified", "incident"]
    assert tokens.strip() == "tokens/min: cache read 0, cache write 400.0k, input 0, output 0"
    assert lines[-1].endswith(
        "incident  2.00 USD/min (chat 2.00, summarise 0.00, agent 0.00), cache hits 0 %, lost 0.96 USD"
    )
    assert all(line.isascii() for line in lines)


class TestClosing:
    LOSS = Loss(seconds=8.4, requests=2, usd=0.48, usd_per_request=0.24, requests_per_minute=60.0)
    PLAYED = Played(1000, 1000, 240.0, 262.5)

    def tell(self, **changes: Any) -> str:
        ending = Ending(
            (StoryEvent(45.0, "incident", "chat: x"),), self.LOSS, self.PLAYED, True, "claude-opus-5-5", 50_000
        )
        return "\n".join(drawn(lambda console: closing.tell(console, ending._replace(**changes)), 80, terminal=False))

    def test_it_shows_the_arithmetic(self) -> None:
        text = " ".join(self.tell().split())
        assert "until the notification 0.48 USD 0.14 minutes, 2 requests" in text
        assert "until a daily report, 9 h 7,776.00 USD 0.24 USD x 60/min x 540 minutes" in text
        assert "by the 1,000 requests played 240.00 USD 50,000 uncached tokens, opus-5-5" in text
        assert "Their total cost 262.50 USD" in text
        assert "Notified after 8.4 s and 0.48 USD instead of 9 h: 7,775.52 USD saved." in text
        assert "too slow" not in text

    def test_it_says_how_many_a_slow_machine_played(self) -> None:
        said = self.tell(played=Played(640, 1000, 153.6, 168.0))
        assert "Played 640 of 1,000 requests: too slow for the rest." in said

    def test_it_says_that_no_notification_arrived(self) -> None:
        assert "The notification did not arrive." in self.tell(notified=False)

    def test_it_says_what_was_left_out(self) -> None:
        text = self.tell(notified=False, left_out="Prometheus, because")
        assert "Skipped: Prometheus, because" in text
        assert "until now" in text

    @pytest.mark.parametrize("kept", [True, False])
    def test_it_says_where_to_look(self, kept: bool) -> None:
        lines = drawn(lambda console: closing.where_to_look(console, LINKS, kept=kept), 80, terminal=False)
        assert ("http://127.0.0.1:3/metrics" in "\n".join(lines)) is kept
        assert ("--keep" in lines[0]) is not kept
