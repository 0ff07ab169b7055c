"""A forged, old or replayed alert opens nothing; what hangs or drips delays no breaker."""

from __future__ import annotations

import datetime as dt
import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from anthropic_exporter import Recorder
from anthropic_exporter.bounded_http import AnswerTooLongError
from anthropic_exporter.errors import ConfigurationError
from anthropic_exporter.guard import Guard, Timing
from anthropic_exporter.logs import Log
from anthropic_exporter.remedies import IncomingAlert, Remedies
from anthropic_exporter.remedies.firings import KNOWN, NEWS, REFUSED, Firings
from anthropic_exporter.remedies.log_lines import LogLines
from anthropic_exporter.remedies.polling import Credentials, Look, PolledAlertmanager, Poller
from anthropic_exporter.wire.alertmanager import fingerprint, parse_api, parse_webhook
from dripping import Drip
from support import NOON, Clock, Samples

COST = "AnthropicCostRateHigh"


def at(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc).isoformat()


def alert(
    feature: str = "chat", *, start: float = NOON, finger: str = "8f1c", status: str = "firing", **labels: Any
) -> IncomingAlert:
    labels = {"alertname": COST, "feature": feature, "remedy": "open_breaker", **labels}
    return IncomingAlert(COST, status, labels, {}, finger, at(start))


@pytest.fixture
def guard(recorder: Recorder) -> Iterator[Guard]:
    with Guard(recorder, timing=Timing(evaluate_every_seconds=None)) as made:
        made.breaker(action="block", when=[])
        yield made


@pytest.fixture
def remedies(recorder: Recorder, guard: Guard) -> Iterator[Remedies]:
    with Remedies(recorder, guard=guard) as made:
        yield made


@pytest.fixture
def opened(guard: Guard) -> Callable[..., Any]:
    return lambda: sorted(one.name for one in guard.breakers() if one.state == "open")


def polled(remedies: Remedies, *alerts: IncomingAlert) -> None:
    remedies._polled(Look(list(alerts), complete=True))


# -- whose alerts open which breakers


def test_an_alert_of_anybody_opens_only_features_of_the_list(remedies: Remedies, opened: Callable[..., Any]) -> None:
    remedies.open_breaker(features=["chat", "search"])
    polled(remedies, alert("chat"), alert("payment", finger="2"))
    assert opened() == ["chat"]


def test_without_a_list_an_alert_of_anybody_opens_nothing_and_is_counted(
    remedies: Remedies, opened: Callable[..., Any], samples: Samples, caplog: pytest.LogCaptureFixture
) -> None:
    remedies.open_breaker()
    polled(remedies, alert("chat"))
    polled(remedies, alert("chat"))
    assert opened() == []
    assert samples("anthropic_remedy_actions_total", remedy="open_breaker", outcome="refused") == 1
    assert "remedy open_breaker refused: firing AnthropicCostRateHigh feature=chat" in caplog.text


def test_without_a_list_an_alert_of_a_known_sender_opens(remedies: Remedies, opened: Callable[..., Any]) -> None:
    remedies.open_breaker()
    polled(remedies, alert("chat")._replace(authenticated=True))
    assert opened() == ["chat"]


def test_one_name_may_be_given_as_text(remedies: Remedies, opened: Callable[..., Any]) -> None:
    remedies.open_breaker(features="chat")
    polled(remedies, alert("chat"), alert("c", finger="2"))
    assert opened() == ["chat"]


def test_other_is_opened_by_no_alert_unless_the_breaker_says_so(
    remedies: Remedies, guard: Guard, opened: Callable[..., Any], samples: Samples
) -> None:
    remedies.recorder._faults.strict = False
    remedies.open_breaker(features=["other"])
    polled(remedies, alert("other"))
    assert opened() == []
    assert samples("anthropic_remedy_actions_total", remedy="open_breaker", outcome="failed") == 1


def test_fifty_thousand_features_do_not_grow_the_breakers(
    recorder: Recorder, clock: Clock, opened: Callable[..., Any], guard: Guard
) -> None:
    recorder._faults.strict = False
    with Remedies(recorder, guard=guard) as remedies:
        remedies.open_breaker()
        for number in range(0, 5_000, 500):
            alerts = (alert(f"f{one}", finger=str(one)) for one in range(number, number + 500))
            remedies.take(alerts)
    assert len(opened()) == 1_000


# -- old alerts and replays


@pytest.mark.parametrize("start", [NOON - 86_401, NOON + 86_401, 1_577_836_800])
def test_an_alert_that_began_long_ago_or_far_ahead_does_nothing(
    remedies: Remedies, opened: Callable[..., Any], samples: Samples, start: float
) -> None:
    remedies.open_breaker(features=["chat"])
    remedies.take([alert(start=start), alert(start=start)])
    assert opened() == []
    assert samples("anthropic_remedy_actions_total", outcome="refused") == 1


