"""`bench/detection/play.py`: which notification tells of which incident, and what was lost till then."""

from __future__ import annotations

import pytest
from bench.detection import incidents, play

from anthropic_exporter import Recorder
from anthropic_exporter.stack import Notification

EPOCH = 1_795_262_400.0


@pytest.fixture
def plays() -> dict[str, play.Play]:
    return {one.feature: one for one in play.plays(2, [], 300.0, 1)}


def notification(alertname: str, fired_at: int, **labels: str) -> Notification:
    return Notification(alertname, "firing", {"alertname": alertname, **labels}, {}, EPOCH + fired_at, EPOCH + fired_at)


def test_every_incident_is_played_with_each_copy_at_its_own_second(plays: dict[str, play.Play]) -> None:
    assert len(plays) == 2 * len(incidents.INCIDENTS)
    assert 300 <= plays["cache-lost-1"].at < 320
    assert 60 <= plays["slow-creep-1"].at < 80
    assert plays["cache-lost-1"].at != plays["cache-lost-2"].at
    assert plays["429-storm-2"].incident.broken[1].model == "claude-opus-4-8"


def test_a_notification_describes_only_the_incident_that_its_labels_name(plays: dict[str, play.Play]) -> None:
    heard = [notification("AnthropicCacheMissWaste", 330, feature="cache-lost-1", model="claude-opus-5-5")]
    assert play.notifications_of(plays["cache-lost-1"], "", heard, EPOCH) == heard
    assert play.notifications_of(plays["cache-lost-2"], "", heard, EPOCH) == []
    storm = [notification("AnthropicRateLimited", 330, model="claude-opus-5")]
    assert play.notifications_of(plays["429-storm-1"], "", storm, EPOCH) == storm
    assert play.notifications_of(plays["429-storm-2"], "", storm, EPOCH) == []
    down = [notification("AnthropicExporterDown", 330, instance="127.0.0.1:9")]
    assert play.notifications_of(plays["exporter-killed-1"], "127.0.0.1:9", down, EPOCH) == down
    assert play.notifications_of(plays["exporter-killed-2"], "127.0.0.1:8", down, EPOCH) == []


def test_an_alert_of_another_name_or_before_the_incident_reports_nothing_of_it(plays: dict[str, play.Play]) -> None:
    other = notification("AnthropicLatencyHigh", 330, feature="cache-lost-1", model="claude-opus-5-5")
    early = notification("AnthropicCacheMissWaste", 299, feature="cache-lost-1", model="claude-opus-5-5")
    assert play.notifications_of(plays["cache-lost-1"], "", [other, early], EPOCH) == []
    found = play.result(plays["cache-lost-1"], "", [early], EPOCH, Recorder(registry=None))
    assert found.delivered is None
    assert found.early == ("AnthropicCacheMissWaste",)


def test_lost_are_the_dollars_above_what_was_usual(plays: dict[str, play.Play]) -> None:
    lost = play.lost_usd(plays["cache-lost-1"], 60.0, Recorder(registry=None))
    assert 4.0 < lost < 8.0
    assert play.lost_usd(plays["latency-spike-1"], 60.0, Recorder(registry=None)) < 0.05


def test_dollars_without_a_price_are_unknown(plays: dict[str, play.Play], caplog: pytest.LogCaptureFixture) -> None:
    assert play.lost_usd(plays["unknown-model-1"], 10.0, Recorder(registry=None)) is None


def test_an_incident_without_an_alert_is_1(plays: dict[str, play.Play], capsys: pytest.CaptureFixture[str]) -> None:
    told = play.Result(plays["cache-lost-1"], "AnthropicCacheMissWaste", 10.0, 10.5, 0.8, ())
    silent = play.Result(plays["cache-lost-2"], "", None, None, None, ())
    assert play.report([told, told]) == 0
    assert play.report([told, silent]) == 1
    assert "| cache lost | AnthropicCacheMissWaste 1 | 10.0 s (10.0) | 10.5 s (10.5) | $0.80 (0.80) |" in (
        capsys.readouterr().out
    )
