from __future__ import annotations

import http.client
import json
import select
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from prometheus_client import CollectorRegistry

from anthropic_exporter import Call, ConfigurationError, Recorder, ServiceHandle, attribution, serve
from anthropic_exporter.guard import Guard, SpendLimitExceeded, Timing
from anthropic_exporter.remedies import Remedies
from anthropic_exporter.remedies.polling import Look
from anthropic_exporter.simulator import fake_api
from anthropic_exporter.wire.alertmanager import IncomingAlert, parse_api, parse_webhook
from support import Clock, Samples

WASTE, COST = "AnthropicCacheMissWaste", "AnthropicCostRateHigh"
TOKEN = "a long random word, ä"


def alert(
    name: str = WASTE,
    *,
    status: str = "firing",
    start: str = "2026-11-21T12:00:00.123Z",
    finger: str = "8f1c",
    **labels: str,
) -> dict[str, Any]:
    return {
        "status": status,
        "labels": {"alertname": name, "feature": "chat", "model": "claude-opus-5-5", **labels},
        "annotations": {},
        "startsAt": start,
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": finger,
    }


def payload(*alerts: dict[str, Any]) -> bytes:
    return json.dumps({"version": "4", "alerts": alerts}).encode()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN + "\n")
    return path


@pytest.fixture
def guard(recorder: Recorder) -> Iterator[Guard]:
    with Guard(recorder, timing=Timing(evaluate_every_seconds=None)) as made:
        made.breaker(action="block")
        yield made


@pytest.fixture
def remedies(recorder: Recorder, guard: Guard, token_file: Path) -> Iterator[Remedies]:
    with Remedies(recorder, guard=guard, token_file=token_file) as made:
        yield made


@pytest.fixture
def told(remedies: Remedies) -> list[Any]:
    """What a remedy of the application's own was called with."""
    found = []
    remedies.on(WASTE, undo=lambda one: found.append(("undone", one.feature)))(
        lambda one: found.append(("applied", one.feature))
    )
    return found


def post(server: ServiceHandle, body: Any, token: str | None = TOKEN, **headers: str) -> int:
    connection = http.client.HTTPConnection(server.host, server.port, timeout=10)
    try:
        authorization = {} if token is None else {"Authorization": f"Bearer {token}".encode()}
        headers = {"Content-Type": "application/json", **authorization, **headers}  # type: ignore[dict-item]
        connection.request("POST", "/alerts", body=body, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def settle(remedies: Remedies) -> None:
    """Wait until everything queued is done."""
    assert remedies.flush(10.0)


def take(remedies: Remedies, *alerts: dict[str, Any]) -> None:
    assert remedies.take(parse_webhook(payload(*alerts)))
    settle(remedies)


def outcomes(samples: Samples, remedy: str) -> dict[str, float]:
    found = {}
    for outcome in ("applied", "undone", "skipped", "dry_run", "failed"):
        value = samples("anthropic_remedy_actions_total", remedy=remedy, outcome=outcome)
        if value:
            found[outcome] = value
    return found


# -- the webhook, misused


def test_the_webhook_acts_on_an_alert(recorder: Recorder, remedies: Remedies, told: list[Any]) -> None:
    with serve(recorder, port=0, remedies=remedies) as running:
        assert post(running, payload(alert())) == 200
    settle(remedies)
    assert told == [("applied", "chat")]


@pytest.mark.parametrize("token", [None, "", "wrong", "a long random word, b", "ÿ" * 3000])
def test_a_wrong_token_is_refused_and_nothing_is_done(
    recorder: Recorder, remedies: Remedies, told: list[Any], token: str | None
) -> None:
    with serve(recorder, port=0, remedies=remedies) as running:
        assert post(running, payload(alert()), token) == 401
        assert post(running, payload(alert()), None, Authorization="Basic eDp5") == 401
    settle(remedies)
    assert told == []


def test_ten_megabytes_are_refused(recorder: Recorder, remedies: Remedies) -> None:
    with serve(recorder, port=0, remedies=remedies) as running:
        assert post(running, b"x" * 10_000_000) == 413
        assert post(running, b"x" * 10_000_000, "wrong") == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b'{"alerts": 1}',
        b'{"alerts": [1]}',
        b'{"alerts": [{}]}',
        b"\xff\xfe",
        b"[" * 100_000,
        payload({**alert(), "fingerprint": ""}),
        payload({**alert(), "startsAt": 5}),
        payload({**alert(), "status": "odd"}),
        payload({**alert(), "labels": {"feature": "chat"}}),
    ],
)
def test_a_malformed_body_is_refused(recorder: Recorder, remedies: Remedies, body: bytes) -> None:
    with serve(recorder, port=0, remedies=remedies) as running:
        assert post(running, body) == 400


