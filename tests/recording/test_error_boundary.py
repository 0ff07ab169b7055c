"""No failure of ours, injected anywhere, changes what the application gets; it is counted."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import anthropic
import pytest
from prometheus_client import CollectorRegistry

from anthropic_exporter import Recorder
from anthropic_exporter.capture import attempt, middleware, sent
from anthropic_exporter.metrics.label_sets import LabelSets
from anthropic_exporter.metrics.writer import Metrics
from anthropic_exporter.pricing.book import PriceBook
from anthropic_exporter.recording import answers
from anthropic_exporter.simulator.fake_api import FakeApi
from anthropic_exporter.wire.stream import BodyFold
from bodies import ASK, answer, events, refused, streamed
from ports import free_port
from support import Samples

pytest_plugins = ("fixtures_fake_api",)

PLACES = [
    (middleware, "_is_message_request"),
    (middleware, "is_sent_by"),
    (middleware, "under_way"),
    (middleware, "_watched"),
    (sent, "under_way"),
    (middleware, "is_inside"),
    (sent.Sent, "as_attempt"),
    (sent, "asks_for_caching"),
    (sent.Sent, "call"),
    (answers, "heading"),
    (answers, "plain_of"),
    (answers, "priced_call"),
    (answers.Answers, "write"),
    (answers.Answers, "_learn"),
    (answers.Answers, "note_limits"),
    (Metrics, "line"),
    (Metrics, "write_plain"),
    (Recorder, "may_use"),
    (Recorder, "pass_on"),
    (Recorder, "expect"),
    (Recorder, "expect_now"),
    (middleware, "_path_of"),
    (middleware, "tee"),
    (attempt.Attempt, "__init__"),
    (attempt.Attempt, "head"),
    (attempt.Attempt, "body"),
    (attempt.Attempt, "_read_rest"),
    (attempt.Attempt, "_record"),
    (attempt.Attempt, "_may_wait"),
    (attempt.Attempt, "_wait"),
    (attempt.Attempt, "_write"),
    (attempt.Attempt, "_outcome"),
    (attempt.Attempt, "_failed"),
    (attempt.Attempt, "_call"),
    (attempt, "read_message"),
    (attempt, "is_regional"),
    (attempt, "error_type"),
    (attempt, "asks_for_caching"),
    (attempt, "BodyFold"),
    (BodyFold, "feed"),
    (BodyFold, "close"),
    (Recorder, "begin"),
    (Recorder, "record"),
    (Recorder, "_write"),
    (LabelSets, "expect"),
    (Metrics, "write"),
    (Metrics, "count"),
    (PriceBook, "bill"),
]


ASK_CACHED = ASK | {"cache_control": {"type": "ephemeral"}}


def attempted(client: anthropic.Anthropic) -> list[Any]:
    """What an application gets of bodies, streams and an error."""
    seen = [client.messages.create(**ask).to_dict() for ask in (ASK, ASK_CACHED, ASK)]
    seen.append([one.to_dict() for one in client.messages.create(**ASK, stream=True)])
    with client.messages.with_streaming_response.create(**ASK, stream=True) as response:
        seen.append(response.read())
    with pytest.raises(anthropic.BadRequestError) as caught:
        client.messages.create(**ASK)
    return [*seen, caught.value.body]


@pytest.mark.parametrize(("where", "name"), PLACES, ids=[f"{w.__name__.split('.')[-1]}.{n}" for w, n in PLACES])  # type: ignore[attr-defined]
def test_the_application_gets_the_same_when_we_fail(
    fake_api: FakeApi,
    sdk_client: anthropic.Anthropic,
    registry: CollectorRegistry,
    monkeypatch: pytest.MonkeyPatch,
    where: ModuleType | type[Any],
    name: str,
) -> None:
    recorder = Recorder(registry=registry)
    recorder.subscribe(lambda _: None, may_wait=True)
    recorded = sdk_client.with_options(middleware=[recorder.middleware(), recorder.middleware()])
    usage = {"input_tokens": 100, "output_tokens": 50}
    whole, stream, refusal = answer(usage), streamed(events(usage)), refused(400, "invalid_request_error")
    fake_api.push(*[whole, whole, whole, stream, stream, refusal] * 2)
    expected = attempted(sdk_client)

    def fail(*_: Any, **__: bool) -> None:
        raise RuntimeError("injected")

    monkeypatch.setattr(where, name, fail)
    assert attempted(recorded) == expected
    recorder.drain()  # what waits fails now
    monkeypatch.undo()
    assert recorder.inflight.snapshot() == []
    if (where, name) != (Metrics, "count"):  # failures are counted by it
        assert Samples(registry)("anthropic_exporter_record_errors_total") > 0


def test_a_request_that_we_cannot_read_is_sent_and_counted(registry: CollectorRegistry) -> None:
    """The SDK, or a middleware before ours, may one day send another kind of object."""
    recorder = Recorder(registry=registry)
    assert recorder.middleware().handle(object(), lambda _: "the answer") == "the answer"  # type: ignore[arg-type, return-value]
    assert Samples(registry)("anthropic_exporter_record_errors_total", stage="begin") == 1


def test_our_failure_does_not_take_the_place_of_the_exception_of_the_sdk(
    registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(registry=registry)

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("injected")

    monkeypatch.setattr(sent.Sent, "as_attempt", fail)
    options: dict[str, Any] = {"api_key": "none", "base_url": f"http://127.0.0.1:{free_port()}", "max_retries": 0}
    with (
        anthropic.Anthropic(**options, middleware=[recorder.middleware()]) as client,
        pytest.raises(anthropic.APIConnectionError),
    ):
        client.messages.create(**ASK)
    assert Samples(registry)("anthropic_exporter_record_errors_total", stage="attempt") == 1
