"""The shipped routing on a running Alertmanager: who is told, when, in which words, and what is held back."""

from __future__ import annotations

import base64
import datetime as dt
import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest

from stack import alertmanagers
from stack.alertmanagers import alert, eventually
from stack.wire_receivers import MailServer, Web

pytestmark = pytest.mark.stack

OPUS = "claude-opus-5-5"
OUT_OF_HOURS = """      - weekdays: [saturday, sunday]
      - times:
          - {start_time: "00:00", end_time: "07:00"}
          - {start_time: "19:00", end_time: "24:00"}
"""
BEAT = "group_interval: 30s\n      repeat_interval: 50s"
SECRETS = "/etc/alertmanager/secrets"


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


def labels(name: str, severity: str, category: str, **more: str) -> dict[str, str]:
    return {"alertname": name, "severity": severity, "category": category, **more}


def told(web: Web, name: str, **wanted: str) -> bool:
    return any(
        one["alertname"] == name and wanted.items() <= one.items() for status, one in web.alerts() if status == "firing"
    )


@pytest.fixture(scope="module")
def default(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    replacements = {
        "http://exporter:9464/": f"http://{web.address}/",
        BEAT: "group_interval: 3s\n      repeat_interval: 5s",
        OUT_OF_HOURS: '      - times:\n          - {start_time: "00:00", end_time: "24:00"}\n',
    }
    with alertmanagers.running(tmp_path_factory.mktemp("default"), "alertmanager.yml", replacements) as running:
        running.send(alert(labels("AnthropicWatchdog", "none", "meter")))
        yield running


class TestTheDefault:
    """`alertmanager.yml`; the heartbeat beats ten times as fast, and it is always out of hours."""

    def suppressed(self, default: Any) -> set[tuple[str, str, str, str]]:
        return {
            tuple(one["labels"].get(key, "") for key in ("alertname", "feature", "model", "instance"))
            for one in default.alerts()
            if one["status"]["state"] == "suppressed" and one["status"]["inhibitedBy"]
        }

    def test_a_critical_alert_mutes_what_its_question_would_say_again_and_nothing_else(
        self, default: Any, web: Web
    ) -> None:
        default.send(
            alert(labels("AnthropicCostRateHigh", "critical", "cost", feature="chat", model=OPUS)),
            alert(labels("AnthropicRequestUnusuallyExpensive", "warning", "cost", feature="chat", model=OPUS)),
            alert(labels("AnthropicRequestUnusuallyExpensive", "warning", "cost", feature="search", model=OPUS)),
            alert(labels("AnthropicCostSpike", "warning", "cost", feature="chat")),
            alert(labels("AnthropicTokenSpike", "warning", "tokens", feature="chat")),
            alert(labels("AnthropicCostSpike", "warning", "cost", feature="search")),
            alert(labels("AnthropicCacheMissRateHigh", "warning", "cache", feature="chat", model=OPUS)),
            alert(labels("AnthropicCacheMissWaste", "critical", "cache", feature="search", model=OPUS)),
            alert(labels("AnthropicCacheMissRateHigh", "warning", "cache", feature="search", model=OPUS)),
            alert(labels("AnthropicMonthlyBudgetForecast", "warning", "budget")),
        )
        eventually(lambda: told(web, "AnthropicMonthlyBudgetForecast"), 40)
        assert self.suppressed(default) == {
            ("AnthropicRequestUnusuallyExpensive", "chat", OPUS, ""),
            ("AnthropicCostSpike", "chat", "", ""),
            ("AnthropicTokenSpike", "chat", "", ""),
            ("AnthropicCacheMissRateHigh", "search", OPUS, ""),
        }
        eventually(lambda: told(web, "AnthropicCacheMissRateHigh", feature="chat"), 30)
        eventually(lambda: told(web, "AnthropicCostSpike", feature="search"), 30)
        eventually(lambda: told(web, "AnthropicRequestUnusuallyExpensive", feature="search"), 40)
        assert told(web, "AnthropicCostRateHigh", feature="chat")
        assert told(web, "AnthropicCacheMissWaste", feature="search")
        assert not told(web, "AnthropicRequestUnusuallyExpensive", feature="chat")
        assert not told(web, "AnthropicCostSpike", feature="chat")
        assert not told(web, "AnthropicTokenSpike")
        assert not told(web, "AnthropicCacheMissRateHigh", feature="search")

    def test_the_total_alone_mutes_no_feature(self, default: Any, web: Web) -> None:
        default.send(
            alert(labels("AnthropicCostRateHigh", "critical", "cost")),
            alert(labels("AnthropicCostSpike", "warning", "cost", feature="report")),
        )
        eventually(lambda: told(web, "AnthropicCostSpike", feature="report"), 40)

    def test_a_dead_exporter_mutes_what_depends_on_it(self, default: Any, web: Web) -> None:
        dead = {"job": "anthropic", "instance": "10.0.0.17:9464"}
        # Down after 10 s, stopped after 30 s. Of two critical alerts that begin in the same instant neither waits long
        # enough to be muted by the other.
        default.send(alert(labels("AnthropicExporterDown", "critical", "meter", **dead)))
        eventually(lambda: told(web, "AnthropicExporterDown", instance="10.0.0.17:9464"), 30)
        own = {"job": "anthropic-exporter", "instance": "exporter:9464"}
        default.send(
            alert(labels("AnthropicMeterStopped", "critical", "meter", **dead)),
            alert(labels("AnthropicMeterStopped", "critical", "meter", job="anthropic", instance="10.0.0.18:9464")),
            alert(labels("AnthropicAlertsNotDelivered", "critical", "meter", integration="webhook")),
            alert(labels("AnthropicAlertsNotDelivered", "critical", "meter", integration="slack")),
        )
        eventually(lambda: told(web, "AnthropicMeterStopped", instance="10.0.0.18:9464"), 30)
        # Seen after the deliveries that it makes fail.
        default.send(alert(labels("AnthropicExporterDown", "critical", "meter", **own)))
        held = {
            ("AnthropicMeterStopped", "", "", "10.0.0.17:9464"),
            ("AnthropicAlertsNotDelivered", "", "", ""),
        }
        eventually(lambda: told(web, "AnthropicAlertsNotDelivered", integration="slack"), 40)
        assert held <= self.suppressed(default)
        assert not told(web, "AnthropicMeterStopped", instance="10.0.0.17:9464")
        assert not told(web, "AnthropicAlertsNotDelivered", integration="webhook")

    def test_a_second_feature_is_reported_while_the_first_one_fires(self, default: Any, web: Web) -> None:
        default.send(alert(labels("AnthropicErrorRateHigh", "warning", "errors", feature="chat", model=OPUS)))
        eventually(lambda: told(web, "AnthropicErrorRateHigh", feature="chat"), 30)
        sent = time.time()
        default.send(alert(labels("AnthropicErrorRateHigh", "warning", "errors", feature="agent", model=OPUS)))
        eventually(lambda: told(web, "AnthropicErrorRateHigh", feature="agent"), 28)
        assert 4 < time.time() - sent < 28

    def test_a_second_process_that_dies_is_reported_at_once_while_the_first_one_is_dead(
        self, default: Any, web: Web
    ) -> None:
        dead = [
            alert(labels("AnthropicExporterDown", "critical", "meter", job="anthropic", instance=f"10.0.1.{host}:9464"))
            for host in (1, 2, 3)
        ]
        for one in dead:
            default.send(one)
            instance = one["labels"]["instance"]
            # In one group with the first it would wait for the next interval, 10 s later.
            eventually(lambda: told(web, "AnthropicExporterDown", instance=instance), 9)  # noqa: B023 - awaited here

    def test_a_critical_alert_is_reported_at_once(self, default: Any, web: Web) -> None:
        sent = time.time()
        default.send(alert(labels("AnthropicCostRateHigh", "critical", "cost", feature="agent", model=OPUS)))
        eventually(lambda: told(web, "AnthropicCostRateHigh", feature="agent"), 30)
        assert time.time() - sent < 4.5

    def test_info_waits_for_office_hours_and_warnings_do_not(self, default: Any, web: Web) -> None:
        default.send(
            alert(labels("AnthropicLatencyHigh", "info", "latency", feature="chat", model=OPUS)),
            alert(labels("AnthropicRequestStuck", "warning", "latency", feature="chat", model=OPUS)),
        )
        eventually(lambda: told(web, "AnthropicRequestStuck"), 40)
        time.sleep(1)
        assert not told(web, "AnthropicLatencyHigh")

    def test_the_heartbeat_is_regular_and_goes_nowhere_else(self, default: Any, web: Web) -> None:
        beats = eventually(lambda: web.posts("/heartbeat")[3:] and web.posts("/heartbeat"), 30)
        gaps = [later.at - earlier.at for earlier, later in itertools.pairwise(beats[1:])]
        assert all(5.5 < gap < 6.5 for gap in gaps), gaps
        assert beats[0].body["alerts"][0]["labels"]["alertname"] == "AnthropicWatchdog"
        assert not told(web, "AnthropicWatchdog")


COST = {
    "summary": "Claude calls cost more dollars a minute than the threshold allows.",
    "description": "chat on claude-opus-5-5: 6.40 USD a minute, 384 USD an hour; the threshold is 2.00.",
    "runbook_url": "https://example.org/AnthropicCostRateHigh.md",
    "dashboard_url": "http://localhost:3000/d/anthropic-cost/claude-cost?var-feature=chat",
}
COST_TITLE = "CRITICAL Cost Rate High · chat · claude-opus-5-5"
COST_TEXT = """Claude calls cost more dollars a minute than the threshold allows.

chat on claude-opus-5-5: 6.40 USD a minute, 384 USD an hour; the threshold is 2.00.
Since 12:00 UTC, Sat 21 Nov

What to do: https://example.org/AnthropicCostRateHigh.md
Dashboard: http://localhost:3000/d/anthropic-cost/claude-cost?var-feature=chat"""
COST_OVER_TEXT = """Claude calls cost more dollars a minute than the threshold allows.

Back to normal. Before: chat on claude-opus-5-5: 6.40 USD a minute, 384 USD an hour; the threshold is 2.00.
Since 12:00 UTC, Sat 21 Nov until 12:07 UTC

What to do: https://example.org/AnthropicCostRateHigh.md
Dashboard: http://localhost:3000/d/anthropic-cost/claude-cost?var-feature=chat"""
STOPPED = {
    "summary": "A process responds, but records nothing.",
    "description": "10.0.0.19:9464 (job anthropic) responds without our metrics: its spending is not measured.",
    "runbook_url": "https://example.org/AnthropicMeterStopped.md",
    "dashboard_url": "http://localhost:3000/d/anthropic-cost/claude-cost?viewPanel=39",
}
STOPPED_TITLE = "CRITICAL Meter Stopped · 10.0.0.19:9464"
STOPPED_TEXT = """A process responds, but records nothing.

10.0.0.19:9464 (job anthropic) responds without our metrics: its spending is not measured.
Since 12:00 UTC, Sat 21 Nov

What to do: https://example.org/AnthropicMeterStopped.md
Dashboard: http://localhost:3000/d/anthropic-cost/claude-cost?viewPanel=39"""
ERRORS = {
    "summary": "Calls could not be recorded.",
    "runbook_url": "https://example.org/AnthropicRecordErrors.md",
    "dashboard_url": "http://localhost:3000/d/anthropic-cost/claude-cost?viewPanel=42",
}
ERRORS_TEXT = """Calls could not be recorded.

2 recorder failures in 5 minutes, in the stage price: the affected calls may be missing from the numbers shown.
Since {since}

3 recorder failures in 5 minutes, in the stage read: the affected calls may be missing from the numbers shown.
Since {since}

What to do: https://example.org/AnthropicRecordErrors.md
Dashboard: http://localhost:3000/d/anthropic-cost/claude-cost?viewPanel=42"""
LATENCY = {
    "summary": "Requests take longer than the threshold allows.",
    "description": "chat on claude-opus-5-5: one request in 20 takes longer than 7.0 s; the threshold is 5.0 s.",
    "runbook_url": "https://example.org/AnthropicLatencyHigh.md",
    "dashboard_url": "http://localhost:3000/d/anthropic-cost/claude-cost?var-feature=chat",
}


HTML_LINKS = (
    '<p><a href="https://example.org/AnthropicLatencyHigh.md">What to do</a> · '
    '<a href="http://localhost:3000/d/anthropic-cost/claude-cost?var-feature=chat">Dashboard</a></p>'
)


def cost_alert(ends: str | None = None) -> dict[str, Any]:
    about = labels("AnthropicCostRateHigh", "critical", "cost", feature="chat", model=OPUS)
    return alert(about, COST, "2026-11-21T12:00:00Z", ends)


@pytest.fixture(scope="module")
def mail() -> Iterator[MailServer]:
    server = MailServer()
    yield server
    server.close()


@pytest.fixture(scope="module")
def full(mail: MailServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    web = Web()
    folder = tmp_path_factory.mktemp("full")
    yesterday = (dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)).strftime("%A").lower()
    replacements = {
        "http://exporter:9464/": f"http://{web.address}/",
        "http://webhook.example.org/alerts": f"http://{web.address}/own",
        "smtp.example.org:587": mail.address,
        SECRETS: str(folder / "secrets"),
        OUT_OF_HOURS: f"      - weekdays: [{yesterday}]\n",
        "global:\n": f"global:\n  pagerduty_url: http://{web.address}/v2/enqueue\n  smtp_require_tls: false\n",
    }
    with alertmanagers.running(folder, "alertmanager.full.yml", replacements) as running:
        running.web = web  # type: ignore[attr-defined]
        (folder / "secrets/pagerduty_routing_key").write_text("0123456789abcdef0123456789abcdef")
        (folder / "secrets/webhook_token").write_text("a-token")
        (folder / "secrets/smtp_password").write_text("a-password")
        running.send(cost_alert())
        yield running
    web.close()


class TestTheFull:
    """`alertmanager.full.yml` with addresses on loopback and today in office hours; Slack's secret comes later."""

    def slack(self, full: Any, title: str) -> dict[str, Any]:
        post = full.web.inbox.wait_for(
            lambda one: one.path.startswith("/services/") and one.body["attachments"][0]["title"] == title, 20
        )
        return post.body["attachments"][0]

    def test_pagerduty_gets_what_where_dollars_since_when_and_links(self, full: Any) -> None:
        event = full.web.inbox.wait_for(lambda one: one.path == "/v2/enqueue", 30).body
        assert len(event.pop("dedup_key")) == 64
        details = event["payload"]["custom_details"]
        # Texts before 0.30, numbers since.
        assert [str(details.pop(number)) for number in ("num_firing", "num_resolved")] == ["1", "0"]
        assert event == {
            "routing_key": "0123456789abcdef0123456789abcdef",
            "event_action": "trigger",
            "payload": {
                "summary": COST_TITLE,
                "source": "anthropic-exporter",
                "severity": "critical",
                "class": "cost",
                "component": "chat",
                "group": "claude-opus-5-5",
                "custom_details": {"firing": COST_TEXT, "resolved": "none"},
            },
            "client": "anthropic-exporter",
            "client_url": "http://localhost:3000/d/anthropic-cost/claude-cost?var-feature=chat",
            "links": [
                {"href": "https://example.org/AnthropicCostRateHigh.md", "text": "Runbook"},
                {"href": "http://localhost:3000/d/anthropic-cost/claude-cost?var-feature=chat", "text": "Dashboard"},
            ],
        }

    def test_a_webhook_of_your_own_gets_it_with_the_token(self, full: Any) -> None:
        own = full.web.inbox.wait_for(lambda one: one.path == "/own", 30)
        assert own.headers["Authorization"] == "Bearer a-token"
        (sent,) = own.body["alerts"]
        assert sent["annotations"] == COST
        assert sent["startsAt"] == "2026-11-21T12:00:00Z"

    def test_a_missing_secret_silences_its_own_receiver_only_and_is_used_once_it_is_there(self, full: Any) -> None:
        full.web.inbox.wait_for(lambda one: one.path == "/v2/enqueue", 30)
        assert not [post for post in full.web.inbox.all if post.path.startswith("/services/")]
        (full.folder / "secrets/slack_webhook_url").write_text(f"http://{full.web.address}/services/T0/B0/x")
        assert self.slack(full, COST_TITLE) == {
            "title": COST_TITLE,
            "title_link": "http://localhost:3000/d/anthropic-cost/claude-cost?var-feature=chat",
            "text": COST_TEXT,
            "fallback": COST_TITLE,
            "color": "danger",
            "callback_id": "",
            "footer": "",
            "mrkdwn_in": ["fallback", "pretext", "text"],
        }

    def test_slack_shows_several_alerts_of_one_question_in_one_message(self, full: Any) -> None:
        # What began longer ago than `group_wait` is told as it comes, by Alertmanager 0.33 each alert by itself.
        now = dt.datetime.now(dt.timezone.utc)
        full.send(
            *(
                alert(
                    labels("AnthropicRecordErrors", "warning", "meter", stage=stage),
                    ERRORS
                    | {
                        "description": f"{count} recorder failures in 5 minutes, in the stage {stage}: "
                        "the affected calls may be missing from the numbers shown."
                    },
                    now.isoformat(),
                )
                for stage, count in (("price", 2), ("read", 3))
            )
        )
        text = self.slack(full, "WARNING Record Errors · 2 alerts")["text"]
        assert text == ERRORS_TEXT.format(since=f"{now:%H:%M} UTC, {now:%a} {now.day} {now:%b}")

    def test_an_alert_of_your_own_needs_none_of_our_labels_and_annotations(self, full: Any) -> None:
        full.send(alert({"alertname": "OfYourOwn"}, starts="2026-11-21T12:00:00Z"))
        found = self.slack(full, "Of Your Own")
        assert found["color"] == "warning"
        assert found["text"].strip() == "Since 12:00 UTC, Sat 21 Nov"

    def test_slack_names_the_process_if_there_is_no_feature(self, full: Any) -> None:
        about = labels("AnthropicMeterStopped", "critical", "meter", job="anthropic", instance="10.0.0.19:9464")
        full.send(alert(about, STOPPED, "2026-11-21T12:00:00Z"))
        assert self.slack(full, STOPPED_TITLE)["color"] == "danger"

    def test_pagerduty_gets_a_text_with_colons_as_text(self, full: Any) -> None:
        """From 0.30 on what reads as YAML is sent as an object."""
        about = labels("AnthropicMeterStopped", "critical", "meter", job="anthropic", instance="10.0.0.19:9464")
        full.send(alert(about, STOPPED, "2026-11-21T12:00:00Z"))
        event = full.web.inbox.wait_for(lambda one: one.body.get("payload", {}).get("summary") == STOPPED_TITLE, 20)
        assert event.body["payload"]["custom_details"]["firing"] == STOPPED_TEXT

    def test_a_warning_goes_to_slack_and_does_not_page(self, full: Any) -> None:
        about = labels("AnthropicErrorRateHigh", "warning", "errors", feature="chat", model=OPUS)
        full.send(alert(about, LATENCY, "2026-11-21T12:00:00Z"))
        found = self.slack(full, "WARNING Error Rate High · chat · claude-opus-5-5")
        assert found["color"] == "warning"
        pages = [post.body["payload"]["summary"] for post in full.web.posts("/v2/enqueue")]
        assert not any("Error Rate" in page for page in pages)

    def test_info_goes_by_mail_as_text_and_as_html(self, full: Any, mail: MailServer) -> None:
        about = labels("AnthropicLatencyHigh", "info", "latency", feature="chat", model=OPUS)
        full.send(alert(about, LATENCY, "2026-11-21T12:00:00Z"))
        message = mail.inbox.wait_for(lambda _: True, 10)
        assert base64.b64decode(message.credentials) == b"\0alertmanager@example.org\0a-password"
        assert message["Subject"] == "INFO Latency High · chat · claude-opus-5-5"
        assert message["To"] == "claude-costs@example.org"
        plain, html = (message.get_body((kind,)).get_content() for kind in ("plain", "html"))
        assert plain.splitlines() == [
            "Requests take longer than the threshold allows.",
            "",
            "chat on claude-opus-5-5: one request in 20 takes longer than 7.0 s; the threshold is 5.0 s.",
            "Since 12:00 UTC, Sat 21 Nov",
            "",
            "What to do: https://example.org/AnthropicLatencyHigh.md",
            "Dashboard: http://localhost:3000/d/anthropic-cost/claude-cost?var-feature=chat",
        ]
        assert html.splitlines() == [
            "<p><strong>Requests take longer than the threshold allows.</strong></p>",
            "<p>chat on claude-opus-5-5: one request in 20 takes longer than 7.0 s; the threshold is 5.0 s.<br>",
            "<small>Since 12:00 UTC, Sat 21 Nov</small></p>",
            HTML_LINKS,
        ]

    def test_a_name_that_others_chose_is_text_wherever_it_goes(self, full: Any, mail: MailServer) -> None:
        feature = "<!channel> <b>*now*</b>\r\nBcc: all@evil.example\x1b[2J \u202e{{ .Labels }} https://evil.example"
        plain = "<!channel> <b>*now*</b> Bcc: all@evil.example [2J  {{ .Labels }} https:\u2060//evil.example"
        texts = COST | {"description": f"{feature} spends 6.40 USD a minute."}
        for severity, name in (("critical", "AnthropicCostRateHigh"), ("info", "AnthropicCacheWriteChurn")):
            about = labels(name, severity, "cost\n", feature=feature, model=OPUS)
            full.send(alert(about, texts, "2026-11-21T12:00:00Z"))
        summary = f"CRITICAL Cost Rate High · {plain} · claude-opus-5-5"
        event = full.web.inbox.wait_for(lambda one: one.body.get("payload", {}).get("summary") == summary, 20).body
        assert (event["payload"]["component"], event["payload"]["class"].strip()) == (plain, "cost")
        assert event["payload"]["custom_details"]["firing"].splitlines()[2] == f"{plain} spends 6.40 USD a minute."
        in_slack = plain.replace("<", "&lt;").replace(">", "&gt;").replace(";*now", ";*\u2060now")
        assert self.slack(full, f"CRITICAL Cost Rate High · {in_slack} · claude-opus-5-5")["text"].splitlines()[2] == (
            f"{in_slack} spends 6.40 USD a minute."
        )
        message = mail.inbox.wait_for(lambda one: "Churn" in one["Subject"], 20)
        assert message["Subject"] == f"INFO Cache Write Churn · {plain} · claude-opus-5-5"
        assert (message["Bcc"], message["To"]) == (None, "claude-costs@example.org")
        text, html = (message.get_body((kind,)).get_content() for kind in ("plain", "html"))
        assert text.splitlines()[2] == f"{plain} spends 6.40 USD a minute."
        in_html = plain.replace("<", "&lt;").replace(">", "&gt;")
        assert html.splitlines()[1] == f"<p>{in_html} spends 6.40 USD a minute.<br>"

    def test_the_end_is_reported_too(self, full: Any) -> None:
        full.send(cost_alert(ends="2026-11-21T12:07:00Z"))
        over = self.slack(full, "OVER Cost Rate High · chat · claude-opus-5-5")
        assert (over["color"], over["text"]) == ("good", COST_OVER_TEXT)
        event = full.web.inbox.wait_for(lambda one: one.body.get("event_action") == "resolve", 20).body
        details = event["payload"]["custom_details"]
        assert (details["firing"], details["resolved"]) == ("none", COST_OVER_TEXT)