def test_a_slow_sender_delays_no_scrape(recorder: Recorder, remedies: Remedies) -> None:
    with serve(recorder, port=0, remedies=remedies) as running:
        slow = socket.create_connection((running.host, running.port), timeout=10)
        head = ("POST /alerts HTTP/1.1", "Host: localhost", f"Authorization: Bearer {TOKEN}", "Content-Length: 50")
        slow.sendall("\r\n".join((*head, "Content-Type: application/json", "", "{")).encode())
        connection = http.client.HTTPConnection(running.host, running.port, timeout=10)
        connection.request("GET", "/metrics")
        assert connection.getresponse().status == 200
        assert not select.select([slow], [], [], 0)[0]
        connection.close()
        slow.close()


def test_a_body_in_chunks_is_refused(recorder: Recorder, remedies: Remedies) -> None:
    with serve(recorder, port=0, remedies=remedies) as running:
        assert post(running, iter([b"{}"]), **{"Transfer-Encoding": "chunked"}) == 411


def test_a_replayed_alert_does_nothing_again(remedies: Remedies, told: list[Any]) -> None:
    take(remedies, alert(), alert())
    take(remedies, alert())
    take(remedies, alert(status="resolved"))
    take(remedies, alert())
    take(remedies, alert(status="resolved"))
    assert told == [("applied", "chat"), ("undone", "chat")]


def test_the_next_firing_acts_again(remedies: Remedies, told: list[Any]) -> None:
    take(remedies, alert(), alert(status="resolved"), alert(start="2026-11-21T13:00:00Z"))
    assert told == [("applied", "chat"), ("undone", "chat"), ("applied", "chat")]


def test_the_end_of_what_was_never_seen_undoes_nothing(remedies: Remedies, told: list[Any]) -> None:
    take(remedies, alert(status="resolved"))
    assert told == []


def test_the_token_may_be_changed_while_it_runs(recorder: Recorder, remedies: Remedies, token_file: Path) -> None:
    with serve(recorder, port=0, remedies=remedies) as running:
        token_file.write_text("fresh")
        assert post(running, payload(alert())) == 401
        assert post(running, payload(alert()), "fresh") == 200


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"\n")])
def test_a_missing_token_file_rejects_every_request_and_is_logged(
    recorder: Recorder,
    remedies: Remedies,
    token_file: Path,
    told: list[Any],
    caplog: pytest.LogCaptureFixture,
    damage: Callable[..., Any],
) -> None:
    with serve(recorder, port=0, remedies=remedies) as running:
        damage(token_file)
        assert post(running, payload(alert())) == 503
        assert post(running, payload(alert()), "") == 503
    settle(remedies)
    assert told == []
    assert str(token_file) in caplog.text
    assert TOKEN not in caplog.text


def test_too_many_alerts_at_once_are_to_be_sent_again_and_still_act_once_each(
    recorder: Recorder, remedies: Remedies, samples: Samples
) -> None:
    seen, held = [], threading.Event()

    @remedies.on(WASTE)
    def page(one: IncomingAlert) -> None:
        held.wait(10)
        seen.append(("page", one.fingerprint))

    @remedies.on(WASTE)
    def note(one: IncomingAlert) -> None:
        seen.append(("note", one.fingerprint))

    alerts = [str(number) for number in range(1_100)]
    body = payload(*(alert(finger=finger) for finger in alerts))
    with serve(recorder, port=0, remedies=remedies) as running:
        assert post(running, body) == 503
        held.set()
        while post(running, body) != 200:
            settle(remedies)
    settle(remedies)
    assert sorted(seen) == sorted((name, finger) for name in ("page", "note") for finger in alerts)
    assert samples("anthropic_remedy_actions_total", remedy="page", outcome="dropped") >= 99