def test_an_old_firing_does_not_act_again_after_eleven_thousand_others() -> None:
    firings, first = Firings(), alert(start=NOON)
    assert firings.take(first, NOON) == NEWS
    for number in range(11_000):
        assert firings.take(alert(start=NOON + 1 + number, finger=f"{number}"), NOON + number) == NEWS
    assert firings.take(first, NOON + 11_000) == REFUSED
    assert firings.take(first, NOON + 11_000) == KNOWN
    assert len(firings._known) <= 10_000


def test_refused_alerts_push_nothing_out_of_memory() -> None:
    firings, first = Firings(), alert(start=NOON)
    assert firings.take(first, NOON) == NEWS
    for number in range(20_000):
        firings.take(alert(start=0, finger=f"{number}"), NOON)
    assert firings.take(first, NOON) == KNOWN
    assert len(firings._refused) == 1_000


def test_a_replayed_webhook_does_not_begin_what_a_poll_saw_end(remedies: Remedies, opened: Callable[..., Any]) -> None:
    remedies.open_breaker(features=["chat"])
    polled(remedies, alert())
    polled(remedies)
    remedies.take([alert()])
    assert opened() == []
    polled(remedies, alert())
    assert opened() == ["chat"]


@pytest.mark.parametrize("text", ["", "yesterday", "2026-11-21T12:00:00", "x" * 100_000, 5, None])
def test_a_start_that_is_not_a_time_is_malformed(text: int | str | None) -> None:
    one = {"status": "firing", "labels": {"alertname": COST}, "fingerprint": "1", "startsAt": text}
    body = json.dumps({"alerts": [one]}).encode()
    if text == "":
        assert parse_webhook(body)[0].started_seconds is None
    else:
        with pytest.raises(ValueError, match="not what Alertmanager sends"):
            parse_webhook(body)


@pytest.mark.parametrize(
    "more",
    [
        {"x": "y" * 900_000},
        {f"a{number}": "v" for number in range(40_000)},
        {"a" * 900_000: "v"},
        {"x": "\U0001f600" * 60_000},
    ],
    ids=["a long value", "many labels", "a long name", "wide characters"],
)
def test_only_the_used_parts_of_a_huge_alert_are_kept(more: dict[str, str]) -> None:
    """A thousand may wait for each remedy."""
    ours = {"alertname": COST, "feature": "chat", "severity": "critical", "remedy": "open_breaker"}
    labels, annotations = more | ours, more | {"began": "1795262400"}
    one = {"status": "firing", "labels": labels, "annotations": annotations, "startsAt": at(NOON)}
    (found,) = parse_webhook(json.dumps({"alerts": [one]}, ensure_ascii=False).encode())
    assert (found.name, found.feature, found.severity, found.remedy) == (COST, "chat", "critical", "open_breaker")
    assert found.began_seconds == 1795262400
    assert found.fingerprint == fingerprint(labels)
    for kept in (found.labels, found.annotations):
        assert sum(len(name) + len(text) for name, text in kept.items()) <= 16_384


# -- what hangs and what drips


def test_a_remedy_that_hangs_delays_no_breaker_and_no_other_remedy(
    remedies: Remedies, opened: Callable[..., Any], samples: Samples
) -> None:
    end, seen, timed_out = threading.Event(), threading.Event(), threading.Event()

    @remedies.on(COST, timeout_seconds=0.05)
    def hang(_: IncomingAlert) -> None:
        end.wait(30.0)

    @remedies.on(COST)
    def note(one: IncomingAlert) -> None:
        (seen if one.feature == "search" else timed_out).set()

    remedies.open_breaker(features=["chat", "search"])
    try:
        remedies.take([alert("chat")])
        assert opened() == ["chat"]
        remedies.take([alert("search", finger="2")])
        assert opened() == ["chat", "search"]
        assert seen.wait(30)
        assert remedies.flush(10.0)
        assert samples("anthropic_remedy_actions_total", remedy="hang", outcome="timeout") == 2
    finally:
        end.set()


def test_a_flood_of_other_alerts_pushes_no_breaker_out_of_memory(
    remedies: Remedies, opened: Callable[..., Any], samples: Samples
) -> None:
    """Prometheus gives all alerts of one evaluation the same start."""
    remedies.on("Noise")(lambda _: None)
    remedies.open_breaker(features=["chat"])
    for name in ("Noise", "Unknown"):
        flood = (IncomingAlert(name, "firing", {"alertname": name}, {}, f"{name}{n}", at(NOON)) for n in range(11_000))
        remedies.take(flood)
    remedies.take([alert("chat")])
    assert opened() == ["chat"]
    remedies.take([alert("chat", status="resolved")])
    assert opened() == []
    assert samples("anthropic_remedy_actions_total", remedy="open_breaker", outcome="refused") is None