def test_a_webhook_without_a_token_is_one_clear_error(recorder: Recorder, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="only with a token"):
        serve(recorder, port=0, remedies=Remedies(recorder))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Remedies(recorder, token_file=tmp_path / "none")
    (tmp_path / "empty").write_text("\n")
    with pytest.raises(ConfigurationError, match="is empty"):
        Remedies(recorder, token_file=tmp_path / "empty")


# -- what is done


def test_nothing_is_done_unless_asked_for(remedies: Remedies, guard: Guard, samples: Samples) -> None:
    take(remedies, alert(remedy="open_breaker"), alert(COST, finger="2", remedy="refresh_cache"))
    assert [state.state for state in guard.breakers()] == ["closed"]
    assert samples("anthropic_remedy_actions_total") is None


def test_a_labelled_alert_opens_the_breaker_of_its_feature_and_its_end_closes_it(
    remedies: Remedies, guard: Guard, samples: Samples
) -> None:
    remedies.open_breaker()
    take(remedies, alert(COST))
    assert [state.state for state in guard.breakers()] == ["closed"]
    take(remedies, alert(COST, finger="2", remedy="open_breaker"))
    ((name, state, reason),) = [(one.name, one.state, one.limit) for one in guard.breakers()]
    assert (name, state, reason) == ("chat", "open", COST)
    take(remedies, alert(COST, finger="2", remedy="open_breaker", status="resolved"))
    assert [state.state for state in guard.breakers()] == ["closed"]
    assert outcomes(samples, "open_breaker") == {"applied": 1, "undone": 1}


def test_the_breaker_stays_open_until_the_last_alert_is_over(remedies: Remedies, guard: Guard) -> None:
    remedies.open_breaker(COST)
    take(remedies, alert(COST, finger="1"), alert(COST, finger="2"), alert(COST, finger="1", status="resolved"))
    assert [state.state for state in guard.breakers()] == ["open"]
    take(remedies, alert(COST, finger="2", status="resolved"))
    assert [state.state for state in guard.breakers()] == ["closed"]


def test_a_breaker_that_the_guard_opened_meanwhile_stays_open_when_the_alert_is_over(
    recorder: Recorder, clock: Clock, call: Callable[..., Call], samples: Samples
) -> None:
    with Guard(recorder, timing=Timing(evaluate_every_seconds=None)) as guard:
        guard.breaker(action="block", when=["request_cost"])
        remedies = Remedies(recorder, guard=guard)
        remedies.open_breaker(COST, seconds=60.0)
        take(remedies, alert(COST))
        assert [state.reason for state in guard.breakers()] == ["manual"]
        clock.now += 61
        guard.tick()
        assert [state.state for state in guard.breakers()] == ["closed"]
        recorder.record(call(feature="chat", output=100_000))
        take(remedies, alert(COST, status="resolved"))
        assert [(state.state, state.reason) for state in guard.breakers()] == [("open", "request_cost")]
    assert outcomes(samples, "open_breaker") == {"applied": 1, "skipped": 1}


def test_an_alert_without_a_feature_opens_nothing(remedies: Remedies, guard: Guard) -> None:
    remedies.open_breaker(COST)
    take(remedies, alert(COST, feature=""))
    assert [state.state for state in guard.breakers()] == ["closed"]


def test_dry_run_counts_and_does_nothing(recorder: Recorder, guard: Guard, samples: Samples) -> None:
    with Remedies(recorder, guard=guard, dry_run=True) as remedies:
        remedies.open_breaker(COST)
        take(remedies, alert(COST), alert(COST, status="resolved"))
    assert [state.state for state in guard.breakers()] == ["closed"]
    assert outcomes(samples, "open_breaker") == {"dry_run": 2}


def test_a_failing_remedy_is_counted_and_stops_no_other(remedies: Remedies, told: list[Any], samples: Samples) -> None:
    @remedies.on(WASTE)
    def page(_: IncomingAlert) -> None:
        raise RuntimeError("the text of a prompt")

    take(remedies, alert())
    take(remedies, alert(finger="2"))
    assert told == [("applied", "chat")] * 2
    assert outcomes(samples, "page") == {"failed": 2}


def test_a_remedy_of_the_applications_own_may_be_named_by_the_label(remedies: Remedies) -> None:
    seen: list[Any] = []
    remedies.on(remedy="page_owner")(seen.append)
    take(remedies, alert("Anything", remedy="page_owner"), alert(finger="2", remedy="other"))
    assert [one.name for one in seen] == ["Anything"]


def test_mistakes_are_one_clear_error(recorder: Recorder, remedies: Remedies) -> None:
    with pytest.raises(ConfigurationError, match="name an alert"):
        remedies.on()
    with pytest.raises(ConfigurationError, match="there is no Guard"):
        Remedies(recorder).open_breaker()
    with pytest.raises(ConfigurationError, match="does not begin with http"):
        remedies.watch("alertmanager:9093")
    with pytest.raises(ConfigurationError, match="give the address of Alertmanager"):
        remedies.watch()
    remedies.watch("http://127.0.0.1:9", every_seconds=60.0)
    with pytest.raises(ConfigurationError, match="call it once, with all addresses"):
        remedies.watch("http://127.0.0.1:9")


def test_a_guard_without_a_breaker_is_one_clear_error(recorder: Recorder) -> None:
    bare = Guard(recorder, timing=Timing(evaluate_every_seconds=None))
    with bare, pytest.raises(ConfigurationError, match="the Guard has no breaker"):
        Remedies(recorder, guard=bare).open_breaker()


# -- refresh_cache

PROMPT: dict[str, Any] = {
    "model": "claude-opus-5-5",
    "max_tokens": 1000,
    "system": [{"type": "text", "text": "x" * 40_000, "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": "hello"}],
}


@pytest.fixture
def api() -> Iterator[fake_api.FakeApi]:
    with fake_api.start() as running:
        yield running


@pytest.fixture
def client(recorder: Recorder, api: fake_api.FakeApi) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="sk-ant-none", base_url=api.url, middleware=[recorder.middleware()]) as made:
        yield made


def test_a_cache_alert_writes_the_registered_prompt_under_its_own_feature(
    recorder: Recorder, client: anthropic.Anthropic, api: fake_api.FakeApi, samples: Samples
) -> None:
    clock = Clock(0.0)
    with Remedies(recorder, clock=clock) as remedies:
        remedies.prompt("chat", client, PROMPT)
        take(remedies, alert(), alert(finger="2", feature="search"), alert(COST, finger="3"))
        assert len(api.requests) == 1
        assert samples("anthropic_tokens_total", feature="refresh_cache", type="cache_write_5m") > 9_000
        assert samples("anthropic_tokens_total", feature="refresh_cache", type="output") == 0
        assert samples("anthropic_cost_usd_total", feature="chat") is None

        clock.now = 299
        take(remedies, alert(finger="4"))
        assert len(api.requests) == 1
        clock.now = 300
        take(remedies, alert(finger="5"))
        assert len(api.requests) == 2
    assert outcomes(samples, "refresh_cache") == {"applied": 2, "skipped": 1}


def test_the_next_call_after_a_refresh_reads_the_cache(
    recorder: Recorder, client: anthropic.Anthropic, samples: Samples
) -> None:
    with Remedies(recorder) as remedies:
        remedies.prompt("chat", client, PROMPT)
        take(remedies, alert())
    with attribution(feature="chat"):
        client.messages.create(**PROMPT)
    assert samples("anthropic_cache_requests_total", feature="chat", result="hit") == 1
    assert samples("anthropic_cache_requests_total", feature="chat", result="miss") == 0


def test_what_refreshing_costs_is_counted_where_the_client_is_not_recorded(
    recorder: Recorder, api: fake_api.FakeApi, samples: Samples
) -> None:
    plain = anthropic.Anthropic(api_key="sk-ant-none", base_url=api.url)
    with plain, Remedies(recorder) as remedies:
        remedies.prompt("chat", plain, PROMPT)
        take(remedies, alert())
    assert samples("anthropic_requests_total", feature="refresh_cache", outcome="success") == 1
    assert samples("anthropic_cost_usd_total", feature="refresh_cache") > 0.05