def test_a_log_handler_that_hangs_delays_no_breaker(remedies: Remedies, opened: Callable[..., Any]) -> None:
    entered, end = threading.Event(), threading.Event()

    class Hanging(logging.Handler):
        def emit(self, _: logging.LogRecord) -> None:
            entered.set()
            end.wait(30.0)

    log, handler = logging.getLogger("anthropic_exporter.remedies"), Hanging()
    remedies.open_breaker(features=["chat", "search"])
    log.addHandler(handler)
    thread = threading.Thread(target=remedies.take, args=([alert("chat")],))
    try:
        thread.start()
        assert entered.wait(10.0)
        log.removeHandler(handler)
        remedies.take([alert("search", finger="2")])
        assert opened() == ["chat", "search"]
    finally:
        log.removeHandler(handler)
        end.set()
        thread.join()


def test_dropped_alerts_of_a_flood_are_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock(100.0)
    lines = LogLines(Log("anthropic_exporter.remedies"), clock)
    for _ in range(1_000):
        lines.note("page", "dropped", alert("chat"), is_repetitive=True)
    lines.note("open_breaker", "applied", alert("chat"))
    clock.now += 60.0
    lines.note("page", "dropped", alert("search"), is_repetitive=True)
    lines.write()
    assert [record.getMessage() for record in caplog.records] == [
        "remedy page dropped: firing AnthropicCostRateHigh feature=chat",
        "remedy open_breaker applied: firing AnthropicCostRateHigh feature=chat",
        "remedy page dropped: firing AnthropicCostRateHigh feature=search and 999 more alerts",
    ]


def test_a_breaker_opens_where_the_system_has_no_thread(
    remedies: Remedies, opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    remedies.on(COST)(lambda _: None)
    remedies.open_breaker(features=["chat"])

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    remedies.take([alert("chat")])
    assert opened() == ["chat"]


class Alertmanager(BaseHTTPRequestHandler):
    """Answers as API v2 does, with or without asking for the password."""

    server: Any

    def do_GET(self) -> None:
        asked = self.server.password is not None
        if asked and self.headers["authorization"] != self.server.password:
            self.send_response(401)
            self.send_header("content-length", "0")
            self.end_headers()
            return
        active = [{**json.loads(alert_of_api()), "status": {"state": "active"}}]
        if "open_breaker" not in self.path:
            active *= self.server.times
        body = json.dumps({"uptime": at(NOON)} if "status" in self.path else active).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: str) -> None:
        pass


def alert_of_api() -> str:
    one = alert()
    return json.dumps({"labels": one.labels, "annotations": {}, "startsAt": one.started_at, "fingerprint": "1"})


@pytest.fixture
def alertmanager() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Alertmanager)
    server.password, server.times = None, 1
    server.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    return path


def test_an_alertmanager_that_asks_for_the_password_is_a_known_sender(alertmanager: Any, password_file: Path) -> None:
    alertmanager.password = "Basic cmVtZWRpZXM6czNjcmV0"  # remedies:s3cret
    source = PolledAlertmanager(alertmanager.url, Credentials("remedies", password_file))
    assert [one.authenticated for one in source.look().active] == [True]


@pytest.mark.parametrize("asks", [True, False])
def test_an_alertmanager_that_lets_anybody_in_is_not(alertmanager: Any, password_file: Path, asks: bool) -> None:
    credentials = Credentials("remedies", password_file) if asks else Credentials()
    assert [one.authenticated for one in PolledAlertmanager(alertmanager.url, credentials).look().active] == [False]


def test_credentials_that_do_not_fit_are_one_line(password_file: Path, tmp_path: Path) -> None:
    for arguments in (("remedies",), ("", password_file), ("remedies", password_file, password_file)):
        with pytest.raises(ConfigurationError, match=r"^remedies\.watch: "):
            Credentials(*arguments)
    with pytest.raises(ConfigurationError, match="none: cannot be read"):
        Credentials("remedies", tmp_path / "none")


def test_of_too_many_alerts_those_of_breakers_are_asked_for_alone(alertmanager: Any) -> None:
    alertmanager.times = 10_000  # 2 MB
    found, failures, looked = [], [], threading.Event()  # type: ignore[var-annotated]

    def take(look: Look) -> None:
        found.append(look)
        looked.set()

    poller = Poller([PolledAlertmanager(alertmanager.url)], 0.01, take, failures.append)
    assert looked.wait(10.0)
    poller.close()
    assert [(one.remedy, one.feature) for one in found[0].active] == [("open_breaker", "chat")]
    assert not found[0].complete  # of the others nothing is known: none is over
    assert isinstance(failures[0], AnswerTooLongError)


def test_an_alertmanager_that_drips_does_not_stop_the_poller(
    alertmanager: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("anthropic_exporter.remedies.polling._TIMEOUT_SECONDS", 0.1)
    found, failures = [], []  # type: ignore[var-annotated]
    looked = threading.Event()

    def take(look: Look) -> None:
        found.append(look)
        if len(found) == 3:
            looked.set()

    with Drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n") as dripping:
        poller = Poller(
            [PolledAlertmanager(dripping.url), PolledAlertmanager(alertmanager.url)], 0.01, take, failures.append
        )
        assert looked.wait(10.0)
        poller.close()
    assert found[0].active == parse_api(
        b"[" + json.dumps({**json.loads(alert_of_api()), "status": {"state": "active"}}).encode() + b"]"
    )
    assert failures