def test_a_prompt_that_fails_stops_no_other_and_is_tried_with_the_next_alert(
    recorder: Recorder, client: anthropic.Anthropic, samples: Samples
) -> None:
    registry = CollectorRegistry()
    lenient = Recorder(registry=registry, clock=recorder.clock)
    wrong = {**PROMPT, "messages": []}
    with Remedies(lenient, clock=Clock(0.0)) as remedies:
        remedies.prompt("chat", client, wrong)
        remedies.prompt("chat", client, PROMPT)
        take(remedies, alert())
        assert samples("anthropic_requests_total", feature="refresh_cache", outcome="success") == 1
        take(remedies, alert(finger="2"))
    assert samples("anthropic_requests_total", feature="refresh_cache", outcome="invalid_request_error") == 2
    assert samples("anthropic_requests_total", feature="refresh_cache", outcome="success") == 1
    assert outcomes(Samples(registry), "refresh_cache") == {"failed": 2}


def test_an_hour_of_lifetime_is_refreshed_once_an_hour(
    recorder: Recorder, client: anthropic.Anthropic, api: fake_api.FakeApi
) -> None:
    clock = Clock(0.0)
    system = [{**PROMPT["system"][0], "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    with Remedies(recorder, clock=clock) as remedies:
        remedies.prompt("chat", client, {**PROMPT, "system": system})
        for number, clock.now in enumerate((0, 3599, 3600)):
            take(remedies, alert(finger=str(number)))
    assert len(api.requests) == 2


def test_a_prompt_that_cannot_be_refreshed_is_one_clear_error(recorder: Recorder, client: anthropic.Anthropic) -> None:
    remedies = Remedies(recorder)
    with pytest.raises(ConfigurationError, match="no cache_control"):
        remedies.prompt("chat", client, {"model": "claude-opus-5-5", "messages": []})
    with pytest.raises(ConfigurationError, match="give a sync client"):
        remedies.prompt("chat", anthropic.AsyncAnthropic(api_key="none"), PROMPT)


# -- asking Alertmanager


def api_alert(**fields: Any) -> dict[str, Any]:
    return {**alert(**fields), "status": {"state": "active", "silencedBy": [], "inhibitedBy": []}}


def test_an_alert_that_is_gone_from_the_api_is_over_and_may_come_back(remedies: Remedies, told: list[Any]) -> None:
    active = parse_api(json.dumps([api_alert()]).encode())
    for found in (active, active, [], [], active):
        remedies._polled(Look(found, complete=True))
    settle(remedies)
    assert told == [("applied", "chat"), ("undone", "chat"), ("applied", "chat")]


def test_webhook_and_api_together_act_once(remedies: Remedies, told: list[Any]) -> None:
    active = parse_api(json.dumps([api_alert()]).encode())
    take(remedies, alert())
    remedies._polled(Look(active, complete=True))
    take(remedies, alert(status="resolved"))
    remedies._polled(Look(active, complete=True))
    remedies._polled(Look([], complete=True))
    settle(remedies)
    assert told == [("applied", "chat"), ("undone", "chat")]


def test_an_alert_that_is_missing_is_not_over_where_alertmanager_may_not_know_it_yet(
    remedies: Remedies, told: list[Any]
) -> None:
    active = parse_api(json.dumps([api_alert()]).encode())
    for look in (Look(active, complete=True), Look([], complete=False), Look([], complete=False)):
        remedies._polled(look)
    settle(remedies)
    assert told == [("applied", "chat")]
    remedies._polled(Look([], complete=True))
    settle(remedies)
    assert told == [("applied", "chat"), ("undone", "chat")]


def test_an_end_that_found_no_room_is_done_later(remedies: Remedies, monkeypatch: pytest.MonkeyPatch) -> None:
    ended, active = [], parse_api(json.dumps([api_alert()]).encode())  # type: ignore[var-annotated]
    remedies.on(WASTE, undo=ended.append)(lambda _: None)
    remedies._polled(Look(active, complete=True))
    settle(remedies)
    (lane,) = remedies._lanes._lanes
    monkeypatch.setattr(lane, "most_waiting", 0)
    remedies._polled(Look([], complete=True))
    settle(remedies)
    assert ended == []
    monkeypatch.setattr(lane, "most_waiting", 10)
    remedies._polled(Look([], complete=True))
    remedies._polled(Look([], complete=True))
    settle(remedies)
    assert [one.status for one in ended] == ["resolved"]


def test_an_open_breaker_stops_the_call(remedies: Remedies, client: anthropic.Anthropic, guard: Guard) -> None:
    remedies.open_breaker(COST)
    take(remedies, alert(COST, feature="chat"))
    with attribution(feature="chat"), pytest.raises(SpendLimitExceeded):
        client.messages.create(**PROMPT)
